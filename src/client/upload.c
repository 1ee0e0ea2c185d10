/* The way of one upload; its states are drawn in upload.h, its parts are upload_parts.c's. */
#include "client/upload.h"

#include "base/json.h"
#include "client/mime.h"

#include <stdlib.h>

#define INITIATE_BYTES 32768U /* of the body that begins an upload: a name, escaped, and a type */

/* ---- Limits ---- */

const char *client_upload_limits_set(struct client_upload_limits *out,
                                     const struct fal_upload_options *o) {
    if (o->timeout_ms < 0) {
        return "timeout_ms is negative";
    }
    if (o->parallel_parts < 0 || o->parallel_parts > CLIENT_PARALLEL_PARTS_MAX) {
        return "parallel_parts must be 1 to 16";
    }
    out->multipart_bytes = o->multipart_bytes > 0 ? o->multipart_bytes : CLIENT_MULTIPART_BYTES;
    out->part_bytes = o->part_bytes > 0 ? o->part_bytes : CLIENT_PART_BYTES;
    out->parallel_parts = o->parallel_parts > 0 ? (unsigned)o->parallel_parts
                                                : CLIENT_PARALLEL_PARTS;
    out->stall_ms = o->stall_timeout_ms > 0 ? o->stall_timeout_ms : CLIENT_STALL_MS;
    if (o->stall_timeout_ms < 0) {
        out->stall_ms = 0;
    }
    return NULL;
}

/* ---- Life ---- */

static const char *name_given(const struct fal_file *file) {
    if (file->name != NULL && file->name[0] != '\0') {
        return file->name;
    }
    const char *slash = file->path != NULL ? strrchr(file->path, '/') : NULL;
    return slash != NULL ? slash + 1 : file->path;
}

static char *made_name(const fal_client *c, const char *content_type) {
    struct buf name;
    size_t len;
    buf_init(&name, CLIENT_NAME_BYTES * 2);
    client_mime_name(&name, clock_wall_ms(c->clock), content_type);
    char *text = buf_take(&name, &len);
    buf_free(&name);
    return text;
}

static bool copy_texts(struct client_upload *u, const struct fal_file *file,
                       const char *lifecycle) {
    const char *name = name_given(file);
    const char *type = file->content_type;
    if (type == NULL) {
        type = client_mime_of(name != NULL ? name : "");
    }
    u->content_type = slice_dup(slice_of(type));
    u->name = name != NULL ? slice_dup(slice_of(name)) : made_name(u->client, type);
    u->lifecycle = lifecycle != NULL ? slice_dup(slice_of(lifecycle)) : NULL;
    return u->content_type != NULL && u->name != NULL &&
           (lifecycle == NULL || u->lifecycle != NULL);
}

enum fal_code client_upload_new(fal_client *c, const struct fal_file *file,
                                const struct client_upload_limits *limits, const char *lifecycle,
                                struct client_upload **out, char message[CLIENT_MESSAGE_BYTES]) {
    struct client_upload *u = calloc(1, sizeof(*u));
    *out = NULL;
    if (u == NULL) {
        return FAL_ERR_MEMORY;
    }
    u->client = c;
    u->limits = *limits;
    u->source.fd = -1;
    enum fal_code code = client_source_open(&u->source, file, message);
    if (code == FAL_OK && !copy_texts(u, file, lifecycle)) {
        code = FAL_ERR_MEMORY;
    }
    if (code != FAL_OK) {
        client_upload_free(u);
        return code;
    }
    u->filled = u->source.read == NULL;
    *out = u;
    return FAL_OK;
}

static void stop(struct client_upload *u) {
    u->state = CLIENT_UPLOAD_ENDED;
    client_timer_off(&u->reading);
    client_try_end(&u->try);
    buf_free(&u->body);
    client_parts_free(u);
    client_source_close(&u->source);
}

void client_upload_free(struct client_upload *u) {
    if (u != NULL) {
        stop(u);
        free(u->content_type);
        free(u->name);
        free(u->lifecycle);
        free(u->upload_url);
        free(u->file_url);
        free(u);
    }
}

static void end(struct client_upload *u, enum fal_code code) {
    stop(u);
    u->done(u, code);
}

enum fal_code client_upload_fail(struct client_upload *u, enum fal_code code) {
    if (u->message[0] != '\0') {
        return client_result_fail(u->result, FAL_ERR_ARGUMENT, "%s", u->message);
    }
    return client_result_fail(u->result, code, "%s", fal_strerror(code));
}

enum fal_code client_upload_fail_try(struct client_upload *u, struct client_try *t) {
    if (t->exchange.reply.code != FAL_OK && u->message[0] != '\0') {
        return client_upload_fail(u, FAL_ERR_ARGUMENT);
    }
    return client_result_answer(u->result, t);
}

/* ---- Progress ---- */

uint64_t client_upload_total(const struct client_upload *u) {
    if (u->source.read == NULL) {
        return u->source.size_bytes;
    }
    return u->filled ? u->parts.taken : CLIENT_SIZE_UNKNOWN;
}

/* Bytes of parts that are sent again count once; what was said is never taken back. */
static void say_progress(struct client_upload *u, uint64_t sent_bytes) {
    u->sent_bytes = sent_bytes;
    u->said_whole = sent_bytes == client_upload_total(u);
    if (u->progress != NULL) {
        u->progress(u);
    }
}

void client_upload_moved(struct client_upload *u) {
    uint64_t sent = u->parts.confirmed;
    for (unsigned i = 0; i < CLIENT_PARALLEL_PARTS_MAX; i++) {
        sent += u->parts.part[i].sent_bytes;
    }
    if (sent > u->sent_bytes) {
        say_progress(u, sent);
    }
}

static void end_well(struct client_upload *u) {
    if (!u->said_whole) {
        say_progress(u, client_upload_total(u));
    }
    end(u, FAL_OK);
}

/* ---- INITIATING ---- */

static enum fal_code put(struct client_upload *u);

/* {"upload_url": …, "file_url": …} */
static enum fal_code read_addresses(struct client_upload *u, struct slice json) {
    yyjson_read_err err = {0};
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)json.ptr, json.len, 0, NULL, &err);
    struct slice upload = json_str(json_get(yyjson_doc_get_root(doc), "upload_url"));
    struct slice file = json_str(json_get(yyjson_doc_get_root(doc), "file_url"));
    bool sound = upload.len > 0 && upload.len < CLIENT_URL_BYTES && file.len > 0;
    if (sound) {
        u->upload_url = slice_dup(upload);
        u->file_url = slice_dup(file);
    }
    yyjson_doc_free(doc);
    if (sound) {
        return u->upload_url != NULL && u->file_url != NULL ? FAL_OK : FAL_ERR_MEMORY;
    }
    return err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? FAL_ERR_MEMORY : FAL_ERR_PROTOCOL;
}

static enum fal_code begin_parts(struct client_upload *u) {
    u->state = CLIENT_UPLOAD_PARTS;
    return client_parts_more(u);
}

static void initiated(struct client_try *t) {
    struct client_upload *u = t->owner;
    if (!client_try_ok(t)) {
        end(u, client_upload_fail_try(u, t));
        return;
    }
    enum fal_code code = read_addresses(u, buf_slice(&t->exchange.reply.body));
    client_try_end(t);
    if (code == FAL_ERR_PROTOCOL) {
        client_result_fail(u->result, code, "%s", "the answer names no upload_url and file_url");
    }
    if (code == FAL_OK) {
        code = u->multipart ? begin_parts(u) : put(u);
    }
    if (code != FAL_OK) {
        end(u, client_upload_fail(u, code));
    }
}

static bool add_initiate_body(struct client_upload *u, struct buf *body) {
    buf_init(body, INITIATE_BYTES);
    buf_puts(body, "{\"content_type\":");
    json_add_string(body, slice_of(u->content_type), false);
    buf_puts(body, ",\"file_name\":");
    json_add_string(body, slice_of(u->name), false);
    return buf_addc(body, '}');
}

static enum fal_code initiate(struct client_upload *u) {
    struct client_request *r = &u->try.request;
    u->state = CLIENT_UPLOAD_INITIATING;
    client_try_init(&u->try, u->client, CLIENT_POST, initiated, u);
    u->try.deadline_ms = u->deadline_ms;
    u->try.repeatable = true; /* an upload that was begun twice and never sent is nothing */
    r->auth = CLIENT_AUTH_KEY;
    r->proxied = true;
    buf_printf(&r->url, "%s/storage/upload/initiate%s?storage_type=fal-cdn-v3",
               u->client->base.rest, u->multipart ? "-multipart" : "");
    buf_addc(&r->url, '\0');
    if (!client_request_line(r, "X-Fal-Object-Lifecycle", u->lifecycle) || r->url.failed ||
        !add_initiate_body(u, &u->body)) {
        return FAL_ERR_MEMORY;
    }
    r->body = buf_slice(&u->body);
    return client_try_begin(&u->try);
}

/* ---- PUTTING ---- */

static int64_t read_source(void *owner, uint64_t at, char *out, size_t room) {
    struct client_upload *u = owner;
    return client_source_read(&u->source, at, out, room, u->message);
}

static void put_sent(void *owner, uint64_t bytes) {
    struct client_upload *u = owner;
    u->parts.part[0].sent_bytes = bytes;
    client_upload_moved(u);
}

static void put_done(struct client_try *t) {
    struct client_upload *u = t->owner;
    if (client_try_ok(t)) {
        end_well(u);
    } else {
        end(u, client_upload_fail_try(u, t));
    }
}

static enum fal_code put(struct client_upload *u) {
    struct client_request *r = &u->try.request;
    u->state = CLIENT_UPLOAD_PUTTING;
    client_try_init(&u->try, u->client, CLIENT_PUT, put_done, u);
    u->try.deadline_ms = u->deadline_ms;
    r->auth = CLIENT_AUTH_NONE;
    r->content_type = u->content_type;
    r->sent = put_sent;
    r->stall_ms = u->limits.stall_ms;
    buf_puts(&r->url, u->upload_url);
    if (!buf_addc(&r->url, '\0')) {
        return FAL_ERR_MEMORY;
    }
    if (u->source.fd >= 0) {
        r->read = read_source;
        r->body = (struct slice){NULL, (size_t)u->source.size_bytes};
    } else if (u->source.read != NULL) {
        r->body = slice_make(u->parts.part[0].buffer, (size_t)u->parts.part[0].bytes);
    } else {
        r->body = slice_make(u->source.data, (size_t)u->source.size_bytes);
    }
    return client_try_begin(&u->try);
}

/* ---- FILLING and PARTS ---- */

static bool parts_are_due(const struct client_upload *u) {
    return !u->filled || client_upload_total(u) > u->limits.multipart_bytes;
}

void client_upload_filled(struct client_upload *u) {
    u->multipart = parts_are_due(u);
    enum fal_code code = initiate(u);
    if (code != FAL_OK) {
        end(u, client_upload_fail(u, code));
    }
}

/* ---- COMPLETING ---- */

static void completed(struct client_try *t) {
    struct client_upload *u = t->owner;
    if (client_try_ok(t)) {
        end_well(u);
    } else {
        end(u, client_upload_fail_try(u, t));
    }
}

static enum fal_code complete(struct client_upload *u) {
    struct client_request *r = &u->try.request;
    u->state = CLIENT_UPLOAD_COMPLETING;
    client_try_init(&u->try, u->client, CLIENT_POST, completed, u);
    u->try.deadline_ms = u->deadline_ms;
    u->try.repeatable = true; /* the same parts make the same file */
    r->auth = CLIENT_AUTH_NONE;
    if (!client_part_url(&r->url, u->upload_url, "complete") || !client_parts_json(u, &u->body)) {
        return FAL_ERR_MEMORY;
    }
    r->body = buf_slice(&u->body);
    return client_try_begin(&u->try);
}

void client_upload_parts_done(struct client_upload *u, enum fal_code code) {
    if (code == FAL_OK) {
        code = complete(u);
    }
    if (code != FAL_OK) {
        end(u, client_upload_fail(u, code));
    }
}

/* ---- NEW ---- */

enum fal_code client_upload_start(struct client_upload *u, fal_result *result,
                                  uint64_t deadline_ms) {
    u->result = result;
    u->deadline_ms = deadline_ms;
    u->parts.bytes = client_part_bytes(u->filled ? u->source.size_bytes : 0, u->limits.part_bytes);
    if (!u->filled) {
        u->state = CLIENT_UPLOAD_FILLING;
        return client_parts_fill(u);
    }
    u->multipart = parts_are_due(u);
    enum fal_code code = initiate(u);
    return code != FAL_OK ? client_upload_fail(u, code) : FAL_OK;
}
