#include "store/power_flow.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/power_calls.h"
#include "store/power_draw.h"

#define OWNER SLICE("app1")
#define HOUR_MS 3600000U

enum ask { ASK_SUBMIT, ASK_STATUS, ASK_RESULT, ASK_CANCEL };

/* --- marks */

static struct mark *mark(struct flow *f, enum mark_kind kind, unsigned n, uint64_t value) {
    if (f->nmarks == f->room) {
        f->room = f->room > 0 ? 2 * f->room : 256;
        f->marks = realloc(f->marks, f->room * sizeof *f->marks);
        if (f->marks == NULL) abort();
    }
    f->marks[f->nmarks] = (struct mark){
        .at = record_count(), .kind = kind, .n = n, .value = value, .mono_ms = f->s.mono_ms};
    return &f->marks[f->nmarks++];
}

uint64_t told_result(unsigned http_status, struct slice body) {
    uint64_t h = 0xcbf29ce484222325U ^ http_status;
    for (size_t i = 0; i < body.len; i++) h = (h ^ (unsigned char)body.ptr[i]) * 0x100000001b3U;
    return h;
}

/* --- requests */

struct wish wish_of(uint64_t seed, unsigned n) {
    static const size_t inputs[] = {40, 40, 40, 40, 40, 300, 300, 300, 5000, 60000};
    uint64_t own = seed + 1000003U * n;
    return (struct wish){.webhook = draw_percent(&own, 40),
                         .no_retry = draw_percent(&own, 15),
                         .no_store = draw_percent(&own, 10),
                         .idempotent = draw_percent(&own, 20),
                         .priority = draw_percent(&own, 10),
                         .input = inputs[draw_below(&own, 10)]};
}

struct queue_submit submit_of(uint64_t seed, unsigned n, char *tags, char *input) {
    struct wish w = wish_of(seed, n);
    snprintf(tags, TAGS_BYTES, "n=%u", n);
    int head = snprintf(input, INPUT_BYTES, "{\"n\":%u,\"prompt\":\"", n);
    memset(input + head, 'a' + (int)(n % 26), w.input);
    memcpy(input + head + w.input, "\"}", 3);
    struct queue_submit in = {.endpoint = SLICE(SERVICE_ENDPOINT),
                              .owner = OWNER,
                              .input = slice_of(input),
                              .key_id = SLICE("key"),
                              .tags = slice_of(tags),
                              .priority = w.priority,
                              .no_retry = w.no_retry,
                              .no_store = w.no_store,
                              .retries_server_error = -1,
                              .retries_timeout = -1,
                              .retries_connection_error = -1};
    if (w.webhook) in.webhook = SLICE("http://receiver.example/hook");
    if (w.idempotent) in.idempotency_key = slice_of(tags);
    in.body_hash[0] = (unsigned char)n;
    return in;
}

static void got_submit(struct flow *f, unsigned n, const struct queue_reply *r) {
    struct known *k = &f->known[n];
    if (r->code != QUEUE_OK) return;
    if (k->id[0] != '\0' && strcmp(k->id, r->id) != 0) f->wrong = "a repeat got another id";
    snprintf(k->id, sizeof k->id, "%s", r->id);
    snprintf(mark(f, MARK_SUBMITTED, n, 0)->id, STORE_ID_BYTES, "%s", r->id);
}

static void got_result(struct flow *f, unsigned n, const struct queue_reply *r) {
    f->known[n].completed = true;
    if (!f->known[n].dropping)
        mark(f, MARK_RESULT, n, told_result(r->row->http_status, r->row->body));
}

static void on_reply(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct flow *f = user;
    unsigned n = (unsigned)(ticket & UINT32_MAX);
    f->answers++;
    if (r->code == QUEUE_UNAVAILABLE) f->unavailable++;
    switch ((enum ask)(ticket >> 32)) {
    case ASK_SUBMIT: got_submit(f, n, r); break;
    case ASK_STATUS:
        if (f->all_known && r->code != QUEUE_OK) f->wrong = "a status was refused";
        if (r->code == QUEUE_OK) mark(f, MARK_STATE, n, r->state);
        if (r->code == QUEUE_OK && r->state == STORE_COMPLETED) f->known[n].completed = true;
        break;
    case ASK_RESULT:
        if (r->code == QUEUE_OK && r->row != NULL) got_result(f, n, r);
        break;
    case ASK_CANCEL:
        if (f->all_known && r->code != QUEUE_OK && r->code != QUEUE_ALREADY_COMPLETED)
            f->wrong = "a cancel was refused";
        if (r->code == QUEUE_OK) mark(f, MARK_CANCELLED, n, 0);
        break;
    }
}

static struct queue_done done(struct flow *f, enum ask what, unsigned n) {
    f->calls++;
    return (struct queue_done){on_reply, f, (uint64_t)what << 32 | n};
}

static void give_submit(struct flow *f, unsigned n) {
    char tags[TAGS_BYTES];
    struct queue_submit in = submit_of(f->seed, n, tags, f->input);
    queue_submit(f->s.queue, &in, done(f, ASK_SUBMIT, n));
}

static void submits(struct flow *f) {
    for (unsigned k = 1 + draw_below(&f->draws, 6); k > 0 && f->requests < MAX_REQUESTS; k--)
        give_submit(f, f->requests++);
}

/* Any that was answered; MAX_REQUESTS: there is none. */
static unsigned any_known(struct flow *f) {
    for (unsigned tries = 0; tries < 20 && f->requests > 0; tries++) {
        unsigned recent = f->requests < 30 ? f->requests : 30;
        unsigned n = draw_percent(&f->draws, 70) ? f->requests - 1 - draw_below(&f->draws, recent)
                                                 : draw_below(&f->draws, f->requests);
        if (f->known[n].id[0] != '\0') return n;
    }
    return MAX_REQUESTS;
}

static void again(struct flow *f) {
    unsigned n = any_known(f);
    if (n == MAX_REQUESTS || f->known[n].old) return;
    if (wish_of(f->seed, n).idempotent) give_submit(f, n);
}

static void ask(struct flow *f, enum ask what, unsigned n) {
    struct queue_find find = {slice_of(f->known[n].id), OWNER, SLICE(SERVICE_ENDPOINT)};
    if (what == ASK_STATUS) queue_status(f->s.queue, &find, true, done(f, what, n));
    if (what == ASK_RESULT) queue_result(f->s.queue, &find, done(f, what, n));
    if (what == ASK_CANCEL) queue_cancel(f->s.queue, &find, done(f, what, n));
    service_settle(&f->s);
}

static void asks(struct flow *f) {
    for (unsigned k = 0; k < 4; k++) {
        unsigned n = any_known(f);
        if (n < MAX_REQUESTS) ask(f, draw_percent(&f->draws, 50) ? ASK_STATUS : ASK_RESULT, n);
    }
}

static void cancel(struct flow *f) {
    unsigned n = any_known(f);
    if (n < MAX_REQUESTS) ask(f, ASK_CANCEL, n);
}

/* --- runs */

static void on_start(void *user, const char *id, unsigned n, uint32_t attempt) {
    (void)id;
    mark(user, MARK_STARTED, n, attempt);
}

static void on_webhook(void *user, const char *id) {
    struct flow *f = user;
    for (unsigned n = 0; n < f->requests; n++)
        if (strcmp(f->known[n].id, id) == 0) {
            f->known[n].outbox = true;
            mark(f, MARK_OUTBOX, n, 0);
        }
}

static void end_run(struct flow *f, struct service_run *r) {
    char body[80];
    unsigned luck = draw_below(&f->draws, 100);
    struct queue_outcome o = {
        .http_status = 200,
        .retry_after_ms = -1,
        .usage = {
            .present = true, .upstream = SLICE("u"), .model = SLICE("m"), .raw = SLICE("{}")}};
    snprintf(body, sizeof body, "{\"output\":\"%u of attempt %u\"}", r->n, (unsigned)r->attempt);
    o.body = slice_of(body);
    if (luck >= 70) {
        o.http_status = 502;
        o.error = SLICE("no");
        o.error_type = SLICE("upstream_error");
        o.retryable = luck >= 80;
        o.max_attempts = 4;
        o.usage.present = luck % 2 == 0;
    }
    queue_run_log(f->s.queue, r->run, "INFO", SLICE("a line of the run"));
    service_end_run(&f->s, r, &o);
}

static void end_runs(struct flow *f, unsigned percent) {
    for (unsigned i = 0; i < SERVICE_RUNS; i++)
        if (f->s.runs[i].busy && draw_percent(&f->draws, percent)) end_run(f, &f->s.runs[i]);
}

/* --- beside the queue: each is a question at the desk */

struct asked {
    struct flow *f;
    enum mark_kind kind; /* when it is answered OK */
    unsigned n;
    uint64_t value;
    bool ok;
};

static void on_told(void *user, uint64_t arg, const struct store_reply *r) {
    struct asked *a = user;
    (void)arg;
    a->ok = r->status == STORE_OK;
    if (a->ok) mark(a->f, a->kind, a->n, a->value);
}

#define ASK(f, a, op, ...)                                                             \
    do {                                                                               \
        (f)->s.store->backend->op((f)->s.store, desk_ask((f)->s.desk, on_told, (a), 0) \
                                                    __VA_OPT__(, ) __VA_ARGS__);       \
        service_settle(&(f)->s);                                                       \
    } while (0)

static int64_t now(struct flow *f) {
    return clock_wall_ms(&f->s.clock);
}

static void note(struct flow *f) {
    unsigned n = any_known(f);
    if (n == MAX_REQUESTS || !f->known[n].outbox) return;
    unsigned luck = draw_below(&f->draws, 10);
    struct store_webhook_note x = {.id = f->known[n].id,
                                   .attempt = f->known[n].notes,
                                   .state = luck < 4   ? STORE_WEBHOOK_WAITING
                                            : luck < 9 ? STORE_WEBHOOK_DELIVERED
                                                       : STORE_WEBHOOK_DEAD,
                                   .at_ms = now(f),
                                   .due_ms = now(f) + 1000,
                                   .status = 200};
    struct asked a = {f, MARK_NOTED, n, (x.attempt + 1) | (uint64_t)x.state << 8, false};
    ASK(f, &a, webhook_note, &x);
    if (a.ok) f->known[n].notes++;
    if (a.ok && x.state != STORE_WEBHOOK_WAITING) f->known[n].outbox = false;
}

static void charges(struct flow *f) {
    char ids[3][24];
    struct store_charge rows[3];
    unsigned n = f->charges, k = 1 + draw_below(&f->draws, 3);
    if (n + k > MAX_CHARGES) return;
    for (unsigned i = 0; i < k; i++) {
        snprintf(ids[i], sizeof ids[i], "direct-%04u", n + i);
        rows[i] = (struct store_charge){.kind = STORE_CALL_RUN,
                                        .owner = OWNER,
                                        .endpoint = SLICE(SERVICE_ENDPOINT),
                                        .at_ms = now(f),
                                        .http_status = 200,
                                        .usage = {.present = true}};
        memcpy(rows[i].id, ids[i], sizeof ids[i]);
    }
    f->charges += k;
    mark(f, MARK_CHARGING, n, k);
    struct asked a = {f, MARK_CHARGED, n, k, false};
    ASK(f, &a, ledger_add, rows, k);
}

static void key(struct flow *f) {
    char id[24];
    bool revoke = f->keys > 0 && draw_percent(&f->draws, 40);
    unsigned n = revoke ? draw_below(&f->draws, f->keys) : f->keys;
    if (n == MAX_KEYS) return;
    snprintf(id, sizeof id, "key-%04u", n);
    struct store_key k = {.id = slice_of(id), .owner = OWNER, .created_ms = now(f)};
    struct asked a = {f, revoke ? MARK_REVOKED : MARK_KEY, n, 0, false};
    if (revoke) {
        ASK(f, &a, key_revoke, slice_of(id), now(f));
    } else {
        f->keys++;
        ASK(f, &a, key_add, &k);
    }
}

static void drop_payload(struct flow *f) {
    unsigned n = any_known(f);
    if (n == MAX_REQUESTS || !f->known[n].completed || f->known[n].dropping) return;
    f->known[n].dropping = true;
    mark(f, MARK_DROPPING, n, 0);
    struct asked a = {f, MARK_DROPPED, n, 0, false};
    ASK(f, &a, drop_payload, f->known[n].id, OWNER);
}

static void backup(struct flow *f) {
    char path[SERVICE_DIR_BYTES + 24];
    if (f->s.store->backend->backup == NULL) return;
    snprintf(path, sizeof path, "%s/backup-%u.db", f->s.dir, f->backups);
    struct asked a = {f, MARK_BACKED_UP, f->backups++, f->nmarks, false};
    ASK(f, &a, backup, path);
}

/* --- files: bytes first, then the row that says they are whole */

void file_id(unsigned n, char id[STORE_ID_BYTES]) {
    snprintf(id, STORE_ID_BYTES, "%cx-file-%04u", 'a' + (int)(n % 7), n);
}

struct putting {
    enum blob_status status;
    struct blob_info info;
};

static void on_put(void *user, enum blob_status s, const struct blob_info *info) {
    struct putting *p = user;
    p->status = s;
    if (info != NULL) p->info = *info;
}

static void on_drained(void *user) {
    (void)user;
}

static void on_failed(void *user, enum blob_status s) {
    (void)user;
    (void)s;
}

static bool put(struct flow *f, const char *id, size_t bytes, struct putting *p) {
    static const struct blob_put_hooks hooks = {on_drained, on_failed};
    static unsigned char data[1U << 16];
    p->status = BLOB_IO;
    struct blob_put *b = blob_put_begin(f->s.blobs, id, &hooks, f);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < sizeof data ? bytes - at : sizeof data;
        for (size_t i = 0; i < n; i += 8) {
            uint64_t x = draw(&f->draws);
            memcpy(data + i, &x, n - i < 8 ? n - i : 8);
        }
        blob_put_write(b, slice_make((const char *)data, n));
    }
    blob_put_finish(b, on_put, p);
    service_settle(&f->s);
    return p->status == BLOB_OK;
}

static bool put_in_parts(struct flow *f, const char *id, size_t bytes, struct putting *p) {
    static const char *const parts[] = {"px-part-1", "qx-part-2"};
    if (!put(f, parts[0], bytes / 2 + 1, p) || !put(f, parts[1], bytes / 3 + 1, p)) return false;
    p->status = BLOB_IO;
    blob_join(f->s.blobs, id, parts, 2, on_put, p);
    service_settle(&f->s);
    return p->status == BLOB_OK;
}

static void add_file(struct flow *f) {
    static const size_t sizes[] = {0, 700, 5000, 5000, 70000, 150000};
    unsigned n = f->files, luck = draw_below(&f->draws, 100);
    struct store_file *row = &f->whole[n];
    static struct putting p; /* may be answered when the store is broken and nobody waits */
    if (n == MAX_FILES) return;
    f->files++;
    *row = (struct store_file){.owner = OWNER, .name = SLICE("n"), .created_ms = now(f)};
    file_id(n, row->id);
    struct asked pending = {f, MARK_LATER, 0, 0, true}, a = {f, MARK_FILE, n, 0, false};
    size_t bytes = sizes[draw_below(&f->draws, 6)];
    if (luck < 50) ASK(f, &pending, file_add, row);
    bool whole = pending.ok &&
                 (luck < 80 ? put(f, row->id, bytes, &p) : put_in_parts(f, row->id, bytes, &p));
    if (!whole) return;
    row->state = STORE_FILE_WHOLE;
    row->bytes = p.info.bytes;
    memcpy(row->sha256, p.info.sha256, sizeof row->sha256);
    if (luck < 50)
        ASK(f, &a, file_finish, row);
    else
        ASK(f, &a, file_add, row);
    if (!a.ok) row->id[0] = '\0';
}

static void remove_file(struct flow *f) {
    if (f->files == 0) return;
    unsigned n = draw_below(&f->draws, f->files);
    if (f->whole[n].state != STORE_FILE_WHOLE || f->whole[n].id[0] == '\0') return;
    mark(f, MARK_REMOVING, n, 0);
    struct asked a = {f, MARK_REMOVED, n, 0, false};
    ASK(f, &a, file_remove, &f->whole[n]);
    if (a.ok) blob_delete(f->s.blobs, f->whole[n].id, NULL, NULL);
    service_settle(&f->s);
    f->whole[n].id[0] = '\0';
}

/* --- time and life */

static void hours_go_by(struct flow *f) {
    if (f->calm) return;
    mark(f, MARK_LATER, f->requests, 0);
    for (unsigned n = 0; n < f->requests; n++) f->known[n].old = true;
    service_pass(&f->s, 3 * HOUR_MS);
    for (unsigned i = 0; i < 5; i++) service_pass(&f->s, 61000);
}

/* Who reads for a while keeps the writer from copying its log back; afterwards it does so in pieces. */
static void stop_reading(struct flow *f) {
    sqlite3_close(f->reader);
    f->reader = NULL;
}

void flow_read(struct flow *f) {
    char path[SERVICE_DIR_BYTES + 16];
    snprintf(path, sizeof path, "%s/anyllm.db", f->s.dir);
    if (sqlite3_open_v2(path, &f->reader, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
        sqlite3_exec(f->reader, "BEGIN; SELECT count(*) FROM request", NULL, NULL, NULL) !=
            SQLITE_OK)
        f->wrong = "a reader was refused";
}

static void read_for_a_while(struct flow *f) {
    if (f->reader != NULL)
        stop_reading(f);
    else
        flow_read(f);
}

void flow_restart(struct flow *f, bool gracefully) {
    stop_reading(f);
    service_close(&f->s, gracefully);
    if (!service_open(&f->s)) return;
    service_settle(&f->s);
}

static bool goes_on(const struct flow *f) {
    return f->s.queue != NULL && !f->s.broken;
}

static void step(struct flow *f) {
    unsigned luck = draw_below(&f->draws, 1000);
    if (luck < 220)
        submits(f);
    else if (luck < 520)
        end_runs(f, 60);
    else if (luck < 620)
        asks(f);
    else if (luck < 680)
        cancel(f);
    else if (luck < 720)
        again(f);
    else if (luck < 790)
        note(f);
    else if (luck < 830)
        add_file(f);
    else if (luck < 845)
        remove_file(f);
    else if (luck < 880)
        charges(f);
    else if (luck < 900)
        key(f);
    else if (luck < 920)
        drop_payload(f);
    else if (luck < 930)
        flow_restart(f, luck % 2 == 0);
    else if (luck < 935)
        backup(f);
    else if (luck < 938)
        hours_go_by(f);
    else if (luck < 958)
        read_for_a_while(f);
    else
        service_pass(&f->s, 1 + draw_below(&f->draws, 3000));
    if (goes_on(f)) service_settle(&f->s);
}

void flow_steps(struct flow *f, unsigned steps) {
    for (unsigned i = 0; i < steps && goes_on(f); i++) step(f);
}

/* What a few requests do and what stands beside them, in a fixed order. */
static void little(struct flow *f, unsigned i) {
    bool known = f->known[i].id[0] != '\0';
    switch (i) {
    case 1: add_file(f); break;
    case 2:
        if (known) ask(f, ASK_CANCEL, i);
        break;
    case 3: charges(f); break;
    case 4: key(f); break;
    case 5: drop_payload(f); break;
    case 6: backup(f); break;
    default: break;
    }
    if (goes_on(f) && known) ask(f, i % 2 == 0 ? ASK_STATUS : ASK_RESULT, i);
}

void flow_few(struct flow *f, unsigned requests) {
    f->all_known = true;
    for (unsigned i = 0; i < requests && goes_on(f); i++) {
        give_submit(f, f->requests++);
        service_settle(&f->s);
        if (i % 2 == 1 && goes_on(f)) end_runs(f, 100);
        if (goes_on(f)) service_settle(&f->s);
        if (goes_on(f)) little(f, i);
        for (unsigned k = 0; k < 3 && goes_on(f); k++) note(f);
    }
    for (unsigned k = 0; k < 3 && goes_on(f); k++) add_file(f);
    if (goes_on(f)) remove_file(f);
}

static bool busy(struct flow *f) {
    struct queue_stats x;
    queue_get_stats(f->s.queue, &x);
    return f->s.nruns > 0 || x.waiting > 0 || x.running > 0 || !x.can_write;
}

void flow_finish(struct flow *f) {
    stop_reading(f);
    for (unsigned i = 0; i < 400 && !f->s.broken && busy(f); i++) {
        struct asked a = {f, MARK_LATER, 0, 0, false};
        end_runs(f, 100);
        if (!f->s.can_write) ASK(f, &a, ping); /* sooner than the store itself would look */
        service_pass(&f->s, 1000);
    }
    if (!f->s.broken && busy(f)) f->wrong = "work did not come to its end by itself";
}

void flow_begin(struct flow *f, const char *dir, uint64_t seed) {
    *f = (struct flow){.seed = seed, .draws = seed ^ 0x5eed};
    f->input = malloc(INPUT_BYTES);
    if (f->input == NULL) abort();
    service_begin(&f->s, dir, seed);
    f->s.keep_age = true;
    f->s.on_start = on_start;
    f->s.on_webhook = on_webhook;
    f->s.user = f;
}

void flow_end(struct flow *f) {
    service_end(&f->s);
    free(f->marks);
    free(f->input);
}
