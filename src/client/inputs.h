/* The parts of inputs.c that are pure. */
#ifndef ANYLLM_CLIENT_INPUTS_H
#define ANYLLM_CLIENT_INPUTS_H

#include "base/slice.h"
#include "fal.h"

#define CLIENT_INPUT_FILES 1000U /* of one input */
#define CLIENT_INPUT_DEPTH 128U  /* looked through for file:// addresses */
#define CLIENT_FILES_AT_ONCE 4U

/* "file:///tmp/a%20b.png" and "file://localhost/tmp/…" are /tmp/a b.png, from malloc. NULL: *code is FAL_ERR_ARGUMENT and *why,
 * static, says what is wrong; or FAL_ERR_MEMORY. */
char *client_file_url_path(struct slice url, enum fal_code *code, const char **why);

#endif
