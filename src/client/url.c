#include "client/client.h"

#include <ctype.h>
#include <stdlib.h>

/* Credentials for fal go to these hosts, by https on its port, and to no other. */
static const char *const fal_hosts[] = {"fal.run", "queue.fal.run", "rest.fal.ai",
                                        "rest.alpha.fal.ai"};

/* The parts that make an origin. libcurl's own parser takes them out, so that what is compared here
 * is what will be connected to. */
struct origin {
    char *scheme, *host, *port;
    char *user, *path, *query;
    bool sound; /* an http(s) address without user or password */
};

static void origin_free(struct origin *o) {
    curl_free(o->scheme);
    curl_free(o->host);
    curl_free(o->port);
    curl_free(o->user);
    curl_free(o->path);
    curl_free(o->query);
}

static enum fal_code origin_read(struct origin *o, const char *url) {
    *o = (struct origin){0};
    CURLU *u = curl_url();
    if (u == NULL) {
        return FAL_ERR_MEMORY;
    }
    CURLUcode rc = curl_url_set(u, CURLUPART_URL, url, 0);
    if (rc == CURLUE_OK) {
        CURLUcode user = curl_url_get(u, CURLUPART_USER, &o->user, 0);
        rc = curl_url_get(u, CURLUPART_SCHEME, &o->scheme, 0);
        rc = rc == CURLUE_OK ? curl_url_get(u, CURLUPART_HOST, &o->host, 0) : rc;
        rc = rc == CURLUE_OK ? curl_url_get(u, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT) : rc;
        rc = rc == CURLUE_OK ? curl_url_get(u, CURLUPART_PATH, &o->path, 0) : rc;
        CURLUcode query = curl_url_get(u, CURLUPART_QUERY, &o->query, 0);
        if (user == CURLUE_OUT_OF_MEMORY || query == CURLUE_OUT_OF_MEMORY) {
            rc = CURLUE_OUT_OF_MEMORY;
        }
    }
    curl_url_cleanup(u);
    if (rc == CURLUE_OUT_OF_MEMORY) {
        origin_free(o);
        *o = (struct origin){0};
        return FAL_ERR_MEMORY;
    }
    o->sound = rc == CURLUE_OK && o->user == NULL &&
               (strcmp(o->scheme, "http") == 0 || strcmp(o->scheme, "https") == 0);
    return FAL_OK;
}

/* By whatever scheme and port; "fal.run." is the same name. */
static bool host_is_fal(const struct origin *o) {
    struct slice host = slice_of(o->host);
    host.len -= slice_ends(host, SLICE(".")) ? 1 : 0;
    for (size_t i = 0; i < sizeof(fal_hosts) / sizeof(fal_hosts[0]); i++) {
        if (slice_eq_nocase(host, slice_of(fal_hosts[i]))) {
            return true;
        }
    }
    return false;
}

static bool origin_is_fal(const struct origin *o) {
    return strcmp(o->scheme, "https") == 0 && strcmp(o->port, "443") == 0 &&
           !slice_ends(slice_of(o->host), SLICE(".")) && host_is_fal(o);
}

/* "https://queue.fal.run:443": two addresses are of one origin when these are equal. NULL: no memory. */
static char *origin_text(const struct origin *o) {
    struct buf text;
    size_t len;
    buf_init(&text, (size_t)CLIENT_URL_BYTES * 2);
    buf_puts(&text, o->scheme);
    buf_puts(&text, "://");
    buf_puts(&text, o->host);
    buf_addc(&text, ':');
    buf_puts(&text, o->port);
    char *out = buf_take(&text, &len);
    buf_free(&text);
    return out;
}

static bool has_origin(const struct origin *o, const char *text) {
    struct slice rest = slice_of(text), scheme = slice_of(o->scheme), host = slice_of(o->host);
    if (text == NULL || !slice_starts(rest, scheme)) {
        return false;
    }
    rest = slice_from(rest, scheme.len + 3);
    return rest.len > host.len && slice_eq_nocase(slice_make(rest.ptr, host.len), host) &&
           rest.ptr[host.len] == ':' && slice_is(slice_from(rest, host.len + 1), o->port);
}

static char *join(const char *url, size_t len, const char *tail) {
    size_t tail_len = strlen(tail);
    char *s = malloc(len + tail_len + 1);
    if (s != NULL) {
        memcpy(s, url, len);
        memcpy(s + len, tail, tail_len + 1);
    }
    return s;
}

static char **surface(struct client_base *b, enum client_surface at) {
    char **const all[CLIENT_SURFACES] = {&b->run, &b->queue, &b->rest, &b->cdn};
    return all[at];
}

/* Reads what may be a base. FAL_OK: *o is to be freed. */
static enum fal_code read_base(struct origin *o, const char *url) {
    enum fal_code code = origin_read(o, url);
    if (code != FAL_OK) {
        return code;
    }
    if (!o->sound || strpbrk(url, "?#") != NULL || strlen(url) >= CLIENT_URL_BYTES / 2) {
        origin_free(o);
        return FAL_ERR_ARGUMENT;
    }
    return FAL_OK;
}

enum fal_code client_url_check(const char *url) {
    struct origin o;
    enum fal_code code = read_base(&o, url);
    if (code == FAL_OK) {
        origin_free(&o);
    }
    return code;
}

static enum fal_code put(struct client_base *base, enum client_surface at, const char *url,
                         const char *tail) {
    struct origin o;
    enum fal_code code = read_base(&o, url);
    if (code != FAL_OK) {
        return code;
    }
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    char *address = join(url, len, tail), *origin = origin_text(&o);
    if (address == NULL || origin == NULL) {
        free(address);
        free(origin);
        origin_free(&o);
        return FAL_ERR_MEMORY;
    }
    free(*surface(base, at));
    free(base->origins[at]);
    *surface(base, at) = address;
    base->origins[at] = origin;
    if (at == CLIENT_AT_QUEUE) {
        base->fal = host_is_fal(&o);
        base->fals_key = origin_is_fal(&o);
    }
    origin_free(&o);
    return FAL_OK;
}

enum fal_code client_base_put(struct client_base *base, enum client_surface at, const char *url) {
    return put(base, at, url, "");
}

enum fal_code client_base_set(struct client_base *base, const char *url) {
    static const char *const fals[CLIENT_SURFACES] = {
        "https://fal.run", "https://queue.fal.run", "https://rest.fal.ai", "https://v3.fal.media"};
    static const char *const tails[CLIENT_SURFACES] = {"/run", "/queue", "/rest", "/cdn"};
    bool fal = strcmp(url, FAL_BASE_FAL) == 0;
    enum fal_code code = FAL_OK;
    *base = (struct client_base){0};
    for (unsigned i = 0; i < CLIENT_SURFACES && code == FAL_OK; i++) {
        code = put(base, (enum client_surface)i, fal ? fals[i] : url, fal ? "" : tails[i]);
    }
    if (code == FAL_OK && !fal) {
        base->home = slice_dup(slice_of(base->origins[0]));
        code = base->home != NULL ? FAL_OK : FAL_ERR_MEMORY;
    }
    if (code != FAL_OK) {
        client_base_free(base);
    }
    return code;
}

void client_base_free(struct client_base *base) {
    for (unsigned i = 0; i < CLIENT_SURFACES; i++) {
        free(*surface(base, (enum client_surface)i));
        free(base->origins[i]);
    }
    free(base->home);
    *base = (struct client_base){0};
}

/* The usual case, without taking the address apart: it continues `prefix`, whose host has ended. */
static bool continues(const char *url, const char *prefix) {
    size_t len = strlen(prefix);
    return strncmp(url, prefix, len) == 0 && (url[len] == '/' || url[len] == '\0');
}

bool client_base_trusts(const struct client_base *base, const char *url) {
    struct origin o;
    if (continues(url, base->queue) || continues(url, base->run) || continues(url, base->rest) ||
        continues(url, base->cdn)) {
        return true;
    }
    if (strlen(url) >= CLIENT_URL_BYTES || origin_read(&o, url) != FAL_OK) {
        return false;
    }
    bool trusted = o.sound && base->fals_key && origin_is_fal(&o);
    for (unsigned i = 0; o.sound && !trusted && i < CLIENT_SURFACES; i++) {
        trusted = has_origin(&o, base->origins[i]);
    }
    origin_free(&o);
    return trusted;
}

bool client_base_is_home(const struct client_base *base, const char *url) {
    struct origin o;
    if (origin_read(&o, url) != FAL_OK) {
        return false;
    }
    bool home = o.sound && (base->home != NULL ? has_origin(&o, base->home) : origin_is_fal(&o));
    origin_free(&o);
    return home;
}

static bool segment_is_sound(struct slice s) {
    if (s.len == 0 || slice_is(s, ".") || slice_is(s, "..")) {
        return false;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (ch >= 0x80 || (!isalnum(ch) && strchr("-._~@+:", ch) == NULL)) {
            return false;
        }
    }
    return true;
}

/* "110602490-any-llm" is "110602490/any-llm": digits, a dash, the rest. */
static bool rewrite_legacy(char *id) {
    size_t digits = strspn(id, "0123456789");
    if (digits == 0 || id[digits] != '-' || id[digits + 1] == '\0') {
        return false;
    }
    id[digits] = '/';
    return true;
}

bool client_endpoint_parse(const char *id, struct client_endpoint *out) {
    while (*id == '/') {
        id++;
    }
    size_t len = strlen(id);
    while (len > 0 && id[len - 1] == '/') {
        len--;
    }
    if (len == 0 || len >= sizeof(out->id)) {
        return false;
    }
    memcpy(out->id, id, len);
    out->id[len] = '\0';
    if (strchr(out->id, '/') == NULL && !rewrite_legacy(out->id)) {
        return false;
    }
    struct slice rest = slice_make(out->id, len);
    unsigned count = 0, app_segments = 2;
    out->app_bytes = len;
    while (rest.ptr != NULL) {
        struct slice segment = slice_cut(rest, '/', &rest);
        if (!segment_is_sound(segment)) {
            return false;
        }
        if (count == 0 && (slice_is(segment, "workflows") || slice_is(segment, "comfy"))) {
            app_segments = 3;
        }
        if (++count == app_segments) {
            out->app_bytes = (size_t)(segment.ptr + segment.len - out->id);
        }
    }
    return count >= app_segments;
}

bool client_url_escape(struct buf *out, const char *s) {
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch < 0x80 && (isalnum(ch) || strchr("-._~", ch) != NULL)) {
            buf_addc(out, (char)ch);
        } else {
            buf_printf(out, "%%%02X", ch);
        }
    }
    return !out->failed;
}

bool client_request_id_is_sound(const char *id) {
    return id != NULL && id[strspn(id, ".")] != '\0' && strlen(id) < CLIENT_NAME_BYTES;
}

bool client_url_request(struct buf *out, const struct client_base *base,
                        const struct client_endpoint *ep, const char *request_id,
                        const char *tail) {
    buf_printf(out, "%s/%.*s/requests/", base->queue, (int)ep->app_bytes, ep->id);
    client_url_escape(out, request_id);
    return buf_puts(out, tail);
}
