/* A request, and the header lines it goes out with: its own, then the caller's, then ours; the first of a name counts. */
#include "client/client.h"

#define LINES_BYTES (64U << 10)

void client_request_init(struct client_request *r, enum client_method method) {
    *r = (struct client_request){.method = method};
    buf_init(&r->url, (size_t)CLIENT_URL_BYTES * 4);
    buf_init(&r->lines, LINES_BYTES);
}

void client_request_free(struct client_request *r) {
    buf_free(&r->url);
    buf_free(&r->lines);
}

bool client_request_line(struct client_request *r, const char *name, const char *value) {
    if (value == NULL) {
        return true;
    }
    buf_puts(&r->lines, name);
    buf_puts(&r->lines, ": ");
    buf_puts(&r->lines, value);
    return buf_addc(&r->lines, '\0');
}

static struct slice line_name(struct slice line) {
    ptrdiff_t colon = slice_find(line, ':');
    return colon >= 0 ? slice_make(line.ptr, (size_t)colon) : line;
}

bool client_lines_have(const struct buf *lines, struct slice name) {
    for (struct slice rest = buf_slice(lines); rest.len > 0;) {
        struct slice line = slice_cut(rest, '\0', &rest);
        if (slice_eq_nocase(line_name(line), name)) {
            return true;
        }
    }
    return false;
}

static void add_line(struct buf *lines, const char *line) {
    if (!client_lines_have(lines, line_name(slice_of(line)))) {
        buf_add(lines, slice_make(line, strlen(line) + 1));
    }
}

static void add_pair(struct buf *lines, const char *name, const char *value) {
    if (!client_lines_have(lines, slice_of(name))) {
        buf_puts(lines, name);
        buf_puts(lines, ": ");
        buf_puts(lines, value);
        buf_addc(lines, '\0');
    }
}

static void add_lines(struct buf *lines, const struct buf *more) {
    for (struct slice rest = buf_slice(more); rest.len > 0;) {
        add_line(lines, slice_cut(rest, '\0', &rest).ptr);
    }
}

static enum fal_code add_key(struct buf *lines, const fal_client *c) {
    if (c->credentials_fn == NULL) {
        if (c->authorization != NULL) {
            add_line(lines, c->authorization);
        }
        return FAL_OK;
    }
    const char *key = c->credentials_fn(c->credentials_user);
    if (key == NULL || key[0] == '\0') {
        return FAL_OK;
    }
    if (!client_text_is_header(key) || strlen(key) > CLIENT_URL_BYTES / 2) {
        return FAL_ERR_ARGUMENT;
    }
    if (!client_lines_have(lines, SLICE("Authorization"))) {
        buf_printf(lines, "Authorization: Key %s", key);
        buf_addc(lines, '\0');
    }
    return FAL_OK;
}

bool client_request_proxied(const fal_client *c, const struct client_request *r) {
    return r->proxied && c->proxy_url != NULL;
}

enum fal_code client_lines_own(struct buf *lines, const fal_client *c, const char *url, bool key) {
    if (!client_base_trusts(&c->base, url)) {
        return FAL_OK;
    }
    add_lines(lines, &c->lines);
    return key ? add_key(lines, c) : FAL_OK;
}

static void add_defaults(struct buf *lines, const fal_client *c, const struct client_request *r) {
    const char *type = r->content_type;
    if (client_request_proxied(c, r)) {
        add_pair(lines, "x-fal-target-url", buf_slice(&r->url).ptr);
    }
    add_pair(lines, "Accept", r->accept != NULL ? r->accept : "application/json");
    if (r->method == CLIENT_GET) {
        type = NULL;
    } else if (type == NULL) {
        type = "application/json";
    }
    if (type != NULL && type[0] != '\0') {
        add_pair(lines, "Content-Type", type);
    } else if (r->method != CLIENT_GET) {
        add_line(lines, "Content-Type:"); /* else libcurl puts its own */
    }
    add_pair(lines, "User-Agent", c->user_agent);
    /* Without this libcurl waits a second for "100 Continue" before a large body. */
    add_line(lines, "Expect:");
}

enum fal_code client_request_lines(struct buf *out, const fal_client *c,
                                   const struct client_request *r) {
    enum fal_code code = FAL_OK;
    buf_init(out, (size_t)LINES_BYTES * 4);
    buf_reserve(out, 480);
    add_lines(out, &r->lines);
    if (r->auth != CLIENT_AUTH_NONE) { /* a proxy has a key of its own: ours stays here */
        code = client_lines_own(out, c, buf_slice(&r->url).ptr, !client_request_proxied(c, r));
    }
    add_defaults(out, c, r);
    return r->lines.failed || out->failed ? FAL_ERR_MEMORY : code;
}
