/* The directory of blobs: contents and their hash, back-pressure, every end of a put, disks that say no, planted entries, kill -9. */
#include "store/blobs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct net_loop loop;
    struct blobs *blobs;
    char dir[96], files[112];
    bool mounted;
};

static void open_blobs(struct fixture *f) {
    char reason[256] = "";
    f->blobs = blobs_open_dir(&f->loop, f->files, reason, sizeof reason);
    if (f->blobs == NULL) fail_msg("%s", reason);
}

static void on_closed(void *user) {
    ((struct fixture *)user)->blobs = NULL;
}

static void close_blobs(struct fixture *f) {
    if (f->blobs == NULL) return;
    blobs_close(f->blobs, on_closed, f);
    assert_non_null(f->blobs);
    net_loop_run(&f->loop);
    assert_null(f->blobs);
}

static unsigned descriptors(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n;
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/anyllm-blobs.XXXXXX");
    if (mkdtemp(f->dir) == NULL || net_loop_init(&f->loop) != 0) return -1;
    snprintf(f->files, sizeof f->files, "%s/files", f->dir);
    open_blobs(f);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at) {
    return remove(path);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    close_blobs(f);
    net_loop_close(&f->loop);
    if (f->mounted) umount(f->dir);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static const char *path_of(struct fixture *f, const char *under) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", f->files, under);
    return path;
}

/* How many entries a folder has; -1: none such. */
static int entries(struct fixture *f, const char *under) {
    DIR *d = opendir(path_of(f, under));
    int n = 0;
    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n - 2;
}

/* --- one put and what it told */

struct putting {
    struct fixture *f;
    struct blob_put *put;
    unsigned drained, failed, done;
    enum blob_status status;
    struct blob_info info;
    bool in_call, drop_on_failed, finish_on_failed;
    /* for feeding: */
    size_t left, piece;
    uint64_t most_waiting;
    unsigned pauses;
};

static void put_done(void *user, enum blob_status s, const struct blob_info *info) {
    struct putting *p = user;
    assert_false(p->in_call);
    assert_true((s == BLOB_OK) == (info != NULL));
    p->done++;
    p->status = s;
    if (info != NULL) p->info = *info;
    p->put = NULL;
}

static void finish(struct putting *p) {
    p->in_call = true;
    blob_put_finish(p->put, put_done, p);
    p->in_call = false;
}

static char byte_at(size_t i) {
    return (char)(i * 2654435761U >> 13);
}

/* Writes until it must pause; finishes at the end. */
static void feed(struct putting *p) {
    static char data[1U << 20];
    bool more = true;
    p->in_call = true;
    while (p->left > 0 && more) {
        size_t n = p->left < p->piece ? p->left : p->piece;
        for (size_t i = 0; i < n; i++) data[i] = byte_at(p->left - i);
        more = blob_put_write(p->put, slice_make(data, n));
        p->left -= n;
    }
    p->in_call = false;
    if (!more)
        p->pauses++;
    else
        finish(p);
}

static void on_drained(void *user) {
    struct putting *p = user;
    assert_false(p->in_call);
    p->drained++;
    if (p->piece > 0) feed(p);
}

static void on_failed(void *user, enum blob_status s) {
    struct putting *p = user;
    assert_false(p->in_call);
    p->failed++;
    p->status = s;
    if (p->drop_on_failed) blob_put_drop(p->put);
    if (p->finish_on_failed) finish(p);
}

static const struct blob_put_hooks hooks = {on_drained, on_failed};

static void begin(struct fixture *f, struct putting *p, const char *id) {
    p->f = f;
    p->put = blob_put_begin(f->blobs, id, &hooks, p);
    assert_non_null(p->put);
}

static bool give(struct putting *p, struct slice data) {
    p->in_call = true;
    bool more = blob_put_write(p->put, data);
    p->in_call = false;
    return more;
}

static void put_bytes(struct fixture *f, const char *id, struct slice data) {
    struct putting p = {0};
    begin(f, &p, id);
    give(&p, data);
    finish(&p);
    net_loop_run(&f->loop);
    assert_int_equal(p.done, 1);
    assert_int_equal(p.status, BLOB_OK);
}

/* --- one look */

struct looking {
    enum blob_status status;
    int fd;
    unsigned times;
    uint64_t bytes;
    char *data;
};

static void got_fd(void *user, enum blob_status s, int fd, uint64_t bytes) {
    struct looking *l = user;
    *l = (struct looking){s, fd, l->times + 1, bytes, NULL};
}

static void got_data(void *user, enum blob_status s, struct slice data) {
    struct looking *l = user;
    l->times++;
    l->status = s;
    l->bytes = data.len;
    l->data = s == BLOB_OK ? slice_dup(data) : NULL;
}

static void got_status(void *user, enum blob_status s) {
    struct looking *l = user;
    l->times++;
    l->status = s;
}

static struct looking get(struct fixture *f, const char *id) {
    struct looking l = {.fd = -1};
    blob_get(f->blobs, id, got_fd, &l);
    assert_int_equal(l.times, 0);
    net_loop_run(&f->loop);
    assert_int_equal(l.times, 1);
    assert_int_equal(l.fd >= 0, l.status == BLOB_OK);
    return l;
}

static enum blob_status status_of(struct fixture *f, const char *id) {
    struct looking l = get(f, id);
    if (l.fd >= 0) close(l.fd);
    return l.status;
}

static struct looking read_blob(struct fixture *f, const char *id, size_t max) {
    struct looking l = {0};
    blob_read(f->blobs, id, max, got_data, &l);
    assert_int_equal(l.times, 0);
    net_loop_run(&f->loop);
    assert_int_equal(l.times, 1);
    return l;
}

static void has(struct fixture *f, const char *id, const char *content) {
    struct looking l = read_blob(f, id, 1000);
    assert_int_equal(l.status, BLOB_OK);
    assert_string_equal(l.data, content);
    free(l.data);
}

static enum blob_status remove_blob(struct fixture *f, const char *id) {
    struct looking l = {0};
    blob_delete(f->blobs, id, got_status, &l);
    assert_int_equal(l.times, 0);
    net_loop_run(&f->loop);
    assert_int_equal(l.times, 1);
    return l.status;
}

/* --- contents */

static void check_content(struct fixture *f, const char *id, size_t size,
                          const struct blob_info *info) {
    struct looking l = get(f, id);
    unsigned char sha[32], piece[65536];
    size_t at = 0;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(l.status, BLOB_OK);
    assert_int_equal(l.bytes, size);
    EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (ssize_t n; (n = read(l.fd, piece, sizeof piece)) > 0;) {
        EVP_DigestUpdate(ctx, piece, (size_t)n);
        for (ssize_t i = 0; i < n; i++, at++)
            if ((char)piece[i] != byte_at(size - at)) fail_msg("%s differs at %zu", id, at);
    }
    EVP_DigestFinal_ex(ctx, sha, NULL);
    EVP_MD_CTX_free(ctx);
    close(l.fd);
    assert_int_equal(at, size);
    assert_int_equal(info->bytes, size);
    assert_memory_equal(info->sha256, sha, sizeof sha);
}

static void keeps_what_was_put_with_its_hash(void **state) {
    struct fixture *f = *state;
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   65471,
                                   65472,
                                   65473,
                                   BLOB_PUT_HIGH_BYTES - 1,
                                   BLOB_PUT_HIGH_BYTES,
                                   BLOB_PUT_HIGH_BYTES + 1,
                                   10U << 20};
    static const size_t pieces[] = {1U << 20, 65536, 1000};
    char id[32];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
            struct putting p = {.left = sizes[i], .piece = pieces[k]};
            snprintf(id, sizeof id, "a%zu_%zu", i, k);
            begin(f, &p, id);
            feed(&p);
            net_loop_run(&f->loop);
            assert_int_equal(p.done, 1);
            assert_int_equal(p.failed, 0);
            assert_int_equal(p.status, BLOB_OK);
            assert_int_equal(p.drained, p.pauses);
            check_content(f, id, sizes[i], &p.info);
        }
    }
    assert_int_equal(entries(f, "tmp"), 0);
}

static void says_pause_past_the_high_water_and_drained_once(void **state) {
    struct fixture *f = *state;
    static char data[BLOB_PUT_HIGH_BYTES + 1];
    struct putting p = {0};
    begin(f, &p, "pause");
    assert_true(give(&p, slice_make(data, BLOB_PUT_HIGH_BYTES)));
    assert_false(give(&p, slice_make(data, 1)));
    assert_false(give(&p, slice_make(data, 1)));
    net_loop_run(&f->loop);
    assert_int_equal(p.drained, 1);
    assert_true(give(&p, slice_make(data, 1)));
    net_loop_run(&f->loop);
    assert_int_equal(p.drained, 1);
    finish(&p);
    net_loop_run(&f->loop);
    assert_int_equal(p.info.bytes, BLOB_PUT_HIGH_BYTES + 3);
}

static void is_not_there_before_done(void **state) {
    struct fixture *f = *state;
    struct putting p = {0};
    begin(f, &p, "later");
    give(&p, SLICE("half"));
    net_loop_run(&f->loop);
    assert_int_equal(status_of(f, "later"), BLOB_NOT_FOUND);
    assert_int_equal(entries(f, "tmp"), 1);
    give(&p, SLICE(" and half"));
    finish(&p);
    net_loop_run(&f->loop);
    has(f, "later", "half and half");
}

static void lies_in_folders_of_its_first_letters_closed_to_others(void **state) {
    struct fixture *f = *state;
    struct stat st;
    put_bytes(f, "xyz", SLICE("1"));
    put_bytes(f, "x", SLICE("2"));
    put_bytes(f, "x~", SLICE("3"));
    static const struct {
        const char *path;
        mode_t mode;
    } rows[] = {{"", S_IFDIR | 0700},       {"tmp", S_IFDIR | 0700}, {"xy", S_IFDIR | 0700},
                {"xy/xyz", S_IFREG | 0600}, {"x/x", S_IFREG | 0600}, {"x~/x~", S_IFREG | 0600}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(lstat(path_of(f, rows[i].path), &st), 0);
        assert_int_equal(st.st_mode, rows[i].mode);
    }
}

static void closes_an_open_folder_to_others(void **state) {
    struct fixture *f = *state;
    struct stat st;
    close_blobs(f);
    chmod(f->files, 0755);
    open_blobs(f);
    stat(f->files, &st);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void refuses_ids_that_are_paths(void **state) {
    struct fixture *f = *state;
    static const char *const ids[] = {
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a.b",
        "/etc/passwd",
        "a b",
        "a\n",
        "\xc3\xa9",
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct putting p = {0};
        const char *parts[] = {ids[i]};
        begin(f, &p, ids[i]);
        give(&p, SLICE("x"));
        finish(&p);
        net_loop_run(&f->loop);
        assert_int_equal(p.status, BLOB_IO);
        assert_int_equal(status_of(f, ids[i]), BLOB_NOT_FOUND);
        assert_int_equal(read_blob(f, ids[i], 10).status, BLOB_NOT_FOUND);
        assert_int_equal(remove_blob(f, ids[i]), BLOB_NOT_FOUND);
        p = (struct putting){0};
        blob_join(f->blobs, "joined", parts, 1, put_done, &p);
        net_loop_run(&f->loop);
        assert_int_equal(p.status, BLOB_NOT_FOUND);
    }
    assert_int_equal(entries(f, ""), 1);
    assert_int_equal(entries(f, "tmp"), 0);
}

/* --- dropping */

static void leaves_nothing_of_what_is_dropped_at_any_stage(void **state) {
    struct fixture *f = *state;
    static char data[2 * BLOB_PUT_HIGH_BYTES];
    unsigned before = descriptors();
    for (int stage = 0; stage < 6; stage++) {
        struct putting p = {0};
        begin(f, &p, "dropped");
        if (stage >= 1) give(&p, slice_make(data, stage >= 3 ? sizeof data : 10));
        if (stage == 2 || stage == 4) net_loop_run(&f->loop);
        if (stage == 5) uv_run(&f->loop.uv, UV_RUN_ONCE);
        unsigned drained = p.drained;
        blob_put_drop(p.put);
        net_loop_run(&f->loop);
        assert_int_equal(p.drained, drained);
        assert_int_equal(p.failed + p.done, 0);
        assert_int_equal(entries(f, "tmp"), 0);
        assert_int_equal(status_of(f, "dropped"), BLOB_NOT_FOUND);
    }
    blob_put_drop(NULL);
    assert_int_equal(descriptors(), before);
}

static void drops_begun_and_finishes_given_when_closed(void **state) {
    struct fixture *f = *state;
    struct putting begun = {0}, given = {0}, fresh = {0};
    struct looking reading = {0}, getting = {.fd = -1};
    put_bytes(f, "there", SLICE("there"));
    begin(f, &fresh, "fresh");
    begin(f, &begun, "begun");
    give(&begun, SLICE("x"));
    begin(f, &given, "given");
    give(&given, SLICE("whole"));
    finish(&given);
    blob_read(f->blobs, "there", 10, got_data, &reading);
    blob_get(f->blobs, "there", got_fd, &getting);
    close_blobs(f);
    assert_int_equal(given.status, BLOB_OK);
    assert_int_equal(given.done, 1);
    assert_int_equal(begun.done + begun.failed + fresh.done, 0);
    assert_string_equal(reading.data, "there");
    free(reading.data);
    assert_int_equal(getting.status, BLOB_OK);
    close(getting.fd);
    assert_int_equal(entries(f, "tmp"), 0);
    open_blobs(f);
    has(f, "given", "whole");
    assert_int_equal(status_of(f, "begun"), BLOB_NOT_FOUND);
}

static void removes_at_start_what_was_left_unfinished(void **state) {
    struct fixture *f = *state;
    close_blobs(f);
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "tmp/%d", i);
        close(open(path_of(f, name), O_CREAT | O_WRONLY, 0600));
    }
    open_blobs(f);
    assert_int_equal(entries(f, "tmp"), 0);
    put_bytes(f, "new", SLICE("new"));
}

/* --- read, join, delete, list */

static void reads_whole_blobs_up_to_a_limit(void **state) {
    struct fixture *f = *state;
    put_bytes(f, "four", SLICE("four"));
    put_bytes(f, "none", SLICE(""));
    has(f, "four", "four");
    has(f, "none", "");
    struct looking l = read_blob(f, "four", 4);
    assert_int_equal(l.status, BLOB_OK);
    free(l.data);
    assert_int_equal(read_blob(f, "four", 3).status, BLOB_FULL);
    assert_int_equal(read_blob(f, "five", 3).status, BLOB_NOT_FOUND);
}

static void got_text(void *user, enum blob_status s, char *text, size_t len) {
    struct looking *l = user;
    *l = (struct looking){s, -1, l->times + 1, len, text};
}

static void reads_as_base64_behind_a_prefix(void **state) {
    struct fixture *f = *state;
    static const size_t sizes[] = {0, 1, 2, 3, 24575, 24576, 24577, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct looking l = {0};
        struct putting p = {.left = sizes[i], .piece = 5000};
        unsigned char *want = malloc(sizes[i] / 3 * 4 + 5);
        begin(f, &p, "text");
        feed(&p);
        net_loop_run(&f->loop);
        blob_read_base64(f->blobs, "text", sizes[i], SLICE("data:a/b;base64,"), got_text, &l);
        net_loop_run(&f->loop);
        assert_int_equal(l.times, 1);
        assert_int_equal(l.status, BLOB_OK);
        char *bytes = malloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++) bytes[k] = byte_at(sizes[i] - k);
        int n = EVP_EncodeBlock(want, (unsigned char *)bytes, (int)sizes[i]);
        assert_int_equal(l.bytes, n + 16);
        assert_memory_equal(l.data, "data:a/b;base64,", 16);
        assert_memory_equal(l.data + 16, want, (size_t)n);
        free(bytes);
        free(want);
        free(l.data);
    }
    struct looking l = {0};
    blob_read_base64(f->blobs, "text", 99999, SLICE(""), got_text, &l);
    net_loop_run(&f->loop);
    assert_int_equal(l.status, BLOB_FULL);
    assert_null(l.data);
}

static struct putting join(struct fixture *f, const char *id, const char *const *parts, size_t n) {
    struct putting p = {.in_call = true};
    blob_join(f->blobs, id, parts, n, put_done, &p);
    p.in_call = false;
    net_loop_run(&f->loop);
    assert_int_equal(p.done, 1);
    return p;
}

static void joins_in_the_order_given_and_removes_the_parts(void **state) {
    struct fixture *f = *state;
    static const char *const parts[] = {"p3", "p1", "p0", "p2"};
    put_bytes(f, "p1", SLICE("one"));
    put_bytes(f, "p2", SLICE("two"));
    put_bytes(f, "p3", SLICE("three"));
    put_bytes(f, "p0", SLICE(""));
    unsigned before = descriptors();
    struct putting p = join(f, "whole", parts, 4);
    assert_int_equal(p.status, BLOB_OK);
    assert_int_equal(p.info.bytes, 11);
    has(f, "whole", "threeonetwo");
    unsigned char sha[32];
    EVP_Digest("threeonetwo", 11, sha, NULL, EVP_sha256(), NULL);
    assert_memory_equal(p.info.sha256, sha, 32);
    for (size_t i = 0; i < 4; i++) assert_int_equal(status_of(f, parts[i]), BLOB_NOT_FOUND);
    assert_int_equal(descriptors(), before);
}

static void joins_more_than_one_step(void **state) {
    struct fixture *f = *state;
    static const char *const parts[] = {"big", "small"};
    struct putting p = {.left = 40U << 20, .piece = 1U << 20};
    begin(f, &p, "big");
    feed(&p);
    net_loop_run(&f->loop);
    put_bytes(f, "small", SLICE("x"));
    struct putting j = join(f, "both", parts, 2);
    assert_int_equal(j.status, BLOB_OK);
    assert_int_equal(j.info.bytes, (40U << 20) + 1);
    assert_memory_not_equal(j.info.sha256, p.info.sha256, 32);
    struct putting again = {.left = 40U << 20, .piece = 1U << 20};
    begin(f, &again, "big");
    feed(&again);
    net_loop_run(&f->loop);
    static const char *const one[] = {"big"};
    j = join(f, "one", one, 1);
    assert_memory_equal(j.info.sha256, p.info.sha256, 32);
    check_content(f, "one", 40U << 20, &p.info);
}

static void keeps_the_parts_when_one_is_missing(void **state) {
    struct fixture *f = *state;
    static const char *const parts[] = {"p1", "p2", "gone"};
    put_bytes(f, "p1", SLICE("one"));
    put_bytes(f, "p2", SLICE("two"));
    unsigned before = descriptors();
    assert_int_equal(join(f, "whole", parts, 3).status, BLOB_NOT_FOUND);
    assert_int_equal(status_of(f, "whole"), BLOB_NOT_FOUND);
    has(f, "p1", "one");
    assert_int_equal(entries(f, "tmp"), 0);
    assert_int_equal(descriptors(), before);
}

static void deletes_while_somebody_reads(void **state) {
    struct fixture *f = *state;
    char data[8] = "";
    put_bytes(f, "open", SLICE("content"));
    struct looking l = get(f, "open");
    assert_int_equal(remove_blob(f, "open"), BLOB_OK);
    assert_int_equal(remove_blob(f, "open"), BLOB_NOT_FOUND);
    blob_delete(f->blobs, "open", NULL, NULL);
    net_loop_run(&f->loop);
    assert_int_equal(read(l.fd, data, 7), 7);
    assert_string_equal(data, "content");
    close(l.fd);
    assert_int_equal(status_of(f, "open"), BLOB_NOT_FOUND);
}

struct listing {
    unsigned pages, ids, seen[700];
    bool last;
};

static void on_page(void *user, const char *const *ids, size_t n, bool last) {
    struct listing *l = user;
    assert_false(l->last);
    l->pages++;
    l->last = last;
    for (size_t i = 0; i < n; i++, l->ids++) l->seen[strtoul(ids[i] + 1, NULL, 10)]++;
}

static void lists_every_blob_once_and_nothing_else(void **state) {
    struct fixture *f = *state;
    struct listing l = {0};
    struct putting p = {0};
    char id[16];
    blob_list(f->blobs, on_page, &l);
    assert_int_equal(l.pages, 0);
    net_loop_run(&f->loop);
    assert_true(l.last && l.ids == 0);
    begin(f, &p, "z9999");
    give(&p, SLICE("unfinished"));
    for (unsigned i = 0; i < 700; i++) {
        snprintf(id, sizeof id, "%c%u", 'a' + (int)(i % 7), i);
        put_bytes(f, id, SLICE("x"));
    }
    l = (struct listing){0};
    blob_list(f->blobs, on_page, &l);
    net_loop_run(&f->loop);
    assert_true(l.last && l.pages > 2);
    assert_int_equal(l.ids, 700);
    for (unsigned i = 0; i < 700; i++) assert_int_equal(l.seen[i], 1);
    blob_put_drop(p.put);
}

static void tells_the_room_on_the_disk(void **state) {
    struct fixture *f = *state;
    uint64_t bytes = blobs_free_bytes(f->blobs);
    assert_true(bytes > 0 && bytes < UINT64_MAX);
    assert_true(blobs_free_bytes(f->blobs) == bytes);
}

/* --- what was planted (reliability F11) */

static void refuses_what_was_planted(void **state) {
    struct fixture *f = *state;
    char outside[128];
    snprintf(outside, sizeof outside, "%s/secret", f->dir);
    int fd = open(outside, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "secret", 6), 6);
    close(fd);
    put_bytes(f, "real", SLICE("real"));
    assert_int_equal(symlink(outside, path_of(f, "re/relink")), 0);
    assert_int_equal(symlink("real", path_of(f, "re/resibling")), 0);
    assert_int_equal(mkfifo(path_of(f, "re/refifo"), 0600), 0);
    assert_int_equal(mkdir(path_of(f, "re/refolder"), 0700), 0);
    assert_int_equal(symlink(f->dir, path_of(f, "se")), 0);
    unsigned before = descriptors();
    static const char *const ids[] = {"relink", "resibling", "refifo", "refolder", "secret"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        assert_int_equal(status_of(f, ids[i]), BLOB_IO);
        assert_int_equal(read_blob(f, ids[i], 100).status, BLOB_IO);
        assert_int_equal(join(f, "joined", &ids[i], 1).status, BLOB_IO);
    }
    assert_int_equal(remove_blob(f, "secret"), BLOB_IO);
    assert_int_equal(access(outside, F_OK), 0);
    assert_int_equal(remove_blob(f, "relink"), BLOB_OK);
    assert_int_equal(access(outside, F_OK), 0);
    struct putting p = {0};
    begin(f, &p, "secret2");
    give(&p, SLICE("x"));
    finish(&p);
    net_loop_run(&f->loop);
    assert_int_equal(p.status, BLOB_IO);
    assert_int_equal(entries(f, "tmp"), 0);
    assert_int_equal(descriptors(), before);
}

static void does_not_start_on_a_planted_tmp(void **state) {
    struct fixture *f = *state;
    char reason[256] = "", kept[128];
    close_blobs(f);
    snprintf(kept, sizeof kept, "%s/kept", f->dir);
    close(open(kept, O_CREAT | O_WRONLY, 0600));
    rmdir(path_of(f, "tmp"));
    assert_int_equal(symlink(f->dir, path_of(f, "tmp")), 0);
    assert_null(blobs_open_dir(&f->loop, f->files, reason, sizeof reason));
    print_message("%s\n", reason);
    assert_true(strlen(reason) > 20);
    assert_int_equal(access(kept, F_OK), 0);
}

static void tells_why_it_cannot_open(void **state) {
    struct fixture *f = *state;
    static const char *const paths[] = {"/nonexistent/files", "/dev/null"};
    for (size_t i = 0; i < 2; i++) {
        char reason[256] = "";
        assert_null(blobs_open_dir(&f->loop, paths[i], reason, sizeof reason));
        assert_non_null(strstr(reason, paths[i]));
        print_message("%s\n", reason);
    }
}

/* --- disks that say no */

/* A small disk where the system lets us mount one, else files may not grow. */
static void shrink_disk(struct fixture *f, bool *limited) {
    close_blobs(f);
    f->mounted = mount("tmpfs", f->dir, "tmpfs", 0, "size=1m") == 0;
    *limited = !f->mounted;
    if (*limited) {
        struct rlimit r;
        signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &r);
        r.rlim_cur = 1U << 20;
        setrlimit(RLIMIT_FSIZE, &r);
    }
    open_blobs(f);
}

static void restore_disk(void) {
    struct rlimit r;
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_FSIZE, &r);
}

static void write_too_much(struct fixture *f, struct putting *p) {
    static char data[128 << 10];
    begin(f, p, "large");
    for (int i = 0; i < 32 && p->failed == 0; i++) {
        give(p, slice_make(data, sizeof data));
        net_loop_run(&f->loop);
    }
    assert_int_equal(p->failed, 1);
}

static void says_full_and_leaves_nothing(void **state) {
    struct fixture *f = *state;
    bool limited;
    shrink_disk(f, &limited);
    unsigned before = descriptors();
    for (int way = 0; way < 4; way++) {
        struct putting p = {.drop_on_failed = way == 0, .finish_on_failed = way == 1};
        write_too_much(f, &p);
        if (way == 2) assert_true(give(&p, SLICE("more")));
        if (way == 2) finish(&p);
        if (way == 3) blob_put_drop(p.put);
        net_loop_run(&f->loop);
        assert_int_equal(p.status, BLOB_FULL);
        assert_int_equal(p.failed, 1);
        assert_int_equal(p.done, way == 1 || way == 2);
        assert_int_equal(entries(f, "tmp"), 0);
        assert_int_equal(status_of(f, "large"), BLOB_NOT_FOUND);
    }
    put_bytes(f, "small", SLICE("there is room again"));
    assert_int_equal(descriptors(), before);
    if (limited) restore_disk();
}

static void says_full_at_finish(void **state) {
    struct fixture *f = *state;
    static char data[3U << 20];
    bool limited;
    shrink_disk(f, &limited);
    struct putting p = {0};
    begin(f, &p, "large");
    give(&p, slice_make(data, sizeof data));
    finish(&p);
    net_loop_run(&f->loop);
    assert_int_equal(p.failed, 0);
    assert_int_equal(p.done, 1);
    assert_int_equal(p.status, BLOB_FULL);
    assert_int_equal(entries(f, "tmp"), 0);
    if (limited) restore_disk();
}

/* Without descriptors a put fails and is told so; afterwards all is well. */
static void lives_through_having_no_descriptors(void **state) {
    struct fixture *f = *state;
    struct rlimit r, none;
    put_bytes(f, "before", SLICE("x"));
    getrlimit(RLIMIT_NOFILE, &r);
    none = r;
    none.rlim_cur = descriptors() - 2;
    int taken[64], n = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    while (n < 64 && (taken[n] = dup(0)) >= 0) n++;
    struct putting p = {0};
    begin(f, &p, "nofd");
    give(&p, SLICE("x"));
    net_loop_run(&f->loop);
    assert_int_equal(p.failed, 1);
    assert_int_equal(p.status, BLOB_IO);
    blob_put_drop(p.put);
    assert_int_equal(status_of(f, "before"), BLOB_IO);
    while (n > 0) close(taken[--n]);
    setrlimit(RLIMIT_NOFILE, &r);
    has(f, "before", "x");
    put_bytes(f, "nofd", SLICE("x"));
}

/* --- many at once */

#define MANY 100

static uint64_t resident(void) {
    unsigned long long pages = 0, rss = 0;
    FILE *s = fopen("/proc/self/statm", "r");
    if (fscanf(s, "%llu %llu", &pages, &rss) != 2) rss = 0;
    fclose(s);
    return rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t most_resident;

static void watch_memory(uv_idle_t *idle) {
    uint64_t now = resident();
    if (now > most_resident) most_resident = now;
    struct putting *p = idle->data;
    for (size_t i = 0; i < MANY; i++)
        if (p[i].done == 0) return;
    uv_idle_stop(idle);
}

static void holds_little_for_many_puts_at_once(void **state) {
    struct fixture *f = *state;
    static struct putting p[MANY];
    uv_idle_t idle;
    char id[16];
    unsigned before = descriptors();
    memset(p, 0, sizeof p);
    uv_idle_init(&f->loop.uv, &idle);
    idle.data = p;
    most_resident = 0;
    struct putting warm = {.left = 2U << 20, .piece = 1U << 20};
    begin(f, &warm, "warm");
    feed(&warm);
    net_loop_run(&f->loop);
    uint64_t start = resident();
    uv_idle_start(&idle, watch_memory);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(id, sizeof id, "m%zu", i);
        p[i] = (struct putting){.left = 2U << 20, .piece = 65536};
        begin(f, &p[i], id);
        feed(&p[i]);
    }
    net_loop_run(&f->loop);
    uv_close((uv_handle_t *)&idle, NULL);
    net_loop_run(&f->loop);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(p[i].status, BLOB_OK);
        assert_memory_equal(p[i].info.sha256, warm.info.sha256, 32);
    }
    assert_int_equal(descriptors(), before);
    print_message("%d puts moved resident memory by %llu KB\n", MANY,
                  (unsigned long long)(most_resident - start) / 1024);
#if !defined(__SANITIZE_ADDRESS__)
    assert_true(most_resident - start < MANY * (BLOB_PUT_HIGH_BYTES + 3 * 65536ULL));
#endif
}

/* --- kill -9 (reliability F12): what is visible is whole, what is told done is there */

#define CHILD_PUTS 4000U
#define CHILD_BYTES 50000U

static void child_done(void *user, enum blob_status s, const struct blob_info *info) {
    if (s != BLOB_OK) _exit(4);
}

/* Puts one after the other, four at a time; tells each that is done through the pipe. */
static void child(const char *files, int tell) {
    static struct fixture f;
    static struct putting p[4];
    static char data[CHILD_BYTES], id[16];
    if (net_loop_init(&f.loop) != 0) _exit(1);
    snprintf(f.files, sizeof f.files, "%s", files);
    char reason[256];
    f.blobs = blobs_open_dir(&f.loop, files, reason, sizeof reason);
    if (f.blobs == NULL) _exit(2);
    for (unsigned n = 0; n < CHILD_PUTS; n += 4) {
        for (unsigned i = 0; i < 4; i++) {
            snprintf(id, sizeof id, "k%u", n + i);
            memset(data, (int)('a' + (n + i) % 26), sizeof data);
            p[i] = (struct putting){.f = &f};
            p[i].put = blob_put_begin(f.blobs, id, &hooks, &p[i]);
            blob_put_write(p[i].put, slice_make(data, sizeof data));
        }
        uv_run(&f.loop.uv, UV_RUN_ONCE);
        for (unsigned i = 0; i < 4; i++) blob_put_finish(p[i].put, child_done, &p[i]);
        net_loop_run(&f.loop);
        uint32_t done = n + 4;
        if (write(tell, &done, sizeof done) != sizeof done) _exit(3);
    }
    _exit(0);
}

struct survey {
    struct fixture *f;
    unsigned blobs;
    bool last;
};

static void survey_page(void *user, const char *const *ids, size_t n, bool last) {
    struct survey *v = user;
    struct stat st;
    char under[64];
    for (size_t i = 0; i < n; i++, v->blobs++) {
        snprintf(under, sizeof under, "%.2s/%s", ids[i], ids[i]);
        assert_int_equal(stat(path_of(v->f, under), &st), 0);
        assert_int_equal(st.st_size, CHILD_BYTES);
    }
    v->last = last;
}

static void kill_once(struct fixture *f, unsigned seed) {
    int tell[2];
    uint32_t done = 0, told = 0;
    assert_int_equal(pipe(tell), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child(f->files, tell[1]);
    close(tell[1]);
    for (unsigned i = 0; i < 1 + seed % 5; i++)
        if (read(tell[0], &told, sizeof told) == sizeof told) done = told;
    usleep(seed * 7919U % 5000U); /* anywhere within the next ones */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(tell[0], &told, sizeof told) == sizeof told) done = told;
    close(tell[0]);
    open_blobs(f);
    assert_int_equal(entries(f, "tmp"), 0);
    struct survey v = {.f = f};
    blob_list(f->blobs, survey_page, &v);
    net_loop_run(&f->loop);
    assert_true(v.last && v.blobs >= done && done > 0);
    for (uint32_t i = 0; i < done; i++) {
        char id[16];
        snprintf(id, sizeof id, "k%u", i);
        struct looking l = read_blob(f, id, CHILD_BYTES);
        assert_int_equal(l.status, BLOB_OK);
        for (size_t k = 0; k < CHILD_BYTES; k++)
            if (l.data[k] != (char)('a' + i % 26)) fail_msg("%s is not whole", id);
        free(l.data);
        assert_int_equal(remove_blob(f, id), BLOB_OK);
    }
    close_blobs(f);
}

/* ANYLLM_LONG=1: a hundred times. */
static void shows_no_half_file_after_kill_9(void **state) {
    struct fixture *f = *state;
    unsigned times = getenv("ANYLLM_LONG") != NULL ? 100 : 20;
    close_blobs(f);
    for (unsigned i = 0; i < times; i++) kill_once(f, i);
    open_blobs(f);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(keeps_what_was_put_with_its_hash),
        T(says_pause_past_the_high_water_and_drained_once),
        T(is_not_there_before_done),
        T(lies_in_folders_of_its_first_letters_closed_to_others),
        T(closes_an_open_folder_to_others),
        T(refuses_ids_that_are_paths),
        T(leaves_nothing_of_what_is_dropped_at_any_stage),
        T(drops_begun_and_finishes_given_when_closed),
        T(removes_at_start_what_was_left_unfinished),
        T(reads_whole_blobs_up_to_a_limit),
        T(reads_as_base64_behind_a_prefix),
        T(joins_in_the_order_given_and_removes_the_parts),
        T(joins_more_than_one_step),
        T(keeps_the_parts_when_one_is_missing),
        T(deletes_while_somebody_reads),
        T(lists_every_blob_once_and_nothing_else),
        T(tells_the_room_on_the_disk),
        T(refuses_what_was_planted),
        T(does_not_start_on_a_planted_tmp),
        T(tells_why_it_cannot_open),
        T(says_full_and_leaves_nothing),
        T(says_full_at_finish),
        T(lives_through_having_no_descriptors),
        T(holds_little_for_many_puts_at_once),
        T(shows_no_half_file_after_kill_9),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
