#include "api/limits.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define NS_PER_MS 1000000ULL
#define MINUTE_NS (60000 * NS_PER_MS)
#define SECOND_NS (1000 * NS_PER_MS)
#define WAYS 8U
#define SETS (LIMITS_ADDRESSES / WAYS)

/* What an owner has used. A bucket is known by the time at which it is full again. */
struct account {
    uint64_t requests_full_ns, polls_full_ns;
    size_t calls;
    char *owner; /* ours */
    size_t owner_len;
};

struct strikes {
    unsigned char address[LIMITS_ADDRESS_BYTES];
    uint64_t full_ns;
};

struct limits {
    const struct config *config;
    struct account *accounts;
    size_t naccounts, size; /* of accounts; the table has twice as many places */
    uint32_t *slots;        /* by owner: account + 1, 0: free */
    size_t calls;
    uint64_t counted[LIMIT_COUNT], seed[2];
    struct strikes strikes[SETS][WAYS]; /* all zero: an address that nobody has */
};

const char *limit_name(enum limit kind) {
    static const char *const names[LIMIT_COUNT] = {[LIMIT_NONE] = "none",
                                                   [LIMIT_SERVER_CALLS] = "server_calls",
                                                   [LIMIT_KEY_CALLS] = "key_calls",
                                                   [LIMIT_REQUESTS] = "requests",
                                                   [LIMIT_POLLS] = "status_polls",
                                                   [LIMIT_WRONG_KEYS] = "wrong_keys",
                                                   [LIMIT_QUEUE_LENGTH] = "queue_length"};
    return names[kind];
}

/* --- life */

static uint64_t mix(uint64_t a, uint64_t b) {
    unsigned __int128 p = (unsigned __int128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static uint64_t hash(const struct limits *l, const void *bytes, size_t len) {
    const unsigned char *at = bytes;
    uint64_t h = l->seed[0] ^ len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, at + i, len - i < 8 ? len - i : 8);
        h = mix(h ^ word, l->seed[1]);
    }
    return h;
}

static struct slice owner_of(const struct limits *l, uint32_t account) {
    return slice_make(l->accounts[account].owner, l->accounts[account].owner_len);
}

/* The owner's place, or the free one where it belongs. */
static uint32_t *slot_of(const struct limits *l, struct slice owner) {
    size_t mask = l->size * 2 - 1, at = (size_t)hash(l, owner.ptr, owner.len);
    while (l->slots[at & mask] != 0 && !slice_eq(owner_of(l, l->slots[at & mask] - 1), owner)) at++;
    return &l->slots[at & mask];
}

static bool grow(struct limits *l) {
    size_t size = l->size > 0 ? l->size * 2 : 8;
    uint32_t *slots = calloc(size * 2, sizeof *slots);
    struct account *accounts = realloc(l->accounts, size * sizeof *accounts);
    if (accounts != NULL) l->accounts = accounts;
    if (slots == NULL || accounts == NULL) {
        free(slots);
        return false;
    }
    free(l->slots);
    l->slots = slots;
    l->size = size;
    for (uint32_t i = 0; i < l->naccounts; i++) *slot_of(l, owner_of(l, i)) = i + 1;
    return true;
}

bool limits_account(struct limits *l, struct slice owner, size_t *account) {
    uint32_t *slot = slot_of(l, owner);
    if (*slot == 0) {
        char *name = slice_dup(owner);
        if (name == NULL || (l->naccounts == l->size && !grow(l))) {
            free(name);
            return false;
        }
        slot = slot_of(l, owner);
        l->accounts[l->naccounts] = (struct account){.owner = name, .owner_len = owner.len};
        *slot = (uint32_t)++l->naccounts;
    }
    *account = *slot - 1;
    return true;
}

struct limits *limits_new(const struct config *c, const struct random *r) {
    struct limits *l = calloc(1, sizeof *l);
    if (l == NULL) return NULL;
    l->config = c;
    l->seed[0] = random_u64(r);
    l->seed[1] = random_u64(r) | 1;
    if (grow(l)) return l;
    limits_free(l);
    return NULL;
}

void limits_free(struct limits *l) {
    if (l == NULL) return;
    for (size_t i = 0; i < l->naccounts; i++) free(l->accounts[i].owner);
    free(l->accounts);
    free(l->slots);
    free(l);
}

/* --- rates */

/* 0 and a request is taken, or the ms until there is one. */
static uint64_t take(uint64_t *full_ns, uint32_t limit, uint64_t period_ns, uint64_t now_ms) {
    if (limit == 0) return 0;
    uint64_t now = now_ms * NS_PER_MS, from = *full_ns > now ? *full_ns : now,
             then = from + period_ns / limit;
    if (then > now + period_ns) return (then - now - period_ns + NS_PER_MS - 1) / NS_PER_MS;
    *full_ns = then;
    return 0;
}

uint64_t limits_request(struct limits *l, size_t account, uint32_t per_minute, uint64_t now_ms) {
    uint64_t wait = take(&l->accounts[account].requests_full_ns, per_minute, MINUTE_NS, now_ms);
    if (wait > 0) limits_count(l, LIMIT_REQUESTS);
    return wait;
}

uint64_t limits_poll(struct limits *l, size_t account, uint32_t per_second, uint64_t now_ms) {
    uint64_t wait = take(&l->accounts[account].polls_full_ns, per_second, SECOND_NS, now_ms);
    if (wait > 0) limits_count(l, LIMIT_POLLS);
    return wait;
}

/* --- wrong keys */

void limits_address(struct slice text, unsigned char out[LIMITS_ADDRESS_BYTES]) {
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    char copy[INET6_ADDRSTRLEN];
    memset(out, 0, LIMITS_ADDRESS_BYTES);
    out[LIMITS_ADDRESS_BYTES - 1] = 1;
    if (text.len >= sizeof copy) return;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, out + sizeof mapped) == 1)
        memcpy(out, mapped, sizeof mapped);
    else if (inet_pton(AF_INET6, copy, out) == 1 && memcmp(out, mapped, sizeof mapped) != 0)
        memset(out + 8, 0, 8);
}

/* The address's own place, or the one that has been quiet longest of those it may have. The hash is seeded, so nobody can
 * choose addresses that drive another out. */
static struct strikes *strikes_of(struct limits *l, const unsigned char *address) {
    struct strikes *set = l->strikes[hash(l, address, LIMITS_ADDRESS_BYTES) % SETS], *quiet = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (memcmp(set[i].address, address, LIMITS_ADDRESS_BYTES) == 0) return &set[i];
        if (set[i].full_ns < quiet->full_ns) quiet = &set[i];
    }
    memcpy(quiet->address, address, LIMITS_ADDRESS_BYTES);
    quiet->full_ns = 0;
    return quiet;
}

uint64_t limits_wrong_key(struct limits *l, const unsigned char address[LIMITS_ADDRESS_BYTES],
                          uint64_t now_ms) {
    uint64_t wait = take(&strikes_of(l, address)->full_ns, l->config->max_wrong_keys_per_minute,
                         MINUTE_NS, now_ms);
    if (wait > 0) limits_count(l, LIMIT_WRONG_KEYS);
    return wait;
}

/* --- calls at once */

enum limit limits_call_begin(struct limits *l, size_t account, uint32_t at_once, size_t queued) {
    struct account *a = &l->accounts[account];
    enum limit over = LIMIT_NONE;
    if (at_once != 0 && a->calls + queued >= at_once)
        over = LIMIT_KEY_CALLS;
    else if (l->config->max_concurrent_calls != 0 && l->calls >= l->config->max_concurrent_calls)
        over = LIMIT_SERVER_CALLS;
    if (over != LIMIT_NONE) {
        limits_count(l, over);
        return over;
    }
    a->calls++;
    l->calls++;
    return LIMIT_NONE;
}

void limits_call_end(struct limits *l, size_t account) {
    l->accounts[account].calls--;
    l->calls--;
}

size_t limits_calls(const struct limits *l, size_t account) {
    return l->accounts[account].calls;
}

size_t limits_all_calls(const struct limits *l) {
    return l->calls;
}

/* --- metrics */

void limits_count(struct limits *l, enum limit kind) {
    l->counted[kind]++;
}

uint64_t limits_counted(const struct limits *l, enum limit kind) {
    return l->counted[kind];
}
