/* The parts of one upload, several at once. Each is a try of its own: one that breaks is sent again alone. The bytes of a file
 * or of memory are read where they lie; a read callback's are kept in the part until the server has them.
 *
 *   resting (number 0) --- file, memory -----------------------+
 *      ^    \--- read callback: filling, a bit each turn ---+  |
 *      |                                                    v  v
 *      +------------------ confirmed ---------------------- running */
#include "client/upload.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define COMPLETE_BYTES (CLIENT_PARTS_MAX * (6U * CLIENT_ETAG_BYTES + 64U))

static struct client_part *resting(struct client_upload *u) {
    for (unsigned i = 0; i < u->limits.parallel_parts; i++) {
        if (u->parts.part[i].number == 0) {
            return &u->parts.part[i];
        }
    }
    return NULL;
}

/* A number, and a place for its ETag. */
static enum fal_code take_number(struct client_upload *u, struct client_part *part) {
    struct client_parts *ps = &u->parts;
    if (ps->count == CLIENT_PARTS_MAX) {
        return client_result_fail(u->result, FAL_ERR_ARGUMENT,
                                  "more than %u parts: part_bytes must be larger",
                                  CLIENT_PARTS_MAX);
    }
    if (ps->count == ps->etags_room) {
        size_t room = ps->etags_room > 0 ? ps->etags_room * 2 : 16;
        char **longer = realloc(ps->etags, room * sizeof(*longer));
        if (longer == NULL) {
            return FAL_ERR_MEMORY;
        }
        ps->etags = longer;
        ps->etags_room = room;
    }
    ps->etags[ps->count++] = NULL;
    part->upload = u;
    part->number = ps->count;
    part->at = ps->taken;
    part->bytes = part->sent_bytes = 0;
    return FAL_OK;
}

/* ---- Running ---- */

static int64_t read_part(void *owner, uint64_t at, char *out, size_t room) {
    struct client_part *part = owner;
    struct client_upload *u = part->upload;
    uint64_t left = at < part->bytes ? part->bytes - at : 0;
    return client_source_read(&u->source, part->at + at, out, left < room ? (size_t)left : room,
                              u->message);
}

static void part_sent(void *owner, uint64_t bytes) {
    struct client_part *part = owner;
    part->sent_bytes = bytes;
    client_upload_moved(part->upload);
}

/* The "etag" of the reply's JSON, else its header. */
static enum fal_code keep_etag(struct client_upload *u, const struct client_part *part) {
    const struct client_reply *reply = &part->try.exchange.reply;
    struct slice json = buf_slice(&reply->body);
    yyjson_read_err err = {0};
    yyjson_doc *doc = json.len > 0
                          ? yyjson_read_opts((char *)(uintptr_t)json.ptr, json.len, 0, NULL, &err)
                          : NULL;
    struct slice etag = json_str(json_get(yyjson_doc_get_root(doc), "etag"));
    if (etag.len == 0 || etag.len >= CLIENT_ETAG_BYTES) {
        etag = slice_of(reply->etag);
    }
    char *copy = etag.len > 0 ? slice_dup(etag) : NULL;
    bool none = etag.len == 0 && err.code != YYJSON_READ_ERROR_MEMORY_ALLOCATION;
    yyjson_doc_free(doc);
    u->parts.etags[part->number - 1] = copy;
    if (none) {
        return client_result_fail(u->result, FAL_ERR_PROTOCOL,
                                  "the answer to part %" PRIu64 " names no etag", part->number);
    }
    return copy != NULL ? FAL_OK : FAL_ERR_MEMORY;
}

/* Goes on after something has changed. */
static void move_on(struct client_upload *u, enum fal_code code) {
    if (code == FAL_OK) {
        code = client_parts_more(u);
    }
    if (code != FAL_OK || (u->filled && u->parts.done == u->parts.count)) {
        client_upload_parts_done(u, code);
    }
}

static void part_done(struct client_try *t) {
    struct client_part *part = t->owner;
    struct client_upload *u = part->upload;
    enum fal_code code = client_try_ok(t) ? keep_etag(u, part) : client_upload_fail_try(u, t);
    if (code == FAL_OK) {
        client_try_end(t);
        u->parts.done++;
        u->parts.confirmed += part->bytes;
        part->number = part->sent_bytes = 0;
        part->running = false;
        client_upload_moved(u);
    }
    move_on(u, code);
}

static enum fal_code run(struct client_upload *u, struct client_part *part) {
    char number[24];
    struct client_request *r = &part->try.request;
    client_try_init(&part->try, u->client, CLIENT_PUT, part_done, part);
    part->running = true;
    part->try.deadline_ms = u->deadline_ms;
    r->auth = CLIENT_AUTH_NONE;
    r->content_type = "";
    r->sent = part_sent;
    r->stall_ms = u->limits.stall_ms;
    snprintf(number, sizeof(number), "%" PRIu64, part->number);
    if (!client_part_url(&r->url, u->upload_url, number)) {
        return FAL_ERR_MEMORY;
    }
    r->body.len = (size_t)part->bytes;
    if (part->buffer != NULL) {
        r->body.ptr = part->buffer;
    } else if (u->source.fd >= 0) {
        r->read = read_part;
    } else {
        r->body.ptr = u->source.data + part->at;
    }
    return client_try_begin(&part->try);
}

/* ---- Filling ---- */

/* One call of the callback. Negative: it failed. */
static int64_t ask(struct client_upload *u, struct client_part *part) {
    size_t room = part->buffer_bytes - (size_t)part->bytes;
    int64_t n = u->source.read(part->buffer + part->bytes, room, u->source.user);
    if (n < 0 || (uint64_t)n > room) {
        snprintf(u->message, sizeof(u->message), "%s",
                 n < 0 ? "the file's read callback failed"
                       : "the file's read callback gave more than there was room for");
        return -1;
    }
    return n;
}

/* The part that was being filled is full, or the callback is at its end: one that is asked in vain for a further part leaves
 * that one out. */
static void filled(struct client_upload *u, struct client_part *part) {
    u->parts.filling = NULL;
    if (part->bytes == 0 && part->number > 1) {
        part->number = 0;
        u->parts.count--;
    }
    if (u->state == CLIENT_UPLOAD_FILLING) {
        client_upload_filled(u);
    } else {
        move_on(u, FAL_OK);
    }
}

static void pump(struct client_timer *timer) {
    struct client_upload *u =
        (struct client_upload *)(void *)((char *)timer - offsetof(struct client_upload, reading));
    struct client_part *part = u->parts.filling;
    int64_t n = ask(u, part);
    if (n < 0) {
        client_upload_parts_done(u, client_upload_fail(u, FAL_ERR_ARGUMENT));
        return;
    }
    part->bytes += (uint64_t)n;
    u->parts.taken += (uint64_t)n;
    u->filled = n == 0;
    if (u->filled || part->bytes == part->buffer_bytes) {
        filled(u, part);
    } else {
        client_timer_set(u->client, &u->reading, client_now_ms(u->client));
    }
}

enum fal_code client_parts_fill(struct client_upload *u) {
    struct client_part *part = resting(u);
    if (part == NULL || u->parts.filling != NULL) {
        return FAL_OK;
    }
    enum fal_code code = take_number(u, part);
    if (code != FAL_OK) {
        return code;
    }
    if (part->buffer == NULL) {
        part->buffer = malloc((size_t)u->parts.bytes);
        part->buffer_bytes = (size_t)u->parts.bytes;
    }
    if (part->buffer == NULL) {
        return FAL_ERR_MEMORY;
    }
    u->parts.filling = part;
    u->reading.fire = pump;
    client_timer_set(u->client, &u->reading, client_now_ms(u->client));
    return FAL_OK;
}

/* ---- All of them ---- */

/* Of a file or of memory: the next bytes. */
static enum fal_code take_bytes(struct client_upload *u, struct client_part *part) {
    struct client_parts *ps = &u->parts;
    uint64_t left = u->source.size_bytes - ps->taken;
    if (left == 0) {
        return FAL_OK;
    }
    enum fal_code code = take_number(u, part);
    if (code == FAL_OK) {
        part->bytes = left < ps->bytes ? left : ps->bytes;
        ps->taken += part->bytes;
    }
    return code;
}

enum fal_code client_parts_more(struct client_upload *u) {
    enum fal_code code = FAL_OK;
    for (unsigned i = 0; i < u->limits.parallel_parts && code == FAL_OK; i++) {
        struct client_part *part = &u->parts.part[i];
        if (part->number == 0 && u->source.read == NULL) {
            code = take_bytes(u, part);
        }
        if (code == FAL_OK && part->number > 0 && !part->running && part != u->parts.filling) {
            code = run(u, part);
        }
    }
    if (code == FAL_OK && !u->filled) {
        code = client_parts_fill(u);
    }
    return code;
}

bool client_parts_json(const struct client_upload *u, struct buf *out) {
    buf_free(out);
    buf_init(out, COMPLETE_BYTES);
    buf_puts(out, "{\"parts\":[");
    for (size_t i = 0; i < u->parts.count; i++) {
        buf_printf(out, "%s{\"partNumber\":%zu,\"etag\":", i > 0 ? "," : "", i + 1);
        json_add_string(out, slice_of(u->parts.etags[i]), false);
        buf_addc(out, '}');
    }
    return buf_puts(out, "]}");
}

void client_parts_free(struct client_upload *u) {
    struct client_parts *ps = &u->parts;
    for (unsigned i = 0; i < CLIENT_PARALLEL_PARTS_MAX; i++) {
        client_try_end(&ps->part[i].try);
        free(ps->part[i].buffer);
        ps->part[i].buffer = NULL;
        ps->part[i].sent_bytes = 0;
    }
    for (size_t i = 0; i < ps->count; i++) {
        free(ps->etags[i]);
    }
    free(ps->etags);
    ps->etags = NULL;
    ps->count = 0;
}
