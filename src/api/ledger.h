/* The ledger of direct calls: rows are gathered and written behind, LEDGER_WINDOW_MS later at most. */
#ifndef ANYLLM_API_LEDGER_H
#define ANYLLM_API_LEDGER_H

#include "api/call.h"

/* A part of the api: see life.c. */
bool ledger_open(struct api *a, char *reason, size_t size);
void ledger_load(struct api *a); /* ends with api_loaded */
void ledger_drain(struct api *a);
void ledger_close(struct api *a);
void ledger_free(struct api *a);

#define LEDGER_WINDOW_MS \
    1000 /* what a kill may lose of direct calls; a graceful end loses nothing */

#endif
