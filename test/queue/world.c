#include "itself.h"
#include "queue/world.h"

#include <stdio.h>
#include <stdlib.h>

/* --- clock and random */

static uint64_t mono(void *user) {
    return ((struct world *)user)->mono_ms;
}

static int64_t wall(void *user) {
    return ((struct world *)user)->wall_ms;
}

static uint64_t next_random(struct world *w) {
    uint64_t z = w->seed += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

uint64_t draw(struct world *w, uint64_t below) {
    return next_random(w) % below;
}

static void fill(void *user, void *out, size_t bytes) {
    for (size_t k = 0; k < bytes; k++) ((unsigned char *)out)[k] = (unsigned char)next_random(user);
}

/* --- the store */

enum kind {
    SUBMIT,
    CLAIM,
    RETRY,
    RELEASE,
    COMPLETE,
    FINISH,
    CANCEL,
    SWEEP,
    LOG,
    JOIN,
    BEAT,
    BURY,
    LEAVE,
    GET,
    LOGS,
    PENDING,
    NODES
};

struct fake_op {
    struct fake_op *next;
    enum kind kind;
    uint64_t ticket;
    struct fake_row row; /* submit; a result in http_status … inference_ms */
    uint32_t attempt;
    uint64_t token, next_token, beat;
    char boot[STORE_ID_BYTES];
    unsigned seat; /* who gave it */
    bool applied;  /* its answer is on its way: */
    struct store_reply reply;
    struct store_pending *pending;
    bool usage;
    int64_t at_ms;
    unsigned parts;
    struct fake_log *logs;
    size_t nlogs;
};

static void copy(char *out, size_t size, struct slice s) {
    assert_true(s.len < size);
    if (s.len > 0) memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
}

#define COPY(field, s) copy(field, sizeof field, s)

static struct fake_op *give(struct store *s, enum kind kind, uint64_t ticket, const char *id) {
    struct world *w = (struct world *)s;
    struct fake_op *op = calloc(1, sizeof *op);
    op->kind = kind;
    op->ticket = ticket;
    op->seat = w->seat;
    if (id != NULL) COPY(op->row.id, slice_of(id));
    *w->last = op;
    w->last = &op->next;
    return op;
}

static void give_submit(struct store *s, uint64_t ticket, const struct store_submit *in) {
    struct fake_op *op = give(s, SUBMIT, ticket, in->id);
    COPY(op->row.endpoint, in->endpoint);
    COPY(op->row.owner, in->owner);
    COPY(op->row.input, in->input);
    COPY(op->row.webhook, in->webhook);
    op->row.priority = in->priority;
    op->row.no_retry = in->no_retry;
    op->row.created_ms = in->created_ms;
    op->row.wishes = in->wishes;
    COPY(op->row.hint, in->hint);
    COPY(op->row.tags, in->tags);
    COPY(op->row.model, in->model);
}

static void give_claim(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                       const struct store_lease *lease, int64_t started_ms) {
    struct fake_op *op = give(s, CLAIM, ticket, id);
    op->attempt = attempt;
    op->next_token = lease->token;
    op->at_ms = started_ms;
    COPY(op->boot, slice_of(lease->boot));
}

static void give_retry(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                       uint64_t token, const struct store_lease *lease,
                       const struct store_usage *usage, int64_t at_ms) {
    struct fake_op *op = give(s, RETRY, ticket, id);
    op->attempt = attempt;
    op->token = token;
    op->next_token = lease->token;
    op->usage = usage->present;
}

static void give_release(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                         uint64_t token, const struct store_usage *usage, int64_t at_ms) {
    struct fake_op *op = give(s, RELEASE, ticket, id);
    op->attempt = attempt;
    op->token = token;
    op->usage = usage->present;
}

static void take_logs(struct fake_op *op, const struct store_log *lines, size_t n) {
    op->logs = calloc(n + 1, sizeof *op->logs);
    op->nlogs = n;
    for (size_t k = 0; k < n; k++) {
        size_t len = lines[k].message.len < sizeof op->logs[k].text ? lines[k].message.len
                                                                    : sizeof op->logs[k].text - 1;
        memcpy(op->logs[k].text, lines[k].message.ptr, len);
    }
}

static struct fake_op *give_end(struct store *s, enum kind kind, uint64_t ticket,
                                const struct store_complete *in) {
    struct fake_op *op = give(s, kind, ticket, in->id);
    op->attempt = in->attempt;
    op->token = in->token;
    op->usage = in->usage.present;
    op->at_ms = in->completed_ms;
    COPY(op->boot, slice_of(in->boot));
    op->row.http_status = in->http_status;
    op->row.forget_ms = in->forget_ms;
    COPY(op->row.headers, in->headers);
    COPY(op->row.body, in->body);
    COPY(op->row.error, in->error);
    COPY(op->row.error_type, in->error_type);
    op->row.inference_ms = in->inference_ms;
    take_logs(op, in->logs, in->nlogs);
    return op;
}

static void give_complete(struct store *s, uint64_t ticket, const struct store_complete *in) {
    give_end(s, COMPLETE, ticket, in);
}

static void give_finish(struct store *s, uint64_t ticket, const struct store_complete *in) {
    give_end(s, FINISH, ticket, in);
}

static void give_cancel(struct store *s, uint64_t ticket, const char *id, int64_t at_ms) {
    give(s, CANCEL, ticket, id);
}

static void give_sweep(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max) {
    struct fake_op *op = give(s, SWEEP, ticket, NULL);
    op->at_ms = now_ms;
    op->parts = max;
}

static void give_log(struct store *s, uint64_t ticket, const struct store_log *lines, size_t n) {
    struct fake_op *op = give(s, LOG, ticket, lines[0].id);
    op->attempt = lines[0].attempt;
    op->token = lines[0].token;
    take_logs(op, lines, n);
}

static struct fake_op *give_node(struct store *s, enum kind kind, uint64_t ticket,
                                 const char *boot) {
    struct fake_op *op = give(s, kind, ticket, NULL);
    if (boot != NULL) COPY(op->boot, slice_of(boot));
    return op;
}

static void give_join(struct store *s, uint64_t ticket, const char *node, const char *boot,
                      bool alone, int64_t at_ms) {
    struct fake_op *op = give_node(s, JOIN, ticket, boot);
    COPY(op->row.owner, slice_of(node));
    op->parts = alone;
}

static void give_beat(struct store *s, uint64_t ticket, const char *boot, int64_t at_ms) {
    ((struct world *)s)->beats++;
    give_node(s, BEAT, ticket, boot);
}

static void give_bury(struct store *s, uint64_t ticket, const char *boot, uint64_t beat) {
    ((struct world *)s)->burials++;
    give_node(s, BURY, ticket, boot)->beat = beat;
}

static void give_leave(struct store *s, uint64_t ticket, const char *boot) {
    give_node(s, LEAVE, ticket, boot);
}

static void give_nodes(struct store *s, uint64_t ticket) {
    ((struct world *)s)->looks++;
    give_node(s, NODES, ticket, NULL);
}

static void give_get(struct store *s, uint64_t ticket, const char *id, unsigned parts) {
    give(s, GET, ticket, id)->parts = parts;
}

static void give_logs(struct store *s, uint64_t ticket, const char *id) {
    give(s, LOGS, ticket, id);
}

static void give_pending(struct store *s, uint64_t ticket, uint64_t after, unsigned limit) {
    struct fake_op *op = give(s, PENDING, ticket, NULL);
    op->token = after;
    op->parts = limit;
}

static const struct store_backend backend = {
    .name = "fake",
    .submit = give_submit,
    .claim = give_claim,
    .retry = give_retry,
    .release = give_release,
    .complete = give_complete,
    .finish_waiting = give_finish,
    .request_cancel = give_cancel,
    .sweep = give_sweep,
    .log = give_log,
    .get = give_get,
    .logs = give_logs,
    .pending = give_pending,
    .join = give_join,
    .beat = give_beat,
    .bury = give_bury,
    .leave = give_leave,
    .nodes = give_nodes,
};

/* --- who lives */

static struct fake_node *node_of(struct world *w, const char *boot) {
    for (size_t k = 0; k < w->nnodes; k++)
        if (strcmp(w->nodes[k].boot, boot) == 0) return &w->nodes[k];
    return NULL;
}

static enum store_status drop_node(struct world *w, struct fake_node *n) {
    if (n == NULL) return STORE_STALE;
    *n = w->nodes[--w->nnodes];
    return STORE_OK;
}

static enum store_status join_node(struct world *w, const struct fake_op *op) {
    static uint64_t beats;
    for (size_t k = w->nnodes; k-- > 0;)
        if (op->parts != 0 || strcmp(w->nodes[k].node, op->row.owner) == 0)
            drop_node(w, &w->nodes[k]);
    assert_true(w->nnodes < 64);
    struct fake_node *n = &w->nodes[w->nnodes++];
    *n = (struct fake_node){.beat = beats += 1000};
    memcpy(n->boot, op->boot, sizeof n->boot);
    snprintf(n->node, sizeof n->node, "%s", op->row.owner);
    return STORE_OK;
}

static enum store_status apply_node(struct world *w, const struct fake_op *op) {
    struct fake_node *n = node_of(w, op->boot);
    switch (op->kind) {
    case JOIN: return join_node(w, op);
    case BEAT:
        if (n != NULL) n->beat++;
        return n != NULL ? STORE_OK : STORE_STALE;
    case BURY: return drop_node(w, n != NULL && n->beat == op->beat ? n : NULL);
    case LEAVE: return drop_node(w, n);
    default: return STORE_OK;
    }
}

static bool held_row(struct world *w, const struct fake_row *row) {
    return row->state == STORE_IN_PROGRESS && row->boot[0] != '\0' && node_of(w, row->boot) != NULL;
}

struct fake_row *row_of(struct world *w, const char *id) {
    for (size_t k = w->nrows; k-- > 0;)
        if (strcmp(w->rows[k].id, id) == 0) return &w->rows[k];
    return NULL;
}

static void add_logs(struct fake_row *row, const struct fake_op *op) {
    row->logs = realloc(row->logs, (row->nlogs + op->nlogs + 1) * sizeof *row->logs);
    if (op->nlogs > 0) memcpy(row->logs + row->nlogs, op->logs, op->nlogs * sizeof *row->logs);
    row->nlogs += op->nlogs;
}

static enum store_status end_row(struct fake_row *row, const struct fake_op *op, bool guard) {
    if (!guard) return STORE_STALE;
    assert_int_not_equal(row->state, STORE_COMPLETED);
    row->state = STORE_COMPLETED;
    row->completed_ms = op->at_ms;
    row->http_status = op->row.http_status;
    row->inference_ms = op->row.inference_ms;
    row->forget_ms = op->row.forget_ms;
    if (row->forget_ms != 0) row->input[0] = '\0';
    memcpy(row->headers, op->row.headers, sizeof row->headers);
    memcpy(row->body, op->row.body, sizeof row->body);
    memcpy(row->error, op->row.error, sizeof row->error);
    memcpy(row->error_type, op->row.error_type, sizeof row->error_type);
    row->results++;
    row->usages += op->usage;
    row->outbox += row->webhook[0] != '\0';
    add_logs(row, op);
    return STORE_OK;
}

static enum store_status lease_row(struct fake_row *row, const struct fake_op *op, bool guard) {
    if (!guard) return STORE_STALE;
    row->state = STORE_IN_PROGRESS;
    row->attempt++;
    row->token = op->next_token;
    if (op->boot[0] != '\0') memcpy(row->boot, op->boot, sizeof row->boot);
    if (row->started_ms == 0) row->started_ms = op->at_ms;
    row->usages += op->usage;
    return STORE_OK;
}

static enum store_status release_row(struct fake_row *row, const struct fake_op *op, bool guard) {
    if (!guard) return STORE_STALE;
    row->boot[0] = '\0';
    row->token = 0;
    row->usages += op->usage;
    return STORE_OK;
}

static enum store_status submit_row(struct world *w, const struct fake_op *op,
                                    struct store_reply *r) {
    assert_true(w->nrows < MAX_ROWS);
    assert_null(row_of(w, op->row.id));
    w->rows[w->nrows] = op->row;
    w->rows[w->nrows].inference_ms = -1;
    r->seq = w->rows[w->nrows++].seq = ++w->next_seq;
    return STORE_OK;
}

static enum store_status sweep_rows(struct world *w, const struct fake_op *op,
                                    struct store_reply *r) {
    for (size_t k = 0; k < w->nrows; k++) {
        struct fake_row *row = &w->rows[k];
        if (row->forget_ms == 0 || row->swept) continue;
        row->swept = row->forget_ms <= op->at_ms && r->swept < op->parts;
        r->swept += row->swept;
        if (!row->swept && (r->forget_ms == 0 || row->forget_ms < r->forget_ms))
            r->forget_ms = row->forget_ms;
    }
    return STORE_OK;
}

static enum store_status apply(struct world *w, const struct fake_op *op, struct store_reply *r) {
    struct fake_row *row = row_of(w, op->row.id);
    if (op->kind == SUBMIT) return submit_row(w, op, r);
    if (op->kind == PENDING) return STORE_OK;
    if ((op->kind >= JOIN && op->kind <= LEAVE) || op->kind == NODES) return apply_node(w, op);
    if (op->kind == SWEEP) return sweep_rows(w, op, r);
    if (row == NULL || row->swept) return STORE_NOT_FOUND;
    bool held = row->attempt == op->attempt && row->token == op->token &&
                row->state == STORE_IN_PROGRESS;
    bool loose = row->attempt == op->attempt && row->state != STORE_COMPLETED && !held_row(w, row);
    switch (op->kind) {
    case CLAIM:
        if (loose && row->state == STORE_IN_PROGRESS && row->boot[0] != '\0') row->crashes++;
        return lease_row(row, op, loose);
    case RETRY: return lease_row(row, op, held);
    case RELEASE: return release_row(row, op, held);
    case COMPLETE: return end_row(row, op, held);
    case FINISH: return end_row(row, op, loose);
    case LOG:
        if (op->token == 0 || held) add_logs(row, op);
        return STORE_OK;
    case CANCEL:
        r->state = row->state;
        if (row->state != STORE_COMPLETED) row->cancel_requested = true;
        return STORE_OK;
    default: return STORE_OK;
    }
}

static struct store_row real_row(const struct fake_row *row) {
    struct store_row out = {
        .endpoint = slice_of(row->endpoint),
        .owner = slice_of(row->owner),
        .input = slice_of(row->input),
        .webhook = slice_of(row->webhook),
        .state = row->state,
        .priority = row->priority,
        .no_retry = row->no_retry,
        .cancel_requested = row->cancel_requested,
        .attempt = row->attempt,
        .seq = row->seq,
        .created_ms = row->created_ms,
        .started_ms = row->started_ms,
        .completed_ms = row->completed_ms,
        .http_status = row->http_status,
        .body = slice_of(row->body),
        .error = slice_of(row->error),
        .error_type = slice_of(row->error_type),
        .inference_ms = row->inference_ms,
        .headers = slice_of(row->headers),
        .forget_ms = row->forget_ms,
        .wishes = row->wishes,
    };
    out.hint = slice_of(row->hint);
    out.tags = slice_of(row->tags);
    memcpy(out.id, row->id, sizeof out.id);
    return out;
}

/* Rows lie in order of seq. */
static struct store_pending *real_pending(struct world *w, const struct fake_op *op,
                                          struct store_reply *r) {
    struct store_pending *out = calloc(w->nrows + 1, sizeof *out);
    size_t *n = &r->npending;
    for (size_t k = 0; k < w->nrows && !r->more; k++) {
        const struct fake_row *row = &w->rows[k];
        if (row->state == STORE_COMPLETED || row->seq <= op->token) continue;
        r->more = *n > 0 && (*n == op->parts || *n == w->piece);
        if (r->more) break;
        struct store_pending *p = &out[(*n)++];
        *p = (struct store_pending){
            .state = row->state,
            .attempt = row->attempt,
            .crashes = row->crashes,
            .seq = row->seq,
            .priority = row->priority,
            .no_retry = row->no_retry,
            .cancel_requested = row->cancel_requested,
            .has_webhook = row->webhook[0] != '\0',
            .released = row->state == STORE_IN_PROGRESS && row->boot[0] == '\0',
            .endpoint = slice_of(row->endpoint),
            .model = slice_of(row->model),
            .owner = slice_of(row->owner),
            .created_ms = row->created_ms,
            .started_ms = row->started_ms,
            .wishes = row->wishes,
            .held = held_row(w, row),
        };
        memcpy(p->id, row->id, sizeof p->id);
        memcpy(p->boot, row->boot, sizeof p->boot);
    }
    return out;
}

static struct store_log *real_logs(const struct fake_row *row) {
    struct store_log *out = calloc(row->nlogs + 1, sizeof *out);
    for (size_t k = 0; k < row->nlogs; k++)
        out[k] = (struct store_log){row->id, 1, SLICE("INFO"), slice_of(row->logs[k].text)};
    return out;
}

static void real_nodes(struct world *w, struct store_reply *r, struct store_node *out) {
    for (size_t k = 0; k < w->nnodes; k++) {
        out[k] = (struct store_node){.node = slice_of(w->nodes[k].node), .beat = w->nodes[k].beat};
        memcpy(out[k].boot, w->nodes[k].boot, sizeof out[k].boot);
    }
    r->living = out;
    r->nliving = w->nnodes;
}

/* Marks of cancels that others gave. */
static struct store_pending *real_marks(struct world *w, const struct fake_op *op, size_t *n) {
    struct store_pending *out = calloc(w->nrows + 1, sizeof *out);
    for (size_t k = 0; k < w->nrows; k++)
        if (w->rows[k].state == STORE_IN_PROGRESS && w->rows[k].cancel_requested &&
            strcmp(w->rows[k].boot, op->boot) == 0)
            memcpy(out[(*n)++].id, w->rows[k].id, sizeof out->id);
    return out;
}

/* What a read finds, it finds when it is applied. */
static void read_op(struct world *w, struct fake_op *op) {
    struct store_reply *r = &op->reply;
    if (r->status == STORE_OK && op->kind == PENDING)
        r->pending = op->pending = real_pending(w, op, r);
    if (r->status == STORE_OK && op->kind == BEAT)
        r->pending = op->pending = real_marks(w, op, &r->npending);
}

static void answer_op(struct world *w, const struct fake_op *op, struct store_reply *r) {
    struct store_node nodes[64];
    struct fake_row *row = row_of(w, op->row.id);
    struct store_row real = {.state = STORE_IN_QUEUE};
    struct store_log *logs = NULL;
    if (r->status == STORE_OK && row != NULL) real = real_row(row);
    if (r->status == STORE_OK && (op->kind == CLAIM || op->kind == RETRY || op->kind == GET))
        r->row = &real;
    if (r->status == STORE_OK && op->kind == NODES) real_nodes(w, r, nodes);
    if (r->status == STORE_OK && row != NULL &&
        (op->kind == LOGS || (op->kind == GET && op->parts & STORE_LOGS))) {
        r->logs = logs = real_logs(row);
        r->nlogs = row->nlogs;
    }
    world_sit(w, op->seat);
    if (w->queue != NULL) queue_store_done(w->queue, op->ticket, r);
    free(logs);
}

static void free_op(struct fake_op *op) {
    free(op->pending);
    free(op->logs);
    free(op);
}

/* What a stopped server gave waits until it goes on. */
static struct fake_op *next_op(struct world *w) {
    struct fake_op **at = &w->first;
    while (*at != NULL && w->seats[(*at)->seat].stopped) at = &(*at)->next;
    struct fake_op *op = *at;
    if (op == NULL) return NULL;
    *at = op->next;
    if (*at == NULL) w->last = at;
    return op;
}

static void put_last(struct world *w, struct fake_op *op) {
    op->next = NULL;
    *w->last = op;
    w->last = &op->next;
}

static void apply_op(struct world *w, struct fake_op *op) {
    if (op->applied) return;
    struct store_reply *r = &op->reply;
    bool read = op->kind >= LOGS;
    bool fails = (op->kind < GET || (read && w->fail_reads)) &&
                 (w->fail_next > 0 || (w->fail_percent > 0 && draw(w, 100) < w->fail_percent));
    if (fails && w->fail_next > 0) w->fail_next--;
    r->status = fails ? w->fail_with : apply(w, op, r);
    op->applied = true;
    read_op(w, op);
}

bool store_step(struct world *w) {
    struct fake_op *op = next_op(w);
    unsigned seat = w->seat;
    if (op == NULL) return false;
    apply_op(w, op);
    answer_op(w, op, &op->reply);
    world_sit(w, seat);
    free_op(op);
    return true;
}

void store_step_late(struct world *w) {
    struct fake_op *op = next_op(w);
    assert_non_null(op);
    apply_op(w, op);
    put_last(w, op);
}

void store_put_off(struct world *w) {
    struct fake_op *op = next_op(w);
    assert_non_null(op);
    put_last(w, op);
}

size_t store_waiting(const struct world *w) {
    size_t n = 0;
    for (const struct fake_op *op = w->first; op != NULL; op = op->next) n++;
    return n;
}

/* --- the runner */

static unsigned pool_of(void *user, const struct queue_place *where) {
    const struct world *w = user;
    return w->pooled && where->model.len > 0 ? (unsigned)(where->model.ptr[0] - '0') : 0;
}

static size_t capacity(void *user, unsigned pool) {
    struct world *w = user;
    size_t all = w->capacity > w->nruns ? w->capacity - w->nruns : 0, room = w->rooms[pool];
    if (!w->pooled) return all;
    for (size_t k = 0; k < w->nruns && room > 0; k++) room -= w->runs[k].pool == pool;
    return room < all ? room : all;
}

static void start(void *user, const struct queue_job *job) {
    struct world *w = user;
    assert_true(w->nruns < w->capacity);
    struct run_seen *old = run_of(w, job->request_id);
    assert_true(old == NULL || (w->together && old->cancelled)); /* of a lease that was lost */
    struct run_seen *r = &w->runs[w->nruns++];
    *r = (struct run_seen){
        .run = job->run, .attempt = job->attempt, .no_fallback = job->no_fallback, .slow = w->slow};
    COPY(r->owner, job->owner);
    COPY(r->hint, job->hint);
    COPY(r->id, slice_of(job->request_id));
    COPY(r->input, job->input);
    r->pool = w->pooled && row_of(w, r->id)->model[0] != '\0'
                  ? (unsigned)(row_of(w, r->id)->model[0] - '0')
                  : 0;
    w->started++;
    const struct fake_row *row = row_of(w, r->id);
    assert_int_equal(row->state, STORE_IN_PROGRESS);
    assert_int_equal(row->attempt, job->attempt);
    assert_true(job->attempt == 1 || !row->no_retry);
    if (row->wishes.start_timeout_ms > 0)
        assert_true(w->wall_ms < row->created_ms + row->wishes.start_timeout_ms);
    assert_string_equal(r->hint, row->hint);
    assert_string_equal(r->owner, row->owner);
    assert_int_equal(r->no_fallback, row->wishes.no_fallback);
}

static void stop(void *user, uint64_t run) {
    struct world *w = user;
    w->cancels++;
    for (size_t k = 0; k < w->nruns; k++) {
        if (w->runs[k].run != run) continue;
        assert_false(w->runs[k].cancelled);
        w->runs[k].cancelled = true;
        return;
    }
    fail_msg("cancel of a run that is not");
}

static bool begun(void *user, uint64_t run) {
    struct world *w = user;
    for (size_t k = 0; k < w->nruns; k++)
        if (w->runs[k].run == run) return !w->runs[k].slow;
    fail_msg("asked about a run that is not");
    return false;
}

/* Asked before the run is told to stop. */
static struct store_usage spent(void *user, uint64_t run) {
    struct world *w = user;
    for (size_t k = 0; k < w->nruns; k++)
        if (w->runs[k].run == run)
            return (struct store_usage){
                .present = !w->runs[k].slow, .upstream = SLICE("lab"), .partial = true};
    fail_msg("asked about a run that is not");
    return (struct store_usage){0};
}

struct run_seen *run_of(struct world *w, const char *id) {
    struct run_seen *found = NULL;
    for (size_t k = 0; k < w->nruns; k++)
        if (strcmp(w->runs[k].id, id) == 0 && (found == NULL || !w->runs[k].cancelled))
            found = &w->runs[k];
    return found;
}

void end_run(struct world *w, uint64_t run, const struct queue_outcome *o) {
    for (size_t k = 0; k < w->nruns; k++) {
        if (w->runs[k].run != run) continue;
        w->runs[k] = w->runs[--w->nruns];
        break;
    }
    queue_run_done(w->queue, run, o);
}

struct queue_outcome good(void) {
    return (struct queue_outcome){
        .http_status = 200,
        .body = SLICE("{\"output\":\"42\"}"),
        .retry_after_ms = -1,
        .usage = {.present = true, .upstream = SLICE("lab"), .model = SLICE("m")}};
}

struct queue_outcome retryable(unsigned max_attempts) {
    return (struct queue_outcome){.http_status = 503,
                                  .body = SLICE("{}"),
                                  .error = SLICE("upstream busy"),
                                  .error_type = SLICE("runner_connection_error"),
                                  .retryable = true,
                                  .max_attempts = max_attempts,
                                  .retry_after_ms = -1,
                                  .usage = {.present = true}};
}

/* --- callers */

static void keep_reply(struct answer *a, const struct queue_reply *r) {
    a->code = r->code;
    a->state = r->state;
    a->position = r->position;
    COPY(a->id, slice_of(r->id));
    a->nlogs = r->nlogs;
    if (r->nlogs > 0) {
        snprintf(a->first_log, sizeof a->first_log, "%.*s", SLICE_ARG(r->logs[0].message));
        snprintf(a->last_log, sizeof a->last_log, "%.*s", SLICE_ARG(r->logs[r->nlogs - 1].message));
    }
    assert_true((r->row != NULL) == (r->code == QUEUE_OK && r->state == STORE_COMPLETED) ||
                r->code == QUEUE_ALREADY_COMPLETED);
    if (r->row == NULL) return;
    a->http_status = r->row->http_status;
    COPY(a->error_type, r->row->error_type);
    COPY(a->body, r->row->body);
    COPY(a->headers, r->row->headers);
}

static void on_done(void *user, uint64_t ticket, const struct queue_reply *r) {
    struct world *w = user;
    assert_false(w->in_call);
    assert_in_range(ticket, 1, w->calls);
    assert_int_equal(++w->answers[ticket].times, 1);
    keep_reply(&w->answers[ticket], r);
}

static struct queue_done next_call(struct world *w) {
    assert_true(w->calls + 1 < MAX_CALLS);
    w->in_call = true;
    return (struct queue_done){on_done, w, ++w->calls};
}

uint64_t submit_in(struct world *w, const struct queue_submit *in) {
    queue_submit(w->queue, in, next_call(w));
    w->in_call = false;
    return w->calls;
}

struct queue_submit plain(void) {
    return (struct queue_submit){.endpoint = SLICE("fal-ai/any-llm"),
                                 .owner = SLICE("app1"),
                                 .input = SLICE("{\"prompt\":\"x\"}"),
                                 .retries_server_error = -1,
                                 .retries_timeout = -1,
                                 .retries_connection_error = -1};
}

uint64_t submit(struct world *w, int priority, bool no_retry) {
    struct queue_submit in = plain();
    in.priority = priority;
    in.no_retry = no_retry;
    return submit_in(w, &in);
}

const char *submitted_in(struct world *w, const struct queue_submit *in) {
    uint64_t n = submit_in(w, in);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    return w->answers[n].id;
}

const char *submitted(struct world *w, int priority, bool no_retry) {
    uint64_t n = submit(w, priority, no_retry);
    settle_world(w);
    assert_int_equal(w->answers[n].code, QUEUE_OK);
    return w->answers[n].id;
}

static struct queue_find find(struct world *w, const char *id) {
    const struct fake_row *row = row_of(w, id);
    return (struct queue_find){slice_of(id), row != NULL ? slice_of(row->owner) : SLICE("app1"),
                               SLICE("fal-ai/any-llm")};
}

uint64_t status(struct world *w, const char *id, bool logs) {
    struct queue_find f = find(w, id);
    queue_status(w->queue, &f, logs, next_call(w));
    w->in_call = false;
    return w->calls;
}

uint64_t status_find(struct world *w, const struct queue_find *f) {
    queue_status(w->queue, f, false, next_call(w));
    w->in_call = false;
    return w->calls;
}

uint64_t result(struct world *w, const char *id) {
    struct queue_find f = find(w, id);
    queue_result(w->queue, &f, next_call(w));
    w->in_call = false;
    return w->calls;
}

uint64_t cancel(struct world *w, const char *id) {
    struct queue_find f = find(w, id);
    queue_cancel(w->queue, &f, next_call(w));
    w->in_call = false;
    return w->calls;
}

struct queue_stats stats_of(struct world *w) {
    struct queue_stats s;
    queue_get_stats(w->queue, &s);
    return s;
}

/* --- the world */

void world_sit(struct world *w, unsigned seat) {
    struct seat *from = &w->seats[w->seat], *to = &w->seats[seat];
    assert_true(seat < SEATS);
    if (seat == w->seat) return;
    from->queue = w->queue;
    from->nruns = w->nruns, from->capacity = w->capacity;
    from->ready = w->ready, from->ready_ok = w->ready_ok, from->idle = w->idle;
    w->queue = to->queue;
    w->runs = to->runs;
    w->nruns = to->nruns, w->capacity = to->capacity;
    w->ready = to->ready, w->ready_ok = to->ready_ok, w->idle = to->idle;
    w->seat = seat;
    if (seat >= w->nseats) w->nseats = seat + 1;
}

static unsigned tick_all(struct world *w) {
    unsigned turns = 0, seat = w->seat;
    for (unsigned k = 0; k < w->nseats; k++) {
        if (w->seats[k].stopped) continue;
        world_sit(w, k);
        while (w->queue != NULL && queue_tick(w->queue) == 0) assert_true(turns++ < 100000);
    }
    world_sit(w, seat);
    return turns;
}

void settle_world(struct world *w) {
    unsigned turns = 0;
    do {
        assert_true(turns++ < 100000);
        turns += tick_all(w);
    } while (store_step(w));
}

void advance(struct world *w, uint64_t ms) {
    w->mono_ms += ms;
    w->wall_ms += (int64_t)ms;
}

void pass(struct world *w, uint64_t ms) {
    settle_world(w);
    advance(w, ms);
    settle_world(w);
}

static void on_ready(void *user, bool ok) {
    struct world *w = user;
    w->ready = true;
    w->ready_ok = ok;
}

/* Its row is there when it is told of. */
static void on_webhook(void *user, const char *id) {
    struct world *w = user;
    assert_int_equal(row_of(w, id)->outbox, 1);
    w->webhooks++;
    memcpy(w->webhook_id, id, strlen(id) + 1);
}

static void on_lost(void *user, size_t runs) {
    struct world *w = user;
    w->lost += runs;
    w->losses++;
}

void world_start(struct world *w) {
    static unsigned boots;
    static const char *const nodes[SEATS] = {"node", "node-1", "node-2", "node-3"};
    char boot[32];
    snprintf(boot, sizeof boot, "boot-%u", ++boots);
    struct queue_options o = {
        .clock = &w->clock,
        .random = &w->random,
        .store = &w->store,
        .runner = {.pool = pool_of,
                   .capacity = capacity,
                   .start = start,
                   .cancel = stop,
                   .begun = begun,
                   .spent = spent,
                   .user = w},
        .node = nodes[w->seat],
        .boot = boot,
        .alone = !w->together,
        .on_lost = on_lost,
        .lost_user = w,
        .on_webhook = on_webhook,
        .webhook_user = w,
    };
    w->queue = queue_new(&o);
    assert_non_null(w->queue);
    w->ready = w->idle = false;
    queue_start(w->queue, on_ready, w);
}

struct world *world_new(uint64_t seed) {
    struct world *w = calloc(1, sizeof *w);
    w->store.backend = &backend;
    w->seed = seed;
    w->clock = (struct clock){mono, wall, w};
    w->random = (struct random){fill, w};
    w->mono_ms = 1000000;
    w->wall_ms = 1700000000000;
    w->last = &w->first;
    w->capacity = 4;
    w->runs = w->seats[0].runs;
    w->nseats = 1;
    w->fail_with = STORE_UNAVAILABLE;
    world_start(w);
    settle_world(w);
    assert_true(w->ready && w->ready_ok);
    return w;
}

/* Those of the present seat. */
static void drop_ops(struct world *w) {
    struct fake_op **at = &w->first;
    while (*at != NULL) {
        struct fake_op *op = *at;
        if (op->seat != w->seat) {
            at = &op->next;
            continue;
        }
        *at = op->next;
        free_op(op);
    }
    w->last = at;
}

void world_crash(struct world *w) {
    drop_ops(w);
    queue_free(w->queue);
    w->queue = NULL;
    w->nruns = 0;
}

void world_free(struct world *w) {
    for (unsigned k = 0; k < w->nseats; k++) {
        world_sit(w, k);
        world_crash(w);
    }
    for (size_t k = 0; k < w->nrows; k++) free(w->rows[k].logs);
    free(w);
}

void restart(struct world *w) {
    world_crash(w);
    world_start(w);
    settle_world(w);
    assert_true(w->ready && w->ready_ok);
}

struct world *world_together(uint64_t seed, unsigned seats) {
    struct world *w = world_new(seed);
    w->together = true;
    restart(w);
    for (unsigned k = 1; k < seats; k++) {
        world_sit(w, k);
        w->capacity = 4;
        world_start(w);
        settle_world(w);
        assert_true(w->ready && w->ready_ok);
    }
    world_sit(w, 0);
    return w;
}

unsigned seats_running(struct world *w, const char *id) {
    unsigned n = 0, seat = w->seat;
    for (unsigned k = 0; k < w->nseats; k++) {
        world_sit(w, k);
        n += run_of(w, id) != NULL;
    }
    world_sit(w, seat);
    return n;
}

struct answer *ask_status(struct world *w, const char *id) {
    uint64_t n = status(w, id, true);
    settle_world(w);
    assert_int_equal(w->answers[n].times, 1);
    return &w->answers[n];
}

struct answer *ask_result(struct world *w, const char *id) {
    uint64_t n = result(w, id);
    settle_world(w);
    assert_int_equal(w->answers[n].times, 1);
    return &w->answers[n];
}

enum queue_code ask_cancelled(struct world *w, const char *id) {
    uint64_t n = cancel(w, id);
    settle_world(w);
    assert_int_equal(w->answers[n].times, 1);
    return w->answers[n].code;
}

void finish(struct world *w, const char *id, struct queue_outcome o) {
    struct run_seen *r = run_of(w, id);
    assert_non_null(r);
    end_run(w, r->run, &o);
    settle_world(w);
}

/* --- invariants */

/* Lost ones count: they are IN_PROGRESS to those who ask. */
static void check_owners(struct world *w) {
    for (unsigned o = 0; o < 4 && w->limited[o] != NULL; o++) {
        unsigned n = 0;
        for (size_t k = 0; k < w->nrows; k++)
            n += w->rows[k].state == STORE_IN_PROGRESS &&
                 strcmp(w->rows[k].owner, w->limited[o]) == 0;
        assert_in_range(n, 0, w->limits[o]);
    }
}

void check_world(struct world *w) {
    if (!w->together) check_owners(w); /* else each server counts for itself */
    for (size_t k = 0; k < w->nrows; k++) {
        const struct fake_row *row = &w->rows[k];
        assert_int_equal(row->results, row->state == STORE_COMPLETED);
        assert_int_equal(row->outbox, row->state == STORE_COMPLETED && row->webhook[0] != '\0');
        assert_true(row->usages <= row->attempt);
    }
    for (size_t k = 0; k < w->nruns; k++) {
        const struct fake_row *row = row_of(w, w->runs[k].id);
        if (w->together && (w->runs[k].cancelled || row->attempt > w->runs[k].attempt ||
                            row->state == STORE_COMPLETED))
            continue; /* its lease is lost, and it will hear of that */
        assert_int_equal(row->state, STORE_IN_PROGRESS);
        assert_int_equal(row->attempt, w->runs[k].attempt);
        for (size_t j = 0; j < k; j++) assert_string_not_equal(w->runs[j].id, w->runs[k].id);
    }
}

/* --- faults on purpose */

void suite_must_find(const char *const faults[][2], size_t n) {
    for (size_t k = 0; k < n; k++) {
        assert_int_equal(run_itself("", faults[k][1]), 0);
        assert_int_equal(run_itself(faults[k][0], faults[k][1]), 1);
    }
}

int world_setup(void **state) {
    *state = world_new(1);
    return 0;
}

int world_teardown(void **state) {
    struct world *w = *state;
    if (w->queue != NULL) check_world(w);
    for (uint64_t n = 1; n <= w->calls; n++) assert_in_range(w->answers[n].times, 0, 1);
    world_free(w);
    return 0;
}
