#ifndef TEST_STORE_SUITE_H
#define TEST_STORE_SUITE_H

#include "store/store_fixture.h"

extern const struct suite_backend store_suite_sqlite;

/* Runs the store's contract against one backend; cmocka's count of failures. */
int store_suite_run(const struct suite_backend *backend);
/* Its parts. */
int store_suite_leases(const struct suite_backend *backend);
int store_suite_idempotency(const struct suite_backend *backend);
int store_suite_ledger(const struct suite_backend *backend);
int store_suite_files(const struct suite_backend *backend); /* and keys */
int store_suite_webhooks(const struct suite_backend *backend);

#endif
