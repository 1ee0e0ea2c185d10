/* The statements. */
#include "store/sqlite.h"

/* In the order of put_wishes and take_wishes. */
#define WISHES                                                                        \
    "start_timeout_ms, no_store, no_fallback, retries_server_error, retries_timeout," \
    " retries_connection_error, owner_concurrency"

#define ROW_TEXT                                                                               \
    "SELECT seq, id, state, attempt, priority, no_retry, cancel_ms, endpoint, owner, webhook," \
    " created_ms, started_ms, completed_ms, http_status, error, error_type, inference_ms,"     \
    " input, headers, body, abs(forget_ms), " WISHES ", hint, tags, key_id"                                 \
    " FROM request LEFT JOIN payload USING(seq) LEFT JOIN result USING(seq) WHERE id = ?1"

/* In the order of put_usage and take_charge. */
#define CHARGE                                                                                 \
    "n, id, attempt, kind, owner, key_id, endpoint, started_ms, at_ms, http_status, upstream," \
    " model, raw, partial, cost_microusd, charge_microusd, units_micro, prompt_tokens,"        \
    " completion_tokens, cached_tokens, reasoning_tokens"
#define USAGE_VALUES "?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16"

#define NEW_CHARGE                                                                              \
    "INSERT INTO ledger(" CHARGE ") VALUES(?21, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11," \
    " ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)"
/* A second row of the same attempt changes nothing: what it cost is told already. */
#define ONCE "ON CONFLICT(id, attempt) WHERE kind = 0 DO NOTHING"

/* ?1 owner, ?2 key, ?3 id, n from ?4 to ?5. */
#define OF_LEDGER                                                      \
    " FROM ledger WHERE (?1 = '' OR owner = ?1) AND (?2 = '' OR key_id = ?2)" \
    " AND (?3 = '' OR id = ?3) AND n BETWEEN ?4 AND ?5"

/* ?1 owner, ?2 endpoint, ?3 id, place from ?4 to ?5, status from ?6 to ?7; ?8 rows from ?9 on. Durations count from the
 * start; what never started has none. */
#define PLACE "(completed_ms << 20 | (seq & 1048575))" /* as the index request_ended */
#define QUEUED(chosen)                                                                       \
    "SELECT " PLACE " AS place, 0, seq, id, endpoint, created_ms, started_ms, completed_ms," \
    " http_status, iif(started_ms = 0, 0, completed_ms - started_ms) AS duration"            \
    " FROM request JOIN result USING(seq) WHERE " chosen                                     \
    " AND state = 2 AND (?2 = '' OR endpoint = ?2)"                                          \
    " AND " PLACE " BETWEEN ?4 AND ?5 AND http_status BETWEEN ?6 AND ?7"
#define DIRECT                                                                  \
    "SELECT n AS place, 1, n, id, endpoint, started_ms, started_ms, at_ms, http_status," \
    " at_ms - started_ms AS duration FROM ledger WHERE kind <> 0"                \
    " AND (?1 = '' OR owner = ?1) AND (?2 = '' OR endpoint = ?2) AND (?3 = '' OR id = ?3)" \
    " AND n BETWEEN ?4 AND ?5 AND http_status BETWEEN ?6 AND ?7"
#define BY_END " ORDER BY place DESC LIMIT ?8 OFFSET ?9"
#define BY_DURATION " ORDER BY duration DESC, place DESC LIMIT ?8 OFFSET ?9"

#define FILE_COLUMNS                                                                    \
    "id, state, owner, name, content_type, acl, bytes, sha256, created_ms, lifetime_ms," \
    " expires_ms"

/* ?1 owner, ?2 expiry before, ?3 after this id. */
#define FILES(index, chosen)                                                                \
    "SELECT " FILE_COLUMNS " FROM file " index " WHERE " chosen                             \
    " (?1 = '' OR owner = ?1) AND (?2 = 0 OR (expires_ms > 0 AND expires_ms < ?2)) AND id > ?3" \
    " ORDER BY id LIMIT ?4"

#define WEBHOOKS                                                                              \
    "SELECT seq, id, state, url, owner, endpoint, attempt, created_ms, due_ms, ended_ms,"     \
    " last_status, last_error FROM webhook_outbox"

/* ?1 owner, ?2 state, ?3 older than this seq. */
#define WEBHOOKS_PAGE(chosen)                                                                  \
    WEBHOOKS " WHERE " chosen " (?1 = '' OR owner = ?1) AND (?2 < 0 OR state = ?2) AND seq < ?3" \
             " ORDER BY seq DESC LIMIT ?4"

#define REPLAY                                                                              \
    "UPDATE webhook_outbox SET state = 0, attempt = 0, due_ms = ?1, ended_ms = 0"

#define KEY_COLUMNS "id, alias, owner, scope, sha256, created_ms, expires_ms, revoked_ms"

const char *const sqlite_texts[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_FIND] = "SELECT seq, state, webhook <> '', attempt_ms FROM request WHERE id = ?1",
    [ST_ROW] = ROW_TEXT,
    [ST_SUBMIT] =
        "INSERT INTO request(seq, id, priority, no_retry, endpoint, owner, webhook, created_ms," WISHES
        ", hint, tags, key_id)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    [ST_PAYLOAD] = "INSERT INTO payload(seq, input) VALUES(?1, ?2)",
    [ST_CLAIM] = "UPDATE request SET state = 1, attempt = attempt + 1,"
                 " crashes = crashes + (state = 1 AND boot <> ''),"
                 " started_ms = CASE started_ms WHEN 0 THEN ?3 ELSE started_ms END,"
                 " attempt_ms = ?3, node = ?4, boot = ?5, token = ?6, lease_ms = ?7"
                 " WHERE seq = ?1 AND attempt = ?2 AND state <> 2 AND boot <> ?5",
    [ST_RETRY] =
        "UPDATE request SET attempt = attempt + 1, node = ?4, boot = ?5, token = ?6, lease_ms = ?7,"
        " attempt_ms = ?8 WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_RELEASE] = "UPDATE request SET boot = '', token = 0, lease_ms = 0"
                   " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_COMPLETE] = "UPDATE request SET state = 2, completed_ms = ?4, forget_ms = ?5"
                    " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_FINISH] = "UPDATE request SET state = 2, completed_ms = ?4, forget_ms = ?5"
                  " WHERE seq = ?1 AND attempt = ?2 AND boot <> ?3 AND state <> 2",
    [ST_RESULT] =
        "INSERT INTO result(seq, http_status, error, error_type, inference_ms, headers, body)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_OUTBOX] = "INSERT INTO webhook_outbox(seq, id, owner, endpoint, url, created_ms, due_ms)"
                  " SELECT seq, id, owner, endpoint, webhook, ?2, ?2 FROM request WHERE seq = ?1",
    [ST_DROP_INPUT] = "DELETE FROM payload WHERE seq = ?1",
    [ST_SWEEP_NEXT] = "SELECT seq FROM request INDEXED BY request_forget"
                      " WHERE forget_ms <> 0 AND forget_ms > 0 AND forget_ms <= ?1"
                      " ORDER BY forget_ms LIMIT 1",
    [ST_SWEEP_LOG] = "DELETE FROM log WHERE seq = ?1",
    [ST_SWEEP_RESULT] = "DELETE FROM result WHERE seq = ?1",
    [ST_SWEEP_REQUEST] = "DELETE FROM request WHERE seq = ?1",
    [ST_SWEEP_LEFT] = "SELECT ifnull(min(t), 0) FROM ("
                      "SELECT min(forget_ms) AS t FROM request INDEXED BY request_forget"
                      " WHERE forget_ms <> 0 AND forget_ms > 0 UNION ALL "
                      "SELECT -max(forget_ms) FROM request INDEXED BY request_forget"
                      " WHERE forget_ms <> 0 AND forget_ms < 0)",
    [ST_CANCEL] =
        "UPDATE request SET cancel_ms = ?2 WHERE seq = ?1 AND state <> 2 AND cancel_ms = 0",
    [ST_LOG_LAST] = "SELECT ifnull(max(n), 0) FROM log WHERE seq = ?1",
    [ST_LOG] = "INSERT INTO log(seq, n, at_ms, level, message) VALUES(?1, ?2, ?3, ?4, ?5)",
    [ST_PING] = "UPDATE meta SET value = ?1 WHERE key = 'ping'",
    [ST_PROBE] = "REPLACE INTO meta VALUES('probe', zeroblob(65536))",
    [ST_ATTEMPT_CHARGE] = "INSERT INTO ledger(" CHARGE ") SELECT ?17, id, ?2, 0, owner, key_id,"
                          " endpoint, ?3, ?4, ?5, " USAGE_VALUES
                          " FROM request WHERE seq = ?1 " ONCE,
    [ST_CHARGE_QUEUED] = NEW_CHARGE " " ONCE,
    [ST_CHARGE] = NEW_CHARGE,
    [ST_DROP_FIND] = "SELECT seq, state, 0, 0 FROM request WHERE id = ?1 AND (?2 = '' OR owner = ?2)",
    [ST_DROP_RESULT] = "UPDATE result SET body = x'' WHERE seq = ?1",
    [ST_FILE_ADD] = "INSERT INTO file(" FILE_COLUMNS ")"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [ST_FILE_FINISH] = "UPDATE file SET state = 1, bytes = ?2, sha256 = ?3, content_type = ?4,"
                       " expires_ms = ?5 WHERE id = ?1 AND state = 0",
    [ST_FILE_THERE] = "SELECT 1 FROM file WHERE id = ?1",
    [ST_FILE_SET_ACL] = "UPDATE file SET acl = ?2 WHERE id = ?1",
    [ST_FILE_REMOVE] = "DELETE FROM file WHERE id = ?1",
    [ST_WEBHOOK_FIND] = "SELECT seq, state, attempt FROM webhook_outbox"
                        " WHERE id = ?1 AND (?2 = '' OR owner = ?2)",
    [ST_WEBHOOK_NOTE] = "UPDATE webhook_outbox SET attempt = attempt + 1, state = ?2, due_ms = ?3,"
                        " ended_ms = ?4, last_status = ?5, last_error = ?6 WHERE seq = ?1",
    [ST_WEBHOOK_FREE] = "UPDATE request SET forget_ms = -forget_ms WHERE seq = ?1 AND forget_ms < 0",
    [ST_WEBHOOK_HOLD] = "UPDATE request SET forget_ms = -forget_ms WHERE seq = ?1 AND forget_ms > 0",
    [ST_WEBHOOK_REPLAY] = REPLAY " WHERE seq = ?2",
    [ST_WEBHOOK_HOLD_DEAD] = "UPDATE request SET forget_ms = -forget_ms WHERE forget_ms > 0 AND seq IN"
                             " (SELECT seq FROM webhook_outbox WHERE state = 2"
                             " AND (?1 = '' OR owner = ?1))",
    [ST_WEBHOOK_REPLAY_DEAD] = REPLAY " WHERE state = 2 AND (?2 = '' OR owner = ?2)",
    [ST_KEY_ADD] = "INSERT INTO api_key(" KEY_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [ST_KEY_REVOKE] = "UPDATE api_key SET revoked_ms = iif(revoked_ms = 0, ?2, revoked_ms)"
                      " WHERE id = ?1",
    [ST_READ_ROW] = ROW_TEXT,
    [ST_READ_LOGS] = "SELECT at_ms, level, message FROM log"
                     " WHERE seq = (SELECT seq FROM request WHERE id = ?1) ORDER BY n",
    [ST_READ_PENDING] =
        "SELECT seq, id, state, attempt, crashes, priority, no_retry, cancel_ms, boot,"
        " created_ms, started_ms, endpoint, owner, webhook <> ''," WISHES
        " FROM request INDEXED BY request_open WHERE state <> 2 ORDER BY seq",
    [ST_READ_FILE] = "SELECT " FILE_COLUMNS " FROM file WHERE id = ?1",
    [ST_READ_WAITING] = WEBHOOKS " WHERE state = 0 ORDER BY due_ms, seq",
    [ST_READ_WEBHOOK] = WEBHOOKS " WHERE id = ?1",
    [ST_READ_KEYS] = "SELECT " KEY_COLUMNS " FROM api_key ORDER BY created_ms, id",
    [ST_LEDGER] = "SELECT " CHARGE OF_LEDGER " ORDER BY n DESC",
    [ST_LEDGER_QUEUED] = "SELECT " CHARGE OF_LEDGER " AND id = ?3 AND kind = 0 ORDER BY n DESC",
    /* ?6 the bucket. An attempt that no caller got the answer of costs, but is no call. */
    [ST_SUMS] = "SELECT at_ms / ?6 * ?6, endpoint, key_id, owner, sum(http_status <> 0),"
                " sum(http_status >= 500), sum(http_status BETWEEN 400 AND 499),"
                " sum(max(at_ms - started_ms, 0)), max(max(at_ms - started_ms, 0)),"
                " sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens),"
                " sum(reasoning_tokens), sum(cost_microusd IS NULL), sum(charge_microusd IS NULL),"
                " sum(cost_microusd), sum(charge_microusd), sum(units_micro)" OF_LEDGER
                " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    [ST_REQUESTS] = QUEUED("(?1 = '' OR owner = ?1)") " UNION ALL " DIRECT BY_END,
    [ST_REQUESTS_OF_OWNER] = QUEUED("owner = ?1") " UNION ALL " DIRECT BY_END,
    [ST_LONGEST] = QUEUED("(?1 = '' OR owner = ?1)") " UNION ALL " DIRECT BY_DURATION,
    [ST_LONGEST_OF_OWNER] = QUEUED("owner = ?1") " UNION ALL " DIRECT BY_DURATION,
    [ST_REQUEST_QUEUED] = QUEUED("id = ?3 AND (?1 = '' OR owner = ?1)") BY_END,
    [ST_REQUEST_DIRECT] = DIRECT BY_END,
    [ST_INPUT] = "SELECT input FROM payload WHERE seq = ?1",
    [ST_BODY] = "SELECT body FROM result WHERE seq = ?1",
    [ST_FILES_ALL] = FILES("", ""),
    [ST_FILES_OF_OWNER] = FILES("INDEXED BY file_owner", "owner = ?1 AND"),
    [ST_FILES_EXPIRED] = FILES("INDEXED BY file_expires", "expires_ms > 0 AND expires_ms < ?2 AND"),
    [ST_FILE_SUMS] = "SELECT owner, count(*), sum(bytes) FROM file GROUP BY owner ORDER BY owner",
    [ST_WEBHOOKS_ALL] = WEBHOOKS_PAGE(""),
    [ST_WEBHOOKS_OF_OWNER] = WEBHOOKS_PAGE("owner = ?1 AND"),
    [ST_WEBHOOKS_OF_STATE] = WEBHOOKS_PAGE("state = ?2 AND"),
};
