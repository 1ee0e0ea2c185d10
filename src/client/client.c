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
    bool too_long = strlen(b) + strlen(d) > CLIENT_URL_BYTES / 2;
    *out = buf_take(&text, &len);
    buf_free(&text);
    if (*out == NULL) {
        return too_long ? FAL_ERR_ARGUMENT : FAL_ERR_MEMORY;
    }
    return client_text_is_header(*out) ? FAL_OK : FAL_ERR_ARGUMENT;
}

static enum fal_code set_credentials(fal_client *c, const char *given) {
    const char *key = given != NULL ? given : env("FAL_KEY");
    if (key == NULL && env("FAL_KEY_ID") != NULL && env("FAL_KEY_SECRET") != NULL) {
        return make_text(&c->authorization, "Authorization: Key ", env("FAL_KEY_ID"), ":",
                         env("FAL_KEY_SECRET"));
    }
    if (key == NULL || key[0] == '\0') {
        return FAL_OK;
    }
    return make_text(&c->authorization, "Authorization: Key ", key, "", "");
}

static enum fal_code set_base(fal_client *c, const char *given) {
    const char *base = given != NULL ? given : env("FAL_BASE_URL");
    return client_base_set(&c->base, base != NULL ? base : FAL_BASE_FAL);
}

static enum fal_code set_options(fal_client *c, const struct fal_options *o) {
    if (o->connect_timeout_ms < 0 || o->connect_timeout_ms > INT32_MAX || o->retry_base_ms < 0) {
        return FAL_ERR_ARGUMENT;
    }
    c->connect_timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CLIENT_CONNECT_MS;
    c->retry_base_ms = o->retry_base_ms > 0 ? o->retry_base_ms : CLIENT_RETRY_BASE_MS;
    c->max_retries = o->max_retries > 0   ? (unsigned)o->max_retries
                     : o->max_retries < 0 ? 0
                                          : CLIENT_RETRIES;
    c->no_connect_retry = o->no_connect_retry;
    enum fal_code code = set_base(c, o->base_url);
    if (code == FAL_OK) {
        code = set_credentials(c, o->credentials);
    }
    if (code == FAL_OK) {
        const char *own = o->user_agent != NULL ? o->user_agent : "";
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
    c->multi = code == FAL_OK ? curl_multi_init() : NULL;
    if (c->multi == NULL) {
        fal_client_free(c);
        return code != FAL_OK ? code : FAL_ERR_MEMORY;
    }
    *client = c;
    return FAL_OK;
}

void fal_client_free(fal_client *client) {
    if (client == NULL) {
        return;
    }
    curl_multi_cleanup(client->multi);
    client_base_free(&client->base);
    if (client->authorization != NULL) {
        explicit_bzero(client->authorization, strlen(client->authorization));
    }
    free(client->authorization);
    free(client->user_agent);
    free(client);
}

void fal_client_cancel(fal_client *client) {
    if (client != NULL) {
        atomic_store(&client->cancelled, true);
        curl_multi_wakeup(client->multi);
    }
}

const char *fal_client_queue_url(const fal_client *client) {
    return client->base.queue;
}
