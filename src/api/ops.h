/* What the operator's routes share about the queue and its store. */
#ifndef ANYLLM_API_OPS_H
#define ANYLLM_API_OPS_H

#include "api/call.h"

struct store_stats ops_store_stats(const struct api *a); /* zeros before the store is open */
const char *ops_check_name(int check);                   /* of store_stats.check */

#endif
