/* A direct call's row of the ledger in one value, and the SQL function that reads it: packed(row, k) is the k-th column of
 * the ledger, as CHARGE of sqlite_text.c counts them. */
#ifndef ANYLLM_STORE_SQLITE_PACKED_H
#define ANYLLM_STORE_SQLITE_PACKED_H

#include "store/sqlite.h"

/* What a row takes beside its texts. */
#define PACKED_BYTES 160U

/* How much room sqlite_pack wants for this row. */
size_t sqlite_packed_bytes(const struct store_charge *c);
/* Returns the bytes written. */
size_t sqlite_pack(const struct store_charge *c, char *out);
int sqlite_packed_register(sqlite3 *db);

#endif
