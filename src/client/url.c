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

static bool origin_is_fal(const struct origin *o) {
    if (strcmp(o->scheme, "https") != 0 || strcmp(o->port, "443") != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof(fal_hosts) / sizeof(fal_hosts[0]); i++) {
        if (slice_eq_nocase(slice_of(o->host), slice_of(fal_hosts[i]))) {
            return true;
        }
    }
    return false;
}

static bool origin_is_loopback(const struct origin *o) {
    struct slice host = slice_of(o->host);
    return slice_eq_nocase(host, SLICE("localhost")) || slice_is(host, "[::1]") ||
           slice_starts(host, SLICE("127."));
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

static enum fal_code base_set_pair(struct client_base *b, char *run, char *queue) {
    b->run = run;
    b->queue = queue;
    if (run == NULL || queue == NULL) {
        client_base_free(b);
        return FAL_ERR_MEMORY;
    }
    return FAL_OK;
}

enum fal_code client_base_set(struct client_base *base, const char *url) {
    *base = (struct client_base){0};
    if (strcmp(url, FAL_BASE_FAL) == 0) {
        base->fal = true;
        return base_set_pair(base, join("https://fal.run", 15, ""),
                             join("https://queue.fal.run", 21, ""));
    }
    struct origin o;
    enum fal_code code = origin_read(&o, url);
    if (code != FAL_OK) {
        return code;
    }
    if (!o.sound || o.query != NULL || strchr(url, '#') != NULL ||
        strlen(url) >= CLIENT_URL_BYTES / 2) {
        origin_free(&o);
        return FAL_ERR_ARGUMENT;
    }
    base->fal = origin_is_fal(&o);
    base->loopback = origin_is_loopback(&o);
    origin_free(&o);
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/') {
        len--;
    }
    return base_set_pair(base, join(url, len, "/run"), join(url, len, "/queue"));
}

void client_base_free(struct client_base *base) {
    free(base->run);
    free(base->queue);
    *base = (struct client_base){0};
}

bool client_base_trusts(const struct client_base *base, const char *url) {
    struct origin ours, theirs;
    if (strlen(url) >= CLIENT_URL_BYTES || origin_read(&theirs, url) != FAL_OK) {
        return false;
    }
    bool trusted = false;
    if (theirs.sound && origin_read(&ours, base->queue) == FAL_OK) {
        trusted = (base->fal && origin_is_fal(&theirs)) ||
                  (strcmp(ours.scheme, theirs.scheme) == 0 && strcmp(ours.port, theirs.port) == 0 &&
                   slice_eq_nocase(slice_of(ours.host), slice_of(theirs.host)));
        origin_free(&ours);
    }
    origin_free(&theirs);
    return trusted;
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

bool client_url_request(struct buf *out, const struct client_base *base,
                        const struct client_endpoint *ep, const char *request_id,
                        const char *tail) {
    buf_printf(out, "%s/%.*s/requests/", base->queue, (int)ep->app_bytes, ep->id);
    client_url_escape(out, request_id);
    return buf_puts(out, tail);
}
