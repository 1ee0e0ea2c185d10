/* Files are read with pread, never mapped: one that shrinks would end the program of our caller with SIGBUS. */
#include "client/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void say(char message[CLIENT_MESSAGE_BYTES], const char *path, const char *words) {
    char text[CLIENT_MESSAGE_BYTES];
    snprintf(text, sizeof(text), "%.700s: %s", path, words);
    client_error_set_text(message, slice_of(text));
}

/* NULL, or why it cannot be sent. O_NONBLOCK: opening a FIFO must not wait for its writer. */
static const char *open_regular(struct client_source *s, const char *path) {
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &s->before) != 0) {
        return strerror(errno);
    }
    if (S_ISDIR(s->before.st_mode)) {
        return strerror(EISDIR);
    }
    return S_ISREG(s->before.st_mode) ? NULL : "not a regular file";
}

enum fal_code client_source_open(struct client_source *s, const struct fal_file *file,
                                 char message[CLIENT_MESSAGE_BYTES]) {
    *s = (struct client_source){
        .fd = -1, .data = file->data, .read = file->read, .user = file->user};
    s->size_bytes = file->read != NULL ? CLIENT_SIZE_UNKNOWN : file->data_bytes;
    if (file->path == NULL) {
        return FAL_OK;
    }
    const char *why = open_regular(s, file->path);
    if (why != NULL) {
        say(message, file->path, why);
        client_source_close(s);
        return FAL_ERR_ARGUMENT;
    }
    s->size_bytes = (uint64_t)s->before.st_size;
    s->path = slice_dup(slice_of(file->path));
    if (s->path == NULL) {
        client_source_close(s);
        return FAL_ERR_MEMORY;
    }
    return FAL_OK;
}

void client_source_close(struct client_source *s) {
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s->path);
    s->fd = -1;
    s->path = NULL;
}

static bool is_as_before(const struct client_source *s) {
    struct stat now;
    return fstat(s->fd, &now) == 0 && now.st_size == s->before.st_size &&
           now.st_mtim.tv_sec == s->before.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == s->before.st_mtim.tv_nsec;
}

/* Looked at after each read: the last bytes do not go out when any before them may be of another version. */
static int64_t read_file(const struct client_source *s, uint64_t at, char *out, size_t room,
                         char message[CLIENT_MESSAGE_BYTES]) {
    ssize_t n;
    do {
        n = pread(s->fd, out, room, (off_t)at);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        say(message, s->path, strerror(errno));
        return -1;
    }
    if (n == 0 || !is_as_before(s)) {
        say(message, s->path, "it changed while it was sent");
        return -1;
    }
    return n;
}

int64_t client_source_read(const struct client_source *s, uint64_t at, char *out, size_t room,
                           char message[CLIENT_MESSAGE_BYTES]) {
    uint64_t left = at < s->size_bytes ? s->size_bytes - at : 0;
    size_t n = left < room ? (size_t)left : room;
    if (n == 0) {
        return 0;
    }
    if (s->fd >= 0) {
        return read_file(s, at, out, n, message);
    }
    memcpy(out, s->data + at, n);
    return (int64_t)n;
}
