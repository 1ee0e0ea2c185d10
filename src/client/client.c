#include "client/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define STRING(x) #x
#define VERSION_TEXT(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)
#define VERSION VERSION_TEXT(FAL_VERSION_MAJOR, FAL_VERSION_MINOR, FAL_VERSION_PATCH)

const char *fal_version(void) {
    return VERSION;
}

const char *fal_strerror(enum fal_code code) {
    static const char *const texts[] = {
        [FAL_OK] = "done",
        [FAL_ERR_ARGUMENT] = "invalid argument",
        [FAL_ERR_MEMORY] = "out of memory",
        [FAL_ERR_BUSY] = "the client is inside another call",
        [FAL_ERR_CONNECT] = "cannot connect",
        [FAL_ERR_TRANSPORT] = "the connection broke",
        [FAL_ERR_HTTP] = "the server answered with an error",
        [FAL_ERR_PROTOCOL] = "the server's answer makes no sense",
        [FAL_ERR_TOO_LARGE] = "the server's answer is too large",
        [FAL_ERR_TIMEOUT] = "timed out",
        [FAL_ERR_CANCELLED] = "cancelled",
    };
    size_t i = (size_t)code;
    return i < sizeof(texts) / sizeof(texts[0]) ? texts[i] : "unknown error";
}

/* ---- Global state: libcurl's, and nothing else ---- */

static pthread_mutex_t global_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned global_inits;

static enum fal_code global_init(bool unless_done) {
    enum fal_code code = FAL_OK;
    pthread_mutex_lock(&global_lock);
    if (global_inits == 0 || !unless_done) {
        code = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? FAL_OK : FAL_ERR_MEMORY;
        global_inits += code == FAL_OK ? 1 : 0;
    }
    pthread_mutex_unlock(&global_lock);
    return code;
}

enum fal_code fal_global_init(void) {
    return global_init(false);
}

void fal_global_cleanup(void) {
    pthread_mutex_lock(&global_lock);
    if (global_inits > 0) {
        global_inits--;
        curl_global_cleanup();
    }
    pthread_mutex_unlock(&global_lock);
}

/* ---- Options ---- */

bool client_options_copy(void *ours, size_t ours_bytes, const void *theirs) {
    size_t size = 0;
    memset(ours, 0, ours_bytes);
    if (theirs == NULL) {
        return true;
    }
    memcpy(&size, theirs, sizeof(size));
    if (size < sizeof(size)) {
        return false;
    }
    const char *bytes = theirs;
    for (size_t i = ours_bytes; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    memcpy(ours, theirs, size < ours_bytes ? size : ours_bytes);
    return true;
}

bool client_text_is_header(const char *s) {
    for (; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || (unsigned char)*s >= 0x7F) {
            return false;
        }
    }
    return true;
}

bool client_text_is_word(const char *s, size_t max_bytes) {
    size_t len = strlen(s);
    return len > 0 && len <= max_bytes && strchr(s, ' ') == NULL && client_text_is_header(s);
}

static bool is_token(struct slice s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char ch = (unsigned char)s.ptr[i];
        if (ch <= 0x20 || ch >= 0x7F || strchr("()<>@,;:\\\"/[]?={}", ch) != NULL) {
            return false;
        }
    }
    return s.len > 0;
}

/* With these a caller could frame the message anew. */
static bool frames(struct slice name) {
    return slice_eq_nocase(name, SLICE("Content-Length")) ||
           slice_eq_nocase(name, SLICE("Transfer-Encoding"));
}

enum fal_code client_lines_add(struct buf *lines, const char *const *headers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct slice value = SLICE_NONE;
        struct slice name = headers != NULL && headers[i] != NULL
                                ? slice_cut(slice_of(headers[i]), ':', &value)
                                : SLICE_NONE;
        if (value.ptr == NULL || !is_token(name) || frames(name) ||
            !client_text_is_header(headers[i])) {
            return FAL_ERR_ARGUMENT;
        }
        if (!buf_add(lines, slice_make(headers[i], strlen(headers[i]) + 1))) {
            return lines->no_memory ? FAL_ERR_MEMORY : FAL_ERR_ARGUMENT;
        }
    }
    return FAL_OK;
}

static const char *env(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static enum fal_code make_text(char **out, const char *a, const char *b, const char *c,
                               const char *d) {
    struct buf text;
    size_t len;
    buf_init(&text, CLIENT_URL_BYTES);
    buf_puts(&text, a);
    buf_puts(&text, b);
    buf_puts(&text, c);
    buf_puts(&text, d);
    bool too_long = strlen(a) + strlen(b) + strlen(d) > CLIENT_URL_BYTES / 2;
    *out = buf_take(&text, &len);
    buf_free(&text);
    if (*out == NULL) {
        return too_long ? FAL_ERR_ARGUMENT : FAL_ERR_MEMORY;
    }
    return client_text_is_header(*out) ? FAL_OK : FAL_ERR_ARGUMENT;
}

static enum fal_code set_credentials(fal_client *c, const struct fal_options *o) {
    const char *key = o->credentials != NULL ? o->credentials : env("FAL_KEY");
    c->credentials_fn = o->credentials_fn;
    c->credentials_user = o->credentials_user;
    if (o->credentials_fn != NULL) {
        return FAL_OK;
    }
    if (key == NULL && env("FAL_KEY_ID") != NULL && env("FAL_KEY_SECRET") != NULL) {
        return make_text(&c->authorization, "Authorization: Key ", env("FAL_KEY_ID"), ":",
                         env("FAL_KEY_SECRET"));
    }
    if (key == NULL || key[0] == '\0') {
        return FAL_OK;
    }
    return make_text(&c->authorization, "Authorization: Key ", key, "", "");
}

static enum fal_code set_base(fal_client *c, const struct fal_options *o) {
    const char *base = o->base_url != NULL ? o->base_url : env("FAL_BASE_URL");
    const struct {
        const char *given, *variable;
    } own[CLIENT_SURFACES] = {
        [CLIENT_AT_RUN] = {o->run_url, "FAL_RUN_URL"},
        [CLIENT_AT_QUEUE] = {o->queue_url, "FAL_QUEUE_URL"},
        [CLIENT_AT_REST] = {o->rest_url, "FAL_REST_URL"},
        [CLIENT_AT_CDN] = {o->cdn_url, "FAL_CDN_URL"},
    };
    enum fal_code code = client_base_set(&c->base, base != NULL ? base : FAL_BASE_FAL);
    for (unsigned i = 0; i < CLIENT_SURFACES && code == FAL_OK; i++) {
        const char *url = own[i].given == NULL && base == NULL ? env(own[i].variable)
                                                               : own[i].given;
        if (url != NULL) {
            code = client_base_put(&c->base, (enum client_surface)i, url);
        }
    }
    return code;
}

/* Where a client's exchanges go otherwise than straight to the base. */
static enum fal_code set_way(fal_client *c, const struct fal_options *o) {
    enum fal_code code = o->proxy_url != NULL ? client_url_check(o->proxy_url) : FAL_OK;
    if (code != FAL_OK) {
        return code;
    }
    /* as long as a unix domain socket's name may be */
    if (o->unix_socket != NULL && (o->unix_socket[0] == '\0' || strlen(o->unix_socket) > 107)) {
        return FAL_ERR_ARGUMENT;
    }
    c->proxy_url = o->proxy_url != NULL ? slice_dup(slice_of(o->proxy_url)) : NULL;
    c->unix_socket = o->unix_socket != NULL ? slice_dup(slice_of(o->unix_socket)) : NULL;
    const char *ca_file = o->ca_file != NULL ? o->ca_file : env("SSL_CERT_FILE");
    c->ca_file = ca_file != NULL ? slice_dup(slice_of(ca_file)) : NULL;
    bool ok = (o->proxy_url == NULL || c->proxy_url != NULL) &&
              (o->unix_socket == NULL || c->unix_socket != NULL) &&
              (ca_file == NULL || c->ca_file != NULL);
    return ok ? client_lines_add(&c->lines, o->headers, o->header_count) : FAL_ERR_MEMORY;
}

static enum fal_code set_retries(fal_client *c, const struct fal_options *o) {
    if (o->retry_base_ms < 0 || o->retry_max_ms < 0 || o->retry_base_ms > INT32_MAX ||
        o->retry_max_ms > INT32_MAX ||
        (o->retry_factor != 0.0 && !(o->retry_factor >= 1.0 && o->retry_factor <= 1e6)) ||
        o->retry_status_count > 1000 || (o->retry_status_count > 0 && o->retry_statuses == NULL)) {
        return FAL_ERR_ARGUMENT;
    }
    c->pauses = (struct client_pauses){
        .base_ms = o->retry_base_ms > 0 ? o->retry_base_ms : CLIENT_RETRY_BASE_MS,
        .max_ms = o->retry_max_ms > 0 ? o->retry_max_ms : CLIENT_RETRY_CAP_MS,
        .factor = o->retry_factor != 0.0 ? o->retry_factor : 2.0,
        .no_jitter = o->no_retry_jitter};
    c->max_retries = o->max_retries > 0   ? (unsigned)o->max_retries
                     : o->max_retries < 0 ? 0
                                          : CLIENT_RETRIES;
    c->no_connect_retry = o->no_connect_retry;
    if (o->retry_statuses == NULL) {
        return FAL_OK;
    }
    c->retry_status_count = o->retry_status_count;
    c->retry_statuses = calloc(o->retry_status_count + 1, sizeof(int));
    if (c->retry_statuses == NULL) {
        return FAL_ERR_MEMORY;
    }
    for (size_t i = 0; i < o->retry_status_count; i++) {
        c->retry_statuses[i] = o->retry_statuses[i];
    }
    return FAL_OK;
}

static enum fal_code set_options(fal_client *c, const struct fal_options *o) {
    const char *own = o->user_agent != NULL ? o->user_agent : "";
    if (o->connect_timeout_ms < 0 || o->connect_timeout_ms > INT32_MAX || o->timeout_ms < 0 ||
        o->max_connections < 0) {
        return FAL_ERR_ARGUMENT;
    }
    c->connect_timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CLIENT_CONNECT_MS;
    c->timeout_ms = o->timeout_ms;
    c->max_connections = o->max_connections > 0 ? o->max_connections : CLIENT_CONNECTIONS;
    buf_init(&c->lines, CLIENT_LINES_BYTES);
    enum fal_code code = set_retries(c, o);
    code = code == FAL_OK ? set_base(c, o) : code;
    code = code == FAL_OK ? set_credentials(c, o) : code;
    code = code == FAL_OK ? set_way(c, o) : code;
    if (code == FAL_OK) {
        code = make_text(&c->user_agent, own, own[0] != '\0' ? " " : "", "libfal/", VERSION);
    }
    return code;
}

/* ---- Life ---- */

enum fal_code fal_client_new(const struct fal_options *options, fal_client **client) {
    struct fal_options o;
    if (client == NULL) {
        return FAL_ERR_ARGUMENT;
    }
    *client = NULL;
    if (!client_options_copy(&o, sizeof(o), options)) {
        return FAL_ERR_ARGUMENT;
    }
    enum fal_code code = global_init(true);
    fal_client *c = code == FAL_OK ? calloc(1, sizeof(*c)) : NULL;
    if (c == NULL) {
        return FAL_ERR_MEMORY;
    }
    c->clock = &clock_system;
    c->random = &random_system;
    atomic_init(&c->cancelled, false);
    atomic_init(&c->busy, false);
    code = set_options(c, &o);
    if (code == FAL_OK) {
        code = client_loop_new(c);
    }
    if (code != FAL_OK) {
        fal_client_free(c);
        return code;
    }
    *client = c;
    return FAL_OK;
}

void fal_client_free(fal_client *client) {
    if (client == NULL) {
        return;
    }
    client->closing = true;
    atomic_store(&client->busy, true); /* what blocks is refused inside `done` */
    if (client->loop != NULL) {
        client_calls_abort(client);
        if (client->realtimes != NULL) {
            client->end_realtimes(client);
        }
    }
    client_loop_free(client);
    client_base_free(&client->base);
    if (client->authorization != NULL) {
        explicit_bzero(client->authorization, strlen(client->authorization));
    }
    free(client->authorization);
    free(client->user_agent);
    free(client->proxy_url);
    free(client->unix_socket);
    free(client->ca_file);
    free(client->retry_statuses);
    buf_free(&client->lines);
    free(client);
}

void fal_client_cancel(fal_client *client) {
    if (client != NULL) {
        atomic_store(&client->cancelled, true);
        client_wake_up(client->wake);
    }
}

enum fal_code fal_client_wait(fal_client *client, int64_t timeout_ms) {
    enum fal_code code = FAL_OK;
    if (!client_enter(client)) {
        return FAL_ERR_BUSY;
    }
    bool cancelled = atomic_exchange(&client->cancelled, false);
    if (!cancelled && (client->pending > 0 || timeout_ms >= 0)) {
        code = client_loop_turn(client, timeout_ms);
        cancelled = atomic_exchange(&client->cancelled, false);
    }
    client_leave(client);
    return cancelled ? FAL_ERR_CANCELLED : code;
}

size_t fal_client_pending(const fal_client *client) {
    return client->pending;
}

const char *fal_client_queue_url(const fal_client *client) {
    return client->base.queue;
}
