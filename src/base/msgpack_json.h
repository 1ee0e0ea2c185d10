/* msgpack, in which fal's clients write realtime messages, to JSON text and back: inputs are judged and answers made as JSON,
 * whatever they travel in. Pure.
 *
 * What is read is walked once before the library sees it: the library makes room for as many values as an array claims. */
#ifndef ANYLLM_BASE_MSGPACK_JSON_H
#define ANYLLM_BASE_MSGPACK_JSON_H

#include "base/buf.h"

#define MSGPACK_MAX_DEPTH 32U /* the library's own */

/* Appends one value as JSON text; strings go as they are, so UTF-8 is for the JSON reader to judge, and so are names that stand
 * twice. Bytes (bin) become a data URI below a member of the outermost map for which takes_file says so, else they are a fault;
 * so are ext types, names that are no strings, NaN and infinity. NULL: done. Else a static line for the caller;
 * out->no_memory when it is that. */
const char *msgpack_to_json(struct slice in, bool (*takes_file)(void *user, struct slice member),
                            void *user, struct buf *out);
/* Appends the value of a JSON text of our own. False: it is none, or out of memory. */
bool msgpack_from_json(struct slice json, struct buf *out);

#endif
