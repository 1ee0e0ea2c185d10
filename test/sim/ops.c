/* Operations on their way to the shared store and back. Writes of one server are applied in the order in which they were
 * given, several at once; reads go a way of their own and may be faster. A server that dies takes with it what was not
 * applied, and the answers it has not heard. */
#include "sim/rules.h"

const char *const op_names[OP_KINDS] = {
    [OP_JOIN] = "join",         [OP_BEAT] = "beat",
    [OP_BURY] = "bury",         [OP_LEAVE] = "leave",
    [OP_SUBMIT] = "submit",     [OP_CLAIM] = "claim",
    [OP_RETRY] = "retry",       [OP_RELEASE] = "release",
    [OP_COMPLETE] = "complete", [OP_FINISH] = "finish_waiting",
    [OP_CANCEL] = "cancel",     [OP_SWEEP] = "sweep",
    [OP_RETAIN] = "retain",     [OP_LOG] = "log",
    [OP_HOOK_NOTE] = "note",    [OP_NODES] = "nodes",
    [OP_GET] = "get",           [OP_LOGS] = "logs",
    [OP_PENDING] = "pending",   [OP_HOOKS] = "hooks",
};

/* --- given */

static uint64_t pause_ms(struct sim *s) {
    const struct habits *h = &s->habits;
    if (!s->calm && chance(s, h->slow_store)) return draw_skewed(s, 8000);
    return draw(s, s->calm ? 2 : 6);
}

struct op *op_give(struct store *store, enum op_kind kind, uint64_t ticket, const char *id) {
    struct server *v = (struct server *)store;
    struct ops *o = &v->ops[kind >= OP_NODES];
    struct op *op = need(calloc(1, sizeof *op));
    op->kind = kind;
    op->ticket = ticket;
    op->given_ms = v->sim->now_ms;
    if (id != NULL) COPY(op->id, slice_of(id));
    if (o->given == NULL) o->apply_ms = v->sim->now_ms + pause_ms(v->sim);
    *o->given_tail = op;
    o->given_tail = &op->next;
    return op;
}

void op_free(struct op *op) {
    free(op->row);
    free(op->lines.base);
    free(op->list);
    free(op);
}

static void join(struct store *s, uint64_t ticket, const char *node, const char *boot, bool alone,
                 int64_t at_ms) {
    struct op *op = op_give(s, OP_JOIN, ticket, NULL);
    COPY(op->node, slice_of(node));
    COPY(op->boot, slice_of(boot));
    COPY(((struct server *)s)->boot, slice_of(boot));
    op->alone = alone;
    op->at_ms = at_ms;
}

static void beat(struct store *s, uint64_t ticket, const char *boot, int64_t at_ms) {
    struct op *op = op_give(s, OP_BEAT, ticket, NULL);
    COPY(op->boot, slice_of(boot));
    op->at_ms = at_ms;
}

static void bury(struct store *s, uint64_t ticket, const char *boot, uint64_t seen) {
    struct op *op = op_give(s, OP_BURY, ticket, NULL);
    COPY(op->boot, slice_of(boot));
    op->number = seen;
}

static void leave(struct store *s, uint64_t ticket, const char *boot) {
    COPY(op_give(s, OP_LEAVE, ticket, NULL)->boot, slice_of(boot));
}

static void nodes(struct store *s, uint64_t ticket) {
    op_give(s, OP_NODES, ticket, NULL);
}

static void submit(struct store *s, uint64_t ticket, const struct store_submit *in) {
    struct op *op = op_give(s, OP_SUBMIT, ticket, in->id);
    struct row *r = op->row = need(calloc(1, sizeof *r));
    memcpy(r->id, op->id, sizeof r->id);
    COPY(r->endpoint, in->endpoint);
    COPY(r->owner, in->owner);
    COPY(r->key_id, in->key_id);
    COPY(r->model, in->model);
    COPY(r->input, in->input);
    COPY(r->webhook, in->webhook);
    COPY(r->idempotency, in->idempotency_key);
    memcpy(r->body_hash, in->body_hash, sizeof r->body_hash);
    r->asked_ms = in->now_ms;
    r->idempotency_until_ms = in->idempotency_until_ms;
    r->wishes = in->wishes;
    r->priority = in->priority;
    r->no_retry = in->no_retry;
    r->created_ms = in->created_ms;
    r->ask = (unsigned)strtoul(r->input, NULL, 10);
    const struct server *v = (const struct server *)s;
    r->born_ms = v->sim->now_ms;
    r->born_mono_ms = server_mono(v);
    r->born_server = v->number;
    r->born_lives = v->lives;
    op->only_known = in->only_known;
}

static void take_lease(struct op *op, const struct store_lease *lease) {
    op->next_token = lease->token;
    COPY(op->boot, slice_of(lease->boot));
}

static unsigned call_of(const struct store_usage *u) {
    return u->present ? upstream_number(u->raw) : 0;
}

static void claim(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                  const struct store_lease *lease, int64_t started_ms) {
    struct op *op = op_give(s, OP_CLAIM, ticket, id);
    op->attempt = attempt;
    op->at_ms = started_ms;
    take_lease(op, lease);
}

static void retry(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                  uint64_t token, const struct store_lease *lease, const struct store_usage *usage,
                  int64_t at_ms) {
    struct op *op = op_give(s, OP_RETRY, ticket, id);
    op->attempt = attempt;
    op->token = token;
    op->call = call_of(usage);
    take_lease(op, lease);
}

static void release(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                    uint64_t token, const struct store_usage *usage, int64_t at_ms) {
    struct op *op = op_give(s, OP_RELEASE, ticket, id);
    op->attempt = attempt;
    op->token = token;
    op->call = call_of(usage);
}

static void take_lines(struct op *op, const struct store_log *lines, size_t n) {
    static const char mark[] = "line of call ";
    op->lines.base = need(calloc(n + 1, sizeof *op->lines.base));
    op->lines.n = n;
    for (size_t k = 0; k < n; k++) {
        struct line *l = &op->lines.base[k];
        l->at_ms = lines[k].at_ms;
        COPY(l->text, lines[k].message);
        if (strncmp(l->text, mark, strlen(mark)) == 0)
            l->call = (unsigned)strtoul(l->text + strlen(mark), NULL, 10);
    }
}

static void take_end(struct op *op, const struct store_complete *in) {
    struct end *e = &(op->row = need(calloc(1, sizeof *op->row)))->end;
    op->attempt = in->attempt;
    op->token = in->token;
    op->at_ms = in->completed_ms;
    op->due_at_ms = in->forget_ms;
    op->call = call_of(&in->usage);
    if (in->boot != NULL) COPY(op->boot, slice_of(in->boot));
    e->http_status = in->http_status;
    COPY(e->headers, in->headers);
    COPY(e->body, in->body);
    COPY(e->error, in->error);
    COPY(e->error_type, in->error_type);
    e->inference_ms = in->inference_ms;
    take_lines(op, in->logs, in->nlogs);
}

static void complete(struct store *s, uint64_t ticket, const struct store_complete *in) {
    take_end(op_give(s, OP_COMPLETE, ticket, in->id), in);
}

static void finish_waiting(struct store *s, uint64_t ticket, const struct store_complete *in) {
    take_end(op_give(s, OP_FINISH, ticket, in->id), in);
}

static void request_cancel(struct store *s, uint64_t ticket, const char *id, int64_t at_ms) {
    op_give(s, OP_CANCEL, ticket, id)->at_ms = at_ms;
}

static void sweep(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max) {
    struct op *op = op_give(s, OP_SWEEP, ticket, NULL);
    op->at_ms = now_ms;
    op->limit = max;
}

static void retain(struct store *s, uint64_t ticket, const struct store_retention *r) {
    struct op *op = op_give(s, OP_RETAIN, ticket, NULL);
    op->at_ms = r->older_than_ms;
    op->limit = r->max;
}

/* The queue gives lines of one request at a time. */
static void log_lines(struct store *s, uint64_t ticket, const struct store_log *lines, size_t n) {
    struct op *op = op_give(s, OP_LOG, ticket, n > 0 ? lines[0].id : NULL);
    op->attempt = n > 0 ? lines[0].attempt : 0;
    op->token = n > 0 ? lines[0].token : 0;
    take_lines(op, lines, n);
}

static void get(struct store *s, uint64_t ticket, const char *id, unsigned parts) {
    op_give(s, OP_GET, ticket, id)->parts = parts;
}

static void logs(struct store *s, uint64_t ticket, const char *id) {
    op_give(s, OP_LOGS, ticket, id);
}

static void pending(struct store *s, uint64_t ticket, uint64_t after, unsigned limit) {
    struct op *op = op_give(s, OP_PENDING, ticket, NULL);
    op->number = after;
    op->limit = limit;
}

const struct store_backend ops_backend = {
    .name = "simulated",
    .join = join,
    .beat = beat,
    .bury = bury,
    .leave = leave,
    .nodes = nodes,
    .submit = submit,
    .claim = claim,
    .retry = retry,
    .release = release,
    .complete = complete,
    .finish_waiting = finish_waiting,
    .request_cancel = request_cancel,
    .sweep = sweep,
    .retain = retain,
    .log = log_lines,
    .get = get,
    .logs = logs,
    .pending = pending,
};

/* --- applied and answered */

static void apply_first(struct server *v, struct ops *o) {
    struct sim *s = v->sim;
    struct op *op = o->given;
    o->given = op->next;
    if (o->given == NULL) o->given_tail = &o->given;
    op->next = NULL;
    bool write = o == &v->ops[0];
    op->reply.status = STORE_OK;
    if (write && v->tired_ms != 0)
        op->reply.status = STORE_UNAVAILABLE;
    else if (!s->calm && s->habits.fail > 0 && draw(s, 400) == 0)
        op->reply.status = STORE_MEMORY;
    if (op->reply.status == STORE_OK)
        disk_apply(v, op);
    else
        trace(s, "%s: %s %.8s: %s", v->name, op_names[op->kind], op->id + 28,
              op->reply.status == STORE_MEMORY ? "no memory" : "unavailable");
    struct row *r = op->kind == OP_CLAIM ? disk_had(s, op->id) : NULL;
    if (r != NULL && op->reply.status > STORE_NOT_FOUND) r->put_back = true;
    if (op->reply.status > STORE_NOT_FOUND) v->unwritten = true;
    op->due_ms = s->now_ms + pause_ms(s) / 2;
    *o->applied_tail = op;
    o->applied_tail = &op->next;
}

/* One commit: so many of the first of them. */
static void commit(struct server *v, struct ops *o) {
    do apply_first(v, o);
    while (o->given != NULL && !chance(v->sim, 20));
    o->apply_ms = v->sim->now_ms + pause_ms(v->sim);
}

/* What the rules must know of an answer. */
static void heard(struct server *v, const struct op *op) {
    struct row *r;
    for (size_t k = 0; op->kind == OP_BEAT && k < op->reply.npending; k++) {
        r = disk_row(v->sim, op->reply.pending[k].id);
        if (r != NULL && r->told_ms == 0) r->told_ms = v->sim->now_ms;
    }
    if (op->kind != OP_CLAIM || op->reply.status != STORE_OK || op->attempt > 0) return;
    if ((r = disk_row(v->sim, op->id)) != NULL) rules_leased(v, r);
}

static void answer_first(struct server *v, struct ops *o) {
    struct op *op = o->applied;
    o->applied = op->next;
    if (o->applied == NULL) o->applied_tail = &o->applied;
    heard(v, op);
    struct row *r = op->id[0] != '\0' ? disk_had(v->sim, op->id) : NULL;
    if (r != NULL) r->touched_ms = v->sim->now_ms;
    if (op->kind == OP_HOOKS || op->kind == OP_HOOK_NOTE)
        hooks_answered(v, op);
    else
        queue_store_done(v->queue, op->ticket, &op->reply);
    op_free(op);
    server_soon(v);
}

static uint64_t due_of(const struct ops *o) {
    uint64_t due = o->given != NULL ? o->apply_ms : NEVER;
    return o->applied != NULL && o->applied->due_ms < due ? o->applied->due_ms : due;
}

uint64_t ops_due(const struct server *v) {
    uint64_t writes = due_of(&v->ops[0]), reads = due_of(&v->ops[1]);
    uint64_t due = writes < reads ? writes : reads;
    if (due != NEVER && due < v->cut_until_ms) due = v->cut_until_ms;
    return due;
}

void ops_run(struct server *v) {
    struct ops *o = &v->ops[due_of(&v->ops[1]) < due_of(&v->ops[0])];
    if (o->applied != NULL && (o->given == NULL || o->applied->due_ms <= o->apply_ms))
        answer_first(v, o);
    else
        commit(v, o);
}

static void drop_all(struct op **first, struct op ***tail) {
    for (struct op *op = *first, *next; op != NULL; op = next) {
        next = op->next;
        op_free(op);
    }
    *first = NULL;
    *tail = first;
}

/* Part of what was on its way may have come into the last commit. */
void ops_drop(struct server *v) {
    struct ops *o = &v->ops[0];
    while (o->given != NULL && v->sim->now_ms >= v->cut_until_ms && chance(v->sim, 40))
        apply_first(v, o);
    for (unsigned k = 0; k < 2; k++) {
        drop_all(&v->ops[k].given, &v->ops[k].given_tail);
        drop_all(&v->ops[k].applied, &v->ops[k].applied_tail);
    }
}

void ops_finish(struct server *v) {
    for (unsigned k = 0; k < 2; k++) {
        struct ops *o = &v->ops[k];
        while (o->given != NULL || o->applied != NULL) {
            while (o->given != NULL) apply_first(v, o);
            while (o->applied != NULL) answer_first(v, o);
        }
    }
}
