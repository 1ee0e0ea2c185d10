/* How long a submit takes beside what else the store does. Not a test: measure_keep FOLDER [MIB], on the disk that counts.
 *
 * Fills a database, then measures submits given at a steady pace: alone; while a backup runs; while old requests are removed; and after a reader who has
 * kept the log from being written back has gone. */
#include "store/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BODY_BYTES 5000U
#define SAMPLES 2000000U
#define SUBMITS_EVERY_MS 2 /* a burst of BURST */
#define BURST 4U

struct tool {
    struct net_loop loop;
    struct store *store;
    char dir[3000], body[BODY_BYTES];
    unsigned next_id, looks;
    uint64_t gone;
    bool more;
    uint64_t given_ns[1U << 16]; /* by ticket */
    uint32_t *took_us;
    size_t ntook;
    bool measuring, backing_up;
    char reason[256];
};

static struct tool *tool;
enum { BACKUP_TICKET = 1U << 30, RETAIN_TICKET, OTHER_TICKET };

static const char *id_text(unsigned n) {
    static char id[STORE_ID_BYTES];
    uint64_t r = n * 0x9e3779b97f4a7c15ULL;
    snprintf(id, sizeof id, "%08x-%04x-7%03x-8%03x-%012x", n >> 4, n & 0xffff, (unsigned)(r >> 52),
             (unsigned)(r >> 40) & 0xfff, n);
    return id;
}

static void give(struct tool *t) {
    unsigned n = t->next_id++;
    struct store_submit in = {.id = id_text(n),
                              .endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = slice_make(t->body, BODY_BYTES),
                              .created_ms = n};
    t->given_ns[n & 0xffff] = uv_hrtime();
    t->store->backend->submit(t->store, n, &in);
}

static void end_one(struct tool *t) {
    unsigned n = t->next_id - 1;
    struct store_lease lease = {.node = "node", .boot = "boot", .token = 7};
    struct store_complete c = {.id = id_text(n),
                               .attempt = 1,
                               .token = 7,
                               .http_status = 200,
                               .body = slice_make(t->body, BODY_BYTES / 2),
                               .completed_ms = n};
    t->store->backend->claim(t->store, OTHER_TICKET, c.id, 0, &lease, n);
    t->store->backend->complete(t->store, OTHER_TICKET, &c);
}

static void on_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct tool *t = user;
    if (ticket == BACKUP_TICKET) {
        t->backing_up = false;
        if (r->status != STORE_OK) printf("backup: %s\n", r->reason);
        return;
    }
    if (r->status != STORE_OK) exit(1);
    if (ticket == RETAIN_TICKET) {
        t->gone += r->swept;
        t->looks++;
        t->more = r->more;
    }
    if (ticket >= RETAIN_TICKET) return;
    if (t->measuring && t->ntook < SAMPLES)
        t->took_us[t->ntook++] = (uint32_t)((uv_hrtime() - t->given_ns[ticket & 0xffff]) / 1000);
}

static void open_store(struct tool *t) {
    struct store_options o = {.url = "sqlite:measure.db",
                              .dir = t->dir,
                              .loop = &t->loop,
                              .hooks = {.on_done = on_done},
                              .user = t};
    t->store = store_open(&o, t->reason, sizeof t->reason);
    if (t->store != NULL) return;
    fprintf(stderr, "%s\n", t->reason);
    exit(1);
}

static void fill(struct tool *t, unsigned mib) {
    unsigned n = (unsigned)((uint64_t)mib * 1048576 / (BODY_BYTES + 3500));
    while (t->next_id < n) {
        for (unsigned i = 0; i < 256; i++) {
            give(t);
            end_one(t);
        }
        net_loop_run(&t->loop);
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void say(struct tool *t, const char *what, uint64_t since_ns) {
    struct store_stats s;
    size_t n = t->ntook;
    t->store->backend->stats(t->store, &s);
    qsort(t->took_us, n, sizeof *t->took_us, by_size);
    if (n > 0)
        printf(
            "%-34s %7zu submits in %5.1f s: p50 %6.2f ms, p99 %7.2f ms, most %8.2f ms; log %llu MiB\n",
            what, n, (double)(uv_hrtime() - since_ns) / 1e9, t->took_us[n / 2] / 1000.0,
            t->took_us[n * 99 / 100] / 1000.0, t->took_us[n - 1] / 1000.0,
            (unsigned long long)s.wal_bytes >> 20);
    t->ntook = 0;
}

static void on_pace(uv_timer_t *timer) {
    for (unsigned i = 0; i < BURST; i++) give(timer->data);
}

/* At a steady pace until `over`, or for so long. */
static void submit_for(struct tool *t, double seconds, const bool *while_this) {
    uv_timer_t pace;
    uint64_t until = uv_hrtime() + (uint64_t)(seconds * 1e9);
    t->measuring = true;
    uv_timer_init(&t->loop.uv, &pace);
    pace.data = t;
    uv_timer_start(&pace, on_pace, 0, SUBMITS_EVERY_MS);
    while (while_this != NULL ? *while_this : uv_hrtime() < until) uv_run(&t->loop.uv, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&pace, NULL);
    net_loop_run(&t->loop);
    t->measuring = false;
}

static void beside_a_backup(struct tool *t) {
    char path[4000];
    snprintf(path, sizeof path, "%s/measure.backup", t->dir);
    unlink(path);
    uint64_t began = uv_hrtime();
    t->backing_up = true;
    t->store->backend->backup(t->store, BACKUP_TICKET, path);
    submit_for(t, 0, &t->backing_up);
    say(t, "beside a backup", began);
    began = uv_hrtime();
    submit_for(t, 5, NULL);
    say(t, "the 5 s after it", began);
    unlink(path);
}

static void after_a_long_reader(struct tool *t, double seconds) {
    char path[4000];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/measure.db", t->dir);
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) exit(1);
    sqlite3_exec(db, "BEGIN; SELECT * FROM meta", NULL, NULL, NULL);
    uint64_t began = uv_hrtime();
    submit_for(t, seconds, NULL);
    say(t, "beside a reader who stays", began);
    sqlite3_close(db);
    began = uv_hrtime();
    submit_for(t, 8, NULL);
    say(t, "the 8 s after it has gone", began);
}

static void on_look(uv_timer_t *timer) {
    struct tool *t = timer->data;
    struct store_retention r = {.older_than_ms = t->next_id, .max = 200};
    t->store->backend->retain(t->store, RETAIN_TICKET, &r);
}

/* As the queue asks for it. */
static void beside_retention(struct tool *t, double seconds) {
    uv_timer_t timer;
    struct store_stats s;
    uv_timer_init(&t->loop.uv, &timer);
    timer.data = t;
    uv_timer_start(&timer, on_look, 0, 200);
    uint64_t began = uv_hrtime();
    uv_unref((uv_handle_t *)&timer);
    submit_for(t, seconds, NULL);
    say(t, "beside retention", began);
    uv_close((uv_handle_t *)&timer, NULL);
    net_loop_run(&t->loop);
    t->store->backend->stats(t->store, &s);
    printf("%llu requests removed in %u looks; %llu MiB, %llu of them free\n",
           (unsigned long long)t->gone, t->looks, (unsigned long long)s.bytes >> 20,
           (unsigned long long)s.free_bytes >> 20);
}

static void on_closed(void *user) {
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    tool = calloc(1, sizeof *tool);
    tool->took_us = calloc(SAMPLES, sizeof *tool->took_us);
    snprintf(tool->dir, sizeof tool->dir, "%s", argv[1]);
    memset(tool->body, 'b', BODY_BYTES);
    if (net_loop_init(&tool->loop) != 0) return 1;
    open_store(tool);
    uint64_t began = uv_hrtime();
    fill(tool, argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100);
    printf("filled in %.1f s\n", (double)(uv_hrtime() - began) / 1e9);
    began = uv_hrtime();
    submit_for(tool, 5, NULL);
    say(tool, "alone", began);
    beside_a_backup(tool);
    beside_retention(tool, 20);
    after_a_long_reader(tool, 40);
    tool->store->backend->close(tool->store, on_closed, tool);
    net_loop_run(&tool->loop);
    return 0;
}
