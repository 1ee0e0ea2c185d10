/* What an address or a storage token permits by itself. Each is signed over all of what it permits, so that none can be turned
 * into another, and with it the key that asked for it: a permit ends with its key. */
#include "api/admit.h"
#include "api/files_room.h"
#include "base/hex.h"

#include <stdio.h>

#define SIGNATURE_BYTES ((size_t)SIGNER_MAC_BYTES * 2)
#define MESSAGE_BYTES 1024

struct permit {
    const char *verb;           /* put, parts, get, token */
    struct slice id, key, type; /* key: empty when the server itself signs */
    uint64_t size;
    int64_t exp_s;
};

/* --- signatures */

/* Lengths stand before what may hold anything. False: too long. */
static bool sign(const struct api *a, const struct permit *p, char out[SIGNATURE_BYTES + 1]) {
    char message[MESSAGE_BYTES], size[24] = "any";
    unsigned char mac[SIGNER_MAC_BYTES];
    if (p->size != FILE_NO_SIZE) snprintf(size, sizeof size, "%llu", (unsigned long long)p->size);
    int n = snprintf(message, sizeof message, "%s\n%.*s\n%lld\n%s\n%zu\n%.*s\n%zu\n%.*s", p->verb,
                     SLICE_ARG(p->id), (long long)p->exp_s, size, p->type.len, SLICE_ARG(p->type),
                     p->key.len, SLICE_ARG(p->key));
    if (n < 0 || n >= MESSAGE_BYTES) return false;
    signer_mac(a->signer, slice_make(message, (size_t)n), mac);
    hex_write(out, mac, sizeof mac);
    return true;
}

static bool is_over(const struct api *a, int64_t exp_s) {
    return clock_wall_ms(a->clock) / 1000 >= exp_s;
}

static const char *fault(const struct api *a, const struct permit *p, struct slice signature,
                         struct identity *who) {
    char right[SIGNATURE_BYTES + 1];
    if (signature.len != SIGNATURE_BYTES || !sign(a, p, right) ||
        !secret_equal(right, signature.ptr, SIGNATURE_BYTES))
        return "the address was not signed by this server";
    if (is_over(a, p->exp_s)) return "the address has expired";
    if (p->key.len > 0 && !keyring_identity(a->keys, p->key, who))
        return "the key that asked for this address is no longer valid";
    return NULL;
}

/* --- into addresses */

static void add_escaped(struct buf *b, const char *name, struct slice text) {
    buf_printf(b, "&%s=", name);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (plain || (c != '\0' && strchr("-._~", c) != NULL))
            buf_addc(b, c);
        else
            buf_printf(b, "%%%02X", (unsigned char)c);
    }
}

static void add_query(struct buf *b, const struct api *a, const struct permit *p) {
    char signature[SIGNATURE_BYTES + 1];
    buf_printf(b, "?exp=%lld", (long long)p->exp_s);
    if (p->key.len > 0) add_escaped(b, "key", p->key);
    if (p->type.len > 0) add_escaped(b, "type", p->type);
    if (p->size != FILE_NO_SIZE) buf_printf(b, "&size=%llu", (unsigned long long)p->size);
    if (sign(a, p, signature))
        buf_printf(b, "&sig=%s", signature);
    else
        b->failed = true;
}

void files_sign_put(struct buf *b, const struct api *a, const char *id, struct slice key,
                    const char *type, uint64_t size, int64_t exp_s) {
    struct permit p = {"put", slice_of(id), key, slice_of(type), size, exp_s};
    add_query(b, a, &p);
}

void files_sign_parts(struct buf *b, const struct api *a, const char *id, struct slice key,
                      int64_t exp_s) {
    struct permit p = {"parts", slice_of(id), key, SLICE(""), FILE_NO_SIZE, exp_s};
    add_query(b, a, &p);
}

bool files_sign_get(struct api *a, const struct reach *at, struct slice id, struct slice key,
                    uint64_t for_s, struct buf *out) {
    int64_t now_s = clock_wall_ms(a->clock) / 1000;
    struct permit p = {"get", id, key, SLICE(""), FILE_NO_SIZE, now_s + (int64_t)for_s};
    files_add_base(out, a->config, at);
    buf_printf(out, "/files/b/%.*s", SLICE_ARG(id));
    add_query(out, a, &p);
    return !out->failed;
}

bool files_sign_url(struct api *a, const struct reach *at, struct slice id, uint64_t for_s,
                    struct buf *out) {
    return files_sign_get(a, at, id, SLICE(""), for_s, out);
}

/* --- out of addresses */

#define TEXT_BYTES 512

/* False: given twice, too long, or not escaped as it should be. */
static bool read_text(struct slice query, const char *name, char text[TEXT_BYTES],
                      struct slice *out) {
    size_t count, len = 0;
    struct slice raw = h1_query(query, slice_of(name), &count);
    bool ok = count <= 1 && raw.len < TEXT_BYTES && h1_unescape(raw, false, text, &len);
    *out = slice_make(text, ok ? len : 0);
    return ok;
}

static bool read_number(struct slice query, const char *name, uint64_t max, uint64_t *out) {
    size_t count;
    struct slice v = h1_query(query, slice_of(name), &count);
    return count == 0 || (count == 1 && slice_to_range(v, 0, max, out));
}

static const char *check(const struct api *a, const char *verb, struct slice id, struct slice query,
                         char type[TEXT_BYTES], struct permit *p) {
    char key[TEXT_BYTES];
    struct identity unused;
    uint64_t exp_s = 0;
    size_t count;
    struct slice signature = h1_query(query, SLICE("sig"), &count);
    *p = (struct permit){.verb = verb, .id = id, .size = FILE_NO_SIZE};
    bool read = count == 1 && read_text(query, "key", key, &p->key) &&
                read_text(query, "type", type, &p->type) &&
                read_number(query, "size", UINT64_MAX, &p->size) &&
                read_number(query, "exp", INT64_MAX / 1000, &exp_s);
    p->exp_s = (int64_t)exp_s;
    if (!read) return "the address was not signed by this server";
    const char *why = fault(a, p, signature, &unused);
    p->key = SLICE("");
    return why;
}

const char *files_check_put(struct call *c, struct slice id, struct slice *type, uint64_t *size) {
    char text[TEXT_BYTES];
    struct permit p;
    const char *why = check(c->api, "put", id, c->at.query, text, &p);
    *type = arena_copy(net_arena(c->x), p.type);
    *size = p.size;
    return why;
}

const char *files_check_parts(struct call *c, struct slice id) {
    char type[TEXT_BYTES];
    struct permit p;
    return check(c->api, "parts", id, c->at.query, type, &p);
}

int files_check_get(const struct api *a, struct slice query, struct slice id) {
    char type[TEXT_BYTES];
    struct permit p;
    size_t n;
    h1_query(query, SLICE("sig"), &n);
    if (n == 0) return 0;
    return check(a, "get", id, query, type, &p) == NULL ? 1 : -1;
}

bool files_url_signed(const struct api *a, struct slice url) {
    struct slice rest, query, id;
    if (!files_own_url(a, NULL, url, &id)) return false;
    slice_cut(slice_cut(url, '#', &rest), '?', &query);
    return files_check_get(a, query, id) == 1;
}

/* --- storage tokens: storage.{expiry}.{name of the key, hex}.{signature} */

#define TOKEN_PREFIX "storage."

void files_token(struct buf *b, const struct api *a, struct slice key, int64_t exp_s) {
    struct permit p = {"token", SLICE(""), key, SLICE(""), FILE_NO_SIZE, exp_s};
    char signature[SIGNATURE_BYTES + 1];
    buf_printf(b, TOKEN_PREFIX "%lld.", (long long)exp_s);
    for (size_t i = 0; i < key.len; i++) buf_printf(b, "%02x", (unsigned char)key.ptr[i]);
    if (sign(a, &p, signature))
        buf_printf(b, ".%s", signature);
    else
        b->failed = true;
}

static int digit_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct slice hex, char out[TEXT_BYTES], size_t *n) {
    *n = hex.len / 2;
    if (hex.len % 2 != 0 || hex.len == 0 || *n > TEXT_BYTES) return false;
    for (size_t i = 0; i < *n; i++) {
        int high = digit_of(hex.ptr[2 * i]), low = digit_of(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (char)(high << 4 | low);
    }
    return true;
}

static bool token_ok(struct call *c, struct slice token) {
    char key[TEXT_BYTES];
    struct slice signature, rest = slice_from(token, sizeof TOKEN_PREFIX - 1);
    struct permit p = {.verb = "token", .size = FILE_NO_SIZE};
    size_t n;
    uint64_t exp_s;
    if (!slice_to_range(slice_cut(rest, '.', &rest), 0, INT64_MAX / 1000, &exp_s)) return false;
    if (!read_hex(slice_cut(rest, '.', &signature), key, &n)) return false;
    p.key = slice_make(key, n);
    p.exp_s = (int64_t)exp_s;
    return fault(c->api, &p, signature, &c->who) == NULL;
}

/* Without keys there is nothing that a token adds: whoever may call may upload. */
bool files_let_in(struct call *c) {
    size_t n;
    struct slice token, header = h1_get(net_head(c->x), SLICE("authorization"), &n),
                        scheme = slice_cut(header, ' ', &token);
    if (n != 1 || keyring_is_open(c->api->keys) || !slice_eq_nocase(scheme, SLICE("Bearer")) ||
        !slice_starts(slice_trim(token), SLICE(TOKEN_PREFIX)))
        return admit(c);
    if (token_ok(c, slice_trim(token))) return true;
    net_header(c->x, SLICE("www-authenticate"), SLICE("Bearer"));
    call_error(c, 401, NULL, SLICE("Invalid storage token"));
    return false;
}

bool files_owns(const struct identity *who, struct slice owner) {
    return who->owner.len == 0 || slice_eq(who->owner, owner);
}
