/* How many cycles (submit, claim, complete) a second the store makes with so many of them under way at once, next to
 * what the same folder's disk syncs. Not a test: bench_store [FOLDER [SECONDS]]. */
#include "base/clock.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct bench {
    struct net_loop loop;
    struct store *store;
    unsigned next_id;
    uint64_t cycles, submits;
    double until;
    bool submits_only;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* As the queue draws them: time, then random. */
static void id_text(unsigned n, char *out) {
    uint64_t r = n * 0x9e3779b97f4a7c15ULL;
    snprintf(out, STORE_ID_BYTES, "01999999-%04x-7%03x-8%03x-%012x", n >> 8 & 0xffff,
             (unsigned)(r >> 52), (unsigned)(r >> 40) & 0xfff, n);
}

static void submit(struct bench *b) {
    static const char input[] =
        "{\"model\":\"google/gemini-flash-1.5\",\"prompt\":\"What is the meaning of life? Answer in "
        "one short sentence, please, and without quoting anybody.\"}";
    char id[STORE_ID_BYTES];
    unsigned n = b->next_id++;
    id_text(n, id);
    struct store_submit in = {.id = id,
                              .endpoint = SLICE("fal-ai/any-llm"),
                              .owner = SLICE("app1"),
                              .input = SLICE(input),
                              .created_ms = 1};
    b->store->backend->submit(b->store, (uint64_t)n * 4, &in);
}

static void complete(struct bench *b, unsigned n, const char *id) {
    static const char body[] =
        "{\"output\":\"The meaning of life is what one makes of it, together with others, for as "
        "long as it lasts.\",\"partial\":false,\"error\":null}";
    struct store_complete c = {.id = id,
                               .attempt = 1,
                               .token = n + 1,
                               .http_status = 200,
                               .body = SLICE(body),
                               .usage = {.present = true,
                                         .upstream = SLICE("openrouter"),
                                         .model = SLICE("m"),
                                         .raw = SLICE("{}")}};
    b->store->backend->complete(b->store, (uint64_t)n * 4 + 2, &c);
}

static void on_done(void *user, uint64_t ticket, const struct store_reply *r) {
    struct bench *b = user;
    char id[STORE_ID_BYTES];
    unsigned n = (unsigned)(ticket / 4);
    if (r->status != STORE_OK) {
        fprintf(stderr, "operation failed: %s\n", store_status_name(r->status));
        exit(1);
    }
    id_text(n, id);
    if (ticket % 4 == 0) b->submits++;
    if (ticket % 4 == 0 && !b->submits_only) {
        struct store_lease lease = {.node = "node", .boot = "boot", .token = n + 1};
        b->store->backend->claim(b->store, ticket + 1, id, 0, &lease, 1);
        return;
    }
    if (ticket % 4 == 1) {
        complete(b, n, id);
        return;
    }
    b->cycles++;
    if (now() < b->until) submit(b);
}

static void on_closed(void *user) {
}

static double measure(const char *dir, unsigned batch, double seconds, bool submits_only) {
    struct bench *b = calloc(1, sizeof *b);
    char path[4096], reason[256];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/bench.db%s", dir, ends[i]);
        unlink(path);
    }
    if (b == NULL || net_loop_init(&b->loop) != 0) exit(1);
    b->submits_only = submits_only;
    struct store_options o = {.url = "sqlite:bench.db",
                              .dir = dir,
                              .loop = &b->loop,
                              .hooks = {on_done, NULL},
                              .user = b};
    b->store = store_open(&o, reason, sizeof reason);
    if (b->store == NULL) {
        fprintf(stderr, "%s\n", reason);
        exit(1);
    }
    double from = now();
    b->until = from + seconds;
    for (unsigned i = 0; i < batch; i++) submit(b);
    net_loop_run(&b->loop);
    double rate = (double)b->cycles / (now() - from);
    b->store->backend->close(b->store, on_closed, b);
    net_loop_run(&b->loop);
    net_loop_close(&b->loop);
    free(b);
    return rate;
}

static double syncs(const char *dir, double seconds) {
    char path[4096];
    static char page[4096];
    snprintf(path, sizeof path, "%s/bench.sync", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) exit(1);
    for (off_t i = 0; i < 256; i++)
        if (pwrite(fd, page, sizeof page, i * (off_t)sizeof page) < 0) exit(1);
    fsync(fd);
    double from = now();
    off_t n = 0;
    for (; now() < from + seconds; n++)
        if (pwrite(fd, page, sizeof page, n % 256 * (off_t)sizeof page) < 0 || fdatasync(fd) != 0)
            exit(1);
    double rate = (double)n / (now() - from);
    close(fd);
    unlink(path);
    return rate;
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : ".";
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    static const unsigned batches[] = {1, 8, 10, 64, 100, 256};
    printf("under way   fdatasync/s   cycles/s   submits/s\n");
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        double sync = syncs(dir, seconds / 3), cycles = measure(dir, batches[i], seconds, false);
        printf("%9u   %11.0f   %8.0f   %9.0f\n", batches[i], sync, cycles,
               measure(dir, batches[i], seconds, true));
        fflush(stdout);
    }
    return 0;
}
