/* The C library's own functions under their own names: declared for files of any size, without checks of sizes, and seen by the
 * libraries. */
#undef _FILE_OFFSET_BITS
#undef _FORTIFY_SOURCE
#pragma GCC visibility push(default)
#include "store/power_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FDS 1024
#define MAX_NAMES 4096
#define PATH_BYTES 256
#define NO_NODE UINT32_MAX

struct descriptor {
    enum { OTHER, FILE_OF_OURS, FOLDER_OF_OURS } kind;
    unsigned node;
    char *name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* All under lock. */
static char root[PATH_BYTES];
static bool watching;
static struct call *record;
static size_t ncalls, room;
static unsigned nnodes;
static struct {
    char *name;
    unsigned node;
} names[MAX_NAMES]; /* of files, as they are now */
static size_t nnames;
static struct descriptor fds[MAX_FDS];
static struct {
    struct record_fault f;
    uint64_t seen, failed;
    enum call_kind kind;
    bool rest; /* the first half was written: the next write fails */
} plan;

/* Before the lock: dlsym may allocate. */
#define REAL(name)                        \
    static __typeof__(name) *real_##name; \
    if (real_##name == NULL) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

/* --- names */

static void full(void) {
    fputs("power_calls: a table is full\n", stderr);
    abort();
}

/* "a/b/.." is "a". */
static void go_up(char *name) {
    size_t n = strlen(name);
    if (n < 3 || strcmp(name + n - 3, "/..") != 0) return;
    name[n - 3] = '\0';
    char *slash = strrchr(name, '/');
    *(slash != NULL ? slash : name) = '\0';
}

/* What `path` is called below the watched folder; false: it is not there. */
static bool name_of(int dir, const char *path, char out[PATH_BYTES]) {
    size_t n = strlen(root);
    int wrote;
    if (!watching) return false;
    if (path[0] == '/') {
        if (strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != '\0')) return false;
        path += n + (path[n] == '/');
        wrote = snprintf(out, PATH_BYTES, "%s", path);
    } else {
        if (dir < 0 || dir >= MAX_FDS || fds[dir].kind != FOLDER_OF_OURS) return false;
        const char *of = fds[dir].name;
        if (strcmp(path, ".") == 0) path = "";
        wrote = snprintf(out, PATH_BYTES, "%s%s%s", of, of[0] != '\0' && path[0] != '\0' ? "/" : "",
                         path);
    }
    if (wrote < 0 || wrote >= PATH_BYTES) full();
    go_up(out);
    return true;
}

static bool is_shared_memory(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, "-shm") == 0;
}

static size_t find_name(const char *name) {
    size_t i = 0;
    while (i < nnames && strcmp(names[i].name, name) != 0) i++;
    return i;
}

static void forget_name(size_t i) {
    free(names[i].name);
    names[i] = names[--nnames];
}

static void set_name(const char *name, unsigned node) {
    size_t i = find_name(name);
    if (i == MAX_NAMES) full();
    if (i == nnames) {
        names[nnames].name = strdup(name);
        nnames++;
    }
    names[i].node = node;
}

/* --- the record */

static struct call *note(enum call_kind kind, unsigned node, const char *name) {
    static struct call nowhere;
    if (node == NO_NODE && kind != CALL_MKDIR && kind != CALL_SYNC_FOLDER) return &nowhere;
    if (ncalls == room) {
        room = room > 0 ? 2 * room : 1024;
        record = realloc(record, room * sizeof *record);
        if (record == NULL) full();
    }
    record[ncalls] = (struct call){.kind = kind, .node = node};
    if (name != NULL) record[ncalls].name = strdup(name);
    return &record[ncalls++];
}

static void note_write(unsigned node, int64_t at, const void *bytes, size_t len) {
    if (node == NO_NODE) return;
    struct call *c = note(CALL_WRITE, node, NULL);
    c->at = at;
    c->len = len;
    c->bytes = malloc(len);
    if (c->bytes == NULL) full();
    memcpy(c->bytes, bytes, len);
}

static void forget_all(void) {
    for (size_t i = 0; i < ncalls; i++) {
        free(record[i].bytes);
        free(record[i].name);
        free(record[i].to);
    }
    free(record);
    record = NULL;
    ncalls = room = 0;
    nnodes = 0;
    while (nnames > 0) forget_name(nnames - 1);
    for (int fd = 0; fd < MAX_FDS; fd++) {
        free(fds[fd].name);
        fds[fd] = (struct descriptor){0};
    }
}

void record_watch(const char *folder) {
    pthread_mutex_lock(&lock);
    forget_all();
    snprintf(root, sizeof root, "%s", folder);
    watching = true;
    pthread_mutex_unlock(&lock);
}

void record_stop(void) {
    pthread_mutex_lock(&lock);
    watching = false;
    for (int fd = 0; fd < MAX_FDS; fd++) fds[fd].kind = OTHER;
    pthread_mutex_unlock(&lock);
}

void record_free(void) {
    record_stop();
    pthread_mutex_lock(&lock);
    forget_all();
    pthread_mutex_unlock(&lock);
}

size_t record_count(void) {
    pthread_mutex_lock(&lock);
    size_t n = ncalls;
    pthread_mutex_unlock(&lock);
    return n;
}

const struct call *record_get(size_t i) {
    return &record[i];
}

/* --- faults */

void record_fail(const struct record_fault *f) {
    pthread_mutex_lock(&lock);
    memset(&plan, 0, sizeof plan);
    plan.f = *f;
    pthread_mutex_unlock(&lock);
}

void record_heal(void) {
    pthread_mutex_lock(&lock);
    plan.f.k = 0;
    plan.rest = false;
    pthread_mutex_unlock(&lock);
}

uint64_t record_seen(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = plan.seen;
    pthread_mutex_unlock(&lock);
    return n;
}

uint64_t record_failed(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = plan.failed;
    pthread_mutex_unlock(&lock);
    return n;
}

enum call_kind record_failed_kind(void) {
    return plan.kind;
}

/* Counts one call of a watched file; true: it is to fail, errno is set. */
static bool fails(enum call_kind kind) {
    if (plan.f.k == 0 || (plan.f.kinds & 1U << kind) == 0) return false;
    plan.seen++;
    if (plan.seen != plan.f.k && !(plan.f.sticky && plan.seen > plan.f.k)) return false;
    plan.failed++;
    plan.kind = kind;
    errno = plan.f.err;
    return true;
}

/* --- descriptors */

static struct descriptor *ours(int fd, int kind) {
    return watching && fd >= 0 && fd < MAX_FDS && (int)fds[fd].kind == kind ? &fds[fd] : NULL;
}

static void forget_fd(int fd) {
    if (fd < 0 || fd >= MAX_FDS) return;
    free(fds[fd].name);
    fds[fd] = (struct descriptor){0};
}

static void take_file(int fd, int flags, const char *name) {
    size_t i = find_name(name);
    unsigned node = is_shared_memory(name) ? NO_NODE : i < nnames ? names[i].node : nnodes;
    if (i == nnames && (flags & O_CREAT) == 0) return;
    if (i == nnames) {
        if (node != NO_NODE) nnodes++;
        set_name(name, node);
        note(CALL_LINK, node, name);
    }
    if ((flags & O_TRUNC) != 0 && i < nnames) note(CALL_TRUNCATE, node, NULL);
    fds[fd] = (struct descriptor){FILE_OF_OURS, node, NULL};
}

static void take_fd(int fd, int flags, const char *name) {
    struct stat st;
    forget_fd(fd);
    if (name == NULL || fd >= MAX_FDS || fstat(fd, &st) != 0) return;
    if (S_ISDIR(st.st_mode))
        fds[fd] = (struct descriptor){FOLDER_OF_OURS, NO_NODE, strdup(name)};
    else if (S_ISREG(st.st_mode))
        take_file(fd, flags, name);
}

static int real_open_how(int dir, const char *path, struct open_how *how, bool two) {
    REAL(syscall);
    if (two) return (int)real_syscall(SYS_openat2, dir, path, how, sizeof *how);
    return (int)real_syscall(SYS_openat, dir, path, (int)how->flags, (mode_t)how->mode);
}

static int open_any(int dir, const char *path, struct open_how *how, bool two) {
    char name[PATH_BYTES];
    int fd;
    pthread_mutex_lock(&lock);
    bool mine = name_of(dir, path, name);
    bool makes = mine && (how->flags & O_CREAT) != 0 && find_name(name) == nnames;
    fd = makes && fails(CALL_LINK) ? -1 : real_open_how(dir, path, how, two);
    int err = errno;
    if (fd >= 0) take_fd(fd, (int)how->flags, mine ? name : NULL);
    pthread_mutex_unlock(&lock);
    errno = err;
    return fd;
}

#define OPENS(fn, dir, params)                                                      \
    int fn params {                                                                 \
        va_list more;                                                               \
        va_start(more, flags);                                                      \
        bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;    \
        struct open_how how = {.flags = (unsigned)flags,                            \
                               .mode = makes ? (unsigned)va_arg(more, mode_t) : 0}; \
        va_end(more);                                                               \
        return open_any(dir, path, &how, false);                                    \
    }
OPENS(open, AT_FDCWD, (const char *path, int flags, ...))
OPENS(open64, AT_FDCWD, (const char *path, int flags, ...))
OPENS(openat, dir, (int dir, const char *path, int flags, ...))
OPENS(openat64, dir, (int dir, const char *path, int flags, ...))

long syscall(long number, ...) {
    REAL(syscall);
    long a[6];
    va_list more;
    va_start(more, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_openat2)
        return open_any((int)a[0], (const char *)a[1], (struct open_how *)a[2], true);
    return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int close(int fd) {
    REAL(close);
    pthread_mutex_lock(&lock);
    forget_fd(fd);
    int rc = real_close(fd);
    pthread_mutex_unlock(&lock);
    return rc;
}

/* --- bytes */

/* Bytes of a write that may be done: all, or the first half of one that is to fail; 0: it fails now. */
static size_t may_write(size_t len) {
    if (plan.rest) {
        plan.rest = false;
        errno = plan.f.err;
        return 0;
    }
    if (!fails(CALL_WRITE)) return len;
    if (!plan.f.half || len < 2) return 0;
    plan.rest = !plan.f.sticky;
    return len / 2;
}

/* at -1: where the descriptor stands. */
static ssize_t write_any(int fd, const void *bytes, size_t len, int64_t at) {
    REAL(pwrite);
    REAL(write);
    pthread_mutex_lock(&lock);
    struct descriptor *d = ours(fd, FILE_OF_OURS);
    size_t may = d != NULL && len > 0 ? may_write(len) : len;
    ssize_t n = -1;
    if (may > 0 || len == 0)
        n = at >= 0 ? real_pwrite(fd, bytes, may, at) : real_write(fd, bytes, may);
    int err = errno;
    if (n > 0 && d != NULL)
        note_write(d->node, at >= 0 ? at : lseek(fd, 0, SEEK_CUR) - n, bytes, (size_t)n);
    pthread_mutex_unlock(&lock);
    errno = err;
    return n;
}

/* What is not ours may wait: never under the lock. */
static bool is_ours(int fd) {
    pthread_mutex_lock(&lock);
    bool is = ours(fd, FILE_OF_OURS) != NULL;
    pthread_mutex_unlock(&lock);
    return is;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    REAL(write);
    return is_ours(fd) ? write_any(fd, bytes, len, -1) : real_write(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    if (!is_ours(fd) || n == 0) return real_writev(fd, parts, n);
    return write_any(fd, parts[0].iov_base, parts[0].iov_len, -1); /* a short one is fine */
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    return write_any(fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    return write_any(fd, bytes, len, at);
}

int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    pthread_mutex_lock(&lock);
    struct descriptor *d = ours(fd, FILE_OF_OURS);
    int rc = d != NULL && fails(CALL_TRUNCATE) ? -1 : real_ftruncate(fd, size);
    if (rc == 0 && d != NULL) note(CALL_TRUNCATE, d->node, NULL)->at = size;
    pthread_mutex_unlock(&lock);
    return rc;
}

int ftruncate64(int fd, off64_t size) {
    return ftruncate(fd, size);
}

/* --- syncs */

static int sync_any(int fd, int (*real)(int fd)) {
    pthread_mutex_lock(&lock);
    struct descriptor *file = ours(fd, FILE_OF_OURS), *folder = ours(fd, FOLDER_OF_OURS);
    enum call_kind kind = folder != NULL ? CALL_SYNC_FOLDER : CALL_SYNC;
    int rc = (file != NULL || folder != NULL) && fails(kind) ? -1 : 0;
    int err = errno;
    /* The record says what the disk has; only this machine's own disk would be the safer for a real one. */
    if (rc == 0 && file == NULL && folder == NULL) rc = real(fd);
    if (file != NULL) note(rc == 0 ? CALL_SYNC : CALL_SYNC_FAILED, file->node, NULL);
    if (folder != NULL && rc == 0) note(CALL_SYNC_FOLDER, NO_NODE, folder->name);
    pthread_mutex_unlock(&lock);
    if (rc != 0 && (file != NULL || folder != NULL)) errno = err;
    return rc;
}

int fsync(int fd) {
    REAL(fsync);
    return sync_any(fd, real_fsync);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return sync_any(fd, real_fdatasync);
}

/* --- names in folders */

static int rename_any(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    REAL(renameat2);
    char a[PATH_BYTES], b[PATH_BYTES];
    pthread_mutex_lock(&lock);
    bool mine = name_of(from_dir, from, a) && name_of(to_dir, to, b);
    int rc = mine && fails(CALL_RENAME) ? -1 : real_renameat2(from_dir, from, to_dir, to, flags);
    int err = errno;
    size_t i = mine && rc == 0 ? find_name(a) : nnames;
    if (i < nnames) {
        unsigned node = names[i].node;
        forget_name(i);
        set_name(b, node);
        note(CALL_RENAME, node, a)->to = strdup(b);
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return rc;
}

int rename(const char *from, const char *to) {
    return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return rename_any(from_dir, from, to_dir, to, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return rename_any(from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(linkat);
    char a[PATH_BYTES], b[PATH_BYTES];
    pthread_mutex_lock(&lock);
    bool mine = name_of(from_dir, from, a) && name_of(to_dir, to, b);
    int rc = mine && fails(CALL_RENAME) ? -1 : real_linkat(from_dir, from, to_dir, to, flags);
    int err = errno;
    size_t i = mine && rc == 0 ? find_name(a) : nnames;
    if (i < nnames) {
        unsigned node = names[i].node;
        set_name(b, node);
        note(CALL_LINK, node, b);
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return rc;
}

int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dir, const char *path, int flags) {
    REAL(unlinkat);
    char name[PATH_BYTES];
    pthread_mutex_lock(&lock);
    bool mine = name_of(dir, path, name);
    size_t i = mine ? find_name(name) : nnames;
    int rc = i < nnames && fails(CALL_UNLINK) ? -1 : real_unlinkat(dir, path, flags);
    int err = errno;
    if (rc == 0 && i < nnames) {
        note(CALL_UNLINK, names[i].node, name);
        forget_name(i);
    }
    pthread_mutex_unlock(&lock);
    errno = err;
    return rc;
}

int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdirat(int dir, const char *path, mode_t mode) {
    REAL(mkdirat);
    char name[PATH_BYTES];
    pthread_mutex_lock(&lock);
    bool mine = name_of(dir, path, name);
    int rc = mine && fails(CALL_MKDIR) ? -1 : real_mkdirat(dir, path, mode);
    int err = errno;
    if (rc == 0 && mine) note(CALL_MKDIR, NO_NODE, name);
    pthread_mutex_unlock(&lock);
    errno = err;
    return rc;
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}
