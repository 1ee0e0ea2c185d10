#include "api/endpoints.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void set_prompt(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->prompt = json_str(v);
}

static void set_system_prompt(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->system_prompt = json_str(v);
}

static void set_model(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->model = json_str(v);
}

static void set_reasoning(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->reasoning = yyjson_get_bool(v);
}

static void set_priority(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->latency = slice_is(json_str(v), "latency");
}

static void set_temperature(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->has_temperature = true;
    r->temperature = yyjson_get_num(v);
}

static void set_max_tokens(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->has_max_tokens = true;
    r->max_tokens = (uint32_t)yyjson_get_num(v);
}

static void add_images(struct llm_request *r, const struct slice *more, size_t n, struct arena *a) {
    struct slice *all = arena_alloc(a, (r->nimages + n) * sizeof *all);
    if (all == NULL) return;
    if (r->nimages > 0) memcpy(all, r->images, r->nimages * sizeof *all);
    memcpy(all + r->nimages, more, n * sizeof *all);
    r->images = all;
    r->nimages += n;
}

static void set_image_url(struct llm_request *r, yyjson_val *v, struct arena *a) {
    struct slice url = json_str(v);
    add_images(r, &url, 1, a);
}

static void set_image_urls(struct llm_request *r, yyjson_val *v, struct arena *a) {
    size_t i, n;
    yyjson_val *item;
    yyjson_arr_foreach(v, i, n, item) set_image_url(r, item, a);
}

static const char *const priorities[] = {"throughput", "latency", NULL};

#define MAX_TOKENS_LIMIT 1000000.0
#define MAX_URLS 64U
/* Twice what fills the largest context there is (2 million tokens of about 4 bytes). */
#define PROMPT_MAX_BYTES (8U << 20)

static const struct input_field any_llm_inputs[] = {
    {"prompt", INPUT_STRING, true, 0, PROMPT_MAX_BYTES, NULL, "what the model is asked",
     set_prompt},
    {"system_prompt", INPUT_STRING, false, 0, PROMPT_MAX_BYTES, NULL,
     "context or instructions for the model", set_system_prompt},
    {"model", INPUT_MODEL, false, 0, 0, NULL,
     "id of the catalogue; premium models cost ten times as much", set_model},
    {"reasoning", INPUT_BOOL, false, 0, 0, NULL, "whether the reasoning is part of the answer",
     set_reasoning},
    {"priority", INPUT_ENUM, false, 0, 0, priorities, "what the provider is chosen by",
     set_priority},
    {"temperature", INPUT_NUMBER, false, 0, 2, NULL, "0 is the most predictable", set_temperature},
    {"max_tokens", INPUT_INTEGER, false, 1, MAX_TOKENS_LIMIT, NULL, "longest answer, in tokens",
     set_max_tokens},
    {"image_url", INPUT_URL, false, 0, 0, NULL, "an image the prompt speaks of", set_image_url},
    {"image_urls", INPUT_URLS, false, 0, 0, NULL, "images the prompt speaks of", set_image_urls},
    {NULL, INPUT_STRING, false, 0, 0, NULL, NULL, NULL},
};

static const struct endpoint endpoints[] = {
    {"fal-ai/any-llm", any_llm_inputs,
     OUTPUT_TEXT | OUTPUT_REASONING | OUTPUT_PARTIAL | OUTPUT_ERROR | OUTPUT_USAGE, false},
};

size_t endpoint_count(void) {
    return sizeof endpoints / sizeof *endpoints;
}

const struct endpoint *endpoint_at(size_t i) {
    return &endpoints[i];
}

const struct endpoint *endpoint_find(struct slice path, struct slice *rest) {
    const struct endpoint *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < endpoint_count(); i++) {
        struct slice id = slice_of(endpoints[i].id);
        if (id.len < best_len || !slice_starts(path, id)) continue;
        if (path.len > id.len && path.ptr[id.len] != '/') continue;
        best = &endpoints[i];
        best_len = id.len;
    }
    if (best != NULL) *rest = slice_from(path, path.len > best_len ? best_len + 1 : best_len);
    return best;
}

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

static void field_fault(struct faults *f, const struct input_field *in, const char *msg,
                        const char *type, const char *ctx, yyjson_val *v) {
    char loc[96];
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

static bool url_ok(yyjson_val *v) {
    struct slice s = json_str(v);
    return slice_starts(s, SLICE("https://")) || slice_starts(s, SLICE("http://")) ||
           slice_starts(s, SLICE("data:"));
}

static bool check_url(struct faults *f, const struct input_field *in, yyjson_val *v) {
    if (!check_string(f, in, v)) return false;
    if (url_ok(v)) return true;
    field_fault(f, in, "URL should begin with https://, http:// or data:", "url_scheme", NULL, v);
    return false;
}

static bool check_urls(struct faults *f, const struct input_field *in, yyjson_val *v) {
    size_t i, n;
    yyjson_val *item;
    if (!yyjson_is_arr(v)) {
        field_fault(f, in, "Input should be a valid list", "list_type", NULL, v);
        return false;
    }
    if (yyjson_arr_size(v) > MAX_URLS) {
        field_fault(f, in, "List should have at most 64 items", "sequence_too_long",
                    "{\"max_length\":64}", NULL);
        return false;
    }
    yyjson_arr_foreach(v, i, n, item) if (!check_url(f, in, item)) return false;
    return true;
}

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
    }
    return false;
}

bool endpoint_read(const struct endpoint *e, yyjson_val *input, const struct llm *llm,
                   const struct catalogue *catalogue, struct arena *a, struct llm_request *r,
                   struct faults *faults) {
    for (const struct input_field *in = e->inputs; in->name != NULL; in++) {
        yyjson_val *v = json_get(input, in->name);
        if (v == NULL || (!in->required && yyjson_is_null(v))) {
            if (in->required) field_fault(faults, in, "Field required", "missing", NULL, NULL);
            continue;
        }
        if (check(faults, in, v, llm) && in->set != NULL) in->set(r, v, a);
    }
    if (r->model.len == 0) r->model = catalogue_default(catalogue);
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
