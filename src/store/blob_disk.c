/* The system calls of the directory backend. No path is ever resolved through a link: openat2 where the kernel has it, else one
 * component at a time with O_NOFOLLOW, which for these two-part paths is the same promise. */
#include "store/blob_inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TMP "tmp"
/* What is written is handed to the disk in steps, so that the fsync at the end of 2 GB finds little left to do. */
#define START_EVERY_BYTES (16U << 20)

/* `name` is one component. */
static int open_beneath(int dir, const char *name, int flags, mode_t mode) {
    struct open_how how = {.flags = (unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
                           .mode = mode,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int fd;
    do fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    while (fd < 0 && errno == EINTR);
    /* An old kernel, or a container that does not know the call and says EPERM to it. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    return fd;
}

/* --- ids and folders */

bool disk_id_ok(const char *id) {
    size_t n = 0;
    for (; id[n] != '\0'; n++)
        if (id[n] < '!' || id[n] > '~' || id[n] == '/' || id[n] == '.') return false;
    return n > 0 && n < STORE_ID_BYTES;
}

static void shard_name(const char *id, char name[3]) {
    name[0] = id[0];
    name[1] = id[1];
    name[2] = '\0';
}

static size_t shard_at(const char *name) {
    size_t second = name[1] != '\0' ? (size_t)(name[1] - '!') + 1 : 0;
    return (size_t)(name[0] - '!') * (SHARD_CHARS + 1) + second;
}

static bool shard_durable(struct disk *d, const char *name, bool set) {
    size_t at = shard_at(name);
    uint64_t bit = 1ULL << (at % 64);
    uv_mutex_lock(&d->lock);
    bool was = (d->durable[at / 64] & bit) != 0;
    if (set) d->durable[at / 64] |= bit;
    uv_mutex_unlock(&d->lock);
    return was;
}

int disk_folder(struct disk *d, const char *name, int *fd) {
    *fd = open_beneath(d->root, name, O_RDONLY | O_DIRECTORY, 0);
    return *fd < 0 ? errno : 0;
}

static int shard_open(struct disk *d, const char *id, int *fd) {
    char name[3];
    shard_name(id, name);
    return disk_folder(d, name, fd);
}

/* Another put may have made the folder a moment ago: who finds it not known to be durable makes it so. */
static int shard_make(struct disk *d, const char *id, int *fd) {
    char name[3];
    shard_name(id, name);
    *fd = -1;
    if (mkdirat(d->root, name, 0700) != 0 && errno != EEXIST) return errno;
    int err = disk_folder(d, name, fd);
    if (err != 0 || shard_durable(d, name, false)) return err;
    if (fsync(d->root) == 0) {
        shard_durable(d, name, true);
        return 0;
    }
    err = errno;
    close(*fd);
    *fd = -1;
    return err;
}

/* --- start and end */

static int empty_tmp(int tmp) {
    int fd = open_beneath(tmp, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    int err = 0;
    if (dir == NULL) {
        err = errno;
        if (fd >= 0) close(fd);
        return err;
    }
    unsigned removed = 0;
    for (struct dirent *e; err == 0 && (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(tmp, e->d_name, 0) == 0)
            removed++;
        else if (errno != EISDIR)
            err = errno;
    }
    closedir(dir);
    if (removed > 0) log_line(LOG_INFO, "unfinished_uploads_removed", "files=%u", removed);
    return err;
}

/* At each start: a power cut may have come between the making of the folder and its sync. */
static int sync_parent(const char *path) {
    char parent[PATH_MAX];
    int n = snprintf(parent, sizeof parent, "%s/..", path), err = 0;
    if (n < 0 || (size_t)n >= sizeof parent) return ENAMETOOLONG;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) err = errno;
    if (fd >= 0) close(fd);
    return err;
}

/* The root itself may be a link, to another disk: it is the operator's. */
static int open_root(struct disk *d, const char *path, const char **what) {
    struct stat st;
    *what = "make";
    bool made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) return errno;
    int err = sync_parent(path);
    if (made && err != 0) return err; /* the parent of a link's end need not be ours to open */
    *what = "open";
    d->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->root < 0 || fstat(d->root, &st) != 0) return errno;
    *what = "close to others";
    if ((st.st_mode & 077) != 0 && fchmod(d->root, 0700) != 0) return errno;
    return 0;
}

static int open_tmp(struct disk *d, const char **what) {
    *what = "make " TMP " in";
    if (mkdirat(d->root, TMP, 0700) != 0 && errno != EEXIST) return errno;
    *what = "open " TMP " in";
    int err = disk_folder(d, TMP, &d->tmp);
    if (err != 0) return err;
    *what = "empty " TMP " in";
    return empty_tmp(d->tmp);
}

int disk_start(struct disk *d, const char *path, const char **what) {
    d->root = d->tmp = -1;
    int err = open_root(d, path, what);
    if (err == 0) err = open_tmp(d, what);
    if (err == 0 && (d->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL)) == NULL) err = ENOMEM;
    if (err == 0 && uv_mutex_init(&d->lock) == 0) return 0;
    if (err == 0) err = ENOMEM;
    EVP_MD_free(d->sha256);
    if (d->tmp >= 0) close(d->tmp);
    if (d->root >= 0) close(d->root);
    return err;
}

void disk_end(struct disk *d) {
    uv_mutex_destroy(&d->lock);
    EVP_MD_free(d->sha256);
    close(d->tmp);
    close(d->root);
}

/* --- a blob in the making */

static void temp_name(const struct disk_temp *t, char name[24]) {
    snprintf(name, 24, "%llu", (unsigned long long)t->number);
}

int disk_temp_open(struct disk *d, struct disk_temp *t) {
    if (t->fd >= 0) return 0;
    char name[24];
    t->number = atomic_fetch_add(&d->next_temp, 1);
    temp_name(t, name);
    t->sha = EVP_MD_CTX_new();
    if (t->sha == NULL || EVP_DigestInit_ex2(t->sha, d->sha256, NULL) != 1) {
        EVP_MD_CTX_free(t->sha);
        t->sha = NULL;
        return ENOMEM;
    }
    t->fd = open_beneath(d->tmp, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (t->fd >= 0) return 0;
    int err = errno;
    EVP_MD_CTX_free(t->sha);
    t->sha = NULL;
    return err;
}

static int hash(struct disk_temp *t, const struct iovec *parts, int n) {
    for (int i = 0; i < n; i++)
        if (EVP_DigestUpdate(t->sha, parts[i].iov_base, parts[i].iov_len) != 1) return ENOMEM;
    return 0;
}

/* What of the parts is left after `wrote` bytes. */
static int skip(struct iovec **parts, int n, size_t wrote) {
    while (n > 0 && wrote >= (*parts)->iov_len) {
        wrote -= (*parts)->iov_len;
        (*parts)++;
        n--;
    }
    if (n > 0) {
        (*parts)->iov_base = (char *)(*parts)->iov_base + wrote;
        (*parts)->iov_len -= wrote;
    }
    return n;
}

int disk_temp_write(struct disk_temp *t, struct iovec *parts, int n) {
    int err = hash(t, parts, n);
    if (err != 0) return err;
    n = skip(&parts, n, 0);
    while (n > 0) {
        ssize_t wrote = writev(t->fd, parts, n);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return errno;
        t->bytes += (uint64_t)wrote;
        n = skip(&parts, n, (size_t)wrote);
    }
    if (t->bytes - t->started >= START_EVERY_BYTES) {
        sync_file_range(t->fd, (off_t)t->started, (off_t)(t->bytes - t->started),
                        SYNC_FILE_RANGE_WRITE); /* a hint: what it says, fsync says again */
        t->started = t->bytes;
    }
    return 0;
}

static void temp_close(struct disk_temp *t) {
    close(t->fd);
    t->fd = -1;
    EVP_MD_CTX_free(t->sha);
    t->sha = NULL;
}

void disk_temp_discard(struct disk *d, struct disk_temp *t) {
    if (t->fd < 0) return;
    char name[24];
    temp_name(t, name);
    unlinkat(d->tmp, name, 0);
    temp_close(t);
}

/* A name whose folder could not be made durable is taken back: it was not promised. */
static int make_visible(struct disk *d, struct disk_temp *t, const char *id) {
    char name[24];
    int shard, err = shard_make(d, id, &shard);
    if (err != 0) return err;
    temp_name(t, name);
    if (renameat(d->tmp, name, shard, id) != 0) {
        err = errno;
    } else if (fsync(shard) != 0) {
        err = errno;
        unlinkat(shard, id, 0);
    }
    close(shard);
    return err;
}

int disk_temp_commit(struct disk *d, struct disk_temp *t, const char *id, unsigned char *sha256) {
    int err = EVP_DigestFinal_ex(t->sha, sha256, NULL) == 1 ? 0 : ENOMEM;
    if (err == 0 && fsync(t->fd) != 0) err = errno;
    if (err == 0) err = make_visible(d, t, id);
    if (err != 0)
        disk_temp_discard(d, t);
    else
        temp_close(t);
    return err;
}

/* --- blobs that are there */

/* O_NONBLOCK: a FIFO that somebody put there must not hold the thread. */
int disk_open(struct disk *d, const char *id, int *fd, uint64_t *bytes) {
    int shard, err = shard_open(d, id, &shard);
    struct stat st;
    *fd = -1;
    if (err != 0) return err;
    *fd = open_beneath(shard, id, O_RDONLY | O_NONBLOCK, 0);
    if (*fd < 0) err = errno;
    close(shard);
    if (err != 0) return err;
    if (fstat(*fd, &st) != 0)
        err = errno;
    else if (!S_ISREG(st.st_mode))
        err = DISK_PLANTED;
    if (err == 0) {
        *bytes = (uint64_t)st.st_size;
        return 0;
    }
    close(*fd);
    *fd = -1;
    return err;
}

int disk_remove(struct disk *d, const char *id) {
    int shard, err = shard_open(d, id, &shard);
    if (err != 0) return err;
    if (unlinkat(shard, id, 0) != 0) err = errno;
    close(shard);
    return err;
}
