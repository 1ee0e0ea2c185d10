/* Preloaded into the server: while the file that DISK_FAULT names says so, writes to files below the folder DISK_FOLDER, or
 * their syncs, fail as it says. */
#undef _FILE_OFFSET_BITS /* pwrite and pwrite64 are two functions here */
#undef _FORTIFY_SOURCE
#include "disk_shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))
#define REAL(name)                        \
    static __typeof__(name) *real_##name; \
    if (real_##name == NULL) *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

static const volatile struct disk_fault *fault;
static const char *folder;

__attribute__((constructor)) static void open_fault(void) {
    const char *path = getenv("DISK_FAULT");
    folder = getenv("DISK_FOLDER");
    int fd = path != NULL && folder != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *fault, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) fault = at;
    close(fd);
}

static bool fails(int fd, int err) {
    char link[32], path[512];
    if (err == 0) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || strncmp(path, folder, strlen(folder)) != 0) return false;
    errno = err;
    return true;
}

#define WRITES(fd) (fault != NULL && fails(fd, fault->writes))
#define SYNCS(fd) (fault != NULL && fails(fd, fault->syncs))

SHOWN ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    REAL(pwrite);
    return WRITES(fd) ? -1 : real_pwrite(fd, bytes, len, at);
}

SHOWN ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    REAL(pwrite64);
    return WRITES(fd) ? -1 : real_pwrite64(fd, bytes, len, at);
}

SHOWN ssize_t write(int fd, const void *bytes, size_t len) {
    REAL(write);
    return WRITES(fd) ? -1 : real_write(fd, bytes, len);
}

SHOWN ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(writev);
    return WRITES(fd) ? -1 : real_writev(fd, parts, n);
}

SHOWN int ftruncate(int fd, off_t size) {
    REAL(ftruncate);
    return WRITES(fd) ? -1 : real_ftruncate(fd, size);
}

SHOWN int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return WRITES(fd) ? -1 : real_ftruncate64(fd, size);
}

SHOWN int fsync(int fd) {
    REAL(fsync);
    return SYNCS(fd) ? -1 : real_fsync(fd);
}

SHOWN int fdatasync(int fd) {
    REAL(fdatasync);
    return SYNCS(fd) ? -1 : real_fdatasync(fd);
}
