/* The finding of a calibration as a file: calibration-<hash of the key>.json in the cache folder. The key stands inside
 * as well and is compared, so a file for another machine or engine that got there by copying is not believed. */
#include "base/json.h"
#include "llm/calibrate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE_BYTES 65536U
#define MAX_THREADS 4096U
#define MAX_SPIN 1000000000U
#define FORMAT "1" /* 2 when a field changes its meaning: older files are then found no more */

static void add_identity(struct buf *b, const char *name, const char *file) {
    struct stat st;
    buf_printf(b, "\"%s\":{\"file\":", name);
    json_add_string(b, slice_of(file), false);
    if (stat(file, &st) != 0) {
        b->failed = true;
        return;
    }
    buf_printf(b, ",\"bytes\":%lld,\"changed\":%lld.%09ld},", (long long)st.st_size,
               (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* The first members of the file's object, up to and with the last comma. */
static bool build_key(struct buf *b, const struct finding_key *k) {
    buf_puts(b, "{\"format\":" FORMAT ",");
    add_identity(b, "engine", k->program);
    add_identity(b, "model", k->model_file);
    buf_puts(b, "\"cpu\":");
    json_add_string(b, slice_of(k->machine->cpu), false);
    buf_printf(b, ",\"cores\":%u,\"physical\":%u,\"slots\":%u,", k->machine->cores,
               k->machine->physical, k->slots);
    return !b->failed;
}

static bool file_name(const struct finding_key *k, struct slice key, char out[PATH_MAX]) {
    unsigned char h[SECRET_HASH_BYTES];
    if (!secret_sha256(key, h)) return false;
    int n = snprintf(out, PATH_MAX, "%s/calibration-%02x%02x%02x%02x%02x%02x%02x%02x.json",
                     k->cache_dir, h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]);
    return n > 0 && n < PATH_MAX - 8;
}

static bool read_whole(const char *file, struct buf *b) {
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t n = 0;
    while (buf_reserve(b, 4096) && (n = read(fd, b->base + b->end, 4096)) > 0) b->end += (size_t)n;
    close(fd);
    return n == 0 && !b->failed;
}

static bool read_finding(struct slice text, struct finding *out) {
    struct json_error err;
    yyjson_doc *doc = json_parse(text, &err);
    if (doc == NULL) return false;
    yyjson_val *root = yyjson_doc_get_root(doc), *threads = json_get(root, "threads"),
               *batch = json_get(root, "batch_threads"), *spin = json_get(root, "spin");
    yyjson_val *one = json_get(root, "tokens_per_s_one"),
               *many = json_get(root, "tokens_per_s_many");
    uint64_t t = yyjson_get_uint(threads), bt = yyjson_get_uint(batch),
             turns = yyjson_get_uint(spin);
    bool ok = t >= 1 && t <= MAX_THREADS && bt >= 1 && bt <= MAX_THREADS && yyjson_is_uint(spin) &&
              turns <= MAX_SPIN && yyjson_is_num(one) && yyjson_is_num(many);
    if (ok)
        *out = (struct finding){{(unsigned)t, (unsigned)bt, (unsigned)turns},
                                yyjson_get_num(one),
                                yyjson_get_num(many)};
    yyjson_doc_free(doc);
    return ok;
}

bool finding_load(const struct finding_key *k, struct finding *out) {
    char file[PATH_MAX];
    struct buf key, text;
    buf_init(&key, MAX_FILE_BYTES);
    buf_init(&text, MAX_FILE_BYTES);
    bool ok = build_key(&key, k) && file_name(k, buf_slice(&key), file) &&
              read_whole(file, &text) && slice_starts(buf_slice(&text), buf_slice(&key)) &&
              read_finding(buf_slice(&text), out);
    buf_free(&key);
    buf_free(&text);
    return ok;
}

static int write_whole(const char *file, struct slice text) {
    char temp[PATH_MAX];
    int n = snprintf(temp, sizeof temp, "%s.XXXXXX", file), err = 0;
    if (n < 0 || (size_t)n >= sizeof temp) return ENAMETOOLONG;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) return errno;
    errno = EIO; /* for a short write */
    if (write(fd, text.ptr, text.len) != (ssize_t)text.len) err = errno;
    if (close(fd) != 0 && err == 0) err = errno;
    if (err == 0 && rename(temp, file) != 0) err = errno;
    if (err != 0) unlink(temp);
    return err;
}

int finding_save(const struct finding_key *k, const struct finding *f) {
    char file[PATH_MAX];
    struct buf b;
    buf_init(&b, MAX_FILE_BYTES);
    int err = EINVAL;
    if (build_key(&b, k) && file_name(k, buf_slice(&b), file)) {
        buf_printf(
            &b,
            "\"threads\":%u,\"batch_threads\":%u,\"spin\":%u,\"tokens_per_s_one\":%.1f,\"tokens_per_s_many\":%.1f}\n",
            f->tuning.threads, f->tuning.batch_threads, f->tuning.spin, f->tokens_per_s_one,
            f->tokens_per_s_many);
        err = b.failed ? ENOMEM : write_whole(file, buf_slice(&b));
    }
    buf_free(&b);
    return err;
}
