/* What a process that ended early left in the log, brought to the disk before anything is built on it.
 *
 * The log as it is read need not be the log on the disk: of a commit the sync may have failed (the kernel drops such pages,
 * marks them clean and goes on to show them) or never have come. Frames appended to it would follow a hole: a power cut
 * would lose them and, for what had been written back meanwhile, bring old pages up again. So the bytes are written
 * once more where they are and synced. They are the same: a cut in it leaves no other log than one before it.
 *
 * The log is as the file format says (fileformat2.html, 4.1): a head of 32 bytes with the size of a page at 8 and two salts at
 * 16, then frames of 24 bytes and a page, the salts at 8. With other salts begins what an older log has left. */
#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD 32U
#define FRAME_HEAD 24U
#define SALTS 8U
#define PIECE_BYTES (256U << 10)

struct log {
    int fd;
    size_t frame; /* bytes */
    unsigned char salts[SALTS];
    unsigned char *piece;
};

/* Bytes there were, `len` at most; -1: errno. */
static ssize_t read_at(int fd, unsigned char *out, size_t len, off_t at) {
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, out + got, len - got, at + (off_t)got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static int write_at(int fd, const unsigned char *p, size_t len, off_t at) {
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        p += n;
        len -= (size_t)n;
        at += n;
    }
    return 0;
}

/* 1: there is a log, its head is written again; 0: there is none that anybody would read; -1: errno. */
static int begin(struct log *l) {
    unsigned char head[HEAD];
    ssize_t n = read_at(l->fd, head, HEAD, 0);
    if (n < (ssize_t)HEAD) return n < 0 ? -1 : 0;
    size_t page = (size_t)head[8] << 24 | (size_t)head[9] << 16 | (size_t)head[10] << 8 | head[11];
    if (page < 512 || page > 65536) return 0;
    l->frame = FRAME_HEAD + page;
    memcpy(l->salts, head + 16, SALTS);
    return write_at(l->fd, head, HEAD, 0) == 0 ? 1 : -1;
}

/* Bytes of these that belong to the log. */
static size_t frames_in(const struct log *l, size_t len) {
    size_t at = 0;
    while (at + l->frame <= len && memcmp(l->piece + at + 8, l->salts, SALTS) == 0) at += l->frame;
    return at;
}

static int write_again(struct log *l) {
    size_t whole = PIECE_BYTES / l->frame * l->frame, ours = whole;
    for (off_t at = HEAD; ours == whole; at += (off_t)whole) {
        ssize_t n = read_at(l->fd, l->piece, whole, at);
        if (n < 0) return -1;
        ours = frames_in(l, (size_t)n);
        if (write_at(l->fd, l->piece, ours, at) != 0) return -1;
    }
    return fsync(l->fd);
}

/* 0 or errno. */
static int make_durable(const char *path) {
    struct log l = {.fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), .piece = NULL};
    if (l.fd < 0) return errno == ENOENT ? 0 : errno;
    int rc = begin(&l);
    if (rc > 0) {
        l.piece = malloc(PIECE_BYTES);
        rc = l.piece != NULL ? write_again(&l) : -1;
    }
    int err = rc < 0 ? errno : 0;
    free(l.piece);
    close(l.fd);
    return err;
}

/* With the right to write: nobody else appends to the log or begins it anew. Another program that has kept the database open
 * keeps the index of the log, too; else it has just been made. */
int sqlite_recover(struct sqlite_store *s, int *err) {
    sqlite3 *db = s->writer.db;
    const char *log = sqlite3_filename_wal(sqlite3_db_filename(db, "main"));
    *err = 0;
    if (access(log, F_OK) != 0) return SQLITE_OK;
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc != SQLITE_OK) return rc;
    *err = make_durable(log);
    if (*err == 0) rc = sqlite_leash_copy_anew(s);
    int over = sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc != SQLITE_OK ? rc : over;
}
