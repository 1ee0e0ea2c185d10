#include "api/validate.h"

#include <math.h>
#include <stdio.h>

/* --- faults */

#define FAULTS_MAX_BYTES (256U << 10)
#define FAULT_INPUT_BYTES 256U

void faults_init(struct faults *f) {
    *f = (struct faults){0};
    buf_init(&f->json, FAULTS_MAX_BYTES);
    buf_init(&f->text, FAULTS_MAX_BYTES);
}

void faults_free(struct faults *f) {
    buf_free(&f->json);
    buf_free(&f->text);
}

/* A value is shown again only when it is small. */
static void add_input(struct buf *b, yyjson_val *v) {
    if (v == NULL || yyjson_is_ctn(v) ||
        (yyjson_is_str(v) && yyjson_get_len(v) > FAULT_INPUT_BYTES))
        return;
    buf_puts(b, ",\"input\":");
    json_add_value(b, v, true);
}

/* ["body","prompt"] as body.prompt */
static void add_place(struct buf *b, const char *loc) {
    for (; *loc != '\0'; loc++)
        if (strchr("[]\"", *loc) == NULL) buf_addc(b, *loc == ',' ? '.' : *loc);
}

void faults_add(struct faults *f, const char *loc, const char *msg, const char *type,
                const char *ctx, yyjson_val *input) {
    struct buf *b = &f->json;
    buf_puts(b, f->count == 0 ? "[" : ",");
    buf_printf(b, "{\"loc\":%s,\"msg\":", loc);
    json_add_string(b, slice_of(msg), true);
    buf_printf(b, ",\"type\":\"%s\",\"url\":\"https://docs.fal.ai/errors/#%s\"", type, type);
    if (ctx != NULL) buf_printf(b, ",\"ctx\":%s", ctx);
    add_input(b, input);
    buf_addc(b, '}');
    if (f->count++ > 0) return;
    add_place(&f->text, loc);
    buf_printf(&f->text, ": %s", msg);
}

void faults_json(struct buf *b, const struct faults *f) {
    if (f->count == 0 || f->json.failed) b->failed = true;
    buf_puts(b, "{\"detail\":");
    buf_add(b, buf_slice(&f->json));
    buf_puts(b, "],\"message\":");
    json_add_string(b, buf_slice(&f->text), true);
    buf_addc(b, '}');
}

#define LOC_BYTES 96

static void field_fault(struct faults *f, const struct input_field *in, const char *msg,
                        const char *type, const char *ctx, yyjson_val *v) {
    char loc[LOC_BYTES];
    snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", in->name);
    faults_add(f, loc, msg, type, ctx, v);
}

/* --- checks, one per type; true when the value may be set */

static bool check_string(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (!yyjson_is_str(v)) {
        field_fault(f, in, "Input should be a valid string", "string_type", NULL, v);
        return false;
    }
    if (in->type != INPUT_STRING || yyjson_get_len(v) <= (size_t)in->max) return true;
    char msg[96], ctx[64];
    snprintf(msg, sizeof msg, "String should have at most %.0f bytes", in->max);
    snprintf(ctx, sizeof ctx, "{\"max_length\":%.0f}", in->max);
    field_fault(f, in, msg, "sequence_too_long", ctx, NULL);
    return false;
}

static bool check_bool(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (yyjson_is_bool(v)) return true;
    field_fault(f, in, "Input should be a valid boolean", "bool_type", NULL, v);
    return false;
}

static bool check_bounds(struct faults *f, const struct input_field *in, yyjson_val *v) {
    double n = yyjson_get_num(v);
    char msg[96], ctx[64];
    if (n < in->min) {
        snprintf(msg, sizeof msg, "Input should be greater than or equal to %g", in->min);
        snprintf(ctx, sizeof ctx, "{\"ge\":%.0f}", in->min);
        field_fault(f, in, msg, "greater_than_equal", ctx, v);
        return false;
    }
    if (n > in->max) {
        snprintf(msg, sizeof msg, "Input should be less than or equal to %.0f", in->max);
        snprintf(ctx, sizeof ctx, "{\"le\":%.0f}", in->max);
        field_fault(f, in, msg, "less_than_equal", ctx, v);
        return false;
    }
    return true;
}

static bool check_number(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (yyjson_is_num(v)) return check_bounds(f, in, v);
    field_fault(f, in, "Input should be a valid number", "float_type", NULL, v);
    return false;
}

static bool check_integer(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (!yyjson_is_num(v)) {
        field_fault(f, in, "Input should be a valid integer", "int_type", NULL, v);
        return false;
    }
    double n = yyjson_get_num(v);
    if (yyjson_is_real(v) && floor(n) != n) {
        field_fault(f, in, "Input should be a valid integer, got a number with a fractional part",
                    "int_from_float", NULL, v);
        return false;
    }
    return check_bounds(f, in, v);
}

static bool check_enum(struct faults *f, const struct input_field *in, yyjson_val *v) {
    struct buf ctx;
    if (yyjson_is_str(v))
        for (const char *const *at = in->values; *at != NULL; at++)
            if (slice_is(json_str(v), *at)) return true;
    buf_init(&ctx, 4096);
    buf_puts(&ctx, "{\"expected\":[");
    for (const char *const *at = in->values; *at != NULL; at++)
        buf_printf(&ctx, "%s\"%s\"", at == in->values ? "" : ",", *at);
    buf_puts(&ctx, "]}");
    buf_addc(&ctx, '\0');
    field_fault(f, in, "Input should be one of the expected values", "one_of",
                ctx.failed ? NULL : buf_slice(&ctx).ptr, v);
    buf_free(&ctx);
    return false;
}

/* --- addresses of media */

/* Signed addresses of stores are 1 to 4 KiB. */
#define URL_MAX_BYTES 16384U

/* What fal's table of errors says of each kind; what we look at is the main type, so the formats say no more. */
static const struct {
    const char *main_type, *unsupported, *broken, *formats;
} kinds[] = {
    [MEDIA_IMAGE] = {"image", "unsupported_image_format", "image_load_error",
                     "{\"supported_formats\":[\"image/*\"]}"},
    [MEDIA_AUDIO] = {"audio", "unsupported_audio_format", "file_download_error",
                     "{\"supported_formats\":[\"audio/*\"]}"},
    [MEDIA_VIDEO] = {"video", "unsupported_video_format", "file_download_error",
                     "{\"supported_formats\":[\"video/*\"]}"},
};

/* 0: a letter of the alphabet. Without branches, in bytes only, so that a loop of fixed length becomes vector code. */
static unsigned char base64_fault(char ch) {
    unsigned char c = (unsigned char)ch, letter = (unsigned char)((c | 32) - 'a'),
                  digit = (unsigned char)(c - '0');
    return (unsigned char)((letter > 25) & (digit > 9) & (c != '+') & (c != '/'));
}

/* RFC 4648 with its padding, at least one byte: what every upstream reads. A data URI may be as large as a body. */
static bool base64_ok(struct slice s) {
    unsigned char fault = 0;
    size_t i = 0;
    if (s.len == 0 || s.len % 4 != 0) return false;
    for (int padding = 0; padding < 2 && s.ptr[s.len - 1] == '='; padding++) s.len--;
    for (; i + 64 <= s.len && fault == 0; i += 64)
        for (size_t k = 0; k < 64; k++) fault |= base64_fault(s.ptr[i + k]);
    for (; i < s.len; i++) fault |= base64_fault(s.ptr[i]);
    return fault == 0;
}

static bool is_base64_param(struct slice params) {
    static const struct slice last = {";base64", 7};
    if (params.len >= last.len && slice_eq_nocase(slice_from(params, params.len - last.len), last))
        return true;
    return slice_eq_nocase(params, SLICE("base64"));
}

/* data:<type>/<subtype>[;params];base64,<bytes> */
static bool check_data_uri(struct faults *f, const struct input_field *in, const char *loc,
                           yyjson_val *v) {
    struct slice data, params, sub, s = slice_from(json_str(v), 5);
    struct slice type = slice_cut(slice_cut(s, ',', &data), ';', &params);
    const char *why = NULL;
    if (!slice_eq_nocase(slice_cut(type, '/', &sub), slice_of(kinds[in->media].main_type)) ||
        sub.len == 0) {
        faults_add(f, loc, "the type of the data URI is not supported here",
                   kinds[in->media].unsupported, kinds[in->media].formats, v);
        return false;
    }
    if (!is_base64_param(params))
        why = "data URI should be data:<type>;base64,<bytes>";
    else if (!base64_ok(data)) /* nor when there is no comma */
        why = "the bytes of the data URI are not valid base64";
    if (why != NULL) faults_add(f, loc, why, kinds[in->media].broken, NULL, v);
    return why == NULL;
}

static bool url_is_sound(struct slice after_scheme) {
    struct slice rest;
    for (size_t i = 0; i < after_scheme.len; i++)
        if ((unsigned char)after_scheme.ptr[i] <= ' ' || after_scheme.ptr[i] == 0x7f) return false;
    struct slice host = slice_cut(after_scheme, '/', &rest);
    return host.len > 0 && strchr(":?#@", host.ptr[0]) == NULL;
}

static bool check_address(struct faults *f, const struct input_field *in, const char *loc,
                          yyjson_val *v) {
    struct slice s = json_str(v);
    const char *why = NULL, *type = NULL, *ctx = NULL;
    if (slice_starts(s, SLICE("data:"))) return check_data_uri(f, in, loc, v);
    size_t scheme = slice_starts(s, SLICE("https://"))  ? 8
                    : slice_starts(s, SLICE("http://")) ? 7
                                                        : 0;
    if (!yyjson_is_str(v)) {
        why = "Input should be a valid string";
        type = "string_type";
    } else if (scheme == 0) {
        why = "URL should begin with https://, http:// or data:";
        type = "url_scheme";
    } else if (s.len > URL_MAX_BYTES) {
        why = "URL should have at most 16384 bytes";
        type = "sequence_too_long";
        ctx = "{\"max_length\":16384}";
    } else if (!url_is_sound(slice_from(s, scheme))) {
        why = "Input should be a valid URL";
        type = "url_parsing";
    }
    if (why != NULL) faults_add(f, loc, why, type, ctx, v);
    return why == NULL;
}

static bool check_url(struct faults *f, const struct input_field *in, yyjson_val *v) {
    char loc[LOC_BYTES];
    snprintf(loc, sizeof loc, "[\"body\",\"%s\"]", in->name);
    return check_address(f, in, loc, v);
}

static bool check_urls(struct faults *f, const struct input_field *in, yyjson_val *v) {
    size_t i, n;
    yyjson_val *item;
    bool good = true;
    if (!yyjson_is_arr(v)) {
        field_fault(f, in, "Input should be a valid list", "list_type", NULL, v);
        return false;
    }
    if (yyjson_arr_size(v) > INPUT_MAX_URLS) {
        field_fault(f, in, "List should have at most 64 items", "sequence_too_long",
                    "{\"max_length\":64}", NULL);
        return false;
    }
    yyjson_arr_foreach(v, i, n, item) {
        char loc[LOC_BYTES];
        snprintf(loc, sizeof loc, "[\"body\",\"%s\",%zu]", in->name, i);
        good &= check_address(f, in, loc, item);
    }
    return good;
}

/* --- models and messages */

#define MODEL_MAX_BYTES 256U

/* A route may take any id, but the id stands in a header of the answer and in the log. */
static bool model_id_ok(struct slice id) {
    for (size_t i = 0; i < id.len; i++)
        if (id.ptr[i] <= ' ' || id.ptr[i] >= 0x7f) return false;
    return id.len > 0 && id.len <= MODEL_MAX_BYTES;
}

static bool check_model(struct faults *f, const struct input_field *in, yyjson_val *v,
                        const struct llm *llm) {
    if (!check_string(f, in, v)) return false;
    if (model_id_ok(json_str(v)) && llm_knows(llm, json_str(v))) return true;
    field_fault(f, in, "unknown model", "one_of", NULL, v);
    return false;
}

static bool check_messages(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (yyjson_is_arr(v)) return true;
    field_fault(f, in, "Input should be a valid list", "list_type", NULL, v);
    return false;
}

static bool check(struct faults *f, const struct input_field *in, yyjson_val *v,
                  const struct llm *llm) {
    switch (in->type) {
    case INPUT_STRING: return check_string(f, in, v);
    case INPUT_MODEL: return check_model(f, in, v, llm);
    case INPUT_BOOL: return check_bool(f, in, v);
    case INPUT_NUMBER: return check_number(f, in, v);
    case INPUT_INTEGER: return check_integer(f, in, v);
    case INPUT_ENUM: return check_enum(f, in, v);
    case INPUT_URL: return check_url(f, in, v);
    case INPUT_URLS: return check_urls(f, in, v);
    case INPUT_MESSAGES: return check_messages(f, in, v);
    }
    return false;
}

/* --- the whole input */

/* Of a set of rows: how many say something, and the last that is there but an empty list. */
static unsigned count_filled(yyjson_val *input, unsigned set, const struct input_field **empty) {
    unsigned filled = 0;
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const struct input_field *in = input_field_at((enum input_row)row);
        yyjson_val *v = (set & 1U << row) != 0 ? json_get(input, in->name) : NULL;
        if (v == NULL || yyjson_is_null(v)) continue;
        if (yyjson_is_arr(v) && yyjson_arr_size(v) == 0)
            *empty = in;
        else
            filled++;
    }
    return filled;
}

static const struct input_field *last_of(unsigned set) {
    unsigned row = IN_COUNT - 1;
    while ((set & 1U << row) == 0) row--;
    return input_field_at((enum input_row)row);
}

/* A set is told by its last row: the spelling that fal's schema ended with. */
static void check_sets(struct faults *f, const struct endpoint *e, yyjson_val *input) {
    const struct input_field *empty = NULL;
    if (e->needs_one != 0 && count_filled(input, e->needs_one, &empty) == 0) {
        if (empty != NULL)
            field_fault(f, empty, "List should have at least 1 item", "sequence_too_short",
                        "{\"min_length\":1}", NULL);
        else
            field_fault(f, last_of(e->needs_one), "Field required", "missing", NULL, NULL);
    }
    if (e->one_only != 0 && count_filled(input, e->one_only, &empty) > 1)
        field_fault(f, last_of(e->one_only), "cannot stand together with the field for one",
                    "value_error", NULL, NULL);
}

bool endpoint_read(const struct endpoint *e, yyjson_val *input, const struct llm *llm,
                   const struct catalogue *catalogue, struct arena *a, struct llm_request *r,
                   struct faults *faults) {
    if ((e->takes & IN(PRIORITY)) != 0)
        r->priority = LLM_PRIORITY_LATENCY; /* the schema's default */
    for (unsigned row = 0; row < IN_COUNT; row++) {
        if ((e->takes & 1U << row) == 0) continue;
        const struct input_field *in = input_field_at((enum input_row)row);
        bool needed = (e->needs & 1U << row) != 0;
        yyjson_val *v = json_get(input, in->name);
        if (v == NULL || (!needed && yyjson_is_null(v))) {
            if (needed) field_fault(faults, in, "Field required", "missing", NULL, NULL);
            continue;
        }
        if (check(faults, in, v, llm) && in->set != NULL) in->set(r, v, a);
    }
    check_sets(faults, e, input);
    if (r->model.len == 0) r->model = endpoint_default_model(catalogue, e->sees || r->nimages > 0);
    r->keeps_nothing = e->keeps_nothing;
    return faults->count == 0 && !a->failed;
}

static void parse_fault(struct faults *f, const struct json_error *err) {
    static const char *const types[] = {[JSON_SYNTAX] = "json_invalid",
                                        [JSON_UNICODE] = "json_invalid",
                                        [JSON_DEPTH] = "json_invalid",
                                        [JSON_DUPLICATE] = "json_invalid",
                                        [JSON_MEMORY] = "internal_server_error"};
    char loc[48];
    f->memory = err->fault == JSON_MEMORY;
    if (err->fault == JSON_DUPLICATE)
        snprintf(loc, sizeof loc, "[\"body\"]");
    else
        snprintf(loc, sizeof loc, "[\"body\",%zu]", err->offset);
    faults_add(f, loc, err->reason, types[err->fault], NULL, NULL);
}

yyjson_doc *endpoint_parse(struct slice body, struct faults *faults) {
    struct json_error err;
    yyjson_doc *doc = json_parse(body.len == 0 ? SLICE("{}") : body, &err);
    if (doc == NULL) {
        parse_fault(faults, &err);
        return NULL;
    }
    if (yyjson_is_obj(yyjson_doc_get_root(doc))) return doc;
    faults_add(faults, "[\"body\"]", "Input should be a valid dictionary", "dict_type", NULL, NULL);
    yyjson_doc_free(doc);
    return NULL;
}
