/* What is durable, and under which guard it changes: store.h, word for word. An operation is applied here in one moment. */
#include "sim/rules.h"

bool disk_lives(const struct sim *s, const char *boot) {
    for (size_t k = 0; k < s->nliving; k++)
        if (strcmp(s->living[k].boot, boot) == 0) return true;
    return false;
}

/* Ids end in random digits: most others differ in the last ones. */
static bool same_id(const char *a, const char *b) {
    return memcmp(a + 24, b + 24, 12) == 0 && strcmp(a, b) == 0;
}

struct row *disk_had(struct sim *s, const char *id) {
    if (strlen(id) != STORE_ID_BYTES - 1) return NULL;
    for (size_t k = s->nrows; k-- > 0;)
        if (same_id(s->rows[k]->id, id)) return s->rows[k];
    return NULL;
}

struct row *disk_row(struct sim *s, const char *id) {
    struct row *r = disk_had(s, id);
    return r != NULL && !r->swept ? r : NULL;
}

/* --- boots */

/* From here on its rows are anybody's. */
static void dies(struct sim *s, size_t k) {
    for (size_t n = 0; n < s->nrows; n++) {
        struct row *r = s->rows[n];
        if (r->state != STORE_IN_PROGRESS || strcmp(r->boot, s->living[k].boot) != 0) continue;
        if (r->loose) continue;
        r->loose = true;
        r->lost_ms = s->now_ms;
        r->losses++;
    }
    s->living[k] = s->living[--s->nliving];
}

static void seen(const struct sim *s, struct living *l) {
    l->seen_ms = s->now_ms;
    for (unsigned k = 0; k < SERVERS; k++) {
        const struct server *v = &s->servers[k];
        uint64_t left_ms = v->frozen_until_ms > s->now_ms ? v->frozen_until_ms - s->now_ms : 0;
        l->stood_ms[k] = v->stood_ms - left_ms;
        l->stood[k] = v->stood - (left_ms > 0);
    }
}

static enum store_status join(struct server *by, struct op *op, struct row *r) {
    struct sim *s = by->sim;
    for (size_t k = s->nliving; k-- > 0;)
        if (op->alone || strcmp(s->living[k].node, op->node) == 0) dies(s, k);
    struct living *l = &s->living[s->nliving++];
    *l = (struct living){.at_ms = op->at_ms, .beat = ++s->lives << 32};
    seen(s, l);
    COPY(l->boot, slice_of(op->boot));
    COPY(l->node, slice_of(op->node));
    return STORE_OK;
}

static struct living *find_living(struct sim *s, const char *boot) {
    for (size_t k = 0; k < s->nliving; k++)
        if (strcmp(s->living[k].boot, boot) == 0) return &s->living[k];
    return NULL;
}

static struct store_pending pending_of(const struct row *r) {
    struct store_pending p = {.state = r->state,
                              .attempt = r->attempt,
                              .crashes = r->crashes,
                              .seq = r->seq,
                              .priority = r->priority,
                              .no_retry = r->no_retry,
                              .cancel_requested = r->cancel_requested,
                              .has_webhook = r->webhook[0] != '\0',
                              .released = r->released,
                              .endpoint = slice_of(r->endpoint),
                              .owner = slice_of(r->owner),
                              .model = slice_of(r->model),
                              .created_ms = r->created_ms,
                              .started_ms = r->started_ms,
                              .wishes = r->wishes};
    memcpy(p.id, r->id, sizeof p.id);
    memcpy(p.boot, r->boot, sizeof p.boot);
    p.held = r->state == STORE_IN_PROGRESS && !r->loose;
    return p;
}

static void add_pending(struct sim *s, struct op *op, const struct row *r) {
    struct store_pending *list = op->list;
    if (list == NULL) op->list = list = need(calloc(s->nrows, sizeof *list));
    list[op->reply.npending++] = pending_of(r);
    op->reply.pending = list;
}

static enum store_status beat(struct server *by, struct op *op, struct row *r) {
    struct sim *s = by->sim;
    struct living *l = find_living(s, op->boot);
    if (l == NULL) return STORE_STALE;
    l->beat++;
    seen(s, l);
    l->at_ms = op->at_ms;
    for (size_t k = 0; k < s->nrows; k++)
        if (s->rows[k]->state == STORE_IN_PROGRESS && s->rows[k]->cancel_requested &&
            strcmp(s->rows[k]->boot, op->boot) == 0)
            add_pending(s, op, s->rows[k]);
    return STORE_OK;
}

static enum store_status bury(struct server *by, struct op *op, struct row *r) {
    struct sim *s = by->sim;
    struct living *l = find_living(s, op->boot);
    if (l == NULL || l->beat != op->number) return STORE_STALE;
    rules_buried(by, l);
    dies(s, (size_t)(l - s->living));
    return STORE_OK;
}

static enum store_status leave(struct server *by, struct op *op, struct row *r) {
    struct living *l = find_living(by->sim, op->boot);
    if (l != NULL) rules_left(by);
    if (l != NULL) dies(by->sim, (size_t)(l - by->sim->living));
    return l != NULL ? STORE_OK : STORE_STALE;
}

static enum store_status nodes(struct server *by, struct op *op, struct row *r) {
    struct sim *s = by->sim;
    struct store_node *list = op->list = need(calloc(s->nliving + 1, sizeof *list));
    for (size_t k = 0; k < s->nliving; k++) {
        list[k] = (struct store_node){.node = slice_of(by->sim->servers[0].name),
                                      .beat = s->living[k].beat,
                                      .at_ms = s->living[k].at_ms};
        memcpy(list[k].boot, s->living[k].boot, sizeof list[k].boot);
        for (unsigned n = 0; n < SERVERS; n++)
            if (strcmp(s->servers[n].name, s->living[k].node) == 0)
                list[k].node = slice_of(s->servers[n].name);
    }
    op->reply.living = list;
    op->reply.nliving = s->nliving;
    return STORE_OK;
}

/* --- rows as they are answered */

static void reply_row(struct op *op, const struct row *r) {
    struct row *copy = op->row = need(op->row != NULL ? op->row : malloc(sizeof *copy));
    *copy = *r;
    copy->lines = (struct lines){0};
    struct store_row *o = &op->out;
    *o = (struct store_row){.endpoint = slice_of(copy->endpoint),
                            .owner = slice_of(copy->owner),
                            .key_id = slice_of(copy->key_id),
                            .input = slice_of(copy->input),
                            .webhook = slice_of(copy->webhook),
                            .state = copy->state,
                            .priority = copy->priority,
                            .no_retry = copy->no_retry,
                            .cancel_requested = copy->cancel_requested,
                            .attempt = copy->attempt,
                            .seq = copy->seq,
                            .created_ms = copy->created_ms,
                            .started_ms = copy->started_ms,
                            .completed_ms = copy->completed_ms,
                            .forget_ms = copy->forget_ms,
                            .wishes = copy->wishes,
                            .model = slice_of(copy->model),
                            .http_status = copy->end.http_status,
                            .headers = slice_of(copy->end.headers),
                            .body = slice_of(copy->end.body),
                            .error = slice_of(copy->end.error),
                            .error_type = slice_of(copy->end.error_type),
                            .inference_ms = copy->end.inference_ms};
    memcpy(o->id, copy->id, sizeof o->id);
    op->reply.row = o;
    op->reply.seq = copy->seq;
}

static struct row *known(struct sim *s, const struct row *in) {
    for (size_t k = s->nrows; k-- > 0 && in->idempotency[0] != '\0';) {
        struct row *r = s->rows[k];
        if (!r->swept && strcmp(r->idempotency, in->idempotency) == 0 &&
            strcmp(r->owner, in->owner) == 0 && strcmp(r->key_id, in->key_id) == 0 &&
            strcmp(r->endpoint, in->endpoint) == 0 && in->asked_ms < r->idempotency_until_ms)
            return r;
    }
    return NULL;
}

static enum store_status submit(struct server *by, struct op *op, struct row *r) {
    struct sim *s = by->sim;
    struct row *first = known(s, op->row);
    if (first != NULL) {
        op->reply.same_body = memcmp(first->body_hash, op->row->body_hash, 32) == 0;
        reply_row(op, first);
        return STORE_KNOWN;
    }
    if (op->only_known) return STORE_NOT_FOUND;
    if (r != NULL) return STORE_STALE;
    r = s->rows[s->nrows++] = op->row;
    op->row = NULL;
    op->reply.seq = r->seq = ++s->seq;

    r->end.inference_ms = -1;
    for (unsigned k = 0; k < SERVERS; k++) r->at[k].position = NEVER;
    return STORE_OK;
}

/* --- leases */

static bool loose(const struct op *op, const struct row *r) {
    return r->attempt == op->attempt && r->state != STORE_COMPLETED &&
           (r->loose || r->state == STORE_IN_QUEUE);
}

static bool held(const struct op *op, const struct row *r) {
    return r->attempt == op->attempt && r->token == op->token && r->state == STORE_IN_PROGRESS;
}

static void lease(struct server *by, struct op *op, struct row *r) {
    r->holder = by->number;
    r->holder_boots = by->boots;
    r->leased_at = by->sim->applies;
    r->by_retry = op->kind == OP_RETRY;
    r->told_ms = 0;
    r->attempt++;
    if (op->kind == OP_CLAIM) r->claimed_attempt = r->attempt;
    r->token = op->next_token;
    r->released = false;
    memcpy(r->boot, op->boot, sizeof r->boot);
    reply_row(op, r);
}

static enum store_status claim(struct server *by, struct op *op, struct row *r) {
    if (!loose(op, r)) return STORE_STALE;
    rules_claimed(by, r, op);
    r->crashes += r->state == STORE_IN_PROGRESS && r->boot[0] != '\0';
    r->state = STORE_IN_PROGRESS;
    if (r->started_ms == 0) r->started_ms = op->at_ms;
    lease(by, op, r);
    r->loose = !disk_lives(by->sim, op->boot); /* a claim of one that is buried holds nothing */
    r->losses += r->loose;
    return STORE_OK;
}

static void charge(struct sim *s, struct row *r, uint32_t attempt, unsigned call) {
    if (call == 0) return;
    rules_charged(s, r, attempt, call);
    if (s->ncharges == s->charge_room)
        s->charges = need(realloc(s->charges, (s->charge_room += 64) * sizeof *s->charges));
    s->charges[s->ncharges++] = (struct charge){r, attempt, call};
}

static enum store_status retry(struct server *by, struct op *op, struct row *r) {
    if (!held(op, r)) return STORE_STALE;
    rules_paid(by->sim, r, op);
    charge(by->sim, r, op->attempt, op->call);
    lease(by, op, r);
    return STORE_OK;
}

static enum store_status release(struct server *by, struct op *op, struct row *r) {
    if (!held(op, r)) return STORE_STALE;
    rules_paid(by->sim, r, op);
    charge(by->sim, r, op->attempt, op->call);
    r->losses += !r->loose;
    r->loose = true;
    r->boot[0] = '\0';
    r->token = 0;
    r->released = true;
    return STORE_OK;
}

/* --- the end */

static void add_lines(struct server *by, struct row *r, const struct op *op) {
    struct lines *all = &r->lines;
    if (op->lines.n == 0) return;
    all->base = need(realloc(all->base, (all->n + op->lines.n) * sizeof *all->base));
    memcpy(all->base + all->n, op->lines.base, op->lines.n * sizeof *all->base);
    for (size_t k = 0; k < op->lines.n; k++) rules_logged(by, r, &op->lines.base[k]);
    all->n += op->lines.n;
}

static enum store_status end(struct server *by, struct op *op, struct row *r, bool by_holder) {
    rules_ended(by, r, op, by_holder);
    r->results++;
    r->state = STORE_COMPLETED;
    r->end = op->row->end;
    r->completed_ms = op->at_ms;
    r->ended_ms = by->sim->now_ms;
    r->end_given_ms = op->given_ms;
    r->forget_ms = op->due_at_ms;
    if (r->forget_ms != 0) r->input[0] = '\0';
    charge(by->sim, r, op->attempt, op->call);
    add_lines(by, r, op);
    if (by_holder) rules_completed(by, r, op);
    if (r->webhook[0] == '\0') return STORE_OK;
    r->hooks++;
    r->hook_due_ms = op->at_ms;
    return STORE_OK;
}

static enum store_status complete(struct server *by, struct op *op, struct row *r) {
    if (!held(op, r) && !broken(BROKEN_LATE_WRITE)) return STORE_STALE;
    if (held(op, r)) rules_paid(by->sim, r, op);
    return end(by, op, r, true);
}

static enum store_status finish(struct server *by, struct op *op, struct row *r) {
    return loose(op, r) ? end(by, op, r, false) : STORE_STALE;
}

static enum store_status cancel(struct server *by, struct op *op, struct row *r) {
    op->reply.state = r->state;
    if (r->state == STORE_COMPLETED || r->cancel_requested) return STORE_OK;
    r->cancel_requested = true;
    r->marked_at = by->sim->applies;
    r->marked_by = by->number;
    r->marked_boots = by->boots;
    return STORE_OK;
}

static bool waits_for_receiver(const struct row *r) {
    return r->hooks > 0 && r->hook_state == STORE_WEBHOOK_WAITING;
}

static enum store_status sweep(struct server *by, struct op *op, struct row *unused) {
    struct store_reply *reply = &op->reply;
    for (size_t k = 0; k < by->sim->nrows; k++) {
        struct row *r = by->sim->rows[k];
        if (r->forget_ms == 0 || r->swept) continue;
        r->swept = r->forget_ms <= op->at_ms && reply->swept < op->limit && !waits_for_receiver(r);
        if (r->swept) rules_swept(by, r, QUEUE_SHORT_KEEP_MS);
        reply->swept += r->swept;
        if (!r->swept && (reply->forget_ms == 0 || r->forget_ms < reply->forget_ms))
            reply->forget_ms = r->forget_ms;
    }
    return STORE_OK;
}

static enum store_status retain(struct server *by, struct op *op, struct row *unused) {
    for (size_t k = 0; k < by->sim->nrows; k++) {
        struct row *r = by->sim->rows[k];
        if (r->state != STORE_COMPLETED || r->swept || waits_for_receiver(r)) continue;
        if (op->at_ms == 0 || r->completed_ms >= op->at_ms) continue;
        op->reply.more = op->reply.swept >= op->limit;
        if (op->reply.more) break;
        r->swept = true;
        rules_swept(by, r, (uint64_t)by->sim->habits.retention_ms);
        op->reply.swept++;
    }
    return STORE_OK;
}

static enum store_status log_lines(struct server *by, struct op *op, struct row *r) {
    bool after = op->token == 0 && r->state == STORE_COMPLETED;
    if (held(op, r) || after) add_lines(by, r, op);
    return STORE_OK;
}

static enum store_status hook_note(struct server *by, struct op *op, struct row *r) {
    if (r->hooks == 0) return STORE_NOT_FOUND;
    if (r->hook_state != STORE_WEBHOOK_WAITING || r->hook_tries != op->attempt) return STORE_STALE;
    r->hook_tries++;
    r->hook_state = op->hook_state;
    r->hook_due_ms = op->due_at_ms;
    return STORE_OK;
}

/* --- reads */

static void reply_lines(struct op *op, const struct row *r) {
    struct line *copy = op->lines.base = need(malloc((r->lines.n + 1) * sizeof *copy));
    struct store_log *list = op->list = need(calloc(r->lines.n + 1, sizeof *list));
    if (r->lines.n > 0) memcpy(copy, r->lines.base, r->lines.n * sizeof *copy);
    for (size_t k = 0; k < r->lines.n; k++)
        list[k] = (struct store_log){.id = op->id,
                                     .at_ms = copy[k].at_ms,
                                     .level = SLICE("INFO"),
                                     .message = slice_of(copy[k].text)};
    op->reply.logs = list;
    op->reply.nlogs = r->lines.n;
}

static enum store_status get(struct server *by, struct op *op, struct row *r) {
    reply_row(op, r);
    if (op->parts & STORE_LOGS) reply_lines(op, r);
    return STORE_OK;
}

static enum store_status logs(struct server *by, struct op *op, struct row *r) {
    reply_lines(op, r);
    return STORE_OK;
}

/* Pieces are smaller than asked for now and then. */
static enum store_status pending(struct server *by, struct op *op, struct row *unused) {
    struct sim *s = by->sim;
    size_t limit = op->limit > 0 && op->limit < s->nrows ? op->limit : s->nrows;
    if (op->limit > 0 && limit > 3 && chance(s, 50)) limit = 3;
    for (size_t k = 0; k < s->nrows; k++) { /* rows are in order of seq */
        const struct row *r = s->rows[k];
        if (r->state == STORE_COMPLETED || r->seq <= op->number) continue;
        op->reply.more = op->reply.npending >= limit;
        if (op->reply.more) break;
        add_pending(s, op, r);
    }
    return STORE_OK;
}

static enum store_status hooks(struct server *by, struct op *op, struct row *unused) {
    struct sim *s = by->sim;
    struct store_webhook *list = op->list = need(calloc(s->nrows + 1, sizeof *list));
    for (size_t k = 0; k < s->nrows; k++) {
        const struct row *r = s->rows[k];
        if (!waits_for_receiver(r)) continue;
        struct store_webhook *h = &list[op->reply.nwebhooks++];
        *h = (struct store_webhook){.attempt = r->hook_tries, .due_ms = r->hook_due_ms};
        memcpy(h->id, r->id, sizeof h->id);
    }
    op->reply.webhooks = list;
    return STORE_OK;
}

/* --- */

void disk_apply(struct server *by, struct op *op) {
    static const struct {
        enum store_status (*apply)(struct server *by, struct op *op, struct row *r);
        bool of_row; /* NOT_FOUND without one */
    } kinds[OP_KINDS] = {
        [OP_JOIN] = {join, false},
        [OP_BEAT] = {beat, false},
        [OP_BURY] = {bury, false},
        [OP_LEAVE] = {leave, false},
        [OP_SUBMIT] = {submit, false},
        [OP_CLAIM] = {claim, true},
        [OP_RETRY] = {retry, true},
        [OP_RELEASE] = {release, true},
        [OP_COMPLETE] = {complete, true},
        [OP_FINISH] = {finish, true},
        [OP_CANCEL] = {cancel, true},
        [OP_SWEEP] = {sweep, false},
        [OP_RETAIN] = {retain, false},
        [OP_LOG] = {log_lines, true},
        [OP_HOOK_NOTE] = {hook_note, true},
        [OP_NODES] = {nodes, false},
        [OP_GET] = {get, true},
        [OP_LOGS] = {logs, true},
        [OP_PENDING] = {pending, false},
        [OP_HOOKS] = {hooks, false},
    };
    by->sim->applies++;
    struct row *r = op->id[0] != '\0' ? disk_row(by->sim, op->id) : NULL;
    if (kinds[op->kind].of_row && r == NULL)
        op->reply.status = op->kind == OP_LOG ? STORE_OK : STORE_NOT_FOUND;
    else
        op->reply.status = kinds[op->kind].apply(by, op, r);
    trace(by->sim, "%s: %s %.8s attempt %u: %s", by->name, op_names[op->kind], op->id + 28,
          op->attempt, store_status_name(op->reply.status));
}
