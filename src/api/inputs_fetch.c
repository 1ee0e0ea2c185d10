/* Somebody's file, fetched for an upstream that cannot: one GET, no redirects, base64 while it comes.
 *
 *   net_call_start --on_head: 200, a media type that fits--> body --on_end--> done
 *   anything else: `refuse` notes why, the call is cancelled when its hook is over, done */
#include "api/inputs_inner.h"
#include "api/webhook.h"
#include "net/client.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADERS \
    "User-Agent: anyllm/" ANYLLM_VERSION "\r\nAccept-Encoding: identity\r\nAccept: */*\r\n"

struct fetch {
    struct api *api;
    struct fetch_options o;
    struct net_origin *origin;
    struct net_call *call;
    struct net_defer end; /* of what was refused while a hook of the call ran, or before */
    struct buf text;
    unsigned char rest[3]; /* bytes that wait for their third */
    size_t nrest;
    uint64_t bytes;
    enum llm_fault fault; /* LLM_OK: none */
    const char *why;
    char *path;
};

static const struct {
    enum net_fault fault;
    const char *why;
} whys[] = {
    {NET_DNS, "the file's host is not known"},
    {NET_FORBIDDEN, "the file's address is not allowed"},
    {NET_REFUSED, "the file's host cannot be reached"},
    {NET_CONNECT_TIMEOUT, "the file's host cannot be reached"},
    {NET_TLS, "the file's host has no valid certificate"},
    {NET_FIRST_BYTE_TIMEOUT, "the file did not come in time"},
    {NET_IDLE_TIMEOUT, "the file did not come in time"},
    {NET_TOTAL_TIMEOUT, "the file did not come in time"},
    {NET_OK, "the file did not come whole"}, /* and all others */
};

static void fetch_free(struct fetch *f) {
    net_defer_cancel(f->api->loop, &f->end);
    net_origin_free(f->origin);
    buf_free(&f->text);
    free(f->path);
    free(f);
}

void fetch_cancel(struct fetch *f) {
    if (f->call != NULL) net_call_cancel(f->call);
    f->call = NULL;
    fetch_free(f);
}

/* --- ends */

static void finish(struct fetch *f) {
    struct fetch_options o = f->o;
    size_t len = buf_len(&f->text);
    char *text = f->fault == LLM_OK ? buf_take(&f->text, &len) : NULL;
    enum llm_fault fault = f->fault;
    const char *why = f->why;
    if (fault == LLM_OK && text == NULL) {
        fault = LLM_MEMORY;
        why = "out of memory";
    }
    fetch_free(f);
    o.done(o.user, text, text != NULL ? len : 0, fault, why);
}

static void end_refused(struct net_defer *d) {
    struct fetch *f = (struct fetch *)((char *)d - offsetof(struct fetch, end));
    if (f->call != NULL) net_call_cancel(f->call);
    f->call = NULL;
    finish(f);
}

static void refuse(struct fetch *f, enum llm_fault fault, const char *why) {
    if (f->fault != LLM_OK) return;
    f->fault = fault;
    f->why = why;
    net_defer(f->api->loop, &f->end);
}

/* Neither path nor query: they may be secrets. */
static void note(struct fetch *f, const char *fault) {
    char host[LOG_QUOTE_BYTES];
    struct webhook_url u;
    if (!log_allow(&f->api->inputs->rate, 5)) return;
    bool read = webhook_url_read(f->api->config, f->o.url, &u) == NULL;
    log_request(LOG_INFO, f->o.request_id, "input_not_fetched", "host=%s fault=%s",
                log_quote(host, read ? u.host : SLICE("")), fault);
}

/* --- the call */

static bool add(struct fetch *f, const unsigned char *bytes, size_t n) {
    size_t text = (n + 2) / 3 * 4;
    if (!buf_reserve(&f->text, text + 1)) return false;
    f->text.end += (size_t)EVP_EncodeBlock((unsigned char *)f->text.base + f->text.end, bytes,
                                           (int)n);
    return true;
}

/* The last one or two bytes wait: only the end is padded. */
static bool encode(struct fetch *f, struct slice data) {
    while (f->nrest > 0 && f->nrest < 3 && data.len > 0) {
        f->rest[f->nrest++] = (unsigned char)data.ptr[0];
        data = slice_from(data, 1);
    }
    if (f->nrest == 3) {
        if (!add(f, f->rest, 3)) return false;
        f->nrest = 0;
    }
    size_t whole = data.len / 3 * 3;
    if (whole > 0 && !add(f, (const unsigned char *)data.ptr, whole)) return false;
    for (size_t i = whole; i < data.len; i++) f->rest[f->nrest++] = (unsigned char)data.ptr[i];
    return true;
}

static void on_head(struct net_call *call, const struct h1_head *head, void *user) {
    struct fetch *f = user;
    struct slice type = media_type(h1_get(head, SLICE("content-type"), NULL)),
                 coding = h1_get(head, SLICE("content-encoding"), NULL);
    uint64_t length = 0;
    slice_to_u64(h1_get(head, SLICE("content-length"), NULL), &length);
    if (head->status != 200)
        refuse(f, LLM_FILE, "the file's host did not answer with the file");
    else if (coding.len > 0 && !slice_eq_nocase(coding, SLICE("identity")))
        refuse(f, LLM_FILE, "the file came in an encoding that was not asked for");
    else if (type.len == 0 || !media_fits(f->o.media, type))
        refuse(f, LLM_FILE, NULL);
    else if (length > f->o.max_bytes)
        refuse(f, LLM_FILE_TOO_LARGE, NULL);
    else if (!f->o.bare)
        buf_printf(&f->text, "data:%.*s;base64,", SLICE_ARG(type));
    if (f->fault == LLM_OK && length > 0) buf_reserve(&f->text, (size_t)length / 3 * 4 + 8);
}

static void on_body(struct net_call *call, struct slice data, void *user) {
    struct fetch *f = user;
    if (f->fault != LLM_OK) return;
    f->bytes += data.len;
    enum llm_fault room = f->o.hold(f->o.user, (data.len + 2) / 3 * 4);
    if (f->bytes > f->o.max_bytes)
        refuse(f, LLM_FILE_TOO_LARGE, NULL);
    else if (room != LLM_OK)
        refuse(f, room, inputs_no_room(room));
    else if (!encode(f, data))
        refuse(f, LLM_MEMORY, "out of memory");
}

static void on_end(struct net_call *call, const struct net_call_end *end, void *user) {
    struct fetch *f = user;
    f->call = NULL;
    if (end->fault != NET_OK) {
        size_t i = 0;
        while (whys[i].fault != NET_OK && whys[i].fault != end->fault) i++;
        note(f, net_fault_name(end->fault));
        if (f->fault == LLM_OK) {
            f->fault = LLM_FILE;
            f->why = whys[i].why;
        }
    } else if (f->fault == LLM_OK && f->nrest > 0 && !add(f, f->rest, f->nrest)) {
        f->fault = LLM_MEMORY;
        f->why = "out of memory";
    }
    finish(f);
}

static bool allowed(void *user, const struct sockaddr *address) {
    return webhook_address_allowed(user, address);
}

static struct net_origin *origin_of(struct api *a, const struct webhook_url *u) {
    char host[256];
    struct inputs_room *room = a->inputs;
    if (u->tls && room->tls == NULL) room->tls = net_tls_new(NULL);
    if ((u->tls && room->tls == NULL) || u->host.len >= sizeof host) return NULL;
    memcpy(host, u->host.ptr, u->host.len);
    host[u->host.len] = '\0';
    struct net_origin_options o = {.host = host,
                                   .port = u->port,
                                   .tls = u->tls ? room->tls : NULL,
                                   .max_idle = 1,
                                   .idle_ms = 1,
                                   .allow = allowed,
                                   .allow_user = (void *)(uintptr_t)a->config};
    return net_origin_new(a->loop, &o);
}

static bool begin(struct fetch *f, const struct webhook_url *u) {
    static const struct net_call_hooks hooks = {on_head, on_body, on_end};
    bool rooted = u->path.len > 0 && u->path.ptr[0] == '/';
    size_t len = u->path.len + !rooted;
    f->path = malloc(len + 1);
    f->origin = origin_of(f->api, u);
    if (f->path == NULL || f->origin == NULL) return false;
    f->path[0] = '/';
    if (u->path.len > 0) memcpy(f->path + !rooted, u->path.ptr, u->path.len);
    struct net_call_options o = {.method = "GET",
                                 .path = slice_make(f->path, len),
                                 .headers = SLICE(HEADERS),
                                 .deadlines = {5000, INPUTS_FETCH_MS, 10000, INPUTS_FETCH_MS},
                                 .hooks = &hooks,
                                 .user = f};
    f->call = net_call_start(f->origin, &o);
    return f->call != NULL;
}

struct fetch *fetch_start(struct api *a, const struct fetch_options *o) {
    struct fetch *f = calloc(1, sizeof *f);
    struct webhook_url u;
    if (f == NULL) return NULL;
    f->api = a;
    f->o = *o;
    f->end.run = end_refused;
    buf_init(&f->text, (size_t)o->max_bytes / 3 * 4 + 512);
    const char *why = webhook_url_read(a->config, o->url, &u);
    if (why != NULL) {
        refuse(f, LLM_FILE, "the file's address is not allowed");
    } else if (!begin(f, &u)) {
        fetch_free(f);
        return NULL;
    }
    return f;
}
