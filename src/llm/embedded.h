/* Files that are part of the program, made into arrays by embed.sh. */
#ifndef ANYLLM_LLM_EMBEDDED_H
#define ANYLLM_LLM_EMBEDDED_H

#include <stddef.h>

extern const unsigned char catalogue_json[];
extern const size_t catalogue_json_len;

#endif
