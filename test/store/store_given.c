/* The operations beside the queue's: given, and what they answer kept. */
#include "store/store_fixture.h"

#define GIVE(f, name, ...)                                                         \
    do {                                                                           \
        uint64_t ticket_ = begin_giving(f);                                        \
        (f)->store->backend->name((f)->store, ticket_ __VA_OPT__(, ) __VA_ARGS__); \
        return end_giving(f);                                                      \
    } while (0)

uint64_t give_charges(struct fixture *f, const struct store_charge *rows, size_t n) {
    GIVE(f, ledger_add, rows, n);
}

uint64_t ask_ledger(struct fixture *f, const struct store_ledger_query *q) {
    GIVE(f, ledger, q);
}

uint64_t ask_sums(struct fixture *f, const struct store_ledger_query *q) {
    GIVE(f, ledger_sums, q);
}

uint64_t ask_requests(struct fixture *f, const struct store_request_query *q) {
    GIVE(f, requests, q);
}

uint64_t give_drop(struct fixture *f, const char *id, struct slice owner) {
    GIVE(f, drop_payload, id, owner);
}

uint64_t give_file(struct fixture *f, const struct store_file *file) {
    GIVE(f, file_add, file);
}

uint64_t give_whole(struct fixture *f, const struct store_file *file) {
    GIVE(f, file_finish, file);
}

uint64_t give_acl(struct fixture *f, const char *id, struct slice acl) {
    GIVE(f, file_set_acl, id, acl);
}

uint64_t give_removal(struct fixture *f, const struct store_file *seen) {
    GIVE(f, file_remove, seen);
}

uint64_t ask_file(struct fixture *f, const char *id) {
    GIVE(f, file_get, id);
}

uint64_t ask_files(struct fixture *f, const struct store_file_query *q) {
    GIVE(f, files, q);
}

uint64_t ask_file_sums(struct fixture *f) {
    GIVE(f, file_sums);
}

uint64_t ask_waiting(struct fixture *f) {
    GIVE(f, webhooks_pending);
}

uint64_t ask_webhook(struct fixture *f, const char *id) {
    GIVE(f, webhook_get, id);
}

uint64_t ask_webhooks(struct fixture *f, const struct store_webhook_query *q) {
    GIVE(f, webhooks, q);
}

uint64_t give_note(struct fixture *f, const struct store_webhook_note *n) {
    GIVE(f, webhook_note, n);
}

uint64_t give_replay(struct fixture *f, const char *id, struct slice owner, int64_t at_ms) {
    GIVE(f, webhook_replay, id, owner, at_ms);
}

uint64_t give_key(struct fixture *f, const struct store_key *k) {
    GIVE(f, key_add, k);
}

uint64_t give_revocation(struct fixture *f, struct slice id, int64_t at_ms) {
    GIVE(f, key_revoke, id, at_ms);
}

uint64_t ask_keys(struct fixture *f) {
    GIVE(f, keys);
}

/* --- what is kept */

static void *copy_of(struct fixture *f, const void *rows, size_t bytes) {
    void *copy = arena_alloc(&f->mem, bytes);
    assert_non_null(copy);
    if (bytes > 0) memcpy(copy, rows, bytes);
    return copy;
}

static void own(struct fixture *f, struct slice *s) {
    *s = arena_copy(&f->mem, *s);
}

static void keep_charges(struct fixture *f, const struct store_reply *r) {
    struct store_charge *rows = copy_of(f, r->charges, r->ncharges * sizeof *rows);
    for (size_t i = 0; i < r->ncharges; i++) {
        own(f, &rows[i].owner);
        own(f, &rows[i].key_id);
        own(f, &rows[i].endpoint);
        own(f, &rows[i].usage.upstream);
        own(f, &rows[i].usage.model);
        own(f, &rows[i].usage.raw);
    }
    f->charges = rows;
    f->ncharges = r->ncharges;
}

static void keep_sums(struct fixture *f, const struct store_reply *r) {
    struct store_sum *rows = copy_of(f, r->sums, r->nsums * sizeof *rows);
    for (size_t i = 0; i < r->nsums; i++) {
        own(f, &rows[i].owner);
        own(f, &rows[i].key_id);
        own(f, &rows[i].endpoint);
    }
    f->sums = rows;
    f->nsums = r->nsums;
}

static void keep_requests(struct fixture *f, const struct store_reply *r) {
    struct store_request *rows = copy_of(f, r->requests, r->nrequests * sizeof *rows);
    for (size_t i = 0; i < r->nrequests; i++) {
        own(f, &rows[i].endpoint);
        own(f, &rows[i].input);
        own(f, &rows[i].output);
    }
    f->requests = rows;
    f->nrequests = r->nrequests;
}

static void keep_files(struct fixture *f, const struct store_reply *r) {
    struct store_file *rows = copy_of(f, r->files, r->nfiles * sizeof *rows);
    for (size_t i = 0; i < r->nfiles; i++) {
        own(f, &rows[i].owner);
        own(f, &rows[i].name);
        own(f, &rows[i].content_type);
        own(f, &rows[i].acl);
    }
    f->files = rows;
    f->nfiles = r->nfiles;
}

static void keep_file_sums(struct fixture *f, const struct store_reply *r) {
    struct store_file_sum *rows = copy_of(f, r->file_sums, r->nfile_sums * sizeof *rows);
    for (size_t i = 0; i < r->nfile_sums; i++) own(f, &rows[i].owner);
    f->file_sums = rows;
    f->nfile_sums = r->nfile_sums;
}

static void keep_webhooks(struct fixture *f, const struct store_reply *r) {
    struct store_webhook *rows = copy_of(f, r->webhooks, r->nwebhooks * sizeof *rows);
    for (size_t i = 0; i < r->nwebhooks; i++) {
        own(f, &rows[i].url);
        own(f, &rows[i].owner);
        own(f, &rows[i].endpoint);
        own(f, &rows[i].last_error);
    }
    f->webhooks = rows;
    f->nwebhooks = r->nwebhooks;
    f->has_row = r->row != NULL;
}

static void keep_keys(struct fixture *f, const struct store_reply *r) {
    struct store_key *rows = copy_of(f, r->keys, r->nkeys * sizeof *rows);
    for (size_t i = 0; i < r->nkeys; i++) {
        own(f, &rows[i].id);
        own(f, &rows[i].alias);
        own(f, &rows[i].owner);
    }
    f->keys = rows;
    f->nkeys = r->nkeys;
}

void keep_given(struct fixture *f, const struct store_reply *r) {
    keep_charges(f, r);
    keep_sums(f, r);
    keep_requests(f, r);
    keep_files(f, r);
    keep_file_sums(f, r);
    keep_webhooks(f, r);
    keep_keys(f, r);
}
