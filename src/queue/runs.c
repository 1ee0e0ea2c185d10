/* A claimed request in memory: log lines and result, until the store has them. */
#include "queue/inside.h"

#include <stdlib.h>

struct run *run_new(struct queue *q, struct item *i) {
    struct run *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    r->item = i;
    r->inference_ms = -1;
    arena_init(&r->log_text, 2 * QUEUE_MAX_LOG_TOTAL);
    r->next = q->runs;
    if (r->next != NULL) r->next->prev = r;
    q->runs = r;
    i->run = r;
    return r;
}

static void free_result(struct result *res) {
    free(res->bytes);
    *res = (struct result){0};
}

void run_free(struct queue *q, struct run *r) {
    if (r->id != 0) slots_take(&q->run_ids, r->id);
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        q->runs = r->next;
    if (r->next != NULL) r->next->prev = r->prev;
    r->item->run = NULL;
    run_forget_input(r);
    free_result(&r->result);
    free(r->lines);
    arena_free(&r->log_text);
    free(r);
}

/* --- log lines */

static struct slice level_of(struct slice level) {
    static const char *const known[] = {"INFO", "WARN", "ERROR", "DEBUG", "STDOUT", "STDERR"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_is(level, known[i])) return slice_of(known[i]);
    return SLICE("INFO");
}

/* Not in the middle of a character. */
static struct slice cut(struct slice s, size_t max) {
    if (s.len <= max) return s;
    s.len = max;
    while (s.len > 0 && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80) s.len--;
    return s;
}

static bool more_room(struct run *r) {
    if (r->nlines < r->room) return true;
    size_t room = r->room == 0 ? 16 : r->room * 2;
    struct queue_log *lines = realloc(r->lines, room * sizeof *lines);
    if (lines == NULL) return false;
    r->lines = lines;
    r->room = room;
    return true;
}

static void put_line(struct queue *q, struct run *r, struct slice level, struct slice text,
                     int64_t at_ms) {
    if (!more_room(r)) return;
    struct slice copy = arena_copy(&r->log_text, text);
    if (copy.ptr == NULL) return; /* out of memory: a log line is not worth a request */
    r->lines[r->nlines++] = (struct queue_log){at_ms, level_of(level), copy};
    r->log_bytes += text.len;
    if (r->flush_due_ms == 0) r->flush_due_ms = now_ms(q) + QUEUE_LOG_FLUSH_MS;
    watch_news(q, r->item);
}

void run_add_log(struct queue *q, struct run *r, struct slice level, struct slice message,
                 int64_t at_ms) {
    message = cut(message, QUEUE_MAX_LOG_BYTES);
    if (r->log_full) return;
    r->log_full = r->nlines + 1 >= QUEUE_MAX_LOG_LINES ||
                  r->log_bytes + message.len > QUEUE_MAX_LOG_TOTAL;
    if (r->log_full)
        put_line(q, r, SLICE("WARN"), SLICE("too many log lines: further ones are dropped"), at_ms);
    else
        put_line(q, r, level, message, at_ms);
}

/* Both keep their order; the limits count them all. */
void run_take_lines(struct queue *q, struct run *r, const struct store_log *lines, size_t n) {
    struct queue_log *mine = r->lines;
    size_t nmine = r->nlines;
    r->lines = NULL;
    r->nlines = r->room = r->log_bytes = 0;
    r->log_full = false;
    for (size_t k = 0; k < n; k++)
        run_add_log(q, r, lines[k].level, lines[k].message, lines[k].at_ms);
    r->stored = r->sent = r->nlines;
    for (size_t k = 0; k < nmine; k++)
        run_add_log(q, r, mine[k].level, mine[k].message, mine[k].at_ms);
    free(mine);
}

/* --- input and result */

bool run_keep_input(struct run *r, const struct store_row *row) {
    struct slice input = row->input, hint = row->hint;
    run_forget_input(r);
    r->input = malloc(input.len + hint.len + 1);
    if (r->input == NULL) return false;
    if (input.len > 0) memcpy(r->input, input.ptr, input.len);
    if (hint.len > 0) memcpy(r->input + input.len, hint.ptr, hint.len);
    r->input_len = input.len;
    r->hint_len = hint.len;
    r->no_fallback = row->wishes.no_fallback;
    r->retries[QUEUE_FAILURE_SERVER_ERROR] = row->wishes.retries_server_error;
    r->retries[QUEUE_FAILURE_TIMEOUT] = row->wishes.retries_timeout;
    r->retries[QUEUE_FAILURE_CONNECTION] = row->wishes.retries_connection_error;
    return true;
}

void run_forget_input(struct run *r) {
    free(r->input);
    r->input = NULL;
    r->input_len = r->hint_len = 0;
}

static struct slice pack(char **at, struct slice s) {
    char *from = *at;
    if (s.len > 0) memcpy(from, s.ptr, s.len);
    *at += s.len;
    return slice_make(from, s.len);
}

/* One block for all; without memory for it the request fails as VERDICT_MEMORY. */
void run_keep_result(struct run *r, const struct queue_outcome *o) {
    struct result *res = &r->result;
    bool fits = o->body.len <= QUEUE_MAX_RESULT_BYTES;
    struct slice body = fits ? o->body : SLICE_NONE;
    free_result(res);
    size_t bytes = o->headers.len + body.len + o->error.len + o->error_type.len +
                   o->usage.upstream.len + o->usage.model.len + o->usage.raw.len;
    char *at = res->bytes = malloc(bytes + 1);
    if (at == NULL || !fits) r->item->verdict = at == NULL ? VERDICT_MEMORY : VERDICT_TOO_LARGE;
    if (at == NULL) return;
    res->http_status = o->http_status;
    res->headers = pack(&at, o->headers);
    res->body = pack(&at, body);
    res->error = pack(&at, o->error);
    res->error_type = pack(&at, o->error_type);
    res->usage = o->usage;
    res->usage.upstream = pack(&at, o->usage.upstream);
    res->usage.model = pack(&at, o->usage.model);
    res->usage.raw = pack(&at, o->usage.raw);
}

void run_keep_spent(struct run *r, const struct store_usage *u) {
    const struct queue_outcome o = {.usage = *u};
    free_result(&r->result);
    if (u->present) run_keep_result(r, &o);
}

/* Full jitter spreads those that failed together; what the upstream asked for is the least. */
uint64_t backoff_ms(const struct random *random, uint32_t attempt, int64_t retry_after_ms) {
    uint64_t cap = QUEUE_BACKOFF_CAP_MS, top = QUEUE_BACKOFF_MS;
    for (uint32_t k = 1; k < attempt && top < cap; k++) top *= 2;
    if (top > cap) top = cap;
    uint64_t wait = random_below(random, top + 1);
    uint64_t asked = retry_after_ms > 0 ? (uint64_t)retry_after_ms : 0;
    if (asked > QUEUE_RETRY_AFTER_CAP_MS) asked = QUEUE_RETRY_AFTER_CAP_MS;
    return wait > asked ? wait : asked;
}
