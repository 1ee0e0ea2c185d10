/* The files of one request, one after the other:
 *
 *   STARTING --> (next item) --files_find--> FINDING --blob_read_base64--> READING --> (next item)
 *                            --fetch_start--> FETCHING ------------------------------> (next item)
 *                no item is left, or one is refused: DONE, told once
 *
 * FINDING and READING cannot be called off: freed meanwhile, the struct stays until they answer. */
#include "api/inputs_inner.h"

#include "api/files.h"
#include "api/target.h"
#include "base/loopback.h"
#include "net/address.h"
#include "net/client.h"
#include "store/blobs.h"

#include <stdio.h>
#include <stdlib.h>

/* --- looking */

static bool is_address(struct slice url) {
    return slice_starts(url, SLICE("http://")) || slice_starts(url, SLICE("https://"));
}

/* How many bytes stand in it, or a few more. */
static uint64_t decoded_bytes(struct slice base64) {
    return (uint64_t)base64.len / 4 * 3;
}

static struct slice data_of(struct slice uri) {
    struct slice data;
    slice_cut(uri, ',', &data);
    return slice_starts(uri, SLICE("data:")) ? data : uri;
}

static bool list_needs(const struct api *a, const struct llm_request *r, const struct slice *urls,
                       size_t n, bool sound) {
    struct slice id;
    for (size_t i = 0; i < n; i++) {
        if (!is_address(urls[i])) {
            if (decoded_bytes(data_of(urls[i])) > a->config->max_input_file_bytes) return true;
        } else if (files_own_url(a, NULL, urls[i], &id) ||
                   !llm_can_fetch(a->llm, r->model, sound)) {
            return true;
        }
    }
    return false;
}

bool inputs_look(const struct api *a, const struct llm_request *r) {
    if (r->members.len > 0)
        return r->has_addresses || r->longest_data / 4 * 3 > a->config->max_input_file_bytes;
    return list_needs(a, r, r->images, r->nimages, false) ||
           list_needs(a, r, r->audios, r->naudios, true) ||
           list_needs(a, r, r->videos, r->nvideos, false);
}

/* --- ends */

static void give_back(struct inputs *i) {
    i->api->inputs->held_bytes -= i->held_bytes;
    i->held_bytes = 0;
    for (size_t k = 0; k < i->n; k++) free(i->items[k].text);
    free(i->items);
    yyjson_doc_free(i->doc);
    free(i->members);
    free(i->lists);
    free(i);
}

static void tell(struct inputs *i, const struct llm_error *err) {
    i->state = DONE;
    i->api->inputs->running--;
    i->done(i->user, err);
}

__attribute__((format(printf, 4, 5))) static void fail(struct inputs *i, enum llm_fault fault,
                                                       const char *code, const char *fmt, ...) {
    struct llm_error err = {.fault = fault,
                            .retry_after_ms = -1,
                            .code = slice_of(code != NULL ? code : ""),
                            .param = i->at < i->n ? slice_of(i->items[i->at].param) : SLICE("")};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(i->message, sizeof i->message, fmt, ap);
    va_end(ap);
    err.message = slice_of(i->message);
    tell(i, &err);
}

static void fail_memory(struct inputs *i) {
    fail(i, LLM_MEMORY, NULL, "the server is out of memory");
}

static void fail_large(struct inputs *i) {
    fail(i, LLM_FILE_TOO_LARGE, NULL, "the file is larger than %llu bytes",
         (unsigned long long)i->api->config->max_input_file_bytes);
}

static void fail_unknown(struct inputs *i) {
    fail(i, LLM_FILE, NULL, "this server has no such file, or it is not yours to read");
}

static void fail_kind(struct inputs *i, enum media m) {
    static const char *const codes[] = {[MEDIA_NONE] = NULL,
                                        [MEDIA_IMAGE] = "unsupported_image_format",
                                        [MEDIA_AUDIO] = "unsupported_audio_format",
                                        [MEDIA_VIDEO] = "unsupported_video_format"};
    fail(i, LLM_FILE, codes[m], "the media type of the file is not supported here");
}

const char *inputs_no_room(enum llm_fault f) {
    return f == LLM_MEMORY ? "the server holds as many files as it can; try again"
                           : "the files of the request are too large together";
}

static enum llm_fault hold(void *user, size_t bytes) {
    struct inputs *i = user;
    struct inputs_room *room = i->api->inputs;
    if (bytes > INPUTS_MAX_BYTES - i->held_bytes) return LLM_FILE_TOO_LARGE;
    if (bytes > INPUTS_MAX_HELD_BYTES - room->held_bytes) return LLM_MEMORY;
    i->held_bytes += bytes;
    room->held_bytes += bytes;
    return LLM_OK;
}

/* --- one item after the other */

static void finish(struct inputs *i) {
    if (items_write(i))
        tell(i, NULL);
    else
        fail_memory(i);
}

static void next(struct inputs *i);

static void have(struct inputs *i, char *text, size_t len) {
    struct item *x = &i->items[i->at];
    x->text = text;
    x->len = len;
    i->at++;
    next(i);
}

static void fetched(void *user, char *text, size_t len, enum llm_fault fault, const char *why) {
    struct inputs *i = user;
    i->fetch = NULL;
    if (fault == LLM_FILE_TOO_LARGE && why == NULL)
        fail_large(i);
    else if (fault == LLM_FILE && why == NULL)
        fail_kind(i, i->items[i->at].media);
    else if (fault != LLM_OK)
        fail(i, fault, NULL, "%s", why);
    else
        have(i, text, len);
}

static void fetch(struct inputs *i, const struct item *x) {
    const struct fetch_options o = {.url = x->url,
                                    .media = x->media,
                                    .bare = x->bare,
                                    .max_bytes = i->api->config->max_input_file_bytes,
                                    .request_id = i->r->request_id,
                                    .hold = hold,
                                    .done = fetched,
                                    .user = i};
    i->state = FETCHING;
    i->fetch = fetch_start(i->api, &o);
    if (i->fetch == NULL) fail_memory(i);
}

/* Somebody is still to answer, but nobody waits for it. */
static bool was_left(struct inputs *i) {
    if (!i->left) return false;
    give_back(i);
    return true;
}

static void read_done(void *user, enum blob_status s, char *text, size_t len) {
    struct inputs *i = user;
    if (i->left) free(text);
    if (was_left(i)) return;
    switch (s) {
    case BLOB_OK: have(i, text, len); break;
    case BLOB_NOT_FOUND: fail_unknown(i); break; /* removed a moment ago */
    case BLOB_FULL: fail_large(i); break;
    case BLOB_IO:
        fail(i, LLM_MEMORY, NULL, "the file could not be read from the server's disk");
        break;
    case BLOB_MEMORY: fail_memory(i); break;
    }
}

static void read_file(struct inputs *i, const struct item *x, const struct store_file *f,
                      struct slice type) {
    char prefix[160];
    int n = x->bare ? 0 : snprintf(prefix, sizeof prefix, "data:%.*s;base64,", SLICE_ARG(type));
    if (f->bytes > i->api->config->max_input_file_bytes) {
        fail_large(i);
        return;
    }
    enum llm_fault room = hold(i, (size_t)(f->bytes + 2) / 3 * 4);
    if (room != LLM_OK) {
        fail(i, room, NULL, "%s", inputs_no_room(room));
        return;
    }
    i->state = READING;
    blob_read_base64(i->api->blobs, f->id, (size_t)f->bytes, slice_make(prefix, (size_t)n),
                     read_done, i);
}

/* An address on this machine or in its network is nothing for an upstream elsewhere. */
static bool is_public(const char *public_url) {
    struct target_url u;
    union net_sockaddr sa = {0};
    socklen_t len;
    char host[256];
    if (public_url == NULL || !target_split(slice_of(public_url), &u)) return false;
    ptrdiff_t bracket = slice_find(u.host, ']');
    struct slice port, name = bracket < 0 ? slice_cut(u.host, ':', &port)
                                          : slice_make(u.host.ptr, (size_t)bracket + 1);
    snprintf(host, sizeof host, "%.*s", SLICE_ARG(name));
    if (loopback_is_host(name)) return false;
    return !net_sockaddr_parse(host, 0, &sa, &len) || !net_address_is_private(&sa.any);
}

static bool travels_as_address(const struct inputs *i, const struct item *x) {
    return !x->bare && is_public(i->api->config->public_url) &&
           llm_can_fetch(i->api->llm, i->r->model, x->media == MEDIA_AUDIO);
}

static void sign(struct inputs *i, const struct store_file *f) {
    static const struct reach nowhere = {0}; /* public_url it is */
    struct buf b;
    size_t len;
    buf_init(&b, 16384);
    files_sign_url(i->api, &nowhere, slice_of(f->id), INPUTS_SIGNED_S, &b);
    char *text = buf_take(&b, &len);
    if (text != NULL)
        have(i, text, len);
    else
        fail_memory(i);
}

static void found(void *user, uint64_t arg, const struct store_file *f, bool ok) {
    struct inputs *i = user;
    if (was_left(i)) return;
    const struct item *x = &i->items[i->at];
    struct slice type = f != NULL ? media_type(f->content_type) : SLICE("");
    if (!ok)
        fail(i, LLM_MEMORY, NULL, "the server's store does not answer; try again");
    else if (f == NULL)
        fail_unknown(i);
    else if (type.len == 0 || !media_fits(x->media, type))
        fail_kind(i, x->media);
    else if (travels_as_address(i, x))
        sign(i, f);
    else
        read_file(i, x, f, type);
}

static void find(struct inputs *i, const struct item *x, struct slice id) {
    i->state = FINDING;
    if (!files_find(i->api, id, i->owner, files_url_signed(i->api, x->url), found, i, 0))
        fail_memory(i);
}

static void next(struct inputs *i) {
    struct slice id;
    for (; i->at < i->n; i->at++) {
        const struct item *x = &i->items[i->at];
        if (!is_address(x->url)) {
            if (decoded_bytes(data_of(x->url)) <= i->api->config->max_input_file_bytes) continue;
            fail_large(i);
            return;
        }
        if (files_own_url(i->api, NULL, x->url, &id)) {
            find(i, x, id);
            return;
        }
        if (llm_can_fetch(i->api->llm, i->r->model, x->media == MEDIA_AUDIO)) continue;
        fetch(i, x);
        return;
    }
    finish(i);
}

static void start(struct net_defer *d) {
    next((struct inputs *)((char *)d - offsetof(struct inputs, start)));
}

/* --- the contract's */

struct inputs *inputs_start(struct api *a, const struct inputs_asker *asker, struct llm_request *r,
                            void (*done)(void *user, const struct llm_error *err), void *user) {
    struct inputs *i = calloc(1, sizeof *i);
    if (i == NULL) return NULL;
    i->api = a;
    i->r = r;
    i->done = done;
    i->user = user;
    i->owner = asker->owner;
    i->start.run = start;
    if (!items_gather(i, asker)) {
        give_back(i);
        return NULL;
    }
    a->inputs->running++;
    net_defer(a->loop, &i->start);
    return i;
}

bool inputs_pending(const struct inputs *i) {
    return i != NULL && i->state != DONE;
}

void inputs_free(struct inputs *i) {
    if (i == NULL) return;
    enum inputs_state state = i->state;
    if (state != DONE) i->api->inputs->running--;
    net_defer_cancel(i->api->loop, &i->start);
    if (state == FETCHING) fetch_cancel(i->fetch);
    i->left = state == FINDING || state == READING;
    if (!i->left) give_back(i);
}

size_t inputs_running(const struct api *a) {
    return a->inputs->running;
}

/* --- the part */

bool inputs_open(struct api *a, char *reason, size_t size) {
    a->inputs = calloc(1, sizeof *a->inputs);
    if (a->inputs == NULL) snprintf(reason, size, "out of memory");
    return a->inputs != NULL;
}

void inputs_close_part(struct api *a) {
    if (a->inputs == NULL) return;
    net_tls_free(a->inputs->tls);
    free(a->inputs);
    a->inputs = NULL;
}
