#include "api/options.h"

#include "base/json.h"

#include <math.h>
#include <stdlib.h>

typedef bool read_option(struct slice v, struct call_options *o);

/* Yes, no, or neither. */
static bool yes_no(struct slice v, bool *out) {
    static const char *const yes[] = {"1", "true", "yes"}, *const no[] = {"0", "false", "no"};
    for (size_t i = 0; i < 3; i++) {
        *out = slice_eq_nocase(v, slice_of(yes[i]));
        if (*out || slice_eq_nocase(v, slice_of(no[i]))) return true;
    }
    return false;
}

static bool read_priority(struct slice v, struct call_options *o) {
    o->low_priority = slice_eq_nocase(v, SLICE("low"));
    return o->low_priority || slice_eq_nocase(v, SLICE("normal"));
}

/* It is echoed in a list. */
static bool read_hint(struct slice v, struct call_options *o) {
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] <= ' ' || v.ptr[i] >= 0x7f || v.ptr[i] == ',') return false;
    o->hint = v;
    return v.len > 0 && v.len <= OPTION_MAX_HINT_BYTES;
}

/* "30", "12.5", "30.0", "1e3": a decimal number and nothing else that strtod would take. */
static bool read_start_timeout(struct slice v, struct call_options *o) {
    char text[48], *end;
    if (v.len == 0 || v.len >= sizeof text) return false;
    for (size_t i = 0; i < v.len; i++)
        if (memchr("0123456789.eE+-", v.ptr[i], 15) == NULL) return false;
    memcpy(text, v.ptr, v.len);
    text[v.len] = '\0';
    double ms = ceil(strtod(text, &end) * 1000);
    if (*end != '\0' || !(ms >= OPTION_MIN_START_TIMEOUT_MS)) return false;
    o->start_timeout_ms = ms > OPTION_MAX_START_TIMEOUT_MS ? OPTION_MAX_START_TIMEOUT_MS
                                                           : (uint64_t)ms;
    return true;
}

static bool read_store_io(struct slice v, struct call_options *o) {
    bool store;
    if (!yes_no(v, &store)) return false;
    o->no_store = !store;
    return true;
}

static bool read_no_retry(struct slice v, struct call_options *o) {
    return yes_no(v, &o->no_retry);
}

static bool read_disable_fallback(struct slice v, struct call_options *o) {
    return yes_no(v, &o->no_fallback);
}

static bool read_retries(yyjson_val *class, int *out) {
    yyjson_val *n = json_get(class, "retries");
    if (class == NULL) return true;
    if (!yyjson_is_uint(n) || yyjson_get_uint(n) > OPTION_MAX_RETRIES) return false;
    *out = (int)yyjson_get_uint(n);
    return true;
}

static bool read_retry_config(struct slice v, struct call_options *o) {
    struct json_error err;
    yyjson_doc *doc = json_parse(v, &err);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool ok = yyjson_is_obj(root) &&
              read_retries(json_get(root, "server_error"), &o->retries_server_error) &&
              read_retries(json_get(root, "timeout"), &o->retries_timeout) &&
              read_retries(json_get(root, "connection_error"), &o->retries_connection_error);
    yyjson_doc_free(doc);
    return ok;
}

static bool tag_ok(struct slice tag) {
    struct slice value, key = slice_trim(slice_cut(tag, '=', &value));
    return key.len > 0 && value.ptr != NULL;
}

static bool read_tags(struct slice v, struct call_options *o) {
    struct slice rest = v;
    size_t n = 0;
    if (v.len == 0 || v.len > OPTION_MAX_TAGS_BYTES) return false;
    while (rest.ptr != NULL)
        if (n++ == OPTION_MAX_TAGS || !tag_ok(slice_cut(rest, ',', &rest))) return false;
    o->tags = v;
    return true;
}

static const struct {
    const char *name;
    read_option *read;
    const char *fault;
} headers[] = {
    {"x-fal-queue-priority", read_priority, "x-fal-queue-priority should be normal or low"},
    {"x-fal-runner-hint", read_hint,
     "x-fal-runner-hint should be at most 256 visible ASCII characters without spaces and commas"},
    {"x-fal-request-timeout", read_start_timeout,
     "x-fal-request-timeout should be a number of seconds of at least 0.1"},
    {"x-fal-store-io", read_store_io, "x-fal-store-io should be 0 or 1"},
    {"x-fal-no-retry", read_no_retry, "x-fal-no-retry should be 1, true or yes"},
    {"x-fal-retry-config", read_retry_config,
     "x-fal-retry-config should be JSON like {\"server_error\":{\"retries\":2}}, with server_error, timeout "
     "and connection_error from 0 to 9"},
    {"x-app-fal-disable-fallback", read_disable_fallback,
     "x-app-fal-disable-fallback should be true or false"},
    {"x-fal-tags", read_tags, "x-fal-tags should be at most 10 pairs, like team=a,run=7"},
};

/* All of them share a beginning, so one look at a header's first letter passes most over. */
const char *options_read(const struct h1_head *h, struct call_options *o) {
    *o = (struct call_options){
        .retries_server_error = -1, .retries_timeout = -1, .retries_connection_error = -1};
    for (size_t i = 0; i < h->nheaders; i++) {
        const struct h1_header *at = &h->headers[i];
        if (at->name.len < 10 || (at->name.ptr[0] | 32) != 'x') continue;
        for (size_t k = 0; k < sizeof headers / sizeof *headers; k++)
            if (slice_eq_nocase(at->name, slice_of(headers[k].name)) &&
                !headers[k].read(at->value, o))
                return headers[k].fault;
    }
    return NULL;
}

const char *options_read_idempotency_key(const struct h1_head *h, struct slice *key) {
    size_t count;
    *key = h1_get(h, SLICE("idempotency-key"), &count);
    if (count == 0) return NULL;
    bool ok = count == 1 && key->len > 0 && key->len <= OPTION_MAX_IDEMPOTENCY_KEY_BYTES;
    for (size_t i = 0; ok && i < key->len; i++) ok = key->ptr[i] > ' ' && key->ptr[i] < 0x7f;
    if (ok) return NULL;
    return count > 1 ? "Idempotency-Key is given twice"
                     : "Idempotency-Key should be 1 to 255 visible ASCII characters without spaces";
}

/* --- what makes two submits the same */

static void add_text(struct buf *b, const char *name, struct slice text) {
    if (text.len == 0) return;
    buf_printf(b, "%s=%zu:", name, text.len);
    buf_add(b, text);
    buf_addc(b, '\n');
}

static void add_number(struct buf *b, const char *name, uint64_t n) {
    if (n > 0) buf_printf(b, "%s=%llu\n", name, (unsigned long long)n);
}

/* What is not there leaves no line: an option that a later version brings changes no hash that is kept. */
static void add_lines(struct buf *b, const struct call_options *o, struct slice webhook) {
    add_text(b, "webhook", webhook);
    add_number(b, "low-priority", o->low_priority);
    add_number(b, "no-retry", o->no_retry);
    add_number(b, "no-store", o->no_store);
    add_number(b, "no-fallback", o->no_fallback);
    add_number(b, "start-timeout-ms", o->start_timeout_ms);
    add_number(b, "retries-server-error", (uint64_t)(o->retries_server_error + 1));
    add_number(b, "retries-timeout", (uint64_t)(o->retries_timeout + 1));
    add_number(b, "retries-connection-error", (uint64_t)(o->retries_connection_error + 1));
    add_text(b, "tags", o->tags);
}

bool options_hash(const struct call_options *o, struct slice webhook, struct slice body,
                  struct buf *scratch, unsigned char out[SECRET_HASH_BYTES]) {
    unsigned char whole[SECRET_HASH_BYTES];
    if (!secret_sha256(body, whole)) return false;
    add_lines(scratch, o, webhook);
    add_text(scratch, "body", slice_make((const char *)whole, sizeof whole));
    return !scratch->failed && secret_sha256(buf_slice(scratch), out);
}
