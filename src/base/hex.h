/* Bytes as hexadecimal digits. */
#ifndef ANYLLM_BASE_HEX_H
#define ANYLLM_BASE_HEX_H

#include "base/slice.h"

/* 2n digits in lower case and a NUL. */
void hex_write(char *out, const void *bytes, size_t n);
/* n bytes of exactly 2n digits, in either case; false on anything else. */
bool hex_read(struct slice text, void *out, size_t n);

#endif
