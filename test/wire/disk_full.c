/* docs/bad-input.md Q11: the real server on a disk that is full, spent, read-only or broken. Each disk is a tmpfs of the test's
 * own, in a mount namespace that ends with it. */
#include "disk_shim.h"
#include "kill_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#define MAX_JOBS 20000U
#define BIG_BYTES 20000U
#define RESUME_MS 10000U

static struct killed server;
static struct disk_fault *fault;
static char *config;
static bool mounts;
static char why_not[128];

static struct job {
    char id[ID_BYTES];
    bool cancelled;
} jobs[MAX_JOBS];
static unsigned njobs, refused;

/* --- the disk */

static bool put_line(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* As root, or as the root of a user namespace of our own. */
static bool own_mounts(void) {
    char map[32];
    unsigned uid = getuid();
    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        snprintf(map, sizeof map, "0 %u 1\n", uid);
        put_line("/proc/self/setgroups", "deny");
        if (!put_line("/proc/self/uid_map", map)) return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void mount_disk(const char *dir, unsigned long flags) {
    if (mount("tmpfs", dir, "tmpfs", flags, "size=16m") != 0)
        fail_msg("mount %s: %s", dir, strerror(errno));
}

/* To the last byte. */
static void fill_disk(void) {
    static const char zeros[65536];
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/filler", server.data);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t n = sizeof zeros; n > 0; n /= 16)
        while (write(fd, zeros, n) > 0) {
        }
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void free_disk(void) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/filler", server.data);
    assert_int_equal(unlink(path), 0);
}

static char *make_config(void) {
    static const char *const upstreams[][2] = {
        {"quick", ""}, {"slow", "delay/400/"}, {"hang", "delay/60000/"}};
    struct text t = {0};
    text_puts(&t, "min_free_bytes: 64KiB\nmax_status_polls_per_second_per_key: 0\nupstreams:\n");
    for (size_t i = 0; i < 3; i++)
        text_printf(&t,
                    "  %s: { kind: openai, base_url: \"http://127.0.0.1:%u/%stokens/3/v1\", "
                    "concurrency: 96, key: %s }\n",
                    upstreams[i][0], mock.port, upstreams[i][1], CANARY_UPSTREAM);
    text_puts(&t, "routes:\n");
    for (size_t i = 0; i < 3; i++)
        text_printf(&t, "  - { model: \"test/%s\", to: [%s] }\n", upstreams[i][0], upstreams[i][0]);
    return t.p;
}

static void begin(void) {
    njobs = refused = 0;
    config = make_config();
    killed_init(&server, config);
}

static void finish(void) {
    killed_free(&server);
    free(config);
}

static void start(void) {
    killed_start(&server);
    killed_wait_ready(&server);
}

/* --- calls */

static unsigned status_at(const char *path) {
    struct answer a = get(server.port, path);
    unsigned status = a.status;
    answer_free(&a);
    return status;
}

/* False: refused, in the right shape. */
static bool submit(const char *model, size_t bytes) {
    struct text t = {0};
    assert_true(njobs < MAX_JOBS);
    text_printf(&t, "{\"model\":\"test/%s\",\"prompt\":\"", model);
    text_fill(&t, 'p', bytes);
    text_puts(&t, "\"}");
    struct answer a = post(server.port, QUEUE, "", t.p, t.len);
    text_free(&t);
    bool taken = a.status == 200;
    if (taken) {
        char *id = submitted_id(&a);
        snprintf(jobs[njobs].id, ID_BYTES, "%s", id);
        jobs[njobs++].cancelled = false;
        free(id);
    } else {
        expect_status("a submit", &a, 503);
        expect_says("a submit", &a, "storage unavailable; nothing was accepted");
        expect_header("a submit", &a, "retry-after", "1");
        refused++;
    }
    answer_free(&a);
    return taken;
}

/* Its status line: 202 while it waits or runs, 200 when it has ended. */
static unsigned ask_about(const struct job *j, const char *method, const char *tail,
                          struct text *out) {
    struct line l = LINE_CLOSED;
    if (!line_about(&l, server.port, method, j->id, tail))
        fail_msg("no answer to %s %s%s", method, j->id, tail);
    unsigned status = l.status;
    if (out != NULL) text_add(out, l.body.p, l.body.len);
    line_close(&l);
    return status;
}

static void until_refused(void) {
    unsigned before = refused;
    for (unsigned i = 0; refused == before; i++) {
        assert_true(i < 3000);
        submit("quick", BIG_BYTES);
    }
}

static void until_ready(void) {
    uint64_t began = now_ms();
    while (status_at("/readyz") != 200) {
        if (now_ms() - began > RESUME_MS) fail_msg("not ready %u ms after", RESUME_MS);
        sleep_ms(20);
    }
}

/* Direct calls need no room to be answered; what cannot be kept is refused. */
static void look_at_surfaces(void) {
    static const struct {
        const char *path, *body;
    } calls[] = {
        {"/run/fal-ai/any-llm", "{\"prompt\":\"x\",\"model\":\"test/quick\"}"},
        {"/v1/chat/completions",
         "{\"model\":\"test/quick\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"}};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = post_json(server.port, calls[i].path, calls[i].body);
        expect_status(calls[i].path, &a, 200);
        answer_free(&a);
    }
    struct answer a = post(server.port, "/cdn/files/upload", "Content-Type: text/plain\r\n",
                           "hello", 5);
    if (a.status != 503 && a.status != 507) fail_msg("an upload: %u %s", a.status, a.body.p);
    answer_free(&a);
}

/* While nothing can be written: `done` has ended before, `open` is under way. */
static void look_while_refused(const struct job *done, struct job *open) {
    struct text result = {0};
    assert_false(submit("quick", BIG_BYTES));
    assert_int_equal(status_at("/readyz"), 503);
    assert_int_equal(status_at("/healthz"), 200);
    assert_int_equal(metric(server.port, "anyllm_store_can_write"), 0);
    assert_int_equal(ask_about(done, "GET", "/status", NULL), 200);
    assert_int_equal(ask_about(done, "GET", "", &result), 200);
    assert_non_null(strstr(result.p, "output"));
    assert_int_equal(ask_about(open, "GET", "/status", NULL), 202);
    assert_int_equal(ask_about(open, "PUT", "/cancel", NULL), 202);
    open->cancelled = true;
    look_at_surfaces();
    text_free(&result);
}

static struct job *submit_ended(void) {
    struct job *j = &jobs[njobs];
    assert_true(submit("quick", 10));
    for (uint64_t end = now_ms() + PATIENCE_MS; ask_about(j, "GET", "/status", NULL) != 200;)
        if (now_ms() > end) fail_msg("%s does not end", j->id);
    return j;
}

static struct job *submit_open(void) {
    struct job *j = &jobs[njobs];
    assert_true(submit("hang", 10));
    return j;
}

static void submit_slow(void) {
    for (unsigned i = 0; i < 20; i++) assert_true(submit("slow", 10));
    sleep_ms(100); /* most have begun */
}

/* Every request that was accepted has ended as it should. */
static void expect_all_ended(void) {
    if (!killed_idle(&server)) fail_msg("work does not go on by itself");
    for (unsigned i = 0; i < njobs; i++) {
        struct text body = {0};
        unsigned status = ask_about(&jobs[i], "GET", "", &body);
        if (status != (jobs[i].cancelled ? 499 : 200))
            fail_msg("%s: %u %s", jobs[i].id, status, body.p);
        text_free(&body);
    }
}

/* … and is there after the next start. */
static void end(const char *what) {
    struct findings f;
    expect_all_ended();
    killed_stop(&server);
    findings_init(&f);
    killed_check(&server, &f);
    findings_expect_none(&f);
    start();
    expect_all_ended();
    killed_stop(&server);
    print_message("# Q11: %s: %u accepted, %u refused, 0 lost\n", what, njobs, refused);
}

static void need_mounts(void) {
    if (mounts) return;
    print_message("skip: no file system of its own can be mounted: %s\n", why_not);
    skip();
}

/* --- full */

/* What is accepted stays, so a disk of 16 MiB lasts for some cycles only. The longest that it took to be ready again, in ms. */
#define CYCLES_OF_A_DISK 3U

static unsigned fill_and_free(void) {
    unsigned slowest = 0;
    begin();
    mount_disk(server.data, 0);
    start();
    for (unsigned i = 0; i < CYCLES_OF_A_DISK; i++) {
        struct job *done = submit_ended(), *open = submit_open();
        submit_slow(); /* they end when there is no room for their results */
        fill_disk();
        until_refused();
        look_while_refused(done, open);
        free_disk();
        uint64_t freed = now_ms();
        until_ready();
        unsigned ms = (unsigned)(now_ms() - freed);
        if (ms > slowest) slowest = ms;
        assert_true(submit("quick", 10));
    }
    end("a disk of 16 MiB, filled to the last byte");
    umount2(server.data, MNT_DETACH);
    finish();
    return slowest;
}

static void Q11_a_full_disk_refuses_and_goes_on_by_itself(void **state) {
    unsigned disks = long_or(7, 1), slowest = 0;
    need_mounts();
    for (unsigned i = 0; i < disks; i++) {
        unsigned ms = fill_and_free();
        if (ms > slowest) slowest = ms;
    }
    print_message("# Q11: %u cycles, ready again after at most %u ms\n", disks * CYCLES_OF_A_DISK,
                  slowest);
}

/* Killed, and no room for the next start: it says so, and nothing is lost. */
static void Q11_a_start_on_a_full_disk_says_so_and_loses_nothing(void **state) {
    char err[MAX_ERR];
    need_mounts();
    begin();
    mount_disk(server.data, 0);
    start();
    for (unsigned i = 0; i < 3; i++) {
        submit_slow();
        fill_disk();
        until_refused();
        killed_kill(&server);
        fill_disk(); /* what the dead one held */
        struct server_options o = {.config = config, .data = server.data};
        int code = server_fails(&o, err);
        if (code != 73) fail_msg("a start on a full disk: %d %s", code, err);
        free_disk();
        start();
        assert_true(killed_idle(&server)); /* three such ends of one run would be its fault */
    }
    end("starts on a full disk");
    umount2(server.data, MNT_DETACH);
    finish();
}

static void Q11_a_read_only_disk_is_refused_at_the_start(void **state) {
    char err[MAX_ERR];
    need_mounts();
    begin();
    mount_disk(server.data, MS_RDONLY);
    struct server_options o = {.config = config, .data = server.data};
    assert_int_equal(server_fails(&o, err), 73);
    assert_non_null(strstr(err, "Read-only file system"));
    umount2(server.data, MNT_DETACH);
    finish();
}

/* --- what the kernel says of a write, said by disk_shim.c */

static void start_with_shim(void) {
    static char preload[MAX_PATH * 2], file[MAX_PATH * 2], folder[MAX_PATH * 2];
    const struct disk_fault none = {0, 0};
    snprintf(file, sizeof file, "DISK_FAULT=%s.fault", server.data);
    file_write(file + 11, (const char *)&none, sizeof none);
    int fd = open(file + 11, O_RDWR | O_CLOEXEC);
    fault = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(fd >= 0 && fault != MAP_FAILED);
    close(fd);
    snprintf(preload, sizeof preload, "LD_PRELOAD=%s", breakable_path); /* the shim */
    snprintf(folder, sizeof folder, "DISK_FOLDER=%s", server.data);
    server.env[0] = preload;
    server.env[1] = file;
    server.env[2] = folder;
    start();
}

static void free_shim(void) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s.fault", server.data);
    munmap(fault, sizeof *fault);
    unlink(path);
    finish();
}

static void Q11_a_quota_a_read_only_disk_and_errors_refuse(void **state) {
    static const int errors[] = {EDQUOT, EROFS, EIO, ENOSPC};
    begin();
    start_with_shim();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct job *done = submit_ended(), *open = submit_open();
        submit_slow();
        fault->writes = errors[i];
        until_refused();
        look_while_refused(done, open);
        fault->writes = 0;
        until_ready();
        assert_true(submit("quick", 10));
    }
    end("EDQUOT, EROFS, EIO, ENOSPC for each write");
    free_shim();
}

/* Nothing is answered any more, the process ends with 74, and the next one knows all that was told. */
static void Q11_a_failed_sync_ends_the_server_and_nothing_is_lost(void **state) {
    struct line l = LINE_CLOSED;
    const char *ask = "POST " QUEUE " HTTP/1.1\r\n" HOST "Content-Type: application/json\r\n"
                      "Content-Length: 37\r\n\r\n{\"prompt\":\"x\",\"model\":\"test/quick\"}  ";
    begin();
    start_with_shim();
    for (unsigned i = 0; i < long_or(20, 3); i++) {
        for (unsigned k = 0; k < 20; k++) assert_true(submit("quick", 100));
        fault->syncs = EIO;
        if (line_ask(&l, server.port, ask, strlen(ask)))
            fail_msg("answered: %u %s", l.status, l.body.p);
        int code = process_end(server.server.pid, PATIENCE_MS);
        if (code == INT32_MIN) fail_msg("it does not end after a failed sync");
        if (code != 74) fail_msg("ended with %d:\n%s", code, file_text(server.server.err, NULL));
        char *log = file_text(server.server.err, NULL);
        assert_non_null(strstr(log, "event=storage_broken"));
        free(log);
        scratch_remove(server.server.dir);
        fault->syncs = 0;
        start();
    }
    line_close(&l);
    end("syncs that fail");
    free_shim();
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(Q11_a_full_disk_refuses_and_goes_on_by_itself),
        cmocka_unit_test(Q11_a_start_on_a_full_disk_says_so_and_loses_nothing),
        cmocka_unit_test(Q11_a_read_only_disk_is_refused_at_the_start),
        cmocka_unit_test(Q11_a_quota_a_read_only_disk_and_errors_refuse),
        cmocka_unit_test(Q11_a_failed_sync_ends_the_server_and_nothing_is_lost),
    };
    mounts = own_mounts();
    if (!mounts) snprintf(why_not, sizeof why_not, "%s", strerror(errno));
    return kill_main(argc, argv, "disk_full", tests, sizeof tests / sizeof *tests);
}
