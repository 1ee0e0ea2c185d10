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

/* As take_logs. */
static void take_charges(struct copier *c, const struct store_charge **charges, size_t n) {
    struct store_charge *rows = (struct store_charge *)(void *)c->at;
    if (c->at == NULL) {
        c->bytes += n * sizeof **charges;
    } else {
        if (n > 0) memcpy(rows, *charges, n * sizeof *rows);
        c->at += n * sizeof *rows;
        *charges = rows;
    }
    for (size_t i = 0; i < n; i++) {
        struct store_charge row = c->at == NULL ? (*charges)[i] : rows[i];
        take_slice(c, &row.owner);
        take_slice(c, &row.key_id);
        take_slice(c, &row.endpoint);
        take_usage(c, &row.usage);
        if (c->at != NULL) rows[i] = row;
    }
}

/* As take_logs. */
static void take_slices(struct copier *c, const struct slice **slices, size_t n) {
    struct slice *copies = (struct slice *)(void *)c->at;
    if (c->at == NULL) {
        c->bytes += n * sizeof **slices;
    } else {
        if (n > 0) memcpy(copies, *slices, n * sizeof *copies);
        c->at += n * sizeof *copies;
        *slices = copies;
    }
    for (size_t i = 0; i < n; i++) {
        struct slice s = c->at == NULL ? (*slices)[i] : copies[i];
        take_slice(c, &s);
        if (c->at != NULL) copies[i] = s;
    }
}

static void take_submit(struct copier *c, struct store_submit *in) {
    take_text(c, &in->id);
    take_slice(c, &in->endpoint);
    take_slice(c, &in->owner);
    take_slice(c, &in->input);
    take_slice(c, &in->webhook);
    take_slice(c, &in->hint);
    take_slice(c, &in->tags);
    take_slice(c, &in->key_id);
    take_slice(c, &in->model);
    take_slice(c, &in->idempotency_key);
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

static void take_ledger(struct copier *c, struct store_ledger_query *q) {
    take_slices(c, &q->endpoints, q->nendpoints);
    take_slice(c, &q->owner);
    take_slice(c, &q->key_id);
    take_slice(c, &q->id);
}

static void take_requests(struct copier *c, struct store_request_query *q) {
    take_slice(c, &q->owner);
    take_slice(c, &q->endpoint);
    take_slice(c, &q->id);
}

static void take_file(struct copier *c, struct store_file *f) {
    take_slice(c, &f->owner);
    take_slice(c, &f->name);
    take_slice(c, &f->content_type);
    take_slice(c, &f->acl);
}

static void take_key(struct copier *c, struct store_key *k) {
    take_slice(c, &k->id);
    take_slice(c, &k->alias);
    take_slice(c, &k->owner);
}

static void take_one(struct copier *c, const char **id, struct slice *text) {
    take_text(c, id);
    take_slice(c, text);
}

static void take_all(struct copier *c, enum op_kind kind, union op_in *in) {
    switch (kind) {
    case OP_JOIN:
    case OP_BEAT:
    case OP_BURY:
    case OP_LEAVE: take_one(c, &in->node.boot, &in->node.node); break;
    case OP_PENDING:
    case OP_RETAIN: break;
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
    case OP_LEDGER_ADD: take_charges(c, &in->charges.rows, in->charges.n); break;
    case OP_LEDGER:
    case OP_LEDGER_SUMS: take_ledger(c, &in->ledger); break;
    case OP_REQUESTS: take_requests(c, &in->requests); break;
    case OP_FILE_ADD:
    case OP_FILE_FINISH:
    case OP_FILE_REMOVE: take_file(c, &in->file); break;
    case OP_FILES: take_one(c, &in->files.after, &in->files.owner); break;
    case OP_WEBHOOK_NOTE: take_one(c, &in->note.id, &in->note.error); break;
    case OP_WEBHOOKS: take_slice(c, &in->webhooks.owner); break;
    case OP_KEY_ADD: take_key(c, &in->key); break;
    default: take_one(c, &in->one.id, &in->one.text); break;
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

static void give_join(struct store *s, uint64_t ticket, const char *node, const char *boot,
                      bool alone, int64_t at_ms) {
    union op_in in = {
        .node = {.node = slice_of(node), .boot = boot, .at_ms = at_ms, .alone = alone}};
    give(s, ticket, OP_JOIN, &in);
}

static void give_beat(struct store *s, uint64_t ticket, const char *boot, int64_t at_ms) {
    give(s, ticket, OP_BEAT, &(union op_in){.node = {.boot = boot, .at_ms = at_ms}});
}

static void give_bury(struct store *s, uint64_t ticket, const char *boot, uint64_t beat) {
    give(s, ticket, OP_BURY, &(union op_in){.node = {.boot = boot, .beat = beat}});
}

static void give_leave(struct store *s, uint64_t ticket, const char *boot) {
    give(s, ticket, OP_LEAVE, &(union op_in){.node = {.boot = boot}});
}

static void give_nodes(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_NODES, &(union op_in){.one = {.id = NULL}});
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

static void give_pending(struct store *s, uint64_t ticket, uint64_t after, unsigned limit) {
    give(s, ticket, OP_PENDING, &(union op_in){.pending = {after, limit}});
}

static void give_ping(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_PING, &(union op_in){.one = {.id = NULL}});
}

static void give_ledger_add(struct store *s, uint64_t ticket, const struct store_charge *rows,
                            size_t n) {
    give(s, ticket, OP_LEDGER_ADD, &(union op_in){.charges = {rows, n}});
}

static void give_ledger(struct store *s, uint64_t ticket, const struct store_ledger_query *q) {
    give(s, ticket, OP_LEDGER, &(union op_in){.ledger = *q});
}

static void give_ledger_sums(struct store *s, uint64_t ticket, const struct store_ledger_query *q) {
    give(s, ticket, OP_LEDGER_SUMS, &(union op_in){.ledger = *q});
}

static void give_requests(struct store *s, uint64_t ticket, const struct store_request_query *q) {
    give(s, ticket, OP_REQUESTS, &(union op_in){.requests = *q});
}

static void give_drop_payload(struct store *s, uint64_t ticket, const char *id,
                              struct slice owner) {
    give(s, ticket, OP_DROP_PAYLOAD, &(union op_in){.one = {.id = id, .text = owner}});
}

static void give_file_add(struct store *s, uint64_t ticket, const struct store_file *f) {
    give(s, ticket, OP_FILE_ADD, &(union op_in){.file = *f});
}

static void give_file_finish(struct store *s, uint64_t ticket, const struct store_file *f) {
    give(s, ticket, OP_FILE_FINISH, &(union op_in){.file = *f});
}

static void give_file_set_acl(struct store *s, uint64_t ticket, const char *id, struct slice acl) {
    give(s, ticket, OP_FILE_SET_ACL, &(union op_in){.one = {.id = id, .text = acl}});
}

static void give_file_remove(struct store *s, uint64_t ticket, const struct store_file *seen) {
    give(s, ticket, OP_FILE_REMOVE, &(union op_in){.file = *seen});
}

static void give_file_get(struct store *s, uint64_t ticket, const char *id) {
    give(s, ticket, OP_FILE_GET, &(union op_in){.one = {.id = id}});
}

static void give_files(struct store *s, uint64_t ticket, const struct store_file_query *q) {
    give(s, ticket, OP_FILES, &(union op_in){.files = *q});
}

static void give_file_sums(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_FILE_SUMS, &(union op_in){.one = {.id = NULL}});
}

static void give_webhooks_pending(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_WEBHOOKS_PENDING, &(union op_in){.one = {.id = NULL}});
}

static void give_webhook_get(struct store *s, uint64_t ticket, const char *id) {
    give(s, ticket, OP_WEBHOOK_GET, &(union op_in){.one = {.id = id}});
}

static void give_webhook_note(struct store *s, uint64_t ticket,
                              const struct store_webhook_note *n) {
    give(s, ticket, OP_WEBHOOK_NOTE, &(union op_in){.note = *n});
}

static void give_webhooks(struct store *s, uint64_t ticket, const struct store_webhook_query *q) {
    give(s, ticket, OP_WEBHOOKS, &(union op_in){.webhooks = *q});
}

static void give_webhook_replay(struct store *s, uint64_t ticket, const char *id,
                                struct slice owner, int64_t at_ms) {
    union op_in in = {.one = {.id = id, .text = owner, .at_ms = at_ms, .all = id == NULL}};
    give(s, ticket, OP_WEBHOOK_REPLAY, &in);
}

static void give_key_add(struct store *s, uint64_t ticket, const struct store_key *k) {
    give(s, ticket, OP_KEY_ADD, &(union op_in){.key = *k});
}

static void give_key_revoke(struct store *s, uint64_t ticket, struct slice id, int64_t at_ms) {
    give(s, ticket, OP_KEY_REVOKE, &(union op_in){.one = {.text = id, .at_ms = at_ms}});
}

static void give_keys(struct store *s, uint64_t ticket) {
    give(s, ticket, OP_KEYS, &(union op_in){.one = {.id = NULL}});
}

static void give_retain(struct store *s, uint64_t ticket, const struct store_retention *r) {
    give(s, ticket, OP_RETAIN, &(union op_in){.retain = *r});
}

static void give_backup(struct store *s, uint64_t ticket, const char *path) {
    give(s, ticket, OP_BACKUP, &(union op_in){.one = {.id = path}});
}

const struct store_backend sqlite_backend = {
    .name = "sqlite",
    .join = give_join,
    .beat = give_beat,
    .bury = give_bury,
    .leave = give_leave,
    .nodes = give_nodes,
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
    .ledger_add = give_ledger_add,
    .ledger = give_ledger,
    .ledger_sums = give_ledger_sums,
    .requests = give_requests,
    .drop_payload = give_drop_payload,
    .file_add = give_file_add,
    .file_finish = give_file_finish,
    .file_set_acl = give_file_set_acl,
    .file_remove = give_file_remove,
    .file_get = give_file_get,
    .files = give_files,
    .file_sums = give_file_sums,
    .webhooks_pending = give_webhooks_pending,
    .webhook_get = give_webhook_get,
    .webhook_note = give_webhook_note,
    .webhooks = give_webhooks,
    .webhook_replay = give_webhook_replay,
    .key_add = give_key_add,
    .key_revoke = give_key_revoke,
    .keys = give_keys,
    .retain = give_retain,
    .backup = give_backup,
    .stats = sqlite_stats,
    .close = sqlite_close,
};
