/* A copy of the database while it is in use.
 *
 * 1. A connection of its own reads one state of it, as it was at the beginning: writers are not waited for and do not wait.
 *    What they write meanwhile stays in the log; the writer writes it back in pieces afterwards.
 * 2. The copy is PATH.anyllm-part until it is whole and synced, then PATH: there is no half of a copy under that name. One
 *    that a kill left behind is removed by the next backup to this path; so no backup may have a name like it.
 * 3. It gives way: a piece is synced before the next one is read, and as long as a piece took it rests. So the disk never
 *    has more than a piece of it to write before a commit. */
#include "store/sqlite.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_PAGES 256 /* 1 MiB */
#define REST_MAX_US 200000
#define PATH_BYTES 4096
#define PART ".anyllm-part"

struct backup {
    struct sqlite_store *store;
    const char *path;
    char part[PATH_BYTES];
    char reason[HEALTH_REASON_BYTES + PATH_BYTES];
    sqlite3 *from, *to;
    int fd;
};

static int refuse(struct backup *b, const char *path, const char *why) {
    snprintf(b->reason, sizeof b->reason, "%s: %s", path, why);
    return -1;
}

static int refuse_sqlite(struct backup *b, int rc) {
    return refuse(b, b->part, b->store->ending ? "the server is ending" : sqlite3_errstr(rc));
}

/* --- the files */

static bool is_part(const char *path) {
    size_t n = strlen(path), len = sizeof PART - 1;
    return n >= len && strcmp(path + n - len, PART) == 0;
}

static int make_part(struct backup *b) {
    struct stat st;
    if (b->path[0] != '/') return refuse(b, b->path, "is not an absolute path");
    if (is_part(b->path))
        return refuse(b, b->path, "is a name of unfinished copies; choose another name");
    if (snprintf(b->part, sizeof b->part, "%s" PART, b->path) >= (int)sizeof b->part)
        return refuse(b, "the backup's path", "is too long");
    if (lstat(b->path, &st) == 0) return refuse(b, b->path, "is there already");
    if (lstat(b->part, &st) == 0 && !S_ISREG(st.st_mode))
        return refuse(b, b->part, "is in the way and not a file");
    if (unlink(b->part) != 0 && errno != ENOENT) return refuse(b, b->part, strerror(errno));
    b->fd = open(b->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return b->fd >= 0 ? 0 : refuse(b, b->part, strerror(errno));
}

/* Not over a file that has appeared meanwhile, where the file system can tell. */
static int rename_new(const char *from, const char *to) {
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
    struct stat st;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    if (lstat(to, &st) != 0) return rename(from, to);
    errno = EEXIST;
    return -1;
}

static int sync_folder(const char *path) {
    char folder[PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    *(strrchr(folder, '/') + 1) = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 ? fsync(fd) : -1;
    if (fd >= 0) close(fd);
    return rc;
}

/* The copy says of itself that a log belongs to it (fileformat2.html, 1.3.3), as the database does: none does. */
static int finish_part(struct backup *b) {
    static const unsigned char no_log[2] = {1, 1};
    if (pwrite(b->fd, no_log, sizeof no_log, 18) != sizeof no_log || fsync(b->fd) != 0)
        return refuse(b, b->part, strerror(errno));
    if (rename_new(b->part, b->path) != 0) return refuse(b, b->path, strerror(errno));
    return sync_folder(b->path) == 0 ? 0 : refuse(b, b->path, strerror(errno));
}

/* --- the copy */

static int open_both(struct backup *b) {
    int rc = sqlite_open_aside(b->store, &b->from);
    if (rc == SQLITE_OK) /* the state that is copied */
        rc = sqlite3_exec(b->from, "BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_open_v2(b->part, &b->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->to,
                          "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                          "PRAGMA cache_size = -1024",
                          NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : refuse_sqlite(b, rc);
}

static void tell_progress(struct backup *b, sqlite3_backup *copy) {
    struct sqlite_store *s = b->store;
    uint64_t all = (uint64_t)sqlite3_backup_pagecount(copy);
    uv_mutex_lock(&s->stats_lock);
    s->stats.backup_pages = all;
    s->stats.backup_done_pages = all - (uint64_t)sqlite3_backup_remaining(copy);
    uv_mutex_unlock(&s->stats_lock);
}

static void rest(uint64_t since_ns) {
    uint64_t us = (uv_hrtime() - since_ns) / 1000;
    usleep((useconds_t)(us < REST_MAX_US ? us : REST_MAX_US));
}

static int copy_all(struct backup *b) {
    sqlite3_backup *copy = sqlite3_backup_init(b->to, "main", b->from, "main");
    int rc = SQLITE_OK;
    if (copy == NULL) return refuse_sqlite(b, sqlite3_extended_errcode(b->to));
    while (rc == SQLITE_OK && !b->store->ending) {
        uint64_t began = uv_hrtime();
        rc = sqlite3_backup_step(copy, PIECE_PAGES);
        tell_progress(b, copy);
        if (rc == SQLITE_OK && fdatasync(b->fd) != 0) rc = SQLITE_IOERR_FSYNC;
        if (rc == SQLITE_OK) rest(began);
    }
    sqlite3_backup_finish(copy);
    return rc == SQLITE_DONE ? 0 : refuse_sqlite(b, rc);
}

static void close_both(struct backup *b) {
    sqlite3_close(b->to);
    sqlite3_close(b->from);
    b->to = b->from = NULL;
}

static int run(struct backup *b) {
    if (b->store->damaged) return refuse(b, "the database", "is damaged: a copy would be, too");
    if (make_part(b) != 0) return -1;
    int rc = open_both(b);
    if (rc == 0) rc = copy_all(b);
    close_both(b);
    if (rc == 0) rc = finish_part(b);
    close(b->fd);
    if (rc != 0) unlink(b->part);
    return rc;
}

/* --- the operation */

static void reply(struct op *op, enum store_status status, const char *reason) {
    size_t size = strlen(reason) + 1;
    char *copy = arena_alloc(&op->mem, size);
    if (copy != NULL) memcpy(copy, reason, size);
    op->reply = (struct store_reply){.status = status,
                                     .reason = copy != NULL ? copy : "out of memory"};
}

static void back_up(void *arg) {
    struct op *op = arg;
    struct backup b = {.store = op->in.one.store, .path = op->in.one.id, .fd = -1};
    struct sqlite_store *s = b.store;
    if (run(&b) != 0) reply(op, STORE_UNAVAILABLE, b.reason);
    uv_mutex_lock(&s->stats_lock);
    s->stats.backup_pages = s->stats.backup_done_pages = 0;
    if (op->reply.status == STORE_OK) s->stats.backups++;
    uv_mutex_unlock(&s->stats_lock);
    s->backup.busy = false;
    sqlite_hand_back(s, op);
}

void sqlite_backup(struct sqlite_store *s, struct op *op) {
    op->in.one.store = s;
    if (s->backup.busy)
        reply(op, STORE_STALE, "a backup is under way already");
    else if (sqlite_start_aside(&s->backup, back_up, op) == 0)
        return;
    else
        reply(op, STORE_UNAVAILABLE, "there is no thread to be had");
    sqlite_hand_back(s, op);
}
