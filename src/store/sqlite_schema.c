/* The schema and its migrations. */
#include "store/sqlite.h"

/* seq orders by acceptance and is every other table's key, so that rows of one request lie together and are appended;
 * payload and result hold what is large, so that a request's row stays small. Times are Unix milliseconds, 0: not yet.
 * boot is empty when nobody holds the row (waiting, or released). */
static const char schema_1[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;"
    "CREATE TABLE request("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  state INTEGER NOT NULL DEFAULT 0," /* 0 IN_QUEUE, 1 IN_PROGRESS, 2 COMPLETED */
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  crashes INTEGER NOT NULL DEFAULT 0,"
    "  priority INTEGER NOT NULL,"
    "  no_retry INTEGER NOT NULL,"
    "  cancel_ms INTEGER NOT NULL DEFAULT 0,"
    "  endpoint TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  webhook TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  started_ms INTEGER NOT NULL DEFAULT 0,"
    "  completed_ms INTEGER NOT NULL DEFAULT 0,"
    "  node TEXT NOT NULL DEFAULT '',"
    "  boot TEXT NOT NULL DEFAULT '',"
    "  token INTEGER NOT NULL DEFAULT 0,"
    "  lease_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX request_open ON request(seq) WHERE state <> 2;"
    "CREATE TABLE payload(seq INTEGER PRIMARY KEY, input BLOB NOT NULL) STRICT;"
    "CREATE TABLE result("
    "  seq INTEGER PRIMARY KEY,"
    "  http_status INTEGER NOT NULL,"
    "  error TEXT NOT NULL,"
    "  error_type TEXT NOT NULL,"
    "  inference_ms INTEGER NOT NULL,"
    "  headers BLOB NOT NULL,"
    "  body BLOB NOT NULL) STRICT;"
    /* The ledger outlives the requests it tells of, so it repeats whose they were. */
    "CREATE TABLE usage("
    "  seq INTEGER NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  upstream TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  raw BLOB NOT NULL,"
    "  cost_microusd INTEGER," /* NULL: unknown, never 0 */
    "  at_ms INTEGER NOT NULL,"
    "  PRIMARY KEY(seq, attempt)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE webhook_outbox("
    "  seq INTEGER PRIMARY KEY,"
    "  url TEXT NOT NULL,"
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  created_ms INTEGER NOT NULL,"
    "  due_ms INTEGER NOT NULL,"
    "  delivered_ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE log("
    "  seq INTEGER NOT NULL,"
    "  n INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL,"
    "  level TEXT NOT NULL,"
    "  message TEXT NOT NULL,"
    "  PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;"
    "INSERT INTO meta VALUES('ping', 0);"
    "PRAGMA application_id = 1634495597;"; /* APPLICATION_ID of sqlite_open.c */

static int to_1(sqlite3 *db) {
    return sqlite3_exec(db, schema_1, NULL, NULL, NULL);
}

/* What a request may ask of how it is run and kept. Rows written before wish nothing. */
static const char schema_2[] =
    "ALTER TABLE request ADD COLUMN start_timeout_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN no_store INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN no_fallback INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN retries_server_error INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN retries_timeout INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN retries_connection_error INTEGER NOT NULL DEFAULT -1;"
    "ALTER TABLE request ADD COLUMN owner_concurrency INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE request ADD COLUMN hint TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN tags TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN forget_ms INTEGER NOT NULL DEFAULT 0;" /* 0: kept */
    "CREATE INDEX request_forget ON request(forget_ms) WHERE forget_ms > 0;";

static int to_2(sqlite3 *db) {
    return sqlite3_exec(db, schema_2, NULL, NULL, NULL);
}

/* The ledger tells of direct calls too, webhooks have an end, files and keys are kept.
 * request.attempt_ms is when its present attempt began. request.forget_ms below 0: it is to be forgotten then, but not
 * while its webhook waits. ledger.n is at_ms << 20 and a number that tells apart, so that the table itself
 * is in order of time; request_ended has the same for when a request ended, so that both can be merged. A direct call is
 * in no other index: each would cost half of what the row does. */
static const char schema_3[] =
    "ALTER TABLE request ADD COLUMN key_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN attempt_ms INTEGER NOT NULL DEFAULT 0;"
    "UPDATE request SET attempt_ms = started_ms WHERE state = 1;"
    "CREATE INDEX request_ended ON request(owner, (completed_ms << 20 | (seq & 1048575)))"
    "  WHERE state = 2;"
    "CREATE TABLE ledger("
    "  n INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  kind INTEGER NOT NULL," /* enum store_call_kind */
    "  owner TEXT NOT NULL,"
    "  key_id TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  started_ms INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL,"
    "  http_status INTEGER NOT NULL," /* 0: no caller got this attempt's answer, or it is not known */
    "  upstream TEXT NOT NULL,"
    "  model TEXT NOT NULL,"
    "  raw BLOB NOT NULL,"
    "  partial INTEGER NOT NULL,"
    "  cost_microusd INTEGER,"   /* NULL: unknown, never 0 */
    "  charge_microusd INTEGER," /* NULL: unknown, never 0 */
    "  units_micro INTEGER NOT NULL,"
    "  prompt_tokens INTEGER NOT NULL,"
    "  completion_tokens INTEGER NOT NULL,"
    "  cached_tokens INTEGER NOT NULL,"
    "  reasoning_tokens INTEGER NOT NULL) STRICT;"
    "INSERT INTO ledger SELECT at_ms << 20"
    "  | (row_number() OVER (ORDER BY at_ms, seq, attempt) & 1048575), id, attempt, 0, owner, '',"
    "  endpoint,"
    "  coalesce((SELECT at_ms FROM usage b WHERE b.seq = u.seq AND b.attempt = u.attempt - 1),"
    "    (SELECT started_ms FROM request r WHERE r.seq = u.seq AND u.attempt = 1), at_ms),"
    "  at_ms,"
    "  ifnull((SELECT http_status FROM result JOIN request r USING(seq)"
    "    WHERE r.seq = u.seq AND r.attempt = u.attempt), 0),"
    "  upstream, model, raw, 0, max(min(cost_microusd, 35184372088832), -35184372088832), NULL,"
    "  0, 0, 0, 0, 0" /* COUNT_MAX of sqlite_ledger.c */
    "  FROM usage u ORDER BY at_ms, seq, attempt;"
    "DROP TABLE usage;"
    "CREATE TABLE ledger_hour(" /* of whole hours, those before meta 'summed': sqlite_hours.c */
    "  hour INTEGER NOT NULL,"  /* at_ms / 3600000 */
    "  owner TEXT NOT NULL,"
    "  key_id TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  calls INTEGER NOT NULL,"
    "  errors INTEGER NOT NULL,"
    "  user_errors INTEGER NOT NULL,"
    "  duration_ms INTEGER NOT NULL,"
    "  max_duration_ms INTEGER NOT NULL,"
    "  prompt_tokens INTEGER NOT NULL,"
    "  completion_tokens INTEGER NOT NULL,"
    "  cached_tokens INTEGER NOT NULL,"
    "  reasoning_tokens INTEGER NOT NULL,"
    "  costs_unknown INTEGER NOT NULL,"
    "  charges_unknown INTEGER NOT NULL,"
    "  cost_microusd INTEGER NOT NULL,"
    "  charge_microusd INTEGER NOT NULL,"
    "  units_micro INTEGER NOT NULL,"
    "  PRIMARY KEY(hour, owner, key_id, endpoint)) STRICT, WITHOUT ROWID;"
    "INSERT INTO ledger_hour SELECT at_ms / 3600000, owner, key_id, endpoint,"
    "  sum(http_status <> 0), sum(http_status >= 500), sum(http_status BETWEEN 400 AND 499),"
    "  sum(max(at_ms - started_ms, 0)), max(max(at_ms - started_ms, 0)), 0, 0, 0, 0,"
    "  sum(cost_microusd IS NULL), count(*), ifnull(sum(cost_microusd), 0), 0, 0"
    "  FROM ledger GROUP BY 1, 2, 3, 4;"
    "INSERT INTO meta SELECT 'summed', at_ms / 3600000 + 1 FROM ledger ORDER BY n DESC LIMIT 1;"
    "CREATE UNIQUE INDEX ledger_id ON ledger(id, attempt) WHERE kind = 0;"
    /* Direct calls, each row packed into one value (sqlite_packed.c): they are many, and a column costs as much as the bytes
     * of all. n as in ledger. */
    "CREATE TABLE ledger_direct(n INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;"
    "ALTER TABLE webhook_outbox RENAME TO old_outbox;"
    "CREATE TABLE webhook_outbox("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  state INTEGER NOT NULL DEFAULT 0," /* enum store_webhook_state */
    "  owner TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  url TEXT NOT NULL,"
    "  attempt INTEGER NOT NULL DEFAULT 0,"
    "  created_ms INTEGER NOT NULL,"
    "  due_ms INTEGER NOT NULL,"
    "  ended_ms INTEGER NOT NULL DEFAULT 0,"
    "  last_status INTEGER NOT NULL DEFAULT 0,"
    "  last_error TEXT NOT NULL DEFAULT '') STRICT;"
    "INSERT INTO webhook_outbox(seq, id, owner, endpoint, url, attempt, created_ms, due_ms)"
    "  SELECT seq, id, owner, endpoint, url, o.attempt, o.created_ms, o.created_ms"
    "  FROM old_outbox o JOIN request USING(seq);"
    /* Of requests that version 2 has already forgotten: there is nothing left to deliver. */
    "INSERT INTO webhook_outbox(seq, id, state, owner, endpoint, url, created_ms, due_ms, ended_ms,"
    "  last_error)"
    "  SELECT seq, 'seq-' || seq, 2, '', '', url, created_ms, due_ms, due_ms,"
    "  'The result was forgotten before it could be delivered.'"
    "  FROM old_outbox WHERE seq NOT IN (SELECT seq FROM request);"
    "DROP TABLE old_outbox;"
    "CREATE INDEX webhook_state ON webhook_outbox(state, seq);"
    "CREATE INDEX webhook_owner ON webhook_outbox(owner, seq);"
    "UPDATE request SET forget_ms = -forget_ms"
    "  WHERE forget_ms > 0 AND seq IN (SELECT seq FROM webhook_outbox WHERE state = 0);"
    "DROP INDEX request_forget;"
    "CREATE INDEX request_forget ON request(forget_ms) WHERE forget_ms <> 0;"
    "CREATE TABLE file("
    "  id TEXT PRIMARY KEY,"
    "  state INTEGER NOT NULL," /* enum store_file_state */
    "  owner TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  content_type TEXT NOT NULL,"
    "  acl TEXT NOT NULL,"
    "  bytes INTEGER NOT NULL,"
    "  sha256 BLOB NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  lifetime_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX file_owner ON file(owner, id);"
    "CREATE INDEX file_expires ON file(expires_ms) WHERE expires_ms > 0;"
    "CREATE TABLE api_key("
    "  id TEXT PRIMARY KEY,"
    "  alias TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  scope INTEGER NOT NULL,"
    "  sha256 BLOB NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL,"
    "  revoked_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

static int to_3(sqlite3 *db) {
    return sqlite3_exec(db, schema_3, NULL, NULL, NULL);
}

/* Who holds a row is a boot that lives, or none. A boot that was buried and joins again has another life: what it held in
 * an earlier one is lost. Version 3 held rows without one: they may be claimed. A key of idempotency names the request by
 * its id, which is never drawn again: one that is no longer there frees the key. */
static const char schema_4[] =
    "UPDATE request SET completed_ms = 1 WHERE state = 2 AND completed_ms = 0;"
    "ALTER TABLE request ADD COLUMN model TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE request ADD COLUMN life INTEGER NOT NULL DEFAULT 0;" /* 0: nobody's */
    "CREATE TABLE node("
    "  life INTEGER PRIMARY KEY," /* from meta 'lives': none is given twice */
    "  boot TEXT NOT NULL UNIQUE,"
    "  node TEXT NOT NULL,"
    "  beat INTEGER NOT NULL,"
    "  at_ms INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta VALUES('lives', 0);"
    /* Those with a cancel mark that are not COMPLETED. An index on request would be opened by each submit and claim. */
    "CREATE TABLE cancelled(seq INTEGER PRIMARY KEY) STRICT;"
    "INSERT INTO cancelled SELECT seq FROM request WHERE state <> 2 AND cancel_ms <> 0;"
    "CREATE TABLE idempotency("
    "  key TEXT NOT NULL," /* first: all others are the same for many */
    "  owner TEXT NOT NULL,"
    "  key_id TEXT NOT NULL,"
    "  endpoint TEXT NOT NULL,"
    "  id TEXT NOT NULL,"
    "  hash BLOB NOT NULL,"
    "  until_ms INTEGER NOT NULL,"
    "  PRIMARY KEY(key, owner, key_id, endpoint)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX idempotency_until ON idempotency(until_ms);"
    /* COMPLETED by another word, one that a claim does not change: it would write each of them anew. */
    "DROP INDEX request_open;"
    "CREATE INDEX request_open ON request(seq) WHERE completed_ms = 0;"
    "DROP INDEX request_ended;"
    "CREATE INDEX request_ended ON request(owner, (completed_ms << 20 | (seq & 1048575)))"
    "  WHERE completed_ms <> 0;"
    /* As request_ended, of all owners: what goes first (sqlite_retain.c), and what an operator lists. */
    "CREATE INDEX request_end ON request((completed_ms << 20 | (seq & 1048575)))"
    "  WHERE completed_ms <> 0;";

static int to_4(sqlite3 *db) {
    return sqlite3_exec(db, schema_4, NULL, NULL, NULL);
}

/* migrations[n] brings version n to n + 1. To change the schema: append one, never edit one that was released. */
static int (*const migrations[])(sqlite3 *db) = {to_1, to_2, to_3, to_4};
const unsigned sqlite_schema_version = sizeof migrations / sizeof *migrations;

int sqlite_migrate(sqlite3 *db, int64_t version) {
    return migrations[version](db);
}
