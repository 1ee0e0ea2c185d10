/* The statements. */
#include "store/sqlite.h"

/* In the order of put_wishes and take_wishes. */
#define WISHES                                                                        \
    "start_timeout_ms, no_store, no_fallback, retries_server_error, retries_timeout," \
    " retries_connection_error, owner_concurrency"

#define ROW(result, large)                                                                        \
    "SELECT seq, id, state, attempt, priority, no_retry, cancel_ms, endpoint, owner, webhook,"    \
    " created_ms, started_ms, completed_ms, " result ", input, " large ", abs(forget_ms)," WISHES \
    ", hint, tags, key_id, model FROM request LEFT JOIN payload USING(seq)"
#define WHOLE_ROW                                                        \
    ROW("http_status, error, error_type, inference_ms", "headers, body") \
    " LEFT JOIN result USING(seq) WHERE id = ?1"

/* Not held by a boot that lives. What was never claimed, or was given back, does not look (in a WHERE: as a value both
 * sides of OR are worked out). */
#define NOT_HELD "(life = 0 OR NOT EXISTS(SELECT 1 FROM node WHERE node.life = request.life))"

/* In the order of put_usage and take_charge. */
#define CHARGE                                                                                 \
    "n, id, attempt, kind, owner, key_id, endpoint, started_ms, at_ms, http_status, upstream," \
    " model, raw, partial, cost_microusd, charge_microusd, units_micro, prompt_tokens,"        \
    " completion_tokens, cached_tokens, reasoning_tokens"

/* Direct calls as rows of the ledger: the columns of CHARGE by their number. */
#define DIRECT_CALLS                                                                       \
    "(SELECT n, packed(row, 1) AS id, packed(row, 2) AS attempt, packed(row, 3) AS kind, " \
    "packed(row, 4) AS owner, packed(row, 5) AS key_id, packed(row, 6) AS endpoint, "      \
    "packed(row, 7) AS started_ms, packed(row, 8) AS at_ms, packed(row, 9) AS "            \
    "http_status, packed(row, 10) AS upstream, packed(row, 11) AS model, packed(row, "     \
    "12) AS raw, packed(row, 13) AS partial, packed(row, 14) AS cost_microusd, "           \
    "packed(row, 15) AS charge_microusd, packed(row, 16) AS units_micro, packed(row, "     \
    "17) AS prompt_tokens, packed(row, 18) AS completion_tokens, packed(row, 19) AS "      \
    "cached_tokens, packed(row, 20) AS reasoning_tokens FROM ledger_direct)"
/* Both, for sums. */
#define LEDGER "(SELECT " CHARGE " FROM ledger UNION ALL SELECT * FROM " DIRECT_CALLS ")"

#define NEW_CHARGE                                                                                \
    "INSERT INTO ledger VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15," \
    " ?16, ?17, ?18, ?19, ?20, ?21)"
/* Of an hour: SUM_MAX of sqlite_hours.c. */
#define CAPPED(column) \
    " " column " = max(min(" column " + excluded." column ", 1125899906842624), -1125899906842624)"
/* A second row of the same attempt changes nothing: what it cost is told already. */
#define ONCE "ON CONFLICT(id, attempt) WHERE kind = 0 DO NOTHING"

/* ?1 owner, ?2 key, ?3 id, n from ?4 to ?5. */
#define OF_LEDGER(table)                                             \
    "SELECT " CHARGE " FROM " table " WHERE (?1 = '' OR owner = ?1)" \
    " AND (?2 = '' OR key_id = ?2) AND (?3 = '' OR id = ?3) AND n BETWEEN ?4 AND ?5"

/* The sums: ?6 the bucket, whole hours from ?7 to ?8, rows from ?4 to ?5 and from ?9 to ?10. An attempt that no caller got
 * the answer of costs, but is no call. */
#define OF_HOURS                                                                         \
    "SELECT hour * 3600000 AS t, endpoint, key_id, owner, calls, errors, user_errors,"   \
    " duration_ms, max_duration_ms, prompt_tokens, completion_tokens, cached_tokens,"    \
    " reasoning_tokens, costs_unknown, charges_unknown, cost_microusd, charge_microusd," \
    " units_micro FROM ledger_hour WHERE (?1 = '' OR owner = ?1)"                        \
    " AND (?2 = '' OR key_id = ?2) AND hour BETWEEN ?7 AND ?8"
#define ROW_VALUES                                                                      \
    "at_ms AS t, endpoint, key_id, owner, http_status <> 0 AS calls,"                   \
    " http_status >= 500 AS errors, http_status BETWEEN 400 AND 499 AS user_errors,"    \
    " max(at_ms - started_ms, 0) AS duration_ms,"                                       \
    " max(at_ms - started_ms, 0) AS max_duration_ms, prompt_tokens, completion_tokens," \
    " cached_tokens, reasoning_tokens, cost_microusd IS NULL AS costs_unknown,"         \
    " charge_microusd IS NULL AS charges_unknown, cost_microusd, charge_microusd, units_micro"
#define OF_ROWS(n)                                                        \
    "SELECT " ROW_VALUES " FROM " LEDGER " WHERE (?1 = '' OR owner = ?1)" \
    " AND (?2 = '' OR key_id = ?2) AND (?3 = '' OR id = ?3) AND " n
#define SUMS                                                                             \
    "sum(calls), sum(errors), sum(user_errors), sum(duration_ms), max(max_duration_ms)," \
    " sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens),"                   \
    " sum(reasoning_tokens), sum(costs_unknown), sum(charges_unknown),"                  \
    " sum(cost_microusd), sum(charge_microusd), sum(units_micro)"
#define SUMMED_UNTIL "SELECT value FROM meta WHERE key = 'summed'"

/* ?1 owner, ?2 endpoint, ?3 id, place from ?4 to ?5, status from ?6 to ?7; ?8 rows from ?9 on. Durations count from the
 * start; what never started has none. */
#define PLACE "(completed_ms << 20 | (seq & 1048575))" /* as the index request_ended */
#define QUEUED(chosen)                                                                       \
    "SELECT " PLACE " AS place, 0, seq, id, endpoint, created_ms, started_ms, completed_ms," \
    " http_status, iif(started_ms = 0, 0, completed_ms - started_ms) AS duration"            \
    " FROM request JOIN result USING(seq) WHERE " chosen                                     \
    " AND completed_ms <> 0 AND (?2 = '' OR endpoint = ?2)"                                  \
    " AND " PLACE " BETWEEN ?4 AND ?5 AND http_status BETWEEN ?6 AND ?7"
#define DIRECT                                                                             \
    "SELECT n AS place, 1, n, id, endpoint, started_ms, started_ms, at_ms, http_status,"   \
    " at_ms - started_ms AS duration FROM " DIRECT_CALLS " WHERE true"                     \
    " AND (?1 = '' OR owner = ?1) AND (?2 = '' OR endpoint = ?2) AND (?3 = '' OR id = ?3)" \
    " AND n BETWEEN ?4 AND ?5 AND http_status BETWEEN ?6 AND ?7"
#define BY_END " ORDER BY place DESC LIMIT ?8 OFFSET ?9"
#define BY_DURATION " ORDER BY duration DESC, place DESC LIMIT ?8 OFFSET ?9"

#define FILE_COLUMNS                                                                     \
    "id, state, owner, name, content_type, acl, bytes, sha256, created_ms, lifetime_ms," \
    " expires_ms"

/* ?1 owner, ?2 expiry before, ?3 after this id. */
#define FILES(index, chosen)                                                                    \
    "SELECT " FILE_COLUMNS " FROM file " index " WHERE " chosen                                 \
    " (?1 = '' OR owner = ?1) AND (?2 = 0 OR (expires_ms > 0 AND expires_ms < ?2)) AND id > ?3" \
    " ORDER BY id LIMIT ?4"

#define WEBHOOKS                                                                          \
    "SELECT seq, id, state, url, owner, endpoint, attempt, created_ms, due_ms, ended_ms," \
    " last_status, last_error FROM webhook_outbox"

/* ?1 owner, ?2 state, ?3 older than this seq. */
#define WEBHOOKS_PAGE(chosen)                                                                    \
    WEBHOOKS " WHERE " chosen " (?1 = '' OR owner = ?1) AND (?2 < 0 OR state = ?2) AND seq < ?3" \
             " ORDER BY seq DESC LIMIT ?4"

/* Its request was not swept. */
#define IS_WHOLE "EXISTS(SELECT 1 FROM request WHERE request.seq = webhook_outbox.seq)"

#define REPLAY "UPDATE webhook_outbox SET state = 0, attempt = 0, due_ms = ?1, ended_ms = 0"

#define KEY_COLUMNS "id, alias, owner, scope, sha256, created_ms, expires_ms, revoked_ms"

const char *const sqlite_texts[ST_COUNT] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_ROLLBACK] = "ROLLBACK",
    [ST_JOIN_ALONE] = "DELETE FROM node WHERE ?1 OR node = ?2 OR boot = ?3",
    [ST_JOIN_NUMBER] = "UPDATE meta SET value = value + 1 WHERE key = 'lives'",
    /* A beat of an earlier life of the same boot is never one of this. */
    [ST_JOIN] = "INSERT INTO node(life, node, boot, beat, at_ms)"
                " SELECT value, ?1, ?2, value << 32, ?3 FROM meta WHERE key = 'lives'",
    [ST_BEAT] = "UPDATE node SET beat = beat + 1, at_ms = ?2 WHERE boot = ?1",
    [ST_BURY] = "DELETE FROM node WHERE boot = ?1 AND beat = ?2",
    [ST_LEAVE] = "DELETE FROM node WHERE boot = ?1",
    [ST_LIFE] = "SELECT life FROM node WHERE boot = ?1",
    [ST_CANCELLED] = "SELECT seq, id FROM cancelled CROSS JOIN request USING(seq)"
                     " WHERE life = ?1 AND state = 1 ORDER BY seq",
    [ST_FIND] = "SELECT seq, state, webhook <> '', attempt_ms, cancel_ms, owner, key_id, endpoint"
                " FROM request WHERE id = ?1",
    /* Of one that is not COMPLETED. */
    [ST_ROW] = ROW("0, '', '', -1", "x'', x''") " WHERE id = ?1",
    [ST_SUBMIT] =
        "INSERT INTO request(seq, id, priority, no_retry, endpoint, owner, webhook, created_ms," WISHES
        ", hint, tags, key_id, model)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,"
        " ?19)",
    [ST_PAYLOAD] = "INSERT INTO payload(seq, input) VALUES(?1, ?2)",
    [ST_KNOWN] = "SELECT id, hash FROM idempotency WHERE owner = ?1 AND key_id = ?2"
                 " AND endpoint = ?3 AND key = ?4 AND until_ms > ?5",
    [ST_KNOWN_ROW] = WHOLE_ROW,
    [ST_KNOW] = "REPLACE INTO idempotency(owner, key_id, endpoint, key, id, hash, until_ms)"
                " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_KNOWN_OLD] = "DELETE FROM idempotency WHERE (key, owner, key_id, endpoint) IN"
                     " (SELECT key, owner, key_id, endpoint FROM idempotency"
                     " INDEXED BY idempotency_until WHERE until_ms <= ?1"
                     " ORDER BY until_ms LIMIT ?2)",
    [ST_CLAIM] = "UPDATE request SET state = 1, attempt = attempt + 1,"
                 " crashes = crashes + (state = 1 AND boot <> ''),"
                 " started_ms = CASE started_ms WHEN 0 THEN ?3 ELSE started_ms END,"
                 " attempt_ms = ?3, node = ?4, boot = ?5, token = ?6, lease_ms = ?7,"
                 " life = ?8"
                 " WHERE seq = ?1 AND attempt = ?2 AND state <> 2 AND " NOT_HELD,
    [ST_RETRY] =
        "UPDATE request SET attempt = attempt + 1, node = ?4, boot = ?5, token = ?6, lease_ms = ?7,"
        " attempt_ms = ?8 WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_RELEASE] = "UPDATE request SET boot = '', token = 0, lease_ms = 0, life = 0"
                   " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_COMPLETE] = "UPDATE request SET state = 2, completed_ms = ?4, forget_ms = ?5"
                    " WHERE seq = ?1 AND attempt = ?2 AND token = ?3 AND state = 1",
    [ST_FINISH] = "UPDATE request SET state = 2, completed_ms = ?3, forget_ms = ?4"
                  " WHERE seq = ?1 AND attempt = ?2 AND state <> 2 AND " NOT_HELD,
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
    [ST_SWEEP_WEBHOOK] = "DELETE FROM webhook_outbox WHERE seq = ?1 AND state <> 0",
    [ST_SWEEP_REQUEST] = "DELETE FROM request WHERE seq = ?1",
    [ST_SWEEP_LEFT] = "SELECT ifnull(min(t), 0) FROM ("
                      "SELECT min(forget_ms) AS t FROM request INDEXED BY request_forget"
                      " WHERE forget_ms <> 0 AND forget_ms > 0 UNION ALL "
                      "SELECT -max(forget_ms) FROM request INDEXED BY request_forget"
                      " WHERE forget_ms <> 0 AND forget_ms < 0 UNION ALL "
                      "SELECT min(until_ms) FROM idempotency)",
    [ST_CANCEL] =
        "UPDATE request SET cancel_ms = ?2 WHERE seq = ?1 AND state <> 2 AND cancel_ms = 0",
    [ST_CANCEL_MARK] = "INSERT INTO cancelled VALUES(?1)",
    [ST_CANCEL_OVER] = "DELETE FROM cancelled WHERE seq = ?1",
    [ST_LOG_FIND] = "SELECT seq FROM request WHERE id = ?1 AND iif(?3 = 0, state = 2,"
                    " state = 1 AND attempt = ?2 AND token = ?3)",
    [ST_LOG_LAST] = "SELECT ifnull(max(n), 0) FROM log WHERE seq = ?1",
    [ST_LOG] = "INSERT INTO log(seq, n, at_ms, level, message) VALUES(?1, ?2, ?3, ?4, ?5)",
    [ST_PING] = "UPDATE meta SET value = ?1 WHERE key = 'ping'",
    [ST_PROBE] = "REPLACE INTO meta VALUES('probe', zeroblob(65536))",
    [ST_CHARGE_QUEUED] = NEW_CHARGE " " ONCE,
    [ST_CHARGE] = "INSERT INTO ledger_direct VALUES(?1, ?2)",
    [ST_HOUR] =
        "INSERT INTO ledger_hour VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,"
        " ?13, ?14, ?15, ?16, ?17, ?18) ON CONFLICT DO UPDATE SET" CAPPED("calls") "," CAPPED("errors") "," CAPPED("user_errors") "," CAPPED(
            "duration_ms") ","
                           " max_duration_ms = max(max_duration_ms, excluded.max_duration_ms)," CAPPED("prompt_tokens") "," CAPPED("completion_tokens") "," CAPPED("cached_tokens") "," CAPPED(
                               "reasoning_tokens") "," CAPPED("costs_unknown") "," CAPPED("charges_unknown") "," CAPPED("cost_microusd") "," CAPPED("charge_microusd") "," CAPPED("units_micro"),
    [ST_SUMMED] = "REPLACE INTO meta VALUES('summed', ?1)",
    [ST_SUMMED_UNTIL] = SUMMED_UNTIL,
    [ST_UNSUMMED] = "SELECT t / 3600000, owner, key_id, endpoint, " SUMS " FROM ("
                    "SELECT " ROW_VALUES " FROM " LEDGER " WHERE n >= ?1) GROUP BY 1, 2, 3, 4",
    [ST_DROP_FIND] =
        "SELECT seq, state, 0, 0 FROM request WHERE id = ?1 AND (?2 = '' OR owner = ?2)",
    [ST_DROP_RESULT] = "UPDATE result SET body = x'' WHERE seq = ?1",
    [ST_FILE_ADD] = "INSERT INTO file(" FILE_COLUMNS ")"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [ST_FILE_FINISH] = "UPDATE file SET state = 1, bytes = ?2, sha256 = ?3, content_type = ?4,"
                       " expires_ms = ?5 WHERE id = ?1 AND state = 0",
    [ST_FILE_THERE] = "SELECT 1 FROM file WHERE id = ?1",
    [ST_FILE_SET_ACL] = "UPDATE file SET acl = ?2 WHERE id = ?1",
    [ST_FILE_REMOVE] = "DELETE FROM file WHERE id = ?1 AND state = ?2 AND bytes = ?3"
                       " AND expires_ms = ?4",
    [ST_WEBHOOK_FIND] = "SELECT seq, state, attempt, " IS_WHOLE " FROM webhook_outbox"
                        " WHERE id = ?1 AND (?2 = '' OR owner = ?2)",
    [ST_WEBHOOK_NOTE] = "UPDATE webhook_outbox SET attempt = attempt + 1, state = ?2, due_ms = ?3,"
                        " ended_ms = ?4, last_status = ?5, last_error = ?6 WHERE seq = ?1",
    [ST_WEBHOOK_FREE] =
        "UPDATE request SET forget_ms = -forget_ms WHERE seq = ?1 AND forget_ms < 0",
    [ST_WEBHOOK_HOLD] =
        "UPDATE request SET forget_ms = -forget_ms WHERE seq = ?1 AND forget_ms > 0",
    [ST_WEBHOOK_REPLAY] = REPLAY " WHERE seq = ?2",
    [ST_WEBHOOK_HOLD_DEAD] =
        "UPDATE request SET forget_ms = -forget_ms WHERE forget_ms > 0 AND seq IN"
        " (SELECT seq FROM webhook_outbox WHERE state = 2"
        " AND (?1 = '' OR owner = ?1))",
    [ST_WEBHOOK_REPLAY_DEAD] = REPLAY " WHERE state = 2 AND (?2 = '' OR owner = ?2) AND " IS_WHOLE,
    [ST_KEY_ADD] = "INSERT INTO api_key(" KEY_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [ST_KEY_REVOKE] = "UPDATE api_key SET revoked_ms = iif(revoked_ms = 0, ?2, revoked_ms)"
                      " WHERE id = ?1",
    [ST_MARK] = "REPLACE INTO meta VALUES('unclean', ?1)",
    [ST_OLD_REQUEST] =
        "SELECT seq, " PLACE ", EXISTS(SELECT 1 FROM webhook_outbox w WHERE w.seq = request.seq"
        " AND w.state = 0) FROM request INDEXED BY request_end WHERE completed_ms <> 0 AND " PLACE
        " > ?1 ORDER BY " PLACE,
    [ST_OLD_LEDGER] = "SELECT n, n >> 20 FROM ledger ORDER BY n LIMIT 1",
    [ST_OLD_DIRECT] = "SELECT n, n >> 20 FROM ledger_direct ORDER BY n LIMIT 1",
    /* Its request went with version 2, which left it behind. */
    [ST_OLD_WEBHOOK] = "SELECT seq, ended_ms FROM webhook_outbox WHERE state <> 0"
                       " AND seq < (SELECT ifnull(min(seq), 9223372036854775807) FROM request)"
                       " ORDER BY seq LIMIT 1",
    [ST_DROP_LEDGER] = "DELETE FROM ledger WHERE n = ?1",
    [ST_DROP_DIRECT] = "DELETE FROM ledger_direct WHERE n = ?1",
    [ST_PAGES] = "PRAGMA page_count",
    [ST_FREE_PAGES] = "PRAGMA freelist_count",
    [ST_VACUUM] = "PRAGMA incremental_vacuum(4096)", /* a row for each page: sqlite_retain.c */
    [ST_READ_ROW] = WHOLE_ROW,
    [ST_READ_LOGS] = "SELECT at_ms, level, message FROM log"
                     " WHERE seq = (SELECT seq FROM request WHERE id = ?1) ORDER BY n",
    [ST_READ_PENDING] =
        "SELECT seq, id, state, attempt, crashes, priority, no_retry, cancel_ms, boot,"
        " created_ms, started_ms, endpoint, owner, webhook <> '', model,"
        " iif(life = 0, 0, EXISTS(SELECT 1 FROM node WHERE node.life = request.life))," WISHES
        " FROM request INDEXED BY request_open"
        " WHERE completed_ms = 0 AND seq > ?1 ORDER BY seq LIMIT ?2",
    [ST_READ_NODES] = "SELECT boot, node, beat, at_ms FROM node ORDER BY life",
    [ST_READ_FILE] = "SELECT " FILE_COLUMNS " FROM file WHERE id = ?1",
    [ST_READ_WAITING] = WEBHOOKS " WHERE state = 0 ORDER BY due_ms, seq",
    [ST_READ_WEBHOOK] = WEBHOOKS " WHERE id = ?1",
    [ST_READ_KEYS] = "SELECT " KEY_COLUMNS " FROM api_key ORDER BY created_ms, id",
    [ST_LEDGER] = OF_LEDGER("ledger") " UNION ALL " OF_LEDGER(DIRECT_CALLS) " ORDER BY n DESC",
    [ST_LEDGER_QUEUED] = OF_LEDGER("ledger") " AND id = ?3 AND kind = 0 ORDER BY n DESC",
    [ST_SUMS] = "SELECT t / ?6 * ?6, endpoint, key_id, owner, " SUMS " FROM (" OF_HOURS
                " UNION ALL " OF_ROWS(" n BETWEEN ?4 AND ?5") " UNION ALL " OF_ROWS(
                    " n BETWEEN ?9 AND ?10") ") GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
    [ST_READ_SUMMED] = SUMMED_UNTIL,
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
    [ST_FILE_SUMS] = "SELECT owner, count(*), sum(bytes), sum(state = 0) FROM file"
                     " GROUP BY owner ORDER BY owner",
    [ST_WEBHOOKS_ALL] = WEBHOOKS_PAGE(""),
    [ST_WEBHOOKS_OF_OWNER] = WEBHOOKS_PAGE("owner = ?1 AND"),
    [ST_WEBHOOKS_OF_STATE] = WEBHOOKS_PAGE("state = ?2 AND"),
};
