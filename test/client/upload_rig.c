#include "client/upload_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void watch_progress(uint64_t sent_bytes, uint64_t total_bytes, void *user) {
    struct watched *w = user;
    w->fell = w->fell || sent_bytes < w->sent || sent_bytes > total_bytes;
    w->sent = sent_bytes;
    w->total = total_bytes;
    w->calls++;
    if (w->then != NULL) {
        w->then(w->user);
    }
}

int64_t read_dribble(void *buffer, size_t room, void *user) {
    struct dribble *d = user;
    size_t n = d->left < d->each ? d->left : d->each;
    n = n < room ? n : room;
    memcpy(buffer, d->bytes, n);
    d->bytes += n;
    d->left -= n;
    return n == 0 && d->fails ? -1 : (int64_t)n;
}

void file_of(char path[40], const char *ending, const char *bytes, size_t len) {
    snprintf(path, 40, "/tmp/fal-upload-XXXXXX%s", ending);
    int fd = mkstemps(path, (int)strlen(ending));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

const char *body_of(struct script *s, size_t i) {
    const char *end = strstr(script_request(s, i), "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

size_t asked_how_often(struct script *s, const char *line, const char **body) {
    size_t n = 0;
    for (size_t i = 0; i < script_count(s); i++) {
        if (script_asked(s, i, line)) {
            n++;
            *body = body_of(s, i);
        }
    }
    return n;
}
