/* docs/bad-input.md Q15: the wall clock is set while the server runs, and while it does not. Nothing is decided by it. */
#include "kill_books.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOUR_MS INT64_C(3600000)

static struct receiver receiver;
static struct killed server;
static volatile int64_t *offset_ms; /* kill_clock_shim.c reads it */
static char offset_path[MAX_PATH + 8];

static void open_offset(const char *dir) {
    int64_t zero = 0;
    snprintf(offset_path, sizeof offset_path, "%s/clock", dir);
    file_write(offset_path, (const char *)&zero, sizeof zero);
    int fd = open(offset_path, O_RDWR | O_CLOEXEC);
    void *at = mmap(NULL, sizeof zero, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(fd >= 0 && at != MAP_FAILED);
    close(fd);
    offset_ms = at;
}

/* Where the clock is put, as far from now as it takes. */
static int64_t to_year(int year) {
    return (int64_t)(year - 1970) * 31556952000 + HOUR_MS - wall_ms();
}

/* "no negative durations in metrics" */
static void look_at_metrics(void) {
    struct answer a = get(server.server.port, "/metrics");
    for (char *line = a.body.p; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (*line == '#' || *line == '\0') continue;
        size_t len = strcspn(line, "\n"), name = strcspn(line, " \n");
        if (memmem(line + name, len - name, " -", 2) != NULL)
            fail_msg("negative: %.*s", (int)len, line);
    }
    answer_free(&a);
}

static void look_at_answers(const struct load *l) {
    struct line at = LINE_CLOSED;
    for (unsigned i = 0; i < atomic_load(&l->naccepted); i += 7) {
        assert_true(line_about(&at, server.server.port, "GET", l->accepted[i].id, "/status"));
        assert_int_equal(at.status, 200);
        if (strstr(at.body.p, "_time\":-") != NULL) fail_msg("negative: %s", at.body.p);
    }
    line_close(&at);
}

/* The server has seen these years: else the shim was not there. */
static void expect_jumped(void) {
    struct books *b = calloc(1, sizeof *b);
    books_read(b, server.data);
    int64_t first = INT64_MAX, last = 0;
    for (size_t i = 0; i < b->n; i++) {
        int64_t ms = b->rows[i].created_ms;
        first = ms < first ? ms : first;
        last = ms > last ? ms : last;
    }
    print_message("# Q15: requests of %lld to %lld\n", (long long)first, (long long)last);
    assert_true(first < 24 * HOUR_MS && last - wall_ms() > to_year(2100));
    books_free(b);
}

static void jump(int64_t ms, bool dead) {
    sleep_ms(250);
    if (dead) killed_kill(&server);
    *offset_ms = ms;
    if (dead) killed_start(&server);
    sleep_ms(250);
    look_at_metrics();
}

static void every_jump(void) {
    const int64_t jumps[] = {HOUR_MS, -HOUR_MS,      to_year(2039), to_year(1970),
                             0,       to_year(2107), HOUR_MS,       to_year(2001),
                             0};
    for (size_t dead = 0; dead < 2; dead++)
        for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) jump(jumps[i], dead > 0);
}

static void Q15_jumps_of_the_wall_clock_change_nothing(void **state) {
    char *config = load_config(&mock), preload[MAX_PATH * 2], named[MAX_PATH * 2];
    struct findings f;
    struct load *l = calloc(1, sizeof *l);
    findings_init(&f);
    receiver_start(&receiver);
    killed_init(&server, config);
    open_offset(server.data);
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", breakable_path); /* the shim */
    snprintf(named, sizeof named, "KILL_CLOCK=%s", offset_path);
    server.env[0] = preload;
    server.env[1] = named;
    server.clock_jumps = true;
    killed_start(&server);
    *l = (struct load){
        .server = &server,
        .findings = &f,
        .hook_port = receiver.port,
        .weight = {[PLAIN] = 4, [SLOW] = 2, [HOOK] = 2, [CANCELLED] = 1, [FLAKY] = 1},
        .pause_ms = 16,
        .most = 20000,
        .keys = 10,
        .keys_pause_ms = 400,
        .seed = seed_of("clock")};
    load_start(l);
    every_jump();
    load_stop(l);
    if (killed_idle(&server)) look_at_answers(l);
    books_end(l, &receiver, &f);
    receiver_stop(&receiver);
    findings_expect_none(&f);
    expect_jumped();
    load_free(l);
    killed_free(&server);
    free(config);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(Q15_jumps_of_the_wall_clock_change_nothing)};
    return kill_main(argc, argv, "kill_clock", tests, 1);
}
