/* Media types, and names for what has none. Pure. */
#ifndef ANYLLM_CLIENT_MIME_H
#define ANYLLM_CLIENT_MIME_H

#include "base/buf.h"

/* By the ending of a name or path, in either case; application/octet-stream when that says nothing. Static. */
const char *client_mime_of(const char *name);
/* Appends "1700000000000.png", as fal's own clients name what has no name. */
bool client_mime_name(struct buf *out, int64_t wall_ms, const char *content_type);

#endif
