/* This machine's own loopback, as far as a text says; no name is looked up. */
#ifndef ANYLLM_BASE_LOOPBACK_H
#define ANYLLM_BASE_LOOPBACK_H

#include "base/slice.h"

/* "localhost" in any case; an address of 127.0.0.0/8, four numbers; ::1, in brackets. A name that begins so is none. */
bool loopback_is_host(struct slice host);
/* The host of scheme://host[:port][/path]; one with a user before it is none. */
bool loopback_is_url(struct slice url);

#endif
