/* How many cycles (submit, claim, complete) a second the store makes with so many of them under way at once, next to
 * what the same folder's disk syncs; then rows of the ledger, and reads of one file, beside that.
 *
 *   bench_store [FOLDER [SECONDS [UNDER_WAY]]]
 *
 * With UNDER_WAY it prints one number, the cycles a second with so many. */
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
    void (*answered)(struct bench *b); /* instead of the next step of a cycle */
    size_t rows;                       /* in one operation */
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
    if (b->answered != NULL) {
        b->cycles++;
        if (now() < b->until) b->answered(b);
        return;
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

static void empty(const char *dir) {
    char path[4096];
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/bench.db%s", dir, ends[i]);
        unlink(path);
    }
}

static struct bench *begin(const char *dir) {
    struct bench *b = calloc(1, sizeof *b);
    char reason[256];
    empty(dir);
    if (b == NULL || net_loop_init(&b->loop) != 0) exit(1);
    struct store_options o = {.url = "sqlite:bench.db",
                              .dir = dir,
                              .loop = &b->loop,
                              .hooks = {on_done, NULL},
                              .user = b};
    b->store = store_open(&o, reason, sizeof reason);
    if (b->store != NULL) return b;
    fprintf(stderr, "%s\n", reason);
    exit(1);
}

static void end(struct bench *b) {
    b->store->backend->close(b->store, on_closed, b);
    net_loop_run(&b->loop);
    net_loop_close(&b->loop);
    free(b);
}

static double measure(const char *dir, unsigned batch, double seconds, bool submits_only) {
    struct bench *b = begin(dir);
    double from = now();
    b->submits_only = submits_only;
    b->until = from + seconds;
    for (unsigned i = 0; i < batch; i++) submit(b);
    net_loop_run(&b->loop);
    double rate = (double)b->cycles / (now() - from);
    end(b);
    return rate;
}

/* --- the ledger, and one file */

static void add_rows(struct bench *b) {
    static struct store_charge rows[1000];
    for (size_t i = 0; i < b->rows; i++) {
        unsigned n = b->next_id++;
        rows[i] = (struct store_charge){.kind = STORE_CALL_RUN,
                                        .owner = SLICE("app1"),
                                        .key_id = SLICE("4c6d8e0a"),
                                        .endpoint = SLICE("fal-ai/any-llm"),
                                        .started_ms = 1700000000000 + n,
                                        .at_ms = 1700000000900 + n,
                                        .http_status = 200,
                                        .usage = {.present = true,
                                                  .upstream = SLICE("openrouter"),
                                                  .model = SLICE("google/gemini-flash-1.5"),
                                                  .has_charge = true,
                                                  .charge_microusd = 1000,
                                                  .prompt_tokens = 12,
                                                  .completion_tokens = 60}};
        id_text(n, rows[i].id);
    }
    b->store->backend->ledger_add(b->store, 1, rows, b->rows);
}

static void get_file(struct bench *b) {
    char id[STORE_ID_BYTES];
    id_text(b->next_id++ * 7919U % 1000, id);
    b->store->backend->file_get(b->store, 1, id);
}

static void do_nothing(struct bench *b) {
}

/* So many operations under way. */
static double repeat(struct bench *b, void (*op)(struct bench *b), unsigned at_once,
                     double seconds) {
    double from = now();
    b->cycles = 0;
    b->answered = op;
    b->until = from + seconds;
    for (unsigned i = 0; i < at_once; i++) op(b);
    net_loop_run(&b->loop);
    return (double)b->cycles / (now() - from);
}

static void measure_ledger(const char *dir, double seconds) {
    static const size_t sizes[] = {1, 10, 100, 1000};
    printf("\nrows in one ledger_add   rows/s\n");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bench *b = begin(dir);
        b->rows = sizes[i];
        printf("%22zu   %6.0f\n", sizes[i], repeat(b, add_rows, 1, seconds) * (double)sizes[i]);
        end(b);
    }
}

static void measure_files(const char *dir, double seconds) {
    struct bench *b = begin(dir);
    b->answered = do_nothing;
    for (unsigned n = 0; n < 1000; n++) {
        struct store_file f = {.state = STORE_FILE_WHOLE,
                               .owner = SLICE("app1"),
                               .name = SLICE("picture.png"),
                               .content_type = SLICE("image/png")};
        id_text(n, f.id);
        b->store->backend->file_add(b->store, 1, &f);
    }
    net_loop_run(&b->loop);
    printf("\nfile_get under way   reads/s\n");
    for (unsigned at_once = 1; at_once <= 100; at_once *= 10)
        printf("%18u   %7.0f\n", at_once, repeat(b, get_file, at_once, seconds));
    end(b);
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
    if (argc > 3) {
        printf("%.0f\n", measure(dir, (unsigned)strtoul(argv[3], NULL, 10), seconds, false));
        empty(dir);
        return 0;
    }
    printf("under way   fdatasync/s   cycles/s   submits/s\n");
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        double sync = syncs(dir, seconds / 3), cycles = measure(dir, batches[i], seconds, false);
        printf("%9u   %11.0f   %8.0f   %9.0f\n", batches[i], sync, cycles,
               measure(dir, batches[i], seconds, true));
        fflush(stdout);
    }
    measure_ledger(dir, seconds);
    measure_files(dir, seconds);
    empty(dir);
    return 0;
}
