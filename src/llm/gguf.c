#include "llm/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A cursor with a sticky state: once it is not GGUF_DONE every further take gives zeros. */
struct cursor {
    const unsigned char *data;
    size_t len, at;
    enum gguf_result state;
    const char *reason;
};

/* More than any model has; they bound the work, not the memory (none is taken). */
#define MAX_TENSORS (1U << 20)
#define MAX_PAIRS (1U << 20)
#define MAX_KEY_BYTES 65535U
#define MAX_NAME_BYTES 1024U
#define MAX_DIMS 4U

enum { VALUE_U32 = 4, VALUE_STRING = 8, VALUE_ARRAY = 9, VALUE_U64 = 10, VALUES = 13 };
/* Bytes of a value by its type; strings and arrays carry their own length. */
static const unsigned char value_bytes[VALUES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Tensor types by number: elements and bytes of a block. Those of the future have none and are not measured. */
static const struct {
    uint16_t elements, bytes;
} blocks[] = {
    [0] = {1, 4},      [1] = {1, 2},      [2] = {32, 18},    [3] = {32, 20},    [6] = {32, 22},
    [7] = {32, 24},    [8] = {32, 34},    [9] = {32, 36},    [10] = {256, 84},  [11] = {256, 110},
    [12] = {256, 144}, [13] = {256, 176}, [14] = {256, 210}, [15] = {256, 292}, [16] = {256, 66},
    [17] = {256, 74},  [18] = {256, 98},  [19] = {256, 50},  [20] = {32, 18},   [21] = {256, 110},
    [22] = {256, 82},  [23] = {256, 136}, [24] = {1, 1},     [25] = {1, 2},     [26] = {1, 4},
    [27] = {1, 8},     [28] = {1, 8},     [29] = {256, 56},  [30] = {1, 2},     [34] = {256, 54},
    [35] = {256, 66},  [39] = {32, 17},   [40] = {64, 36},   [41] = {128, 18},  [42] = {64, 18},
};

static void stop(struct cursor *c, enum gguf_result state, const char *reason) {
    if (c->state != GGUF_DONE) return;
    c->state = state;
    c->reason = reason;
}

static void bad(struct cursor *c, const char *reason) {
    stop(c, GGUF_BAD, reason);
}

static const unsigned char *take(struct cursor *c, uint64_t bytes) {
    if (c->state != GGUF_DONE) return NULL;
    if (bytes > GGUF_MAX_HEADER_BYTES - c->at) {
        bad(c, "has a header larger than any model's");
        return NULL;
    }
    if (bytes > c->len - c->at) {
        stop(c, GGUF_MORE, "is cut off inside its header");
        return NULL;
    }
    const unsigned char *p = c->data + c->at;
    c->at += (size_t)bytes;
    return p;
}

/* GGUF is little-endian whatever the machine. */
static uint64_t number(struct cursor *c, size_t bytes) {
    const unsigned char *p = take(c, bytes);
    uint64_t v = 0;
    for (size_t i = bytes; p != NULL && i-- > 0;) v = v << 8 | p[i];
    return v;
}

static struct slice string(struct cursor *c, uint64_t max, const char *too_long) {
    uint64_t len = number(c, 8);
    if (len > max) bad(c, too_long);
    const char *p = (const char *)take(c, len);
    return p != NULL ? slice_make(p, (size_t)len) : SLICE("");
}

static void skip_array(struct cursor *c) {
    uint64_t type = number(c, 4), count = number(c, 8), bytes;
    if (type >= VALUES || type == VALUE_ARRAY) {
        bad(c, "has an array of an unknown type in its header");
    } else if (type != VALUE_STRING) {
        if (__builtin_mul_overflow(count, (uint64_t)value_bytes[type], &bytes)) bytes = UINT64_MAX;
        take(c, bytes);
    } else {
        if (count > GGUF_MAX_HEADER_BYTES / 8) bad(c, "has an array larger than any model's");
        for (uint64_t i = 0; i < count && c->state == GGUF_DONE; i++)
            string(c, GGUF_MAX_HEADER_BYTES, "has a text longer than any model's in its header");
    }
}

/* The value when it is a whole number of 4 or 8 bytes, else 0. */
static uint64_t value(struct cursor *c, uint64_t type, struct slice *text) {
    if (type >= VALUES) {
        bad(c, "has a value of an unknown type in its header");
    } else if (type == VALUE_STRING) {
        *text = string(c, GGUF_MAX_HEADER_BYTES,
                       "has a text longer than any model's in its header");
    } else if (type == VALUE_ARRAY) {
        skip_array(c);
    } else {
        uint64_t v = number(c, value_bytes[type]);
        return type == VALUE_U32 || type == VALUE_U64 ? v : 0;
    }
    return 0;
}

static void read_pair(struct cursor *c, struct gguf_info *out, uint64_t *alignment) {
    struct slice key = string(c, MAX_KEY_BYTES, "has a key longer than any model's"),
                 text = SLICE("");
    uint64_t v = value(c, number(c, 4), &text);
    if (c->state != GGUF_DONE) return;
    if (slice_is(key, "general.architecture"))
        out->architecture = text;
    else if (slice_is(key, "general.alignment"))
        *alignment = v;
    else if (slice_ends(key, SLICE(".context_length")) && out->context_tokens == 0)
        out->context_tokens = v;
}

/* Where the tensor ends, counted from the beginning of the tensor data; 0 when its type is unknown. */
static uint64_t read_tensor(struct cursor *c) {
    string(c, MAX_NAME_BYTES, "has a tensor name longer than any model's");
    uint64_t dims = number(c, 4), elements = 1, end = 0;
    if (dims > MAX_DIMS) bad(c, "has a tensor of more than four dimensions");
    bool fits = true;
    for (uint64_t i = 0; i < dims && c->state == GGUF_DONE; i++)
        fits &= !__builtin_mul_overflow(elements, number(c, 8), &elements);
    uint64_t type = number(c, 4), offset = number(c, 8);
    if (type < sizeof blocks / sizeof *blocks && blocks[type].elements != 0) {
        uint64_t bytes = elements / blocks[type].elements;
        fits &= !__builtin_mul_overflow(bytes, (uint64_t)blocks[type].bytes, &bytes);
        fits &= !__builtin_add_overflow(offset, bytes, &end);
    }
    if (c->state == GGUF_DONE && !fits) bad(c, "has a tensor larger than any model's");
    return end;
}

static void read_preamble(struct cursor *c, struct gguf_info *out) {
    static const char magic[4] = {'G', 'G', 'U', 'F'};
    size_t have = c->len < sizeof magic ? c->len : sizeof magic;
    if (memcmp(c->data, magic, have) != 0) bad(c, "is not a GGUF file");
    take(c, sizeof magic);
    out->version = (uint32_t)number(c, 4);
    if (c->state == GGUF_DONE && (out->version < 2 || out->version > 3))
        bad(c, "is a GGUF file of a version that the engine does not read (2 and 3 it does)");
    out->tensors = number(c, 8);
    out->pairs = number(c, 8);
    if (out->tensors > MAX_TENSORS || out->pairs > MAX_PAIRS)
        bad(c, "has a corrupt header (impossible counts)");
    if (c->state == GGUF_DONE && out->tensors == 0) bad(c, "holds no tensors, so no model");
}

enum gguf_result gguf_read(const unsigned char *data, size_t len, struct gguf_info *out,
                           const char **reason) {
    struct cursor c = {.data = data, .len = len, .state = GGUF_DONE, .reason = ""};
    uint64_t alignment = 32;
    *out = (struct gguf_info){.architecture = SLICE("")};
    read_preamble(&c, out);
    for (uint64_t i = 0; i < out->pairs && c.state == GGUF_DONE; i++)
        read_pair(&c, out, &alignment);
    for (uint64_t i = 0; i < out->tensors && c.state == GGUF_DONE; i++) {
        uint64_t end = read_tensor(&c);
        if (end > out->data_bytes) out->data_bytes = end;
    }
    if (c.state == GGUF_DONE &&
        (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > 1U << 20))
        bad(&c, "has a corrupt header (impossible alignment)");
    if (c.state == GGUF_DONE && slice_is(out->architecture, "clip"))
        bad(&c, "is the picture part of a model (mmproj), not a language model");
    if (c.state == GGUF_DONE) out->header_bytes = (c.at + alignment - 1) & ~(alignment - 1);
    *reason = c.reason;
    return c.state;
}

/* Reads the beginning of the file in growing steps until the header is whole. */
static enum gguf_result read_header(int fd, uint64_t file_bytes, struct gguf_info *out,
                                    const char **reason) {
    enum gguf_result r = GGUF_MORE;
    unsigned char *data = NULL;
    size_t len = 0, cap = 1U << 20;
    *reason = "cannot be read: out of memory";
    for (;; cap *= 2) {
        unsigned char *grown = realloc(data, cap);
        if (grown == NULL) break;
        data = grown;
        while (len < cap) {
            ssize_t n = pread(fd, data + len, cap - len, (off_t)len);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) break;
            len += (size_t)n;
        }
        r = gguf_read(data, len, out, reason);
        if (r != GGUF_MORE || len < cap || len >= file_bytes) break;
    }
    out->architecture = SLICE("");
    free(data);
    return r;
}

#define WHAT_TO_DO \
    "give a whole GGUF file with --local-model FILE, or delete it and run scripts/fetch-model.sh"

static bool complain(char *reason, size_t size, const char *path, const char *what) {
    snprintf(reason, size, "model %s %s; " WHAT_TO_DO, path, what);
    return false;
}

bool gguf_check_file(const char *path, struct gguf_info *out, char *reason, size_t size) {
    const char *what = "";
    char text[128];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(text, sizeof text, "cannot be opened (%s)", strerror(errno));
        if (fd >= 0) close(fd);
        return complain(reason, size, path, text);
    }
    bool regular = S_ISREG(st.st_mode);
    uint64_t file_bytes = regular ? (uint64_t)st.st_size : 0, needed;
    enum gguf_result r = regular ? read_header(fd, file_bytes, out, &what) : GGUF_BAD;
    close(fd);
    if (!regular) what = "is not a file";
    if (r != GGUF_DONE)
        return complain(reason, size, path, file_bytes == 0 && regular ? "is empty" : what);
    if (__builtin_add_overflow(out->header_bytes, out->data_bytes, &needed)) needed = UINT64_MAX;
    if (needed <= file_bytes) return true;
    snprintf(text, sizeof text, "is cut off: it has %llu bytes of the %llu that its header names",
             (unsigned long long)file_bytes, (unsigned long long)needed);
    return complain(reason, size, path, text);
}
