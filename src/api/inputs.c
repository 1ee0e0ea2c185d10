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
#include "net/address.h"
#include "net/client.h"
#include "store/blobs.h"

#include <stdio.h>
#include <stdlib.h>

#define PARAM_BYTES PART_PARAM_BYTES

enum inputs_state { STARTING, FINDING, READING, FETCHING, DONE };

struct item {
    enum media media;
    bool bare;
    struct slice url;
    char *text; /* what travels instead; NULL: the url as it is */
    size_t len;
    char param[PARAM_BYTES]; /* "image_urls.2" */
    struct part part;        /* of OpenAI's dialect */
};

struct inputs {
    struct api *api;
    struct llm_request *r;
    void (*done)(void *user, const struct llm_error *err);
    void *user;
    enum inputs_state state;
    bool left; /* freed while somebody is still to answer */
    struct slice owner;
    struct item *items;
    size_t n, at, size;
    struct fetch *fetch;
    struct net_defer start;
    size_t held_bytes;
    yyjson_doc *doc; /* of OpenAI's members */
    char *members;
    struct slice *lists;
    char message[192];
};

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

/* --- media types */

struct slice media_type(struct slice header) {
    struct slice rest, type = slice_trim(slice_cut(header, ';', &rest));
    bool slash = false;
    for (size_t i = 0; i < type.len; i++) {
        char c = type.ptr[i];
        bool token = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("!#$&^_.+-", c) != NULL);
        if (c == '/' && !slash && i > 0 && i + 1 < type.len)
            slash = true;
        else if (!token)
            return SLICE("");
    }
    return slash && type.len <= 127 ? type : SLICE("");
}

bool media_fits(enum media m, struct slice type) {
    static const char *const mains[] = {
        [MEDIA_IMAGE] = "image", [MEDIA_AUDIO] = "audio", [MEDIA_VIDEO] = "video"};
    struct slice sub;
    return m == MEDIA_NONE || slice_eq_nocase(slice_cut(type, '/', &sub), slice_of(mains[m]));
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

static void fail_full(struct inputs *i) {
    fail(i, LLM_MEMORY, NULL, "the server holds as many files as it can; try again");
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

static bool hold(void *user, size_t bytes) {
    struct inputs *i = user;
    struct inputs_room *room = i->api->inputs;
    if (bytes > INPUTS_MAX_BYTES - i->held_bytes ||
        room->held_bytes + bytes > INPUTS_MAX_HELD_BYTES)
        return false;
    i->held_bytes += bytes;
    room->held_bytes += bytes;
    return true;
}

/* --- what travels */

static bool replace(struct slice *out, const struct slice **list, size_t n, struct item *items) {
    for (size_t k = 0; k < n; k++)
        out[k] = items[k].text != NULL ? slice_make(items[k].text, items[k].len) : items[k].url;
    *list = out;
    return true;
}

/* Items stand in the order of the lists. */
static bool write_lists(struct inputs *i) {
    struct llm_request *r = i->r;
    i->lists = calloc(i->n, sizeof *i->lists);
    if (i->lists == NULL) return false;
    size_t audios = r->nimages, videos = audios + r->naudios;
    return replace(i->lists, &r->images, r->nimages, i->items) &&
           replace(i->lists + audios, &r->audios, r->naudios, i->items + audios) &&
           replace(i->lists + videos, &r->videos, r->nvideos, i->items + videos);
}

static bool set_part(yyjson_mut_doc *doc, yyjson_mut_val *messages, const struct item *x) {
    yyjson_mut_val *message = yyjson_mut_arr_get(messages, x->part.message),
                   *part = yyjson_mut_arr_get(yyjson_mut_obj_get(message, "content"), x->part.part),
                   *text = yyjson_mut_strn(doc, x->text, x->len);
    const char *name = x->part.name;
    if (x->part.member != NULL) {
        part = yyjson_mut_obj_get(part, name);
        name = x->part.member;
    }
    return yyjson_mut_obj_put(part, yyjson_mut_str(doc, name), text);
}

/* The caller's numbers stay as they were written. */
static bool write_members(struct inputs *i) {
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(i->doc, NULL);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc),
                   *messages = yyjson_mut_obj_get(root, "messages");
    bool ok = doc != NULL;
    size_t len = 0;
    for (size_t k = 0; k < i->n && ok; k++)
        ok = i->items[k].text == NULL || set_part(doc, messages, &i->items[k]);
    i->members = ok ? yyjson_mut_write(doc, 0, &len) : NULL;
    yyjson_mut_doc_free(doc);
    if (i->members == NULL || len < 2) return false;
    i->r->members = slice_make(i->members + 1, len - 2); /* without the braces */
    for (size_t k = 0; k < i->n; k++) {
        free(i->items[k].text);
        i->items[k].text = NULL;
    }
    yyjson_doc_free(i->doc);
    i->doc = NULL;
    return true;
}

static bool changed(const struct inputs *i) {
    for (size_t k = 0; k < i->n; k++)
        if (i->items[k].text != NULL) return true;
    return false;
}

static void finish(struct inputs *i) {
    bool ok = !changed(i) || (i->r->members.len > 0 ? write_members(i) : write_lists(i));
    if (ok)
        tell(i, NULL);
    else
        fail_memory(i);
}

/* --- one item after the other */

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
    if (fault == LLM_FILE_TOO_LARGE)
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
    } else if (!hold(i, (size_t)f->bytes / 3 * 4)) {
        fail_full(i);
    } else {
        i->state = READING;
        blob_read_base64(i->api->blobs, f->id, (size_t)f->bytes, slice_make(prefix, (size_t)n),
                         read_done, i);
    }
}

/* An address on this machine or in its network is nothing for an upstream elsewhere. */
static bool is_public(const char *public_url) {
    struct target_url u;
    union net_sockaddr sa = {0};
    socklen_t len;
    char host[256];
    if (public_url == NULL || !target_split(slice_of(public_url), &u)) return false;
    struct slice port, name = u.host;
    if (name.len > 0 && name.ptr[0] != '[') name = slice_cut(name, ':', &port);
    snprintf(host, sizeof host, "%.*s", SLICE_ARG(name));
    if (slice_is(name, "localhost")) return false;
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

/* --- gathering the items */

static struct item *add_item(struct inputs *i, enum media m, struct slice url) {
    if (i->n == i->size) {
        size_t size = i->size > 0 ? i->size * 2 : 8;
        struct item *more = realloc(i->items, size * sizeof *more);
        if (more == NULL) return NULL;
        i->items = more;
        i->size = size;
    }
    struct item *x = &i->items[i->n++];
    *x = (struct item){.media = m, .url = url};
    return x;
}

/* The k-th address of a kind stands in the fields of that kind, in their order. */
static void name_field(struct item *x, const struct inputs_asker *asker, size_t k) {
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const struct input_field *in = input_field_at((enum input_row)row);
        if (in->media != x->media || (asker->endpoint->takes & 1U << row) == 0) continue;
        yyjson_val *v = json_get(asker->input, in->name);
        size_t n = yyjson_is_arr(v) ? yyjson_arr_size(v) : yyjson_is_str(v) ? 1 : 0;
        if (k >= n) {
            k -= n;
            continue;
        }
        if (yyjson_is_arr(v))
            snprintf(x->param, sizeof x->param, "%s.%zu", in->name, k);
        else
            snprintf(x->param, sizeof x->param, "%s", in->name);
        return;
    }
}

static bool add_list(struct inputs *i, const struct inputs_asker *asker, enum media m,
                     const struct slice *urls, size_t n) {
    for (size_t k = 0; k < n; k++) {
        struct item *x = add_item(i, m, urls[k]);
        if (x == NULL) return false;
        if (asker->endpoint != NULL && asker->input != NULL) name_field(x, asker, k);
    }
    return true;
}

static void add_part(void *user, const struct part *p) {
    struct inputs *i = user;
    struct item *x = add_item(i, p->media, p->url);
    if (x == NULL) {
        i->left = true; /* told below */
        return;
    }
    x->part = *p;
    x->bare = p->bare;
    snprintf(x->param, sizeof x->param, "messages.%zu.content.%zu", p->message, p->part);
}

static bool add_parts(struct inputs *i) {
    struct slice m = i->r->members;
    char *text = malloc(m.len + 2);
    if (text == NULL) return false;
    text[0] = '{';
    memcpy(text + 1, m.ptr, m.len);
    text[m.len + 1] = '}';
    i->doc = yyjson_read(text, m.len + 2, YYJSON_READ_NUMBER_AS_RAW);
    free(text);
    if (i->doc == NULL) return false;
    parts_each(json_get(yyjson_doc_get_root(i->doc), "messages"), add_part, i);
    return !i->left;
}

static bool gather(struct inputs *i, const struct inputs_asker *asker) {
    const struct llm_request *r = i->r;
    if (r->members.len > 0) return add_parts(i);
    return add_list(i, asker, MEDIA_IMAGE, r->images, r->nimages) &&
           add_list(i, asker, MEDIA_AUDIO, r->audios, r->naudios) &&
           add_list(i, asker, MEDIA_VIDEO, r->videos, r->nvideos);
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
    if (!gather(i, asker)) {
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
