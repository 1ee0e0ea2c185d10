/* The face: each call copies what it was given into one struct op and hands it to a worker. */
#include "store/sqlite.h"

#include <stdlib.h>

/* Walks over what an operation points at: first counting the bytes (at == NULL), then copying. */
struct copier {
    char *at;
    size_t bytes;
};

static void take_slice(struct copier *c, struct slice *s) {
    if (c->at == NULL) {
        c->bytes += s->len + 1;
        return;
    }
    if (s->len > 0) memcpy(c->at, s->ptr, s->len);
    c->at[s->len] = '\0';
    s->ptr = c->at;
    c->at += s->len + 1;
}

static void take_text(struct copier *c, const char **text) {
    struct slice s = slice_of(*text);
    take_slice(c, &s);
    *text = s.ptr;
}

/* Comes first of its operation's fields: the array must be aligned. */
static void take_logs(struct copier *c, const struct store_log **logs, size_t n) {
    struct store_log *lines = (struct store_log *)(void *)c->at;
    if (c->at == NULL) {
        c->bytes += n * sizeof **logs;
    } else {
        if (n > 0) memcpy(lines, *logs, n * sizeof *lines);
        c->at += n * sizeof *lines;
        *logs = lines;
    }
    for (size_t i = 0; i < n; i++) {
        struct store_log line = c->at == NULL ? (*logs)[i] : lines[i];
        take_text(c, &line.id);
        take_slice(c, &line.level);
        take_slice(c, &line.message);
        if (c->at != NULL) lines[i] = line;
    }
}

static void take_usage(struct copier *c, struct store_usage *u) {
    take_slice(c, &u->upstream);
    take_slice(c, &u->model);
    take_slice(c, &u->raw);
}

static void take_submit(struct copier *c, struct store_submit *in) {
    take_text(c, &in->id);
    take_slice(c, &in->endpoint);
    take_slice(c, &in->owner);
    take_slice(c, &in->input);
    take_slice(c, &in->webhook);
    take_slice(c, &in->hint);
    take_slice(c, &in->tags);
}

static void take_complete(struct copier *c, struct store_complete *in) {
    take_logs(c, &in->logs, in->nlogs);
    take_text(c, &in->id);
    take_text(c, &in->boot);
    take_slice(c, &in->headers);
    take_slice(c, &in->body);
    take_slice(c, &in->error);
    take_slice(c, &in->error_type);
    take_usage(c, &in->usage);
}

static void take_all(struct copier *c, enum op_kind kind, union op_in *in) {
    switch (kind) {
    case OP_SUBMIT: take_submit(c, &in->submit); break;
    case OP_CLAIM:
    case OP_RETRY:
    case OP_RELEASE:
        take_text(c, &in->lease.id);
        take_text(c, &in->lease.lease.node);
        take_text(c, &in->lease.lease.boot);
        take_usage(c, &in->lease.usage);
        break;
    case OP_COMPLETE:
    case OP_FINISH_WAITING: take_complete(c, &in->complete); break;
    case OP_LOG: take_logs(c, &in->log.lines, in->log.n); break;
    default: take_text(c, &in->one.id); break;
    }
}

static void give(struct store *base, uint64_t ticket, enum op_kind kind, union op_in *in) {
    struct copier c = {NULL, 0};
    take_all(&c, kind, in);
    struct op *op = malloc(sizeof *op + c.bytes);
    if (op == NULL) {
        sqlite_give_failed(sqlite_of(base), ticket);
        return;
    }
    memset(op, 0, sizeof *op);
    op->ticket = ticket;
    op->kind = kind;
    op->bytes = c.bytes;
    op->in = *in;
    arena_init(&op->mem, SIZE_MAX);
    c.at = op->copies;
    take_all(&c, kind, &op->in);
    sqlite_give(sqlite_of(base), op);
}

static void give_submit(struct store *s, uint64_t ticket, const struct store_submit *in) {
    give(s, ticket, OP_SUBMIT, &(union op_in){.submit = *in});
}

static void give_claim(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                       const struct store_lease *lease, int64_t started_ms) {
    union op_in in = {
        .lease = {.id = id, .attempt = attempt, .lease = *lease, .at_ms = started_ms}};
    give(s, ticket, OP_CLAIM, &in);
}

static void give_retry(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                       uint64_t token, const struct store_lease *lease,
                       const struct store_usage *usage, int64_t at_ms) {
    union op_in in = {
        .lease = {id, attempt, token, *lease, *usage, at_ms},
    };
    give(s, ticket, OP_RETRY, &in);
}

static void give_release(struct store *s, uint64_t ticket, const char *id, uint32_t attempt,
                         uint64_t token, const struct store_usage *usage, int64_t at_ms) {
    union op_in in = {
        .lease = {.id = id, .attempt = attempt, .token = token, .usage = *usage, .at_ms = at_ms},
    };
    give(s, ticket, OP_RELEASE, &in);
}

static void give_complete(struct store *s, uint64_t ticket, const struct store_complete *in) {
    give(s, ticket, OP_COMPLETE, &(union op_in){.complete = *in});
}

static void give_finish_waiting(struct store *s, uint64_t ticket, const struct store_complete *in) {
    give(s, ticket, OP_FINISH_WAITING, &(union op_in){.complete = *in});
}

static void give_request_cancel(struct store *s, uint64_t ticket, const char *id, int64_t at_ms) {
    give(s, ticket, OP_REQUEST_CANCEL, &(union op_in){.one = {.id = id, .at_ms = at_ms}});
}

static void give_sweep(struct store *s, uint64_t ticket, int64_t now_ms, unsigned max) {
    give(s, ticket, OP_SWEEP, &(union op_in){.one = {.at_ms = now_ms, .max = max}});
}

static void give_log(struct store *s, uint64_t ticket, const struct store_log *lines, size_t n) {
    give(s, ticket, OP_LOG, &(union op_in){.log = {lines, n}});
}

static void give_get(struct store *s, uint64_t ticket, const char *id, unsigned parts) {
    give(s, ticket, OP_GET, &(union op_in){.one = {.id = id, .parts = parts}});
}

static void give_logs(struct store *s, uint64_t ticket, const char *id) {
    give(s, ticket, OP_LOGS, &(union op_in){.one = {.id = id}});
}

static void give_pending(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_PENDING, &(union op_in){.one = {.id = NULL}});
}

static void give_ping(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_PING, &(union op_in){.one = {.id = NULL}});
}

const struct store_backend sqlite_backend = {
    .name = "sqlite",
    .submit = give_submit,
    .claim = give_claim,
    .retry = give_retry,
    .release = give_release,
    .complete = give_complete,
    .finish_waiting = give_finish_waiting,
    .request_cancel = give_request_cancel,
    .sweep = give_sweep,
    .log = give_log,
    .get = give_get,
    .logs = give_logs,
    .pending = give_pending,
    .ping = give_ping,
    .close = sqlite_close,
};
