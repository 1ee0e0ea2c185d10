/* fsync_rate FOLDER SECONDS: how often a second this disk takes 4,120 bytes (a frame of SQLite's
 * log) for good. One file, written over and over in a ring of 4 MiB: like a write-ahead log, its
 * size soon stays as it is. */
#include "http.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_BYTES = 4120, RING_FRAMES = 1017 };

int main(int argc, char **argv) {
    static char frame[FRAME_BYTES];
    char path[1024];
    if (argc != 3) return 2;
    snprintf(path, sizeof path, "%s/fsync-rate.%d", argv[1], (int)getpid());
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) bench_die(path);
    memset(frame, 'f', sizeof frame);
    long frames = 0;
    int64_t start = 0, stop = 0;
    for (long i = 0; start == 0 || now_ns() < stop; i++) {
        if (i == RING_FRAMES) { /* the ring is full: from here on it counts */
            start = now_ns();
            stop = start + (int64_t)(strtod(argv[2], NULL) * 1e9);
        }
        if (pwrite(fd, frame, sizeof frame, i % RING_FRAMES * FRAME_BYTES) != FRAME_BYTES ||
            fdatasync(fd) != 0)
            bench_die("write");
        frames += start != 0;
    }
    printf("%.0f\n", (double)frames * 1e9 / (double)(now_ns() - start));
    unlink(path);
    return 0;
}
