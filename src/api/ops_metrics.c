/* /metrics, from two tables. */
#include "api/ops.h"
#include "api/ledger.h"
#include "api/files.h"
#include "api/webhooks.h"

/* One row per metric; `count` > 1 gives one sample per label value. */
struct metric {
    const char *name, *type, *help, *label;
    size_t (*count)(const struct api *a);
    struct slice (*label_value)(const struct api *a, size_t i);
    double (*value)(const struct api *a, size_t i);
};

static const char *const surface_names[SERVED_KINDS] = {
    [SERVED_RUN] = "run",           [SERVED_STREAM] = "stream",
    [SERVED_OPENAI] = "openai",     [SERVED_SUBMIT] = "submit",
    [SERVED_STATUS] = "status",     [SERVED_STATUS_STREAM] = "status_stream",
    [SERVED_RESULT] = "result",     [SERVED_CANCEL] = "cancel",
    [SERVED_DOCS] = "documents",    [SERVED_OPS] = "operations",
    [SERVED_FILES] = "files",       [SERVED_TOKENS] = "tokens",
    [SERVED_REALTIME] = "realtime", [SERVED_PLATFORM] = "platform",
    [SERVED_ADMIN] = "admin",       [SERVED_PROXY] = "proxy",
    [SERVED_NONE] = "none"};

static size_t one(const struct api *a) {
    return 1;
}

static size_t surfaces(const struct api *a) {
    return SERVED_KINDS;
}

static size_t upstreams(const struct api *a) {
    return llm_upstreams(a->llm);
}

static struct slice surface_label(const struct api *a, size_t i) {
    return slice_of(surface_names[i]);
}

static size_t limit_kinds(const struct api *a) {
    return LIMIT_COUNT - 1;
}

static struct slice limit_label(const struct api *a, size_t i) {
    return slice_of(limit_name((enum limit)(i + 1)));
}

static struct llm_upstream_stats upstream_stats(const struct api *a, size_t i) {
    struct llm_upstream_stats s;
    llm_get_stats(a->llm, i, &s);
    return s;
}

static struct slice upstream_label(const struct api *a, size_t i) {
    return upstream_stats(a, i).name;
}

static struct queue_stats queue_stats_of(const struct api *a) {
    struct queue_stats s;
    queue_get_stats(a->queue, &s);
    return s;
}

static struct webhooks_stats webhooks_stats_of(const struct api *a) {
    struct webhooks_stats s;
    webhooks_get_stats(a, &s);
    return s;
}

static struct files_stats files_stats_of(const struct api *a) {
    struct files_stats s;
    files_get_stats(a, &s);
    return s;
}

static size_t usable_keys(const struct api *a) {
    size_t n = 0;
    for (size_t i = 0; i < keyring_count(a->keys); i++)
        n += keyring_is_usable(a->keys, keyring_key(a->keys, i));
    return n;
}

static size_t checks(const struct api *a) {
    return STORE_DAMAGED + 1;
}

static struct slice check_label(const struct api *a, size_t i) {
    return slice_of(ops_check_name((int)i));
}

static size_t refusals(const struct api *a) {
    return 3;
}

/* malformed: told by its form or its checksum, without a look at the keys. */
static struct slice refusal_label(const struct api *a, size_t i) {
    static const char *const names[] = {"malformed", "unknown", "ended"};
    return slice_of(names[i]);
}

static uint64_t refused_keys(const struct api *a, size_t i) {
    const struct keyring_stats *s = keyring_get_stats(a->keys);
    return i == 0 ? s->malformed : i == 1 ? s->unknown : s->ended;
}

#define METRIC(fn, expr)                              \
    static double fn(const struct api *a, size_t i) { \
        return (double)(expr);                        \
    }

METRIC(m_uptime, (clock_mono_ms(a->clock) - a->started_ms) / 1000)
METRIC(m_requests, a->requests[i])
METRIC(m_errors, a->errors[i])
METRIC(m_calls_running, limits_all_calls(a->limits))
METRIC(m_limited, limits_counted(a->limits, (enum limit)(i + 1)))
METRIC(m_keys, usable_keys(a))
METRIC(m_key_lookups, keyring_get_stats(a->keys)->lookups)
METRIC(m_keys_refused, refused_keys(a, i))
METRIC(m_connections, net_server_get_stats(a->server)->connections)
METRIC(m_accepted, net_server_get_stats(a->server)->accepted)
METRIC(m_refused, net_server_get_stats(a->server)->refused)
METRIC(m_bad_requests, net_server_get_stats(a->server)->bad_requests)
METRIC(m_waiting, queue_stats_of(a).waiting)
METRIC(m_running, queue_stats_of(a).running)
METRIC(m_submitted, queue_stats_of(a).submitted)
METRIC(m_completed, queue_stats_of(a).completed)
METRIC(m_failed, queue_stats_of(a).failed)
METRIC(m_cancelled, queue_stats_of(a).cancelled)
METRIC(m_retried, queue_stats_of(a).retried)
METRIC(m_recovered, queue_stats_of(a).recovered)
METRIC(m_stale, queue_stats_of(a).stale_writes)
METRIC(m_oldest_waiting, (double)queue_stats_of(a).oldest_waiting_ms / 1000)
METRIC(m_oldest_running, (double)queue_stats_of(a).oldest_running_ms / 1000)
METRIC(m_owners, queue_stats_of(a).owners)
METRIC(m_loading, queue_stats_of(a).loading)
METRIC(m_claimed, queue_stats_of(a).claimed)
METRIC(m_again, queue_stats_of(a).again)
METRIC(m_lost_leases, queue_stats_of(a).lost_leases)
METRIC(m_buried, queue_stats_of(a).buried)
METRIC(m_quarantined, queue_stats_of(a).quarantined)
METRIC(m_retained, queue_stats_of(a).retained)
METRIC(m_can_write, a->store_ok)
METRIC(m_check, ops_store_stats(a).check == i)
METRIC(m_store_stale, ops_store_stats(a).stale)
METRIC(m_store_bytes, ops_store_stats(a).bytes)
METRIC(m_store_free, ops_store_stats(a).free_bytes)
METRIC(m_store_wal, ops_store_stats(a).wal_bytes)
METRIC(m_backups, ops_store_stats(a).backups)
METRIC(m_hooks_waiting, webhooks_stats_of(a).waiting)
METRIC(m_hooks_running, webhooks_stats_of(a).running)
METRIC(m_hooks_delivered, webhooks_stats_of(a).delivered)
METRIC(m_hooks_failed, webhooks_stats_of(a).failed)
METRIC(m_hooks_dead, webhooks_stats_of(a).dead + webhooks_stats_of(a).gone)
METRIC(m_calls, upstream_stats(a, i).calls)
METRIC(m_failures, upstream_stats(a, i).failures)
METRIC(m_in_flight, upstream_stats(a, i).in_flight)
METRIC(m_slot_waiting, upstream_stats(a, i).waiting)
METRIC(m_able, upstream_stats(a, i).able)
METRIC(m_ledger_waiting, ledger_get_stats(a).waiting)
METRIC(m_ledger_written, ledger_get_stats(a).written)
METRIC(m_ledger_lost, ledger_get_stats(a).lost)
METRIC(m_log_dropped, log_dropped())
METRIC(m_files, files_stats_of(a).files)
METRIC(m_file_bytes, files_stats_of(a).bytes)
METRIC(m_files_stored, files_stats_of(a).stored)
METRIC(m_files_removed, files_stats_of(a).removed)
METRIC(m_uploads, files_stats_of(a).running)
METRIC(m_multipart, files_stats_of(a).multipart)

static const struct metric metrics[] = {
    {"anyllm_uptime_seconds", "gauge", "time since the start", NULL, one, NULL, m_uptime},
    {"anyllm_requests_total", "counter", "requests by surface", "surface", surfaces, surface_label,
     m_requests},
    {"anyllm_errors_total", "counter", "answers of 400 and above by surface", "surface", surfaces,
     surface_label, m_errors},
    {"anyllm_calls", "gauge", "direct calls in progress", NULL, one, NULL, m_calls_running},
    {"anyllm_limited_total", "counter", "requests over a limit, answered 429", "limit", limit_kinds,
     limit_label, m_limited},
    {"anyllm_keys", "gauge", "keys that open something", NULL, one, NULL, m_keys},
    {"anyllm_key_lookups_total", "counter", "keys looked for", NULL, one, NULL, m_key_lookups},
    {"anyllm_keys_refused_total", "counter", "keys refused", "reason", refusals, refusal_label,
     m_keys_refused},
    {"anyllm_connections", "gauge", "open connections", NULL, one, NULL, m_connections},
    {"anyllm_connections_accepted_total", "counter", "connections accepted", NULL, one, NULL,
     m_accepted},
    {"anyllm_connections_refused_total", "counter", "connections over a limit, answered 503", NULL,
     one, NULL, m_refused},
    {"anyllm_bad_requests_total", "counter", "requests that were not HTTP as it should be", NULL,
     one, NULL, m_bad_requests},
    {"anyllm_queue_waiting", "gauge", "requests in the queue", NULL, one, NULL, m_waiting},
    {"anyllm_queue_running", "gauge", "requests in progress", NULL, one, NULL, m_running},
    {"anyllm_queue_oldest_waiting_seconds", "gauge", "age of the oldest that waits", NULL, one,
     NULL, m_oldest_waiting},
    {"anyllm_queue_oldest_running_seconds", "gauge",
     "time since the earliest first claim of those in progress", NULL, one, NULL, m_oldest_running},
    {"anyllm_queue_owners", "gauge", "owners that have something unfinished", NULL, one, NULL,
     m_owners},
    {"anyllm_queue_loading", "gauge", "1 while what is unfinished is read at the start", NULL, one,
     NULL, m_loading},
    {"anyllm_queue_submitted_total", "counter", "requests accepted", NULL, one, NULL, m_submitted},
    {"anyllm_queue_repeats_total", "counter", "submits that their Idempotency-Key found again",
     NULL, one, NULL, m_again},
    {"anyllm_queue_claims_total", "counter", "requests taken up, the first time or again", NULL,
     one, NULL, m_claimed},
    {"anyllm_queue_completed_total", "counter", "requests completed", NULL, one, NULL, m_completed},
    {"anyllm_queue_failed_total", "counter", "of these, with an error", NULL, one, NULL, m_failed},
    {"anyllm_queue_cancelled_total", "counter", "of these, cancelled by the caller", NULL, one,
     NULL, m_cancelled},
    {"anyllm_queue_retries_total", "counter", "further attempts", NULL, one, NULL, m_retried},
    {"anyllm_queue_recovered_total", "counter", "requests taken up again after a restart", NULL,
     one, NULL, m_recovered},
    {"anyllm_queue_stale_writes_total", "counter", "late writes refused by their lease token", NULL,
     one, NULL, m_stale},
    {"anyllm_queue_lost_leases_total", "counter",
     "runs given up because another server took this one for gone", NULL, one, NULL, m_lost_leases},
    {"anyllm_queue_burials_total", "counter", "servers that this one took for gone", NULL, one,
     NULL, m_buried},
    {"anyllm_queue_quarantined_total", "counter",
     "requests ended because servers ended too often while they ran", NULL, one, NULL,
     m_quarantined},
    {"anyllm_queue_retained_total", "counter", "rows removed because they were too old or too much",
     NULL, one, NULL, m_retained},
    {"anyllm_webhooks_waiting", "gauge", "webhooks that wait for a try", NULL, one, NULL,
     m_hooks_waiting},
    {"anyllm_webhooks_running", "gauge", "tries to deliver one in progress", NULL, one, NULL,
     m_hooks_running},
    {"anyllm_webhooks_delivered_total", "counter", "webhooks delivered", NULL, one, NULL,
     m_hooks_delivered},
    {"anyllm_webhooks_failed_total", "counter", "tries that failed", NULL, one, NULL,
     m_hooks_failed},
    {"anyllm_webhooks_dead_total", "counter", "webhooks given up", NULL, one, NULL, m_hooks_dead},
    {"anyllm_store_can_write", "gauge", "1 while the store takes writes", NULL, one, NULL,
     m_can_write},
    {"anyllm_store_check", "gauge", "1 at what the check after a crash has found", "state", checks,
     check_label, m_check},
    {"anyllm_store_stale_writes_total", "counter",
     "writes that the store refused because another was there first", NULL, one, NULL,
     m_store_stale},
    {"anyllm_store_bytes", "gauge", "the database file", NULL, one, NULL, m_store_bytes},
    {"anyllm_store_free_bytes", "gauge", "of these, free pages", NULL, one, NULL, m_store_free},
    {"anyllm_store_wal_bytes", "gauge", "its log", NULL, one, NULL, m_store_wal},
    {"anyllm_store_backups_total", "counter", "backups made", NULL, one, NULL, m_backups},
    {"anyllm_upstream_calls_total", "counter", "calls sent", "upstream", upstreams, upstream_label,
     m_calls},
    {"anyllm_upstream_failures_total", "counter", "of these, failed", "upstream", upstreams,
     upstream_label, m_failures},
    {"anyllm_upstream_in_flight", "gauge", "calls running", "upstream", upstreams, upstream_label,
     m_in_flight},
    {"anyllm_upstream_waiting", "gauge", "calls waiting for a slot", "upstream", upstreams,
     upstream_label, m_slot_waiting},
    {"anyllm_upstream_able", "gauge", "1 while it can serve", "upstream", upstreams, upstream_label,
     m_able},
    {"anyllm_files", "gauge", "files kept, with uploads that were begun", NULL, one, NULL, m_files},
    {"anyllm_file_bytes", "gauge", "bytes of these, with what was promised them", NULL, one, NULL,
     m_file_bytes},
    {"anyllm_files_stored_total", "counter", "uploads completed", NULL, one, NULL, m_files_stored},
    {"anyllm_files_removed_total", "counter", "files deleted or expired", NULL, one, NULL,
     m_files_removed},
    {"anyllm_uploads", "gauge", "uploads whose bytes come now", NULL, one, NULL, m_uploads},
    {"anyllm_uploads_in_parts", "gauge", "uploads in parts that were begun and not completed", NULL,
     one, NULL, m_multipart},
    {"anyllm_ledger_rows_waiting", "gauge", "direct calls not yet in the ledger", NULL, one, NULL,
     m_ledger_waiting},
    {"anyllm_ledger_rows_written_total", "counter", "direct calls written to the ledger", NULL, one,
     NULL, m_ledger_written},
    {"anyllm_ledger_rows_lost_total", "counter",
     "of direct calls, given up: the store did not write", NULL, one, NULL, m_ledger_lost},
    {"anyllm_log_lines_dropped_total", "counter", "log lines that could not be written", NULL, one,
     NULL, m_log_dropped},
};

/* --- histograms of the store */

static const struct histogram {
    const char *name, *help;
    size_t at;    /* in struct store_stats */
    double scale; /* of what is counted: microseconds to seconds */
} histograms[] = {
    {"anyllm_store_batch_operations", "operations that shared a commit",
     offsetof(struct store_stats, batch), 1},
    {"anyllm_store_commit_seconds", "a commit with its fsync",
     offsetof(struct store_stats, commit_us), 1e-6},
    {"anyllm_store_checkpoint_seconds", "one piece of the log written back into the database",
     offsetof(struct store_stats, checkpoint_us), 1e-6},
};

static void add_head(struct buf *b, const char *name, const char *help, const char *type) {
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_histogram(struct buf *b, const struct store_stats *s, const struct histogram *h) {
    const struct store_histogram *of = (const void *)((const char *)s + h->at);
    uint64_t below = 0;
    add_head(b, h->name, h->help, "histogram");
    for (unsigned k = 0; k + 1 < STORE_BUCKETS; k++) { /* the last has no bound */
        below += of->buckets[k];
        buf_printf(b, "%s_bucket{le=\"%.9g\"} %llu\n", h->name,
                   (double)((2ULL << k) - 1) * h->scale, (unsigned long long)below);
    }
    buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.15g\n%s_count %llu\n", h->name,
               (unsigned long long)of->count, h->name, (double)of->sum * h->scale, h->name,
               (unsigned long long)of->count);
}

static void add_metric(struct buf *b, const struct api *a, const struct metric *m) {
    add_head(b, m->name, m->help, m->type);
    for (size_t i = 0, n = m->count(a); i < n; i++) {
        if (m->label == NULL)
            buf_printf(b, "%s %.15g\n", m->name, m->value(a, i));
        else
            buf_printf(b, "%s{%s=\"%.*s\"} %.15g\n", m->name, m->label,
                       SLICE_ARG(m->label_value(a, i)), m->value(a, i));
    }
}

void handle_metrics(struct call *c) {
    struct buf *b = call_scratch(c);
    struct store_stats s = ops_store_stats(c->api);
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++)
        add_metric(b, c->api, &metrics[i]);
    for (size_t i = 0; i < sizeof histograms / sizeof *histograms; i++)
        add_histogram(b, &s, &histograms[i]);
    call_headers(c);
    net_reply(c->x, 200, SLICE("text/plain; version=0.0.4"), buf_slice(b));
}
