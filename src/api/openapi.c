#include "api/openapi.h"

#include "api/call.h"

/* Of embed.sh. */
extern const unsigned char openapi_template[], llms_template[], llms_openai_template[];
extern const size_t openapi_template_len, llms_template_len, llms_openai_template_len;

struct page {
    struct buf *b;
    const struct endpoint *e;
    const struct catalogue *cat;
    struct slice base;
};

static const char *const json_types[] = {
    [INPUT_STRING] = "string", [INPUT_MODEL] = "string",    [INPUT_BOOL] = "boolean",
    [INPUT_NUMBER] = "number", [INPUT_INTEGER] = "integer", [INPUT_ENUM] = "string",
    [INPUT_URL] = "string",    [INPUT_URLS] = "array",      [INPUT_MESSAGES] = "array",
};

static const struct {
    unsigned bit;
    const char *name, *title, *schema, *type, *description;
} outputs[] = {
    {OUTPUT_TEXT, "output", "Output", "\"type\":\"string\"", "string", "What the model answered."},
    {OUTPUT_REASONING, "reasoning", "Reasoning", "\"type\":\"string\",\"nullable\":true",
     "string or null", "How it came to it, when reasoning was asked for and the model tells."},
    {OUTPUT_PARTIAL, "partial", "Partial", "\"type\":\"boolean\",\"default\":false", "boolean",
     "Whether the output is cut, or not yet whole in a stream."},
    {OUTPUT_ERROR, "error", "Error", "\"type\":\"string\",\"nullable\":true", "string or null",
     "Why it is cut; null when nothing went wrong."},
    {OUTPUT_USAGE, "usage", "Usage", "\"allOf\":[{\"$ref\":\"#/components/schemas/Usage\"}]",
     "object",
     "prompt_tokens, completion_tokens, total_tokens, cost in US dollars or null, "
     "prompt_tokens_details; missing when the upstream does not tell."},
};
#define NOUTPUTS (sizeof outputs / sizeof *outputs)

/* --- JSON, member by member */

static void comma(struct buf *b) {
    struct slice s = buf_slice(b);
    if (s.len > 0 && strchr("{[", s.ptr[s.len - 1]) == NULL) buf_addc(b, ',');
}

static void name_json(struct buf *b, const char *name) {
    comma(b);
    buf_printf(b, "\"%s\":", name);
}

static void put_text(struct buf *b, const char *name, const char *text) {
    name_json(b, name);
    json_add_string(b, slice_of(text), true);
}

static void put_json(struct buf *b, const char *name, const char *json) {
    if (json == NULL) return;
    name_json(b, name);
    buf_puts(b, json);
}

/* Bounds of the table are whole numbers. */
static void put_number(struct buf *b, const char *name, double n) {
    name_json(b, name);
    buf_printf(b, "%.0f", n);
}

/* --- what the table says, as both documents need it */

static bool is_in(unsigned set, unsigned row) {
    return (set & 1U << row) != 0;
}

static const struct input_field *field(unsigned row) {
    return input_field_at((enum input_row)row);
}

/* Lists the catalogue: all of it, or what takes images where those are looked at. Quotes are " or `. */
static void put_models(const struct page *p, char quote) {
    bool sees = p->e->sees, first = true;
    const struct catalogue_model *m = catalogue_find(p->cat, endpoint_default_model(p->cat, sees));
    if (m == NULL || !m->vision) sees = false; /* none does */
    for (size_t i = 0; i < catalogue_count(p->cat); i++) {
        m = catalogue_at(p->cat, i);
        if (sees && !m->vision) continue;
        if (!first) buf_puts(p->b, ", ");
        first = false;
        if (quote == '"')
            json_add_string(p->b, m->id, true);
        else
            buf_printf(p->b, "`%.*s`", SLICE_ARG(m->id));
    }
}

/* The fields of an example: what is needed, and one of each set. */
static unsigned example_rows(const struct endpoint *e) {
    unsigned rows = e->needs;
    const unsigned images = e->sees ? IN(IMAGE_URL) | IN(IMAGE_URLS) : 0,
                   sets[] = {e->needs_one | images, e->one_only};
    for (size_t i = 0; i < 2; i++)
        for (unsigned row = IN_COUNT; row-- > 0;) {
            if (!is_in(sets[i], row)) continue;
            rows |= 1U << row;
            break;
        }
    return rows;
}

static void put_example(const struct page *p) {
    unsigned rows = example_rows(p->e);
    buf_addc(p->b, '{');
    for (unsigned row = 0; row < IN_COUNT; row++) {
        if (!is_in(rows, row)) continue;
        if (row == IN_PROMPT && p->e->asks != NULL)
            put_text(p->b, field(row)->name, p->e->asks);
        else
            put_json(p->b, field(row)->name, field(row)->example);
    }
    buf_addc(p->b, '}');
}

/* --- the schema of an input */

/* "fal-ai/any-llm/vision" names AnyLlmVisionInput and AnyLlmVisionOutput. */
static void put_name(const struct page *p) {
    struct endpoint_id id;
    endpoint_id_parse(slice_of(p->e->id), &id);
    struct slice from = slice_make(id.alias.ptr, strlen(id.alias.ptr));
    bool capital = true;
    for (size_t i = 0; i < from.len; i++) {
        char c = from.ptr[i];
        bool sign = strchr("/-_.", c) != NULL;
        if (!sign) buf_addc(p->b, capital && c >= 'a' && c <= 'z' ? (char)(c - 32) : c);
        capital = sign;
    }
}

static void put_string_array(struct buf *b, const char *name, const char *const *values) {
    name_json(b, name);
    buf_addc(b, '[');
    for (; *values != NULL; values++) {
        comma(b);
        json_add_string(b, slice_of(*values), true);
    }
    buf_addc(b, ']');
}

static void put_model_bounds(const struct page *p) {
    name_json(p->b, "enum");
    buf_addc(p->b, '[');
    put_models(p, '"');
    buf_addc(p->b, ']');
    name_json(p->b, "default");
    json_add_string(p->b, endpoint_default_model(p->cat, p->e->sees), true);
}

static void put_bounds(const struct page *p, const struct input_field *in) {
    struct buf *b = p->b;
    switch (in->type) {
    case INPUT_STRING: put_number(b, "maxLength", in->max); break;
    case INPUT_NUMBER:
    case INPUT_INTEGER:
        put_number(b, "minimum", in->min);
        put_number(b, "maximum", in->max);
        break;
    case INPUT_ENUM: put_string_array(b, "enum", in->values); break;
    case INPUT_URLS:
        put_json(b, "items", "{\"type\":\"string\"}");
        put_number(b, "maxItems", INPUT_MAX_URLS);
        break;
    case INPUT_MESSAGES: put_json(b, "items", "{\"type\":\"object\"}"); break;
    case INPUT_MODEL:
        if (in->lists_models) put_model_bounds(p);
        break;
    case INPUT_BOOL:
    case INPUT_URL: break;
    }
}

static void put_property(const struct page *p, const struct input_field *in) {
    name_json(p->b, in->name);
    buf_addc(p->b, '{');
    put_text(p->b, "title", in->title);
    put_text(p->b, "description", in->description);
    put_text(p->b, "type", json_types[in->type]);
    put_bounds(p, in);
    put_json(p->b, "default", in->standard);
    put_json(p->b, "example", in->example);
    buf_addc(p->b, '}');
}

static void put_names(const struct page *p, const char *name, unsigned rows) {
    name_json(p->b, name);
    buf_addc(p->b, '[');
    for (unsigned row = 0; row < IN_COUNT; row++) {
        if (!is_in(rows, row)) continue;
        comma(p->b);
        buf_printf(p->b, "\"%s\"", field(row)->name);
    }
    buf_addc(p->b, ']');
}

/* At least one of a set: anyOf of the single requirements. At most one of two: not both. */
static void put_sets(const struct page *p) {
    if (p->e->needs_one != 0) {
        name_json(p->b, "anyOf");
        buf_addc(p->b, '[');
        for (unsigned row = 0; row < IN_COUNT; row++) {
            if (!is_in(p->e->needs_one, row)) continue;
            comma(p->b);
            buf_printf(p->b, "{\"required\":[\"%s\"]}", field(row)->name);
        }
        buf_addc(p->b, ']');
    }
    if (p->e->one_only == 0) return;
    name_json(p->b, "not");
    buf_addc(p->b, '{');
    put_names(p, "required", p->e->one_only);
    buf_addc(p->b, '}');
}

static void put_input(const struct page *p) {
    buf_puts(p->b, "{\"title\":\"");
    put_name(p);
    buf_puts(p->b, "Input\"");
    put_text(p->b, "type", "object");
    put_names(p, "required", p->e->needs);
    put_sets(p);
    name_json(p->b, "properties");
    buf_addc(p->b, '{');
    for (unsigned row = 0; row < IN_COUNT; row++)
        if (is_in(p->e->takes, row)) put_property(p, field(row));
    buf_addc(p->b, '}');
    put_names(p, "x-fal-order-properties", p->e->takes);
    buf_addc(p->b, '}');
}

/* --- the schema of an output */

static void put_output_property(struct buf *b, size_t i) {
    name_json(b, outputs[i].name);
    buf_addc(b, '{');
    put_text(b, "title", outputs[i].title);
    put_text(b, "description", outputs[i].description);
    comma(b);
    buf_puts(b, outputs[i].schema);
    buf_addc(b, '}');
}

static void put_output(const struct page *p) {
    if (p->e->dialect == ENDPOINT_OPENAI) {
        buf_puts(p->b,
                 "{\"type\":\"object\",\"description\":\"A chat completion of OpenAI's API.\","
                 "\"additionalProperties\":true}");
        return;
    }
    buf_puts(p->b, "{\"title\":\"");
    put_name(p);
    buf_puts(p->b, "Output\",\"type\":\"object\",\"required\":[\"output\"],\"properties\":{");
    for (size_t i = 0; i < NOUTPUTS; i++)
        if ((p->e->outputs & outputs[i].bit) != 0) put_output_property(p->b, i);
    buf_puts(p->b, "},\"x-fal-order-properties\":[");
    for (size_t i = 0; i < NOUTPUTS; i++) {
        if ((p->e->outputs & outputs[i].bit) == 0) continue;
        comma(p->b);
        buf_printf(p->b, "\"%s\"", outputs[i].name);
    }
    buf_puts(p->b, "]}");
}

#define REF(name) "{\"$ref\":\"#/components/schemas/" name "\"}"

static void put_failure(const struct page *p) {
    buf_puts(p->b, "{\"anyOf\":[" REF("ValidationErrors") "," REF("Error"));
    if (p->e->dialect == ENDPOINT_OPENAI)
        buf_puts(p->b, ",{\"type\":\"object\",\"title\":\"OpenAIError\",\"required\":[\"error\"],"
                       "\"properties\":{\"error\":{\"type\":\"object\",\"properties\":{"
                       "\"message\":{\"type\":\"string\"},\"type\":{\"type\":\"string\"},"
                       "\"param\":{\"type\":\"string\",\"nullable\":true},"
                       "\"code\":{\"type\":\"string\",\"nullable\":true}}}}}");
    buf_puts(p->b, "]}");
}

/* --- the same as lines of Markdown */

static void put_field_bounds(const struct page *p, const struct input_field *in) {
    struct buf *b = p->b;
    if (in->type == INPUT_NUMBER || in->type == INPUT_INTEGER)
        buf_printf(b, ", %.0f to %.0f", in->min, in->max);
    if (in->type == INPUT_STRING) buf_printf(b, ", at most %.0f bytes", in->max);
    if (in->type == INPUT_URLS) buf_printf(b, " of strings, at most %u", INPUT_MAX_URLS);
    for (const char *const *v = in->values; v != NULL && *v != NULL; v++)
        buf_printf(b, "%s`%s`", v == in->values ? ", " : " or ", *v);
}

static void put_field_line(const struct page *p, unsigned row) {
    const struct input_field *in = field(row);
    buf_printf(p->b, "- `%s` (%s", in->name, json_types[in->type]);
    put_field_bounds(p, in);
    buf_puts(p->b, is_in(p->e->needs, row)       ? ", required"
                   : is_in(p->e->needs_one, row) ? ", one of these is required"
                                                 : ", optional");
    if (in->standard != NULL) buf_printf(p->b, ", default `%s`", in->standard);
    if (in->lists_models)
        buf_printf(p->b, ", default `%.*s`", SLICE_ARG(endpoint_default_model(p->cat, p->e->sees)));
    buf_printf(p->b, "): %s", in->description);
    if (in->lists_models) {
        buf_puts(p->b, " One of ");
        put_models(p, '`');
        buf_addc(p->b, '.');
    }
    buf_addc(p->b, '\n');
}

static void put_fields(const struct page *p) {
    for (unsigned row = 0; row < IN_COUNT; row++)
        if (is_in(p->e->takes, row)) put_field_line(p, row);
}

static void put_answer(const struct page *p) {
    for (size_t i = 0; i < NOUTPUTS; i++)
        if ((p->e->outputs & outputs[i].bit) != 0)
            buf_printf(p->b, "- `%s` (%s): %s\n", outputs[i].name, outputs[i].type,
                       outputs[i].description);
}

/* --- the words of the frames */

static void put_id(const struct page *p) {
    buf_puts(p->b, p->e->id);
}

static void put_owner_alias(const struct page *p) {
    buf_add(p->b, endpoint_owner_alias(slice_of(p->e->id)));
}

static void put_title(const struct page *p) {
    buf_puts(p->b, p->e->title);
}

static void put_description(const struct page *p) {
    buf_puts(p->b, p->e->description);
}

static void put_category(const struct page *p) {
    buf_puts(p->b, p->e->category);
}

/* A Host holds nothing that JSON escapes; public_url is a URL. */
static void put_base(const struct page *p) {
    output_add_escaped(p->b, p->base);
}

static const struct {
    struct slice word;
    void (*put)(const struct page *p);
} words[] = {
    {{"@id@", 4}, put_id},
    {{"@owner_alias@", 13}, put_owner_alias},
    {{"@name@", 6}, put_name},
    {{"@title@", 7}, put_title},
    {{"@description@", 13}, put_description},
    {{"@category@", 10}, put_category},
    {{"@base@", 6}, put_base},
    {{"@example@", 9}, put_example},
    {{"@input@", 7}, put_input},
    {{"@output@", 8}, put_output},
    {{"@failure@", 9}, put_failure},
    {{"@fields@", 8}, put_fields},
    {{"@answer@", 8}, put_answer},
};
#define NWORDS (sizeof words / sizeof *words)

static void fill(const struct page *p, struct slice frame) {
    while (frame.len > 0) {
        ptrdiff_t at = slice_find(frame, '@');
        size_t plain = at < 0 ? frame.len : (size_t)at, i = 0;
        buf_add(p->b, slice_make(frame.ptr, plain));
        frame = slice_from(frame, plain);
        while (i < NWORDS && !slice_starts(frame, words[i].word)) i++;
        if (i < NWORDS) {
            words[i].put(p);
            frame = slice_from(frame, words[i].word.len);
        } else if (frame.len > 0) { /* an @ of the frame's own */
            buf_addc(p->b, '@');
            frame = slice_from(frame, 1);
        }
    }
}

static struct slice frame_of(const unsigned char *text, size_t len) {
    return slice_make((const char *)text, len);
}

void openapi_json(struct buf *b, const struct endpoint *e, const struct catalogue *cat,
                  struct slice base_url) {
    const struct page p = {b, e, cat, base_url};
    fill(&p, frame_of(openapi_template, openapi_template_len));
}

void llms_txt(struct buf *b, const struct endpoint *e, const struct catalogue *cat,
              struct slice base_url) {
    const struct page p = {b, e, cat, base_url};
    if (e->dialect == ENDPOINT_OPENAI)
        fill(&p, frame_of(llms_openai_template, llms_openai_template_len));
    else
        fill(&p, frame_of(llms_template, llms_template_len));
}

/* --- on the wire */

/* The endpoint that a text names, under the name that was asked for. */
static bool find_asked(struct call *c, struct slice text, struct endpoint *out) {
    const struct config *cfg = c->api->config;
    struct endpoint_id id;
    struct slice rest, whole;
    if (!endpoint_id_parse(text, &id)) return false;
    whole = endpoint_id_text(&id, true, net_arena(c->x));
    if (whole.ptr == NULL) return false;
    const struct endpoint *e = endpoint_resolve(whole, cfg->aliases, cfg->naliases, &rest);
    if (e == NULL || rest.len > 0) return false;
    *out = *e;
    out->id = arena_dup(net_arena(c->x), whole);
    return out->id != NULL;
}

/* Where the server is reached, without what its queue has before it. */
static struct slice base_of(struct call *c, struct buf *b) {
    struct reach queue = c->at;
    queue.surface = SURFACE_QUEUE;
    queue.prefix = SLICE("/queue");
    reach_base(b, c->api->config, &queue);
    struct slice base = buf_slice(b);
    return slice_make(base.ptr, base.len - queue.prefix.len);
}

static void answer_document(struct call *c, struct slice type, const struct endpoint *e,
                            void (*write)(struct buf *b, const struct endpoint *e,
                                          const struct catalogue *cat, struct slice base_url)) {
    struct buf base, *b = call_scratch(c);
    buf_init(&base, 8192);
    struct slice url = base_of(c, &base);
    write(b, e, c->api->catalogue, url);
    if (b->failed || base.failed) {
        call_error(c, 503, "internal_error", SLICE("out of memory"));
    } else {
        call_headers(c);
        net_reply(c->x, 200, type, buf_slice(b));
    }
    buf_free(&base);
}

void handle_openapi(struct call *c) {
    size_t count, len = 0;
    struct slice raw = h1_query(c->at.query, SLICE("endpoint_id"), &count);
    char *id = arena_alloc(net_arena(c->x), raw.len + 1);
    struct endpoint e;
    bool known = count == 1 && id != NULL && h1_unescape(raw, true, id, &len) &&
                 find_asked(c, slice_make(id, len), &e);
    if (known)
        answer_document(c, JSON_TYPE, &e, openapi_json);
    else
        call_json(c, 404, SLICE("null"));
}

void handle_llms(struct call *c) {
    struct endpoint e;
    if (find_asked(c, c->app, &e))
        answer_document(c, SLICE("text/plain; charset=utf-8"), &e, llms_txt);
    else
        call_error(c, 404, NULL, SLICE("Not Found"));
}
