#include "base/msgpack_json.h"

#include "base/json.h"

#include <math.h>
#include <msgpack.h>
#include <openssl/evp.h>
#include <stdio.h>

/* --- the walk */

enum what { ONE, ARRAY, MAP, FIXED, SIZED, NEVER };

/* What follows a first byte of c0 to df: FIXED `n` bytes; of the others `n` bytes of length. */
static const struct {
    unsigned char what, n;
} shapes[32] = {
    {ONE, 0},   {NEVER, 0}, {ONE, 0},   {ONE, 0},   {SIZED, 1}, {SIZED, 2}, {SIZED, 4}, {NEVER, 0},
    {NEVER, 0}, {NEVER, 0}, {FIXED, 4}, {FIXED, 8}, {FIXED, 1}, {FIXED, 2}, {FIXED, 4}, {FIXED, 8},
    {FIXED, 1}, {FIXED, 2}, {FIXED, 4}, {FIXED, 8}, {NEVER, 0}, {NEVER, 0}, {NEVER, 0}, {NEVER, 0},
    {NEVER, 0}, {SIZED, 1}, {SIZED, 2}, {SIZED, 4}, {ARRAY, 2}, {ARRAY, 4}, {MAP, 2},   {MAP, 4},
};

struct item {
    enum what what;
    uint64_t n; /* bytes that follow, or elements */
};

static const char cut_short[] = "the msgpack value is cut short";

/* Takes the head of the value at the front of *in. */
static const char *next_item(struct slice *in, struct item *out) {
    if (in->len == 0) return cut_short;
    unsigned char b = (unsigned char)*in->ptr;
    *in = slice_from(*in, 1);
    *out = (struct item){ONE, 0};
    if (b < 0x80 || b >= 0xe0) return NULL;
    if (b < 0xc0) {
        *out = b < 0x90   ? (struct item){MAP, b & 15U}
               : b < 0xa0 ? (struct item){ARRAY, b & 15U}
                          : (struct item){FIXED, b & 31U};
        return NULL;
    }
    out->what = shapes[b & 31].what;
    size_t n = shapes[b & 31].n;
    if (out->what == NEVER)
        return b == 0xc1 ? "not msgpack" : "msgpack's ext types mean nothing here";
    if (out->what == ONE || out->what == FIXED) {
        out->n = n;
        return NULL;
    }
    if (in->len < n) return cut_short;
    for (size_t i = 0; i < n; i++) out->n = out->n << 8 | (unsigned char)in->ptr[i];
    *in = slice_from(*in, n);
    if (out->what == SIZED) out->what = FIXED;
    return NULL;
}

/* One whole value, neither too deep nor of too many parts, and nothing behind it. */
static const char *walk(struct slice in) {
    uint64_t left[MSGPACK_MAX_DEPTH + 1] = {1}, values = 0;
    size_t depth = 0;
    for (;;) {
        while (left[depth] == 0 && depth > 0) depth--;
        if (left[depth] == 0) break;
        struct item it;
        const char *why = next_item(&in, &it);
        if (why != NULL) return why;
        left[depth]--;
        if (++values > JSON_MAX_VALUES) return "the message has too many values";
        if (it.what == FIXED) {
            if (it.n > in.len) return cut_short;
            in = slice_from(in, (size_t)it.n);
        } else if (it.what != ONE) {
            if (++depth > MSGPACK_MAX_DEPTH) return "the message is nested too deeply";
            left[depth] = it.what == MAP ? it.n * 2 : it.n;
        }
    }
    return in.len == 0 ? NULL : "there is more than one msgpack value in the message";
}

/* --- to JSON */

struct reader {
    struct buf *out;
    bool (*takes_file)(void *user, struct slice member);
    void *user;
    bool file; /* below a member that takes one */
    const char *why;
};

/* UTF-8 is left as it is. */
static void add_text(struct buf *b, struct slice s) {
    static const char hex[] = "0123456789abcdef";
    buf_addc(b, '"');
    for (size_t i = 0, from = 0; i <= s.len; i++) {
        unsigned char c = i < s.len ? (unsigned char)s.ptr[i] : 0;
        if (i < s.len && c >= 0x20 && c != '"' && c != '\\') continue;
        buf_add(b, slice_make(s.ptr + from, i - from));
        from = i + 1;
        if (i < s.len) buf_printf(b, "\\u00%c%c", hex[c >> 4], hex[c & 15]);
    }
    buf_addc(b, '"');
}

/* By its first bytes; what is not known is for the model's side to refuse. */
static const char *media_type(struct slice s) {
    static const struct {
        size_t at;
        struct slice magic;
        const char *type;
    } types[] = {
        {0, {"\x89PNG", 4}, "image/png"},
        {0, {"\xff\xd8\xff", 3}, "image/jpeg"},
        {0, {"GIF8", 4}, "image/gif"},
        {8, {"WEBP", 4}, "image/webp"},
        {8, {"WAVE", 4}, "audio/wav"},
        {0, {"ID3", 3}, "audio/mpeg"},
        {0, {"\xff\xfb", 2}, "audio/mpeg"},
        {0, {"fLaC", 4}, "audio/flac"},
        {0, {"OggS", 4}, "audio/ogg"},
        {4, {"ftyp", 4}, "video/mp4"},
        {0, {"\x1a\x45\xdf\xa3", 4}, "video/webm"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (slice_starts(slice_from(s, types[i].at), types[i].magic)) return types[i].type;
    return "application/octet-stream";
}

static void add_file(struct reader *r, struct slice s) {
    struct buf *b = r->out;
    size_t text = (s.len + 2) / 3 * 4;
    if (!r->file) {
        r->why = "bytes (msgpack's bin) where no file is taken";
        return;
    }
    buf_printf(b, "\"data:%s;base64,", media_type(s));
    if (s.len > INT32_MAX / 2 || !buf_reserve(b, text + 1)) {
        b->failed = true;
        return;
    }
    EVP_EncodeBlock((unsigned char *)b->base + b->end, (const unsigned char *)s.ptr, (int)s.len);
    b->end += text;
    buf_addc(b, '"');
}

/* The program's locale may write a decimal comma, or several bytes. */
static void add_double(struct reader *r, double d) {
    char text[64];
    if (!isfinite(d)) {
        r->why = "NaN and infinity are no numbers here";
        return;
    }
    snprintf(text, sizeof text, "%.17g", d);
    size_t whole = strspn(text, "-0123456789"), point = strcspn(text + whole, "0123456789e");
    buf_add(r->out, slice_make(text, whole));
    buf_puts(r->out, point > 0 ? "." : "");
    buf_puts(r->out, text + whole + point);
}

static void add_object(struct reader *r, const msgpack_object *o, unsigned depth);

static void add_map(struct reader *r, const msgpack_object_map *m, unsigned depth) {
    buf_addc(r->out, '{');
    for (uint32_t i = 0; i < m->size && r->why == NULL; i++) {
        const msgpack_object *k = &m->ptr[i].key;
        if (k->type != MSGPACK_OBJECT_STR) {
            r->why = "the names of a map should be strings";
            return;
        }
        struct slice name = slice_make(k->via.str.ptr, k->via.str.size);
        if (depth == 0) r->file = r->takes_file != NULL && r->takes_file(r->user, name);
        if (i > 0) buf_addc(r->out, ',');
        add_text(r->out, name);
        buf_addc(r->out, ':');
        add_object(r, &m->ptr[i].val, depth + 1);
    }
    buf_addc(r->out, '}');
}

static void add_array(struct reader *r, const msgpack_object_array *a, unsigned depth) {
    buf_addc(r->out, '[');
    for (uint32_t i = 0; i < a->size && r->why == NULL; i++) {
        if (i > 0) buf_addc(r->out, ',');
        add_object(r, &a->ptr[i], depth + 1);
    }
    buf_addc(r->out, ']');
}

/* The walk has bounded the depth. */
static void add_object(struct reader *r, const msgpack_object *o, unsigned depth) {
    switch (o->type) {
    case MSGPACK_OBJECT_NIL: buf_puts(r->out, "null"); break;
    case MSGPACK_OBJECT_BOOLEAN: buf_puts(r->out, o->via.boolean ? "true" : "false"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: buf_u64(r->out, o->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: buf_printf(r->out, "%lld", (long long)o->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: add_double(r, o->via.f64); break;
    case MSGPACK_OBJECT_STR: add_text(r->out, slice_make(o->via.str.ptr, o->via.str.size)); break;
    case MSGPACK_OBJECT_BIN: add_file(r, slice_make(o->via.bin.ptr, o->via.bin.size)); break;
    case MSGPACK_OBJECT_ARRAY: add_array(r, &o->via.array, depth); break;
    case MSGPACK_OBJECT_MAP: add_map(r, &o->via.map, depth); break;
    default: r->why = "not msgpack";
    }
}

const char *msgpack_to_json(struct slice in, bool (*takes_file)(void *user, struct slice member),
                            void *user, struct buf *out) {
    struct reader r = {.out = out, .takes_file = takes_file, .user = user};
    msgpack_unpacked msg;
    size_t used = 0;
    r.why = walk(in);
    if (r.why != NULL) return r.why;
    msgpack_unpacked_init(&msg);
    msgpack_unpack_return read = msgpack_unpack_next(&msg, in.ptr, in.len, &used);
    if (read == MSGPACK_UNPACK_SUCCESS)
        add_object(&r, &msg.data, 0);
    else
        r.why = "not msgpack";
    if (read == MSGPACK_UNPACK_NOMEM_ERROR) out->failed = out->no_memory = true;
    msgpack_unpacked_destroy(&msg);
    if (r.why == NULL && out->failed) r.why = "the message is too large";
    return r.why;
}

/* --- from JSON */

static int write_out(void *data, const char *bytes, size_t n) {
    return buf_add(data, slice_make(bytes, n)) ? 0 : -1;
}

static void pack_text(msgpack_packer *p, yyjson_val *v) {
    msgpack_pack_str(p, yyjson_get_len(v));
    msgpack_pack_str_body(p, yyjson_get_str(v), yyjson_get_len(v));
}

static void pack_value(msgpack_packer *p, yyjson_val *v);

static void pack_object(msgpack_packer *p, yyjson_val *v) {
    size_t i, n;
    yyjson_val *k, *e;
    msgpack_pack_map(p, yyjson_obj_size(v));
    yyjson_obj_foreach(v, i, n, k, e) {
        pack_text(p, k);
        pack_value(p, e);
    }
}

static void pack_array(msgpack_packer *p, yyjson_val *v) {
    size_t i, n;
    yyjson_val *e;
    msgpack_pack_array(p, yyjson_arr_size(v));
    yyjson_arr_foreach(v, i, n, e) pack_value(p, e);
}

static void pack_value(msgpack_packer *p, yyjson_val *v) {
    if (yyjson_is_obj(v))
        pack_object(p, v);
    else if (yyjson_is_arr(v))
        pack_array(p, v);
    else if (yyjson_is_str(v))
        pack_text(p, v);
    else if (yyjson_is_uint(v))
        msgpack_pack_uint64(p, yyjson_get_uint(v));
    else if (yyjson_is_sint(v))
        msgpack_pack_int64(p, yyjson_get_sint(v));
    else if (yyjson_is_real(v))
        msgpack_pack_double(p, yyjson_get_real(v));
    else if (yyjson_is_bool(v))
        yyjson_get_bool(v) ? msgpack_pack_true(p) : msgpack_pack_false(p);
    else
        msgpack_pack_nil(p);
}

bool msgpack_from_json(struct slice json, struct buf *out) {
    struct json_error err;
    msgpack_packer p;
    yyjson_doc *doc = json_parse(json, &err);
    if (doc == NULL) {
        out->no_memory = err.fault == JSON_MEMORY;
        out->failed = out->failed || out->no_memory;
        return false;
    }
    msgpack_packer_init(&p, out, write_out);
    pack_value(&p, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    return !out->failed;
}
