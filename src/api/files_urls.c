/* Addresses of files, and what an address or a storage token permits by itself. Each is signed over what it permits, so that
 * one cannot be turned into another. */
#include "api/admit.h"
#include "api/files_room.h"

#include <stdio.h>

#define SIGNATURE_BYTES ((size_t)SIGNER_MAC_BYTES * 2)
#define MESSAGE_BYTES 512

/* --- addresses */

static void add_base(struct buf *b, const struct config *cfg, const struct reach *at) {
    struct slice host = at->host;
    if (cfg->public_url != NULL) {
        buf_printf(b, "%s/cdn", cfg->public_url);
        return;
    }
    if (host.len == 0) /* HTTP/1.0 may leave it out */
        host = slice_of(cfg->nlisten > 0 ? cfg->listen[0] : cfg->listen_tls[0]);
    buf_printf(b, "%s://%.*s/cdn", at->tls ? "https" : "http", SLICE_ARG(host));
}

/* What a client uploads goes past the proxy, straight to this address. */
void files_base(struct buf *b, struct call *c) {
    struct reach at = c->at;
    if (c->proxied) reach_of(&at, c->api->config, c->x);
    add_base(b, c->api->config, &at);
}

void files_address(struct buf *b, struct call *c, const char *id, const char *label,
                   const char *type) {
    char extension[FILE_EXTENSION_BYTES];
    file_extension(slice_of(label), slice_of(type), extension);
    files_base(b, c);
    buf_printf(b, "/files/b/%s%s", id, extension);
}

/* fal's own: v3.fal.media, v3b.fal.media and what may follow them. */
static bool is_fals_cdn(struct slice host) {
    return slice_eq_nocase(host, SLICE("fal.media")) ||
           (host.len > 10 && slice_eq_nocase(slice_from(host, host.len - 10), SLICE(".fal.media")));
}

bool files_own_url(const struct api *a, const struct reach *at, struct slice url,
                   struct slice *id) {
    struct slice rest, host, path = SLICE("/files/b/"), cdn = SLICE("/cdn/files/b/");
    url = slice_cut(slice_cut(url, '#', &rest), '?', &rest);
    if (slice_starts(url, SLICE("https://")))
        url = slice_from(url, 8);
    else if (slice_starts(url, SLICE("http://")))
        url = slice_from(url, 7);
    else
        return false;
    host = slice_cut(url, '/', &rest);
    url = slice_from(url, host.len);
    enum config_surface surface;
    bool by_name = is_fals_cdn(host) ||
                   (reach_host(a->config, host, &surface) && surface == SURFACE_CDN);
    if (slice_starts(url, cdn)) return file_id_read(slice_from(url, cdn.len), id);
    if (by_name && slice_starts(url, path)) return file_id_read(slice_from(url, path.len), id);
    /* public_url may have a path of its own */
    for (size_t i = 0; a->config->public_url != NULL && i + cdn.len <= url.len; i++)
        if (slice_starts(slice_from(url, i), cdn))
            return file_id_read(slice_from(url, i + cdn.len), id);
    return false;
}

/* --- signatures */

static void sign(const struct api *a, const char *message, int n, char out[SIGNATURE_BYTES + 1]) {
    unsigned char mac[SIGNER_MAC_BYTES];
    signer_mac(a->signer, slice_make(message, (size_t)n), mac);
    file_hex(mac, sizeof mac, out);
}

static bool signed_by_us(const struct api *a, const char *message, int n, struct slice signature) {
    char right[SIGNATURE_BYTES + 1];
    if (n < 0 || n >= MESSAGE_BYTES || signature.len != SIGNATURE_BYTES) return false;
    sign(a, message, n, right);
    return secret_equal(right, signature.ptr, SIGNATURE_BYTES);
}

/* No part of it may hold a line's end: ids, types and sizes do not. */
static int put_message(char out[MESSAGE_BYTES], struct slice id, struct slice type, uint64_t size,
                       int64_t exp_s) {
    char number[24] = "any";
    if (size != FILE_NO_SIZE) snprintf(number, sizeof number, "%llu", (unsigned long long)size);
    return snprintf(out, MESSAGE_BYTES, "put\n%.*s\n%.*s\n%s\n%lld", SLICE_ARG(id), SLICE_ARG(type),
                    number, (long long)exp_s);
}

static int id_message(char out[MESSAGE_BYTES], const char *verb, struct slice id, int64_t exp_s) {
    return snprintf(out, MESSAGE_BYTES, "%s\n%.*s\n%lld", verb, SLICE_ARG(id), (long long)exp_s);
}

static void add_escaped(struct buf *b, const char *type) {
    for (; *type != '\0'; type++) {
        if (strchr("/+&#%^", *type) != NULL)
            buf_printf(b, "%%%02X", (unsigned char)*type);
        else
            buf_addc(b, *type);
    }
}

void files_sign_put(struct buf *b, const struct api *a, const char *id, const char *type,
                    uint64_t size, int64_t exp_s) {
    char message[MESSAGE_BYTES], signature[SIGNATURE_BYTES + 1];
    sign(a, message, put_message(message, slice_of(id), slice_of(type), size, exp_s), signature);
    buf_printf(b, "?exp=%lld&type=", (long long)exp_s);
    add_escaped(b, type);
    if (size != FILE_NO_SIZE) buf_printf(b, "&size=%llu", (unsigned long long)size);
    buf_printf(b, "&sig=%s", signature);
}

static void sign_id(struct buf *b, const struct api *a, const char *verb, struct slice id,
                    int64_t exp_s) {
    char message[MESSAGE_BYTES], signature[SIGNATURE_BYTES + 1];
    sign(a, message, id_message(message, verb, id, exp_s), signature);
    buf_printf(b, "?exp=%lld&sig=%s", (long long)exp_s, signature);
}

void files_sign_parts(struct buf *b, const struct api *a, const char *id, int64_t exp_s) {
    sign_id(b, a, "parts", slice_of(id), exp_s);
}

bool files_sign_url(struct api *a, const struct reach *at, struct slice id, uint64_t for_s,
                    struct buf *out) {
    int64_t now_s = clock_wall_ms(a->clock) / 1000;
    add_base(out, a->config, at);
    buf_printf(out, "/files/b/%.*s", SLICE_ARG(id));
    sign_id(out, a, "get", id, now_s + (int64_t)for_s);
    return !out->failed;
}

static bool read_exp(struct slice query, int64_t *exp_s) {
    uint64_t v;
    size_t n;
    if (!slice_to_range(h1_query(query, SLICE("exp"), &n), 0, INT64_MAX / 1000, &v) || n != 1)
        return false;
    *exp_s = (int64_t)v;
    return true;
}

static bool is_over(const struct api *a, int64_t exp_s) {
    return clock_wall_ms(a->clock) / 1000 >= exp_s;
}

static const char *check(const struct api *a, const char *message, int n, struct slice query,
                         int64_t exp_s) {
    size_t count;
    struct slice signature = h1_query(query, SLICE("sig"), &count);
    if (count != 1 || !signed_by_us(a, message, n, signature))
        return "the address was not signed by this server";
    return is_over(a, exp_s) ? "the address has expired; begin the upload again" : NULL;
}

const char *files_check_put(struct call *c, struct slice id, struct slice *type, uint64_t *size) {
    char message[MESSAGE_BYTES];
    struct slice query = c->at.query, escaped = h1_query(query, SLICE("type"), NULL), number;
    char *text = arena_alloc(net_arena(c->x), escaped.len + 1);
    size_t n, count;
    int64_t exp_s;
    *size = FILE_NO_SIZE;
    number = h1_query(query, SLICE("size"), &count);
    if (text == NULL || !read_exp(query, &exp_s) || escaped.len > FILE_TYPE_BYTES * 3 ||
        !h1_unescape(escaped, false, text, &n) || count > 1 ||
        (count == 1 && !slice_to_u64(number, size)))
        return "the address was not signed by this server";
    *type = slice_make(text, n);
    return check(c->api, message, put_message(message, id, *type, *size, exp_s), query, exp_s);
}

const char *files_check_parts(struct call *c, struct slice id) {
    char message[MESSAGE_BYTES];
    int64_t exp_s;
    if (!read_exp(c->at.query, &exp_s)) return "the address was not signed by this server";
    return check(c->api, message, id_message(message, "parts", id, exp_s), c->at.query, exp_s);
}

int files_check_get(const struct api *a, struct slice query, struct slice id) {
    char message[MESSAGE_BYTES];
    int64_t exp_s;
    size_t n;
    h1_query(query, SLICE("sig"), &n);
    if (n == 0) return 0;
    if (!read_exp(query, &exp_s)) return -1;
    return check(a, message, id_message(message, "get", id, exp_s), query, exp_s) == NULL ? 1 : -1;
}

bool files_url_signed(const struct api *a, struct slice url) {
    struct slice rest, query, id;
    if (!files_own_url(a, NULL, url, &id)) return false;
    slice_cut(slice_cut(url, '#', &rest), '?', &query);
    return files_check_get(a, query, id) == 1;
}

/* --- storage tokens: storage.{expiry}.{id of the key, hex}.{signature} */

#define TOKEN_PREFIX "storage."

void files_token(struct buf *b, const struct api *a, struct slice key_id, int64_t exp_s) {
    char message[MESSAGE_BYTES], signature[SIGNATURE_BYTES + 1];
    sign(a, message, id_message(message, "token", key_id, exp_s), signature);
    buf_printf(b, TOKEN_PREFIX "%lld.", (long long)exp_s);
    for (size_t i = 0; i < key_id.len; i++) buf_printf(b, "%02x", (unsigned char)key_id.ptr[i]);
    buf_printf(b, ".%s", signature);
}

static int digit_of(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct slice hex, char out[MESSAGE_BYTES / 2], size_t *n) {
    *n = hex.len / 2;
    if (hex.len % 2 != 0 || hex.len == 0 || *n > MESSAGE_BYTES / 2) return false;
    for (size_t i = 0; i < *n; i++) {
        int high = digit_of(hex.ptr[2 * i]), low = digit_of(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (char)(high << 4 | low);
    }
    return true;
}

static bool token_ok(struct call *c, struct slice token) {
    char message[MESSAGE_BYTES], key_id[MESSAGE_BYTES / 2];
    struct slice signature, rest = slice_from(token, sizeof TOKEN_PREFIX - 1);
    size_t n;
    uint64_t exp_s;
    if (!slice_to_range(slice_cut(rest, '.', &rest), 0, INT64_MAX / 1000, &exp_s)) return false;
    if (!read_hex(slice_cut(rest, '.', &signature), key_id, &n)) return false;
    struct slice id = slice_make(key_id, n);
    return signed_by_us(c->api, message, id_message(message, "token", id, (int64_t)exp_s),
                        signature) &&
           !is_over(c->api, (int64_t)exp_s) && keyring_identity(c->api->keys, id, &c->who);
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
