/* Files as answers: net_reply_file. Arguments: "tls" or "plain", and how many MiB the largest one has. */
#include "app.h"
#include "net/session.h"
#include "wire_tls.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET /file HTTP/1.1\r\nHost: h\r\n\r\n"
#define LATER "GET /later HTTP/1.1\r\nHost: h\r\n\r\n"
#define NEXT "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"

static char path[64];
static unsigned mebibytes = 256; /* of the largest one */

/* Bytes that tell where they stand. */
static void make_file(struct app *a, size_t bytes) {
    char piece[4096];
    snprintf(path, sizeof path, "/tmp/anyllm-file-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t at = 0; at < bytes; at += sizeof piece) {
        size_t n = bytes - at < sizeof piece ? bytes - at : sizeof piece;
        for (size_t i = 0; i < n; i++) piece[i] = (char)((at + i) * 31 >> 3);
        assert_int_equal(write(fd, piece, n), n);
    }
    close(fd);
    a->path = path;
    a->offset = 0;
    a->length = bytes;
}

static bool is_of_the_file(struct slice got, size_t offset) {
    for (size_t i = 0; i < got.len; i++)
        if (got.ptr[i] != (char)((offset + i) * 31 >> 3)) return false;
    return true;
}

/* Descriptors this process has open to the file. */
static unsigned descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    char link[512], target[64];
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(link, sizeof link, "/proc/self/fd/%s", e->d_name);
        ssize_t len = readlink(link, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        n += strncmp(target, path, strlen(path)) == 0; /* "… (deleted)" may follow */
    }
    closedir(d);
    return n;
}

/* What follows the head of the first answer in a->in; ptr NULL before it is there. */
static struct slice body_of(const struct app *a) {
    const char *at = memmem(buf_slice(&a->in).ptr, buf_len(&a->in), "\r\n\r\n", 4);
    return at != NULL ? slice_make(at + 4, (size_t)(a->in.base + a->in.end - at) - 4) : SLICE_NONE;
}

static void read_body(struct app *a, int fd, size_t bytes) {
    APP_UNTIL(a, wire_read(fd, &a->in, NULL) && body_of(a).len >= bytes);
}

static void a_file_is_sent_whole_and_the_connection_kept(void **state) {
    struct app *a = *state;
    static const size_t sizes[] = {1, 1000, 65536, 65537, 5000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char length[64];
        make_file(a, sizes[i]);
        buf_reset(&a->in, SIZE_MAX);
        int fd = app_send(a, GET);
        read_body(a, fd, sizes[i]);
        assert_int_equal(body_of(a).len, sizes[i]);
        assert_true(is_of_the_file(body_of(a), 0));
        snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", sizes[i]);
        assert_true(wire_has(&a->in, length));
        APP_UNTIL(a, a->dones == 3 * i + 1);
        assert_int_equal(descriptors(), 0);
        buf_reset(&a->in, SIZE_MAX); /* and with the next request right behind */
        wire_sends(&a->loop, fd, GET NEXT);
        read_body(a, fd, sizes[i]);
        wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
        assert_true(is_of_the_file(slice_make(body_of(a).ptr, sizes[i]), 0));
        close(fd);
        unlink(path);
    }
}

static void a_part_of_a_file_is_just_that(void **state) {
    struct app *a = *state;
    make_file(a, 3000000);
    static const struct {
        size_t offset, length;
    } parts[] = {{1, 10}, {2999999, 1}, {100000, 2000000}, {3000000, 0}, {12345, 65536}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        a->offset = parts[i].offset;
        a->length = parts[i].length;
        buf_reset(&a->in, SIZE_MAX);
        int fd = app_send(a, GET NEXT);
        wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
        assert_true(wire_has(&a->in, "HTTP/1.1 206 Partial Content\r\n"));
        struct slice body = slice_make(body_of(a).ptr, parts[i].length);
        assert_true(is_of_the_file(body, parts[i].offset));
        assert_memory_equal(body.ptr + body.len, "HTTP/1.1 200 OK", 15);
        close(fd);
    }
    assert_int_equal(descriptors(), 0);
    unlink(path);
}

static void head_gets_only_the_head(void **state) {
    struct app *a = *state;
    make_file(a, 300000);
    int fd = app_ask(a, "HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n" NEXT, "X-Path: /echo");
    assert_true(wire_has(&a->in, "\r\nContent-Length: 300000\r\n"));
    assert_memory_equal(body_of(a).ptr, "HTTP/1.1 200 OK", 15);
    assert_int_equal(descriptors(), 0);
    close(fd);
    unlink(path);
}

/* Never a short answer that looks whole: not by FIN either. */
static void a_file_that_ends_too_early_ends_the_connection(void **state) {
    struct app *a = *state;
    static const size_t sizes[] = {100, 70000, 3000000};
    for (unsigned i = 0; i < 3; i++) {
        make_file(a, sizes[i]);
        a->length = sizes[i] + 1;
        buf_reset(&a->in, SIZE_MAX);
        int fd = app_send(a, GET NEXT);
        assert_false(wire_drain(&a->loop, fd, &a->in));
        assert_true(body_of(a).len <= sizes[i]);
        assert_int_equal(a->gones, i + 1);
        assert_int_equal(descriptors(), 0);
        close(fd);
        unlink(path);
    }
    assert_int_equal(a->dones, 0);
}

/* A folder can be opened, and not read. */
static void what_cannot_be_read_ends_the_connection(void **state) {
    struct app *a = *state;
    a->path = "/tmp";
    for (unsigned i = 0; i < 2; i++) {
        a->length = i == 0 ? 10 : 1000000;
        int fd = app_send(a, GET);
        assert_false(wire_drain(&a->loop, fd, &a->in));
        APP_UNTIL(a, a->gones == i + 1);
        close(fd);
    }
}

/* What sendfile refuses goes by read and write: the kernel's list of our mappings, made long by many of them. */
static void a_file_that_sendfile_refuses_is_sent_too(void **state) {
    struct app *a = *state;
    enum { pages = 3000, page = 4096 };
    char *m = mmap(NULL, pages * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    for (size_t i = 0; i < pages; i += 2) mprotect(m + i * page, page, PROT_NONE);
    a->path = "/proc/self/maps";
    a->length = 100000;
    int fd = app_send(a, GET NEXT);
    wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
    assert_memory_equal(body_of(a).ptr + a->length, "HTTP/1.1 200 OK", 15);
    munmap(m, pages * page);
    close(fd);
}

/* --- slow clients, clients that leave --- */

static struct net_conn *connection(struct app *a) {
    return &((struct session *)((char *)app_waiting(a) - offsetof(struct session, x)))->conn;
}

static void a_reader_that_stalls_is_reset_and_holds_little(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    l.write_stall_ms = 300;
    app_restart(a, &l);
    make_file(a, 60U << 20);
    int fd = app_send(a, LATER), small = 4096; /* so that the kernel takes less than a piece */
    APP_UNTIL(a, app_waiting(a) != NULL);
    setsockopt(connection(a)->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    net_reply(app_waiting(a), 204, SLICE_NONE, SLICE_NONE);
    wire_sends(&a->loop, fd, GET);
    APP_UNTIL(a, a->requests == 2);
    assert_int_equal(descriptors(), 1);
    for (; a->gones == 0; wire_turn(&a->loop)) /* a piece, and what TLS adds to it */
        assert_true(net_conn_queued(connection(a)) < SERVER_PIECE_BYTES + 1024);
    assert_int_equal(a->dones, 1);
    assert_int_equal(descriptors(), 0);
    assert_false(wire_drain(&a->loop, fd, &a->in));
    close(fd);
    unlink(path);
}

static void a_slow_reader_that_goes_on_gets_all_of_it(void **state) {
    struct app *a = *state;
    struct net_server_limits l = NET_SERVER_LIMITS_DEFAULT;
    static char part[1 << 19];
    l.write_stall_ms = 600;
    app_restart(a, &l);
    make_file(a, 30U << 20);
    int fd = app_send(a, GET);
    size_t got = 0;
    for (unsigned pauses = 0; a->dones == 0 && pauses < 100; pauses++) {
        for (size_t n = 0; n < 3U << 20 && a->dones == 0; wire_turn(&a->loop)) {
            ssize_t r = recv(fd, part, sizeof part, MSG_DONTWAIT);
            if (r > 0) n += (size_t)r, got += (size_t)r;
            assert_int_equal(a->gones, 0);
        }
        wire_turn_for(&a->loop, 150);
    }
    while (got < 30U << 20) {
        ssize_t r = recv(fd, part, sizeof part, MSG_DONTWAIT);
        if (r > 0) got += (size_t)r;
        wire_turn(&a->loop);
    }
    assert_int_equal(a->dones, 1);
    close(fd);
    unlink(path);
}

static void the_descriptor_is_closed_when_the_client_leaves(void **state) {
    struct app *a = *state;
    make_file(a, 60U << 20);
    for (unsigned i = 0; i < 2; i++) {
        int fd = app_send(a, GET);
        APP_UNTIL(a, descriptors() == 1);
        if (i == 1) { /* by RST */
            struct linger hard = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        }
        close(fd);
        APP_UNTIL(a, a->gones == i + 1);
        assert_int_equal(descriptors(), 0);
    }
    unlink(path);
}

static void a_half_closed_client_still_gets_it(void **state) {
    struct app *a = *state;
    make_file(a, 20U << 20);
    int fd = app_send(a, GET);
    APP_UNTIL(a, a->requests == 1);
    shutdown(fd, SHUT_WR);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(body_of(a).len, 20U << 20);
    assert_int_equal(a->dones, 1);
    assert_int_equal(descriptors(), 0);
    close(fd);
    fd = app_send(a, GET); /* and one that then leaves after all */
    APP_UNTIL(a, descriptors() == 1);
    shutdown(fd, SHUT_WR);
    wire_turn_for(&a->loop, 20);
    struct linger hard = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    APP_UNTIL(a, a->gones == 1);
    assert_int_equal(descriptors(), 0);
    unlink(path);
}

static void the_descriptor_is_closed_with_the_server(void **state) {
    struct app *a = *state;
    make_file(a, 60U << 20);
    int fd = app_send(a, GET);
    APP_UNTIL(a, descriptors() == 1);
    net_server_close(a->server);
    assert_int_equal(descriptors(), 0);
    assert_int_equal(a->gones, 1);
    close(fd);
    unlink(path);
}

static void a_drained_server_sends_it_to_its_end(void **state) {
    struct app *a = *state;
    make_file(a, 20U << 20);
    int fd = app_send(a, GET);
    APP_UNTIL(a, descriptors() == 1);
    net_server_drain(a->server);
    assert_true(wire_drain(&a->loop, fd, &a->in));
    assert_int_equal(body_of(a).len, 20U << 20);
    assert_int_equal(a->dones, 1);
    close(fd);
    unlink(path);
}

/* Others have their turn while a fast reader takes a large file. */
static void a_large_file_leaves_time_for_others(void **state) {
    struct app *a = *state;
    static char part[1U << 20];
    make_file(a, 60U << 20);
    int fd = app_send(a, GET);
    APP_UNTIL(a, descriptors() == 1);
    size_t got = 0;
    while (got < 60U << 20) {
        for (ssize_t n; (n = recv(fd, part, sizeof part, MSG_DONTWAIT)) > 0;) got += (size_t)n;
        uint64_t before = app_waiting(a) != NULL ? connection(a)->written : 0;
        uv_run(&a->loop.uv, UV_RUN_NOWAIT);
        if (app_waiting(a) != NULL) assert_true(connection(a)->written - before <= 5U << 18);
        if (wire_pump != NULL) wire_pump();
    }
    APP_UNTIL(a, a->dones == 1);
    close(fd);
    unlink(path);
}

/* However large: what is on its way lies in the kernel, not with us. The file has no bytes on the disk. */
static void a_large_file_moves_memory_little(void **state) {
    struct app *a = *state;
    static char part[1U << 20];
    size_t first = 0, most = 0;
    make_file(a, 1);
    a->length = (uint64_t)mebibytes << 20;
    assert_int_equal(truncate(path, (off_t)a->length), 0);
    int fd = app_send(a, GET);
    for (uint64_t got = 0; got < a->length;) {
        uv_run(&a->loop.uv, UV_RUN_NOWAIT);
        if (wire_pump != NULL) wire_pump();
        for (ssize_t n; (n = recv(fd, part, sizeof part, MSG_DONTWAIT)) > 0;) got += (uint64_t)n;
        size_t now = app_resident();
        if (got < 16U << 20) first = now;
        if (now > most) most = now;
    }
    APP_UNTIL(a, a->dones == 1);
    if (mebibytes > 1000)
        print_message("%u MiB moved memory by %zu KiB\n", mebibytes, (most - first) >> 10);
    if (app_counts_memory) assert_true(most < first + (8U << 20));
    close(fd);
    unlink(path);
}

int main(int argc, char **argv) {
    app_over_tls(argc > 1 && strcmp(argv[1], "tls") == 0);
    if (argc > 2) mebibytes = (unsigned)strtoul(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        APP_TEST(a_file_is_sent_whole_and_the_connection_kept),
        APP_TEST(a_part_of_a_file_is_just_that),
        APP_TEST(head_gets_only_the_head),
        APP_TEST(a_file_that_ends_too_early_ends_the_connection),
        APP_TEST(what_cannot_be_read_ends_the_connection),
        APP_TEST(a_file_that_sendfile_refuses_is_sent_too),
        APP_TEST(a_reader_that_stalls_is_reset_and_holds_little),
        APP_TEST(a_slow_reader_that_goes_on_gets_all_of_it),
        APP_TEST(the_descriptor_is_closed_when_the_client_leaves),
        APP_TEST(a_half_closed_client_still_gets_it),
        APP_TEST(the_descriptor_is_closed_with_the_server),
        APP_TEST(a_drained_server_sends_it_to_its_end),
        APP_TEST(a_large_file_leaves_time_for_others),
        APP_TEST(a_large_file_moves_memory_little),
    };
    return cmocka_run_group_tests_name("server_file", tests, NULL, NULL);
}
