#include "store/store_fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void keep_row(struct fixture *f, const struct store_row *row) {
    f->row = *row;
    struct slice *const fields[] = {&f->row.endpoint, &f->row.owner,      &f->row.input,
                                    &f->row.webhook,  &f->row.headers,    &f->row.body,
                                    &f->row.error,    &f->row.error_type, &f->row.hint,
                                    &f->row.tags,     &f->row.key_id,     &f->row.model};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = arena_copy(&f->mem, *fields[i]);
}

static void keep_logs(struct fixture *f, const struct store_reply *r) {
    struct store_log *lines = arena_alloc(&f->mem, r->nlogs * sizeof *lines);
    assert_non_null(lines);
    for (size_t i = 0; i < r->nlogs; i++) {
        lines[i].id = NULL;
        lines[i].at_ms = r->logs[i].at_ms;
        lines[i].level = arena_copy(&f->mem, r->logs[i].level);
        lines[i].message = arena_copy(&f->mem, r->logs[i].message);
    }
    f->logs = lines;
    f->nlogs = r->nlogs;
}

static void keep_pending(struct fixture *f, const struct store_reply *r) {
    struct store_pending *rows = arena_alloc(&f->mem, r->npending * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < r->npending; i++) {
        rows[i] = r->pending[i];
        rows[i].endpoint = arena_copy(&f->mem, rows[i].endpoint);
        rows[i].owner = arena_copy(&f->mem, rows[i].owner);
        rows[i].model = arena_copy(&f->mem, rows[i].model);
    }
    f->pending = rows;
    f->npending = r->npending;
}

static void keep_nodes(struct fixture *f, const struct store_reply *r) {
    struct store_node *rows = arena_alloc(&f->mem, r->nliving * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < r->nliving; i++) {
        rows[i] = r->living[i];
        rows[i].node = arena_copy(&f->mem, rows[i].node);
    }
    f->living = rows;
    f->nliving = r->nliving;
}

static void on_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct fixture *f = user;
    assert_false(f->in_call);
    assert_in_range(ticket, 1, f->tickets);
    struct answer *a = &f->answers[ticket];
    a->given = true;
    assert_int_equal(++a->times, 1);
    a->status = r->status;
    a->seq = r->seq;
    a->state = r->state;
    a->swept = r->swept;
    a->forget_ms = r->forget_ms;
    a->count = r->count;
    a->next = r->next;
    a->more = r->more;
    a->same_body = r->same_body;
    a->npending = r->npending;
    f->order[f->nanswers++] = ticket;
    if (r->reason != NULL) snprintf(f->refused, sizeof f->refused, "%s", r->reason);
    if (r->row != NULL) keep_row(f, r->row);
    if (r->logs != NULL) keep_logs(f, r);
    if (r->pending != NULL) keep_pending(f, r);
    if (r->living != NULL) keep_nodes(f, r);
    keep_given(f, r);
    if (f->on_answer != NULL) f->on_answer(f, ticket);
}

static void on_health(void *user, bool can_write, const char *reason) {
    struct fixture *f = user;
    f->health_changes++;
    f->can_write = can_write;
    assert_true(can_write == (reason[0] == '\0'));
    snprintf(f->why, sizeof f->why, "%s", reason);
    if (f->on_health != NULL) f->on_health(f, can_write);
}

static void on_broken(void *user, const char *reason) {
    struct fixture *f = user;
    f->breaks++;
    snprintf(f->why, sizeof f->why, "%s", reason);
    net_loop_stop(&f->loop);
}

void fixture_open(struct fixture *f) {
    char reason[256] = "";
    struct store_options o = {.url = f->backend->url,
                              .dir = f->dir,
                              .loop = &f->loop,
                              .hooks = {on_done, on_health, on_broken},
                              .wal_checkpoint_pages = f->wal_checkpoint_pages,
                              .quiet_ms = f->quiet_ms > 0 ? f->quiet_ms : STORE_NEVER_QUIET,
                              .user = f};
    f->can_write = true;
    f->store = store_open(&o, reason, sizeof reason);
    if (f->store == NULL) fail_msg("%s", reason);
}

static void on_closed(void *user) {
    ((struct fixture *)user)->store = NULL;
}

void fixture_close(struct fixture *f) {
    if (f->store == NULL) return;
    f->store->backend->close(f->store, on_closed, f);
    net_loop_run(&f->loop);
    if (f->store != NULL) net_loop_run(&f->loop); /* on_broken stopped it */
    assert_null(f->store);
}

int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    f->backend = *state;
    arena_init(&f->mem, SIZE_MAX);
    snprintf(f->dir, sizeof f->dir, "%s/anyllm-store.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(f->dir) == NULL || net_loop_init(&f->loop) != 0) return -1;
    fixture_open(f);
    *state = f;
    return 0;
}

static int remove_inside(const char *path, const struct stat *st, int flag, struct FTW *at) {
    return at->level > 0 ? remove(path) : 0;
}

void fixture_fresh(struct fixture *f) {
    fixture_close(f);
    nftw(f->dir, remove_inside, 8, FTW_DEPTH | FTW_PHYS);
    memset(f->answers, 0, sizeof f->answers);
    f->nanswers = f->tickets = f->health_changes = f->breaks = 0;
    arena_reset(&f->mem);
    fixture_open(f);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    return remove(path);
}

int fixture_teardown(void **state) {
    struct fixture *f = *state;
    f->on_answer = NULL;
    fixture_close(f);
    net_loop_close(&f->loop);
    nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    arena_free(&f->mem);
    free(f);
    return 0;
}

void fixture_settle(struct fixture *f) {
    net_loop_run(&f->loop);
    assert_int_equal(f->nanswers, f->tickets);
}

enum store_status status_of(struct fixture *f, uint64_t ticket) {
    fixture_settle(f);
    return f->answers[ticket].status;
}

uint64_t begin_giving(struct fixture *f) {
    assert_true(f->tickets + 1 < MAX_TICKETS);
    f->in_call = true;
    return ++f->tickets;
}

uint64_t end_giving(struct fixture *f) {
    f->in_call = false;
    return f->tickets;
}

#define GIVE(f, name, ...)                                                         \
    do {                                                                           \
        uint64_t ticket_ = begin_giving(f);                                        \
        (f)->store->backend->name((f)->store, ticket_ __VA_OPT__(, ) __VA_ARGS__); \
        return end_giving(f);                                                      \
    } while (0)

uint64_t give_submit(struct fixture *f, const struct store_submit *in) {
    GIVE(f, submit, in);
}

uint64_t give_id(struct fixture *f, const char *id) {
    struct store_submit in = {
        .id = id,
        .endpoint = SLICE("fal-ai/any-llm"),
        .owner = SLICE("app1"),
        .input = SLICE("{\"prompt\":\"hello\"}"),
        .created_ms = 1000,
    };
    return give_submit(f, &in);
}

uint64_t give_claim(struct fixture *f, const char *id, uint32_t attempt, const char *boot,
                    uint64_t token) {
    struct store_lease lease = {.node = "node", .boot = boot, .token = token, .until_ms = 31000};
    GIVE(f, claim, id, attempt, &lease, 2000);
}

uint64_t give_retry(struct fixture *f, const char *id, uint32_t attempt, uint64_t token,
                    uint64_t next, const struct store_usage *usage) {
    struct store_lease lease = {.node = "node", .boot = "boot-1", .token = next, .until_ms = 32000};
    static const struct store_usage none;
    GIVE(f, retry, id, attempt, token, &lease, usage != NULL ? usage : &none, 2500);
}

uint64_t give_release(struct fixture *f, const char *id, uint32_t attempt, uint64_t token,
                      const struct store_usage *usage) {
    static const struct store_usage none;
    GIVE(f, release, id, attempt, token, usage != NULL ? usage : &none, 2600);
}

uint64_t give_complete(struct fixture *f, const struct store_complete *in) {
    GIVE(f, complete, in);
}

uint64_t give_end(struct fixture *f, const struct store_complete *in) {
    GIVE(f, finish_waiting, in);
}

uint64_t give_finish(struct fixture *f, const char *id, uint32_t attempt, const char *boot) {
    struct store_complete c = completion(id, attempt, 0);
    c.boot = boot;
    c.http_status = 499;
    c.error = SLICE("Request cancelled by the client.");
    c.error_type = SLICE("client_cancelled");
    c.inference_ms = -1;
    return give_end(f, &c);
}

uint64_t give_cancel(struct fixture *f, const char *id) {
    GIVE(f, request_cancel, id, 2700);
}

uint64_t give_sweep(struct fixture *f, int64_t now_ms, unsigned max) {
    GIVE(f, sweep, now_ms, max);
}

uint64_t give_logs(struct fixture *f, const struct store_log *lines, size_t n) {
    GIVE(f, log, lines, n);
}

uint64_t ask_row(struct fixture *f, const char *id, unsigned parts) {
    GIVE(f, get, id, parts);
}

uint64_t ask_logs(struct fixture *f, const char *id) {
    GIVE(f, logs, id);
}

uint64_t ask_pending(struct fixture *f) {
    return ask_pending_after(f, 0, 0);
}

uint64_t ask_pending_after(struct fixture *f, uint64_t after, unsigned limit) {
    GIVE(f, pending, after, limit);
}

uint64_t give_join(struct fixture *f, const char *boot) {
    return give_join_of(f, "node", boot, false);
}

uint64_t give_join_of(struct fixture *f, const char *node, const char *boot, bool alone) {
    GIVE(f, join, node, boot, alone, 1500);
}

uint64_t give_beat(struct fixture *f, const char *boot) {
    GIVE(f, beat, boot, 1600);
}

uint64_t give_bury(struct fixture *f, const char *boot, uint64_t beat) {
    GIVE(f, bury, boot, beat);
}

uint64_t give_leave(struct fixture *f, const char *boot) {
    GIVE(f, leave, boot);
}

uint64_t ask_nodes(struct fixture *f) {
    GIVE(f, nodes);
}

uint64_t give_ping(struct fixture *f) {
    GIVE(f, ping);
}

struct store_complete completion(const char *id, uint32_t attempt, uint64_t token) {
    return (struct store_complete){
        .id = id,
        .attempt = attempt,
        .token = token,
        .http_status = 200,
        .headers = SLICE("X-Anyllm-Model: m\r\n"),
        .body = SLICE("{\"output\":\"hi\"}"),
        .inference_ms = 40,
        .completed_ms = 3000,
    };
}

const char *id_of(unsigned n) {
    static char ids[16][STORE_ID_BYTES];
    static unsigned at;
    char *id = ids[at++ % 16];
    snprintf(id, STORE_ID_BYTES, "00000000-0000-4000-8000-%012u", n);
    return id;
}
