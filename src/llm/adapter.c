#include "llm/adapter.h"

#include "base/json.h"
#include "net/h1.h"

#include <stdio.h>
#include <stdlib.h>

static void add_text(struct buf *b, struct slice s) {
    json_add_string(b, s, false);
}

/* --- media: parts of the user's message */

/* What stands behind the comma of a data URI whose data is base64, and its media type; false for anything else. */
static bool read_data_uri(struct slice uri, struct slice *type, struct slice *data) {
    struct slice head, parameters;
    if (!slice_starts(uri, SLICE("data:"))) return false;
    head = slice_cut(slice_from(uri, 5), ',', data);
    *type = slice_cut(head, ';', &parameters);
    return data->ptr != NULL && slice_ends(head, SLICE(";base64"));
}

/* The names OpenAI's and OpenRouter's wire have for kinds of sound; what is not here goes by its own name. */
static struct slice audio_format(struct slice type) {
    static const struct {
        struct slice subtype, format;
    } formats[] = {{SLICE("mpeg"), SLICE("mp3")},    {SLICE("x-wav"), SLICE("wav")},
                   {SLICE("wave"), SLICE("wav")},    {SLICE("vnd.wave"), SLICE("wav")},
                   {SLICE("mp4"), SLICE("m4a")},     {SLICE("x-m4a"), SLICE("m4a")},
                   {SLICE("x-flac"), SLICE("flac")}, {SLICE("x-aiff"), SLICE("aiff")},
                   {SLICE("x-aac"), SLICE("aac")},   {SLICE("aacp"), SLICE("aac")}};
    struct slice subtype;
    (void)slice_cut(type, '/', &subtype);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (slice_eq_nocase(subtype, formats[i].subtype)) return formats[i].format;
    return subtype;
}

static void add_url_part(struct buf *b, const char *kind, struct slice url) {
    buf_printf(b, ",{\"type\":\"%s\",\"%s\":{\"url\":", kind, kind);
    add_text(b, url);
    buf_puts(b, "}}");
}

/* OpenAI takes sound as base64 only; an address is vLLM's way. */
static void add_audio_part(struct buf *b, struct slice uri) {
    struct slice type, data;
    if (!read_data_uri(uri, &type, &data)) {
        add_url_part(b, "audio_url", uri);
        return;
    }
    buf_puts(b, ",{\"type\":\"input_audio\",\"input_audio\":{\"data\":");
    add_text(b, data);
    buf_puts(b, ",\"format\":");
    add_text(b, audio_format(type));
    buf_puts(b, "}}");
}

static void add_user_parts(struct buf *b, const struct llm_request *r) {
    buf_puts(b, "[{\"type\":\"text\",\"text\":");
    add_text(b, r->prompt);
    buf_addc(b, '}');
    for (size_t i = 0; i < r->nimages; i++) add_url_part(b, "image_url", r->images[i]);
    for (size_t i = 0; i < r->naudios; i++) add_audio_part(b, r->audios[i]);
    for (size_t i = 0; i < r->nvideos; i++) add_url_part(b, "video_url", r->videos[i]);
    buf_addc(b, ']');
}

const char *adapter_refuses(const struct config_upstream *up, const struct llm_request *r) {
    struct slice type, data;
    if (up->kind != UPSTREAM_OPENROUTER) return NULL;
    for (size_t i = 0; i < r->naudios; i++)
        if (!read_data_uri(r->audios[i], &type, &data))
            return "the upstream of this model takes audio only as a base64 data URI";
    return NULL;
}

/* --- the body */

static void add_messages(struct buf *b, const struct llm_request *r) {
    buf_puts(b, ",\"messages\":[");
    if (r->system_prompt.len > 0) {
        buf_puts(b, "{\"role\":\"system\",\"content\":");
        add_text(b, r->system_prompt);
        buf_puts(b, "},");
    }
    buf_puts(b, "{\"role\":\"user\",\"content\":");
    if (r->nimages + r->naudios + r->nvideos > 0)
        add_user_parts(b, r);
    else
        add_text(b, r->prompt);
    buf_puts(b, "}]");
}

/* The shortest decimal that reads back as the same double: what the caller wrote. */
static void add_number(struct buf *b, double v) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf_puts(b, text);
}

/* A sort of ours would take the place of OpenRouter's own balance between providers. */
static void add_provider(struct buf *b, const struct llm_request *r) {
    static const char *const sorts[] = {[LLM_PRIORITY_NONE] = "",
                                        [LLM_PRIORITY_THROUGHPUT] = "\"sort\":\"throughput\"",
                                        [LLM_PRIORITY_LATENCY] = "\"sort\":\"latency\""};
    const char *sort = sorts[r->priority];
    if (sort[0] == '\0' && !r->keeps_nothing) return;
    buf_printf(b, ",\"provider\":{%s%s%s}", sort, sort[0] != '\0' && r->keeps_nothing ? "," : "",
               r->keeps_nothing ? "\"data_collection\":\"deny\"" : "");
}

static void add_openrouter(struct buf *b, const struct llm_request *r) {
    add_provider(b, r);
    buf_puts(b, r->reasoning ? ",\"reasoning\":{\"enabled\":true}"
                             : ",\"reasoning\":{\"exclude\":true}");
    buf_puts(b, ",\"usage\":{\"include\":true}");
}

static bool wants_completion_tokens(const struct config_upstream *up,
                                    const struct route_step *step) {
    return up->kind == UPSTREAM_OPENAI && step->entry != NULL && step->entry->max_completion_tokens;
}

static void add_values(struct buf *b, const struct config_upstream *up,
                       const struct route_step *step, const struct llm_request *r) {
    uint32_t max_tokens = r->has_max_tokens ? r->max_tokens : up->default_max_tokens;
    add_messages(b, r);
    if (max_tokens > 0) {
        buf_puts(b, wants_completion_tokens(up, step) ? ",\"max_completion_tokens\":"
                                                      : ",\"max_tokens\":");
        buf_u64(b, max_tokens);
    }
    if (r->has_temperature) {
        buf_puts(b, ",\"temperature\":");
        add_number(b, r->temperature);
    }
}

/* --- members: the caller's own, passed on */

/* The caller's wishes about OpenRouter's providers, but for what providers may keep: that is the endpoint's promise. */
static void add_denying_provider(struct buf *b, struct slice wishes) {
    struct slice rest = json_inside(wishes);
    struct json_member m;
    buf_puts(b, ",\"provider\":{");
    while (json_next_member(&rest, &m)) {
        if (json_name_is(m.name, "data_collection")) continue;
        buf_add(b, m.text);
        buf_addc(b, ',');
    }
    buf_puts(b, "\"data_collection\":\"deny\"}");
}

static void add_members(struct buf *b, const struct config_upstream *up,
                        const struct llm_request *r) {
    bool deny = up->kind == UPSTREAM_OPENROUTER && r->keeps_nothing;
    struct slice rest = r->members, wishes = SLICE("");
    struct json_member m;
    if (!deny) {
        buf_addc(b, ',');
        buf_add(b, r->members);
        return;
    }
    while (json_next_member(&rest, &m)) {
        if (json_name_is(m.name, "provider")) {
            wishes = m.value;
            continue;
        }
        buf_addc(b, ',');
        buf_add(b, m.text);
    }
    add_denying_provider(b, wishes);
}

static void add_stream(struct buf *b, const struct llm_request *r) {
    buf_puts(b, ",\"stream\":true,\"stream_options\":{");
    buf_add(b, r->stream_options);
    buf_puts(b, r->stream_options.len > 0 ? ",\"include_usage\":true}" : "\"include_usage\":true}");
}

bool adapter_body(struct buf *b, const struct config_upstream *up, const struct route_step *step,
                  const struct llm_request *r, bool stream) {
    bool values = r->members.len == 0;
    buf_puts(b, "{\"model\":");
    add_text(b, step->upstream_id);
    if (values)
        add_values(b, up, step, r);
    else
        add_members(b, up, r);
    if (stream) add_stream(b, r);
    if (values && up->kind == UPSTREAM_OPENROUTER) add_openrouter(b, r);
    buf_addc(b, '}');
    return !b->failed;
}

static bool add_header(struct buf *b, const char *name, struct slice prefix, struct slice value) {
    if (value.len == 0) return true;
    if (!h1_value_ok(value)) return false;
    buf_puts(b, name);
    buf_puts(b, ": ");
    buf_add(b, prefix);
    buf_add(b, value);
    return buf_puts(b, "\r\n");
}

bool adapter_headers(struct buf *b, const struct config_upstream *up, const struct secret *key,
                     bool stream) {
    bool ok = true;
    buf_puts(b, "Content-Type: application/json\r\n");
    buf_puts(b, stream ? "Accept: text/event-stream\r\n" : "Accept: application/json\r\n");
    buf_puts(b, "User-Agent: anyllm/" ANYLLM_VERSION "\r\n");
    if (up->kind == UPSTREAM_OPENROUTER) {
        ok = add_header(b, "HTTP-Referer", SLICE_NONE, up->http_referer) && ok;
        ok = add_header(b, "X-Title", SLICE_NONE, up->x_title) && ok;
    }
    if (secret_is_set(key))
        ok = add_header(b, "Authorization", SLICE("Bearer "), secret_reveal(key)) && ok;
    return ok && !b->failed;
}

bool adapter_path(struct buf *b, const struct config_upstream *up) {
    if (up->kind == UPSTREAM_LOCAL) return buf_puts(b, "/v1/chat/completions");
    buf_add(b, up->base_path);
    return buf_puts(b, "/chat/completions");
}
