#include "api/signer_files.h"

#include "base/log.h"
#include "base/secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER "keys"
#define UNFINISHED "unfinished" /* a file being made, until it has its name */
#define NAME_BYTES 64
#define MAX_PEM_BYTES 4096

/* One reading of the folder. */
struct folder {
    int fd;
    const char *data_dir;
    int64_t now_s;
    const struct random *random;
    struct signer_ring *ring;
    char *reason;
    size_t size;
};

static bool refuse(const struct folder *f, const char *name, const char *why) {
    snprintf(f->reason, f->size, "%s/" FOLDER "%s%s: %s", f->data_dir, *name != '\0' ? "/" : "",
             name, why);
    return false;
}

static bool refuse_errno(const struct folder *f, const char *name) {
    return refuse(f, name, strerror(errno));
}

/* --- the ring */

void signer_ring_free(struct signer_ring *r) {
    for (size_t i = 0; i < r->n; i++) EVP_PKEY_free(r->keys[i].pair);
    secret_wipe(r, sizeof *r);
}

bool signer_published(const struct signer_ring *r, size_t i, int64_t now_s) {
    return i + 1 == r->n || now_s < r->keys[i + 1].made_s + SIGNER_AHEAD_S + SIGNER_OVERLAP_S;
}

static bool name_key(struct signer_key *k) {
    unsigned char hash[SECRET_HASH_BYTES];
    size_t n = sizeof k->x;
    if (EVP_PKEY_get_raw_public_key(k->pair, k->x, &n) != 1 || n != sizeof k->x ||
        !secret_sha256(slice_make((const char *)k->x, n), hash))
        return false;
    for (size_t i = 0; i < (SIGNER_KID_BYTES - 1) / 2; i++)
        snprintf(k->kid + 2 * i, 3, "%02x", hash[i]);
    return true;
}

/* In order of age. */
static void put_key(struct signer_ring *r, const struct signer_key *k) {
    size_t at = r->n++;
    for (; at > 0 && r->keys[at - 1].made_s > k->made_s; at--) r->keys[at] = r->keys[at - 1];
    r->keys[at] = *k;
}

static void key_file(const struct signer_key *k, char name[NAME_BYTES]) {
    snprintf(name, NAME_BYTES, "sign-%" PRId64 "-%s.pem", k->made_s, k->kid);
}

/* --- reading */

/* NUL-terminated from malloc; *len -1 when there is no such file (then NULL too). */
static char *read_file(const struct folder *f, const char *name, ssize_t *len) {
    struct stat st;
    char *text = NULL;
    int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    *len = -1;
    if (fd < 0) {
        if (errno != ENOENT) *len = 0;
        if (errno != ENOENT) refuse_errno(f, name);
        return NULL;
    }
    *len = 0;
    if (fstat(fd, &st) != 0)
        refuse_errno(f, name);
    else if (!S_ISREG(st.st_mode) || st.st_size > MAX_PEM_BYTES)
        refuse(f, name, "is not a key; move it away");
    else if ((st.st_mode & 077) != 0)
        refuse(f, name,
               "others than its owner may read or write it; chmod 600 it, or remove it "
               "so that a new one is made");
    else if ((text = calloc(1, MAX_PEM_BYTES + 1)) == NULL ||
             (*len = read(fd, text, MAX_PEM_BYTES)) < 0) {
        refuse_errno(f, name);
        free(text);
        text = NULL;
    }
    close(fd);
    return text;
}

/* Nobody is asked for one. */
static int no_password(char *out, int size, int writing, void *user) {
    return -1;
}

static EVP_PKEY *parse_pem(const char *text, ssize_t len) {
    BIO *b = BIO_new_mem_buf(text, (int)len);
    EVP_PKEY *p = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, no_password, NULL) : NULL;
    BIO_free(b);
    if (p == NULL || EVP_PKEY_get_id(p) == EVP_PKEY_ED25519) return p;
    EVP_PKEY_free(p);
    return NULL;
}

static bool read_key(const struct folder *f, const char *name, int64_t made_s) {
    ssize_t len;
    struct signer_key k = {.made_s = made_s};
    char *text = read_file(f, name, &len);
    if (text == NULL) return len < 0; /* removed meanwhile */
    k.pair = parse_pem(text, len);
    secret_wipe(text, (size_t)len);
    free(text);
    if (k.pair == NULL || !name_key(&k)) {
        EVP_PKEY_free(k.pair);
        return refuse(f, name,
                      "holds no Ed25519 key; restore it, or remove it so that a new one "
                      "is made");
    }
    put_key(f->ring, &k);
    return true;
}

/* "sign-SECONDS-….pem" */
static bool is_key_file(const char *name, int64_t *made_s) {
    struct slice rest, s = slice_of(name);
    uint64_t n;
    if (!slice_starts(s, SLICE("sign-")) || !slice_ends(s, SLICE(".pem"))) return false;
    if (!slice_to_range(slice_cut(slice_from(s, 5), '-', &rest), 0, INT32_MAX * 100ULL, &n))
        return false;
    *made_s = (int64_t)n;
    return true;
}

static bool read_keys(const struct folder *f) {
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    bool ok = true;
    int64_t made_s;
    if (d == NULL) {
        if (fd >= 0) close(fd);
        return refuse_errno(f, "");
    }
    for (struct dirent *e; ok && (e = readdir(d)) != NULL;) {
        if (!is_key_file(e->d_name, &made_s)) continue;
        ok = f->ring->n < SIGNER_MAX_KEYS ? read_key(f, e->d_name, made_s)
                                          : refuse(f, "", "holds too many keys; remove old ones");
    }
    closedir(d);
    return ok;
}

/* --- making */

static bool write_all(int fd, const void *bytes, size_t n) {
    const char *at = bytes;
    while (n > 0) {
        ssize_t w = write(fd, at, n);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) return false;
        at += w;
        n -= (size_t)w;
    }
    return true;
}

/* On disk with its whole content under its name, or not there. */
static bool make_file(const struct folder *f, const char *name, const void *bytes, size_t n) {
    if (unlinkat(f->fd, UNFINISHED, 0) != 0 && errno != ENOENT) return refuse_errno(f, UNFINISHED);
    int fd = openat(f->fd, UNFINISHED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return refuse_errno(f, name);
    bool ok = write_all(fd, bytes, n) && fsync(fd) == 0 &&
              renameat(f->fd, UNFINISHED, f->fd, name) == 0 && fsync(f->fd) == 0;
    if (!ok) refuse_errno(f, name);
    close(fd);
    return ok;
}

static EVP_PKEY *draw_pair(const struct random *random) {
    unsigned char seed[32];
    random_fill(random, seed, sizeof seed);
    EVP_PKEY *p = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    secret_wipe(seed, sizeof seed);
    return p;
}

static bool keep_key(const struct folder *f, const struct signer_key *k) {
    char name[NAME_BYTES], *text;
    BIO *b = BIO_new(BIO_s_secmem());
    bool ok = false;
    key_file(k, name);
    if (b != NULL && PEM_write_bio_PKCS8PrivateKey(b, k->pair, NULL, NULL, 0, NULL, NULL) == 1) {
        long n = BIO_get_mem_data(b, &text);
        ok = make_file(f, name, text, (size_t)n);
    } else {
        refuse(f, name, "out of memory");
    }
    BIO_free(b);
    return ok;
}

static bool make_key(const struct folder *f) {
    struct signer_key k = {.made_s = f->now_s};
    size_t n = f->ring->n;
    if (n == SIGNER_MAX_KEYS) return refuse(f, "", "holds too many keys; remove old ones");
    k.pair = draw_pair(f->random);
    /* The newest, although the clock has gone back. */
    if (n > 0 && k.made_s <= f->ring->keys[n - 1].made_s)
        k.made_s = f->ring->keys[n - 1].made_s + 1;
    if (k.pair == NULL || !name_key(&k) || !keep_key(f, &k)) {
        if (k.pair == NULL) refuse(f, "", "out of memory");
        EVP_PKEY_free(k.pair);
        return false;
    }
    put_key(f->ring, &k);
    log_line(LOG_INFO, "signing_key_made", "kid=%s", k.kid);
    return true;
}

/* --- what is due */

static bool wants_new(const struct folder *f, bool asked) {
    const struct signer_ring *r = f->ring;
    return r->n == 0 || asked || r->keys[r->n - 1].made_s + SIGNER_LIFE_S <= f->now_s;
}

/* While there is one, that no other can be made ends nothing. */
static bool rotate(const struct folder *f) {
    char text[LOG_QUOTE_BYTES];
    bool asked = faccessat(f->fd, "rotate", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (!wants_new(f, asked)) return true;
    if (!make_key(f)) {
        log_line(LOG_ERROR, "signing_key_not_made", "reason=%s",
                 log_quote(text, slice_of(f->reason)));
        return f->ring->n > 0;
    }
    if (asked && unlinkat(f->fd, "rotate", 0) != 0)
        log_line(LOG_WARN, "rotate_stays", "errno=%d", errno);
    return true;
}

static void remove_old(const struct folder *f) {
    struct signer_ring *r = f->ring;
    char name[NAME_BYTES];
    while (r->n > 1 && !signer_published(r, 0, f->now_s)) {
        key_file(&r->keys[0], name);
        log_line(LOG_INFO, "signing_key_removed", "kid=%s", r->keys[0].kid);
        if (unlinkat(f->fd, name, 0) != 0 && errno != ENOENT)
            log_line(LOG_WARN, "signing_key_stays", "errno=%d", errno);
        EVP_PKEY_free(r->keys[0].pair);
        memmove(r->keys, r->keys + 1, --r->n * sizeof *r->keys);
    }
}

static bool read_secret(const struct folder *f) {
    ssize_t len;
    char *text = read_file(f, "secret", &len);
    if (text == NULL && len >= 0) return false;
    if (text == NULL) {
        random_fill(f->random, f->ring->secret, SIGNER_SECRET_BYTES);
        return make_file(f, "secret", f->ring->secret, SIGNER_SECRET_BYTES);
    }
    if (len == SIGNER_SECRET_BYTES) memcpy(f->ring->secret, text, SIGNER_SECRET_BYTES);
    secret_wipe(text, MAX_PEM_BYTES);
    free(text);
    return len == SIGNER_SECRET_BYTES ||
           refuse(f, "secret", "is damaged; restore it, or remove it so that a new one is made");
}

/* Made by us or by the operator; nobody else may put a key into it. */
static bool open_folder(struct folder *f) {
    struct stat st;
    int data = open(f->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (data < 0) return refuse_errno(f, "");
    bool made = mkdirat(data, FOLDER, 0700) == 0;
    if (made || errno == EEXIST)
        f->fd = openat(data, FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    bool ok = f->fd >= 0 && (!made || fsync(data) == 0) && fstat(f->fd, &st) == 0;
    if (!ok) refuse_errno(f, "");
    close(data);
    if (!ok) return false;
    if ((st.st_mode & 022) == 0) return true;
    return refuse(f, "", "others than its owner may write into it; chmod 700 it");
}

bool signer_read(const char *data_dir, int64_t now_s, const struct random *random,
                 struct signer_ring *out, char *reason, size_t size) {
    struct folder f = {.fd = -1,
                       .data_dir = data_dir,
                       .now_s = now_s,
                       .random = random,
                       .ring = out,
                       .reason = reason,
                       .size = size};
    *out = (struct signer_ring){0};
    bool ok = open_folder(&f) && read_keys(&f) && rotate(&f) && read_secret(&f);
    if (ok)
        remove_old(&f);
    else
        signer_ring_free(out);
    if (f.fd >= 0) close(f.fd);
    return ok;
}
