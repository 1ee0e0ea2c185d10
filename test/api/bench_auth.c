/* Does the time that a wrong key takes tell anything of the right one? 100,000 wrong keys of our form in random order, that share 0
 * to 42 right letters with the key whose id they name, or name an id that nobody has. As dudect does it: Welch's t over
 * the faster 90 %; below 4.5 nothing is told. `--plant` compares the text itself, letter by letter, as the fault to be found.
 *
 *     ninja test/api/bench_auth && test/api/bench_auth [--plant] */
#include "api/auth.h"
#include "api/credential.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEYS 1000
#define TRIES 100000
#define PREFIX (CREDENTIAL_ID_BYTES + sizeof CREDENTIAL_PREFIX)

static struct h1_head head;

const struct h1_head *net_head(const struct net_exchange *x) {
    return &head;
}

struct slice net_peer(const struct net_exchange *x) {
    return SLICE("127.0.0.1");
}

static char right[KEYS][CREDENTIAL_BYTES + 1];

struct wrong {
    char text[4 + CREDENTIAL_BYTES + 1]; /* "Key …" */
    unsigned shared;                     /* right letters */
    bool known_id;
    double ns;
};

static void mend(char *key) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < CREDENTIAL_BYTES - CREDENTIAL_CHECK_BYTES; i++) {
        crc ^= (unsigned char)key[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    crc = ~crc;
    for (size_t i = CREDENTIAL_BYTES; i-- > CREDENTIAL_BYTES - CREDENTIAL_CHECK_BYTES; crc /= 62)
        key[i] = digits[crc % 62];
}

static void draw(struct wrong *w) {
    const char *mine = right[random_below(&random_system, KEYS)];
    char *key = w->text + 4;
    memcpy(w->text, "Key ", 4);
    credential_make(&random_system, key);
    w->known_id = random_below(&random_system, 2) == 0;
    w->shared = (unsigned)random_below(&random_system, CREDENTIAL_DRAWN_BYTES);
    memcpy(key + PREFIX, mine + PREFIX, w->shared);
    key[PREFIX + w->shared] = mine[PREFIX + w->shared] == 'a' ? 'b' : 'a';
    if (w->known_id) memcpy(key, mine, CREDENTIAL_ID_BYTES);
    mend(key);
}

/* The fault: looked for by its text. */
static bool planted(const char *key) {
    for (size_t i = 0; i < KEYS; i++) {
        size_t n = 0;
        while (n < CREDENTIAL_BYTES && key[n] == right[i][n]) n++;
        if (n == CREDENTIAL_BYTES) return true;
    }
    return false;
}

static double time_of(struct keyring *k, const struct wrong *w, bool plant) {
    struct timespec a, b;
    struct identity who;
    head.nheaders = 1;
    head.headers[0] = (struct h1_header){.name = SLICE("authorization"),
                                         .value = slice_of(w->text)};
    clock_gettime(CLOCK_MONOTONIC, &a);
    bool opened = plant ? planted(w->text + 4) : auth_check(k, NULL, &who) == AUTH_OK;
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (opened) abort();
    return (double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec);
}

static int by_ns(const void *a, const void *b) {
    const struct wrong *x = a, *y = b;
    return (x->ns > y->ns) - (x->ns < y->ns);
}

struct class {
    double n, mean, m2;
};

static void add(struct class *c, double v) {
    double d = v - c->mean;
    c->mean += d / ++c->n;
    c->m2 += d * (v - c->mean);
}

static void compare(const char *what, const struct class *a, const struct class *b) {
    double va = a->m2 / (a->n - 1) / a->n, vb = b->m2 / (b->n - 1) / b->n;
    double t = (a->mean - b->mean) / sqrt(va + vb);
    printf("%-44s %8.1f ns  %8.1f ns  t = %5.2f  %s\n", what, a->mean, b->mean, t,
           fabs(t) < 4.5 ? "nothing is told" : "TOLD");
}

static void report(struct wrong *w, size_t n) {
    struct class known = {0}, unknown = {0}, few = {0}, many = {0};
    qsort(w, n, sizeof *w, by_ns);
    for (size_t i = 0; i < n - n / 10; i++) {
        add(w[i].known_id ? &known : &unknown, w[i].ns);
        if (w[i].known_id) add(w[i].shared < CREDENTIAL_DRAWN_BYTES / 2 ? &few : &many, w[i].ns);
    }
    compare("an id that is known, one that is not", &known, &unknown);
    compare("few right letters, many", &few, &many);
}

int main(int argc, char **argv) {
    static struct config cfg;
    bool plant = argc > 1 && strcmp(argv[1], "--plant") == 0;
    struct limits *l = limits_new(&cfg, &random_system);
    struct keyring *k = keyring_new(&cfg, l, &clock_system);
    struct wrong *w = calloc(TRIES, sizeof *w);
    for (size_t i = 0; i < KEYS; i++) {
        credential_make(&random_system, right[i]);
        struct keyring_key key = {.id = slice_make(right[i], CREDENTIAL_ID_BYTES),
                                  .owner = SLICE("local")};
        if (!secret_sha256(slice_of(right[i]), key.sha256) || !keyring_add(k, &key)) abort();
    }
    for (size_t i = 0; i < TRIES; i++) draw(&w[i]);
    for (size_t i = 0; i < TRIES / 10; i++) time_of(k, &w[i], plant); /* warms up */
    for (size_t i = 0; i < TRIES; i++) w[i].ns = time_of(k, &w[i], plant);
    report(w, TRIES);
    free(w);
    keyring_free(k);
    limits_free(l);
    return 0;
}
