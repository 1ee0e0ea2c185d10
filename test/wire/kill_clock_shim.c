/* Preloaded into the server: its wall clock is as far off as the file that KILL_CLOCK names says, in milliseconds, from
 * one call to the next. The monotonic clock stays what it is. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_ms;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("KILL_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) offset_ms = at;
    close(fd);
}

#define SHOWN __attribute__((visibility("default")))

SHOWN int clock_gettime(clockid_t clock, struct timespec *t) {
    long rc = syscall(SYS_clock_gettime, clock, t);
    if (rc != 0 || offset_ms == NULL || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return (int)rc;
    int64_t ms = (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000 + *offset_ms;
    t->tv_sec = (time_t)(ms / 1000);
    t->tv_nsec = (long)(ms % 1000) * 1000000 + t->tv_nsec % 1000000;
    return 0;
}

SHOWN int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return rc;
}

SHOWN time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) *out = now.tv_sec;
    return now.tv_sec;
}
