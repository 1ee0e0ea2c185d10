#include "api/endpoints.h"

/* --- what each field does to the request */

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
    r->priority = slice_is(json_str(v), "latency") ? LLM_PRIORITY_LATENCY : LLM_PRIORITY_THROUGHPUT;
}

static void set_temperature(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->has_temperature = true;
    r->temperature = yyjson_get_num(v);
}

static void set_max_tokens(struct llm_request *r, yyjson_val *v, struct arena *a) {
    r->has_max_tokens = true;
    r->max_tokens = (uint32_t)yyjson_get_num(v);
}

/* Appends one address or a list of them. */
static void add_urls(const struct slice **list, size_t *n, yyjson_val *v, struct arena *a) {
    size_t more = yyjson_is_arr(v) ? yyjson_arr_size(v) : 1, i, max;
    struct slice *all = arena_alloc(a, (*n + more) * sizeof *all);
    yyjson_val *item;
    if (all == NULL) return;
    if (*n > 0) memcpy(all, *list, *n * sizeof *all);
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, max, item) all[*n + i] = json_str(item);
    } else {
        all[*n] = json_str(v);
    }
    *list = all;
    *n += more;
}

static void set_images(struct llm_request *r, yyjson_val *v, struct arena *a) {
    add_urls(&r->images, &r->nimages, v, a);
}

static void set_audios(struct llm_request *r, yyjson_val *v, struct arena *a) {
    add_urls(&r->audios, &r->naudios, v, a);
}

static void set_videos(struct llm_request *r, yyjson_val *v, struct arena *a) {
    add_urls(&r->videos, &r->nvideos, v, a);
}

/* --- the table of fields, in the order in which documents show them */

#define MAX_TOKENS_LIMIT 1000000.0
/* Twice what fills the largest context there is (2 million tokens of about 4 bytes). */
#define PROMPT_MAX_BYTES (8U << 20)

static const char *const priorities[] = {"throughput", "latency", NULL};

static const struct input_field fields[IN_COUNT] = {
    [IN_PROMPT] = {.name = "prompt",
                   .type = INPUT_STRING,
                   .max = PROMPT_MAX_BYTES,
                   .example = "\"What is the meaning of life?\"",
                   .title = "Prompt",
                   .description = "What the model is asked.",
                   .set = set_prompt},
    [IN_SYSTEM_PROMPT] = {.name = "system_prompt",
                          .type = INPUT_STRING,
                          .max = PROMPT_MAX_BYTES,
                          .example = "\"Answer in one sentence.\"",
                          .title = "System Prompt",
                          .description = "Context or instructions that stand before the prompt.",
                          .set = set_system_prompt},
    [IN_MODEL] = {.name = "model",
                  .type = INPUT_MODEL,
                  .lists_models = true,
                  .title = "Model",
                  .description = "Which model answers. Premium models are charged at ten times the "
                                 "rate of the others.",
                  .set = set_model},
    [IN_ANY_MODEL] = {.name = "model",
                      .type = INPUT_MODEL,
                      .example = "\"google/gemini-2.5-flash\"",
                      .title = "Model",
                      .description = "Which model answers: any id that the server has a way to.",
                      .set = set_model},
    [IN_MESSAGES] = {.name = "messages",
                     .type = INPUT_MESSAGES,
                     .example =
                         "[{\"role\":\"user\",\"content\":\"What is the meaning of life?\"}]",
                     .title = "Messages",
                     .description = "The conversation, as OpenAI's chat completions take it."},
    [IN_REASONING] = {.name = "reasoning",
                      .type = INPUT_BOOL,
                      .standard = "false",
                      .title = "Reasoning",
                      .description = "Whether the model's reasoning is part of the answer.",
                      .set = set_reasoning},
    [IN_PRIORITY] = {.name = "priority",
                     .type = INPUT_ENUM,
                     .values = priorities,
                     .standard = "\"latency\"",
                     .title = "Priority",
                     .description = "What a provider is chosen by where there are several: tokens "
                                    "per second, or the time to the first one.",
                     .set = set_priority},
    [IN_TEMPERATURE] = {.name = "temperature",
                        .type = INPUT_NUMBER,
                        .max = 2,
                        .example = "0.7",
                        .title = "Temperature",
                        .description = "How varied the answer is: 0 is the most predictable. The "
                                       "upstream's own when it is not given.",
                        .set = set_temperature},
    [IN_MAX_TOKENS] = {.name = "max_tokens",
                       .type = INPUT_INTEGER,
                       .min = 1,
                       .max = MAX_TOKENS_LIMIT,
                       .example = "512",
                       .title = "Max Tokens",
                       .description = "The longest answer, in tokens. The upstream's own when it "
                                      "is not given.",
                       .set = set_max_tokens},
    [IN_IMAGE_URL] = {.name = "image_url",
                      .type = INPUT_URL,
                      .media = MEDIA_IMAGE,
                      .example = "\"https://example.org/cat.png\"",
                      .title = "Image URL",
                      .description =
                          "An image that the prompt speaks of: an address or a data URI.",
                      .set = set_images},
    [IN_IMAGE_URLS] = {.name = "image_urls",
                       .type = INPUT_URLS,
                       .media = MEDIA_IMAGE,
                       .example = "[\"https://example.org/cat.png\"]",
                       .title = "Image URLs",
                       .description = "Images that the prompt speaks of: addresses or data URIs.",
                       .set = set_images},
    [IN_AUDIO_URL] = {.name = "audio_url",
                      .type = INPUT_URL,
                      .media = MEDIA_AUDIO,
                      .example = "\"https://example.org/talk.mp3\"",
                      .title = "Audio URL",
                      .description = "The sound that the prompt speaks of: an address or a data "
                                     "URI.",
                      .set = set_audios},
    [IN_VIDEO_URL] = {.name = "video_url",
                      .type = INPUT_URL,
                      .media = MEDIA_VIDEO,
                      .example = "\"https://example.org/walk.mp4\"",
                      .title = "Video URL",
                      .description = "The video that the prompt speaks of: an address or a data "
                                     "URI. Not together with video_urls.",
                      .set = set_videos},
    [IN_VIDEO_URLS] = {.name = "video_urls",
                       .type = INPUT_URLS,
                       .media = MEDIA_VIDEO,
                       .example = "[\"https://example.org/walk.mp4\"]",
                       .title = "Video URLs",
                       .description = "Videos that the prompt speaks of: addresses or data URIs. "
                                      "Not together with video_url.",
                       .set = set_videos},
};

const struct input_field *input_field_at(enum input_row row) {
    return &fields[row];
}

/* --- the table of endpoints */

#define TUNING (IN(SYSTEM_PROMPT) | IN(REASONING) | IN(TEMPERATURE) | IN(MAX_TOKENS))
#define IMAGES (IN(IMAGE_URL) | IN(IMAGE_URLS))
#define VIDEOS (IN(VIDEO_URL) | IN(VIDEO_URLS))
#define ANY_LLM (IN(PROMPT) | IN(MODEL) | TUNING | IN(PRIORITY) | IMAGES)
#define ROUTER (IN(PROMPT) | IN(ANY_MODEL) | TUNING)
#define ROUTER_NEEDS (IN(PROMPT) | IN(ANY_MODEL))

#define MEDIA_OUTPUT (OUTPUT_TEXT | OUTPUT_REASONING | OUTPUT_USAGE)
#define FULL_OUTPUT (MEDIA_OUTPUT | OUTPUT_PARTIAL | OUTPUT_ERROR)

#define ID(text) .id = text, .id_len = sizeof text - 1

static const struct endpoint endpoints[] = {
    {ID("fal-ai/any-llm"), .takes = ANY_LLM, .needs = IN(PROMPT), .outputs = FULL_OUTPUT,
     .category = "llm", .title = "Any LLM",
     .description = "One prompt to any model of the catalogue."},
    {ID("fal-ai/any-llm/vision"), .asks = "What is in this picture?", .takes = ANY_LLM,
     .needs = IN(PROMPT), .sees = true, .outputs = FULL_OUTPUT, .category = "vision",
     .title = "Any VLM",
     .description = "A prompt about one or more images, to any model that sees."},
    {ID("fal-ai/any-llm/enterprise"), .keeps_nothing = true, .takes = ANY_LLM, .needs = IN(PROMPT),
     .outputs = FULL_OUTPUT, .category = "llm", .title = "Any LLM Enterprise",
     .description = "As fal-ai/any-llm, but only upstreams that keep nothing of what they read."},
    {ID("openrouter/router"), .takes = ROUTER, .needs = ROUTER_NEEDS, .outputs = FULL_OUTPUT,
     .category = "llm", .title = "Router", .description = "One prompt to the model that is named."},
    {ID("openrouter/router/vision"), .asks = "What is in this picture?", .takes = ROUTER | IMAGES,
     .needs = ROUTER_NEEDS, .needs_one = IMAGES, .sees = true, .outputs = MEDIA_OUTPUT,
     .category = "vision", .title = "Router Vision",
     .description = "A prompt about one or more images, to the model that is named."},
    {ID("openrouter/router/enterprise"), .keeps_nothing = true, .takes = ROUTER,
     .needs = ROUTER_NEEDS, .outputs = FULL_OUTPUT, .category = "llm", .title = "Router Enterprise",
     .description = "As openrouter/router, but only upstreams that keep nothing of what they "
                    "read."},
    {ID("openrouter/router/audio"), .asks = "What is said here?", .takes = ROUTER | IN(AUDIO_URL),
     .needs = ROUTER_NEEDS | IN(AUDIO_URL), .outputs = MEDIA_OUTPUT, .category = "audio-to-text",
     .title = "Router Audio",
     .description = "A prompt about a recording, to the model that is named."},
    {ID("openrouter/router/video"), .asks = "What happens here?", .takes = ROUTER | VIDEOS,
     .needs = ROUTER_NEEDS, .one_only = VIDEOS, .outputs = MEDIA_OUTPUT,
     .category = "video-to-text", .title = "Router Video",
     .description = "A prompt about one or more videos, to the model that is named."},
    {ID("openrouter/router/video/enterprise"), .asks = "What happens here?", .keeps_nothing = true,
     .takes = ROUTER | VIDEOS, .needs = ROUTER_NEEDS, .one_only = VIDEOS, .outputs = MEDIA_OUTPUT,
     .category = "video-to-text", .title = "Router Video Enterprise",
     .description = "As openrouter/router/video, but only upstreams that keep nothing of what "
                    "they read."},
    {ID("openrouter/router/openai/v1/chat/completions"), .dialect = ENDPOINT_OPENAI,
     .takes = IN(ANY_MODEL) | IN(MESSAGES), .needs = IN(ANY_MODEL) | IN(MESSAGES),
     .category = "llm", .title = "Router Chat Completions",
     .description = "OpenAI's chat completions: members that are not described here go to the "
                    "upstream, and come back from it, unchanged."},
};

size_t endpoint_count(void) {
    return sizeof endpoints / sizeof *endpoints;
}

const struct endpoint *endpoint_at(size_t i) {
    return &endpoints[i];
}

static bool begins_with_segments(struct slice path, struct slice id) {
    return slice_starts(path, id) && (path.len == id.len || path.ptr[id.len] == '/');
}

/* What follows an id of `len` bytes and the slash behind it. */
static struct slice after(struct slice path, size_t len) {
    return slice_from(path, path.len > len ? len + 1 : len);
}

const struct endpoint *endpoint_find(struct slice path, struct slice *rest) {
    const struct endpoint *best = NULL;
    size_t best_len = 0;
    for (size_t i = 0; i < endpoint_count(); i++) {
        struct slice id = slice_make(endpoints[i].id, endpoints[i].id_len);
        if (id.len < best_len || !begins_with_segments(path, id)) continue;
        best = &endpoints[i];
        best_len = id.len;
    }
    if (best != NULL) *rest = after(path, best_len);
    return best;
}

/* How well a model stands for another that does not see: 0 not at all. Nobody should pay premium without asking. */
static int fitness(const struct catalogue_model *m) {
    bool retired = m->next != SIZE_MAX;
    return m->vision ? 1 + (m->premium ? 0 : 2) + (retired ? 0 : 1) : 0;
}

struct slice endpoint_default_model(const struct catalogue *c, bool sees) {
    struct slice id = catalogue_default(c);
    const struct catalogue_model *m = sees ? catalogue_find(c, id) : NULL;
    if (m == NULL || m->vision) return id;
    for (size_t i = 0; i < catalogue_count(c); i++)
        if (fitness(catalogue_at(c, i)) > fitness(m)) m = catalogue_at(c, i);
    return m->id;
}

/* --- ids */

#define FAL_OLD_NUMBER "110602490"

/* As routes take them. "requests" separates an id from a request's. */
static bool segment_ok(struct slice s) {
    if (s.len == 0 || slice_is(s, ".") || slice_is(s, "..") || slice_is(s, "requests"))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

/* 110602490-any-llm: digits, a dash, letters, digits and dashes. */
static bool read_legacy(struct slice text, struct endpoint_id *id) {
    size_t digits = 0;
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9') digits++;
    if (digits == 0 || digits == text.len || text.ptr[digits] != '-') return false;
    id->owner = slice_make(text.ptr, digits);
    id->alias = slice_from(text, digits + 1);
    return segment_ok(id->alias) && slice_find(id->alias, '.') < 0 &&
           slice_find(id->alias, '_') < 0;
}

static bool path_ok(struct slice path) {
    while (path.ptr != NULL && path.len > 0)
        if (!segment_ok(slice_cut(path, '/', &path))) return false;
    return true;
}

static bool read_segments(struct slice text, struct endpoint_id *id) {
    struct slice rest = text;
    id->owner = slice_cut(rest, '/', &rest);
    if (slice_is(id->owner, "workflows") || slice_is(id->owner, "comfy")) {
        id->ns = id->owner;
        id->owner = slice_cut(rest, '/', &rest);
    }
    id->alias = slice_cut(rest, '/', &rest);
    id->path = rest.ptr != NULL ? rest : SLICE("");
    return segment_ok(id->owner) && segment_ok(id->alias) && path_ok(id->path);
}

bool endpoint_id_parse(struct slice text, struct endpoint_id *id) {
    *id = (struct endpoint_id){SLICE(""), SLICE(""), SLICE(""), SLICE("")};
    while (text.len > 0 && text.ptr[0] == '/') text = slice_from(text, 1);
    while (text.len > 0 && text.ptr[text.len - 1] == '/') text.len--;
    bool ok = slice_find(text, '/') < 0 ? read_legacy(text, id) : read_segments(text, id);
    if (slice_is(id->owner, FAL_OLD_NUMBER)) id->owner = SLICE("fal-ai");
    return ok;
}

struct slice endpoint_id_text(const struct endpoint_id *id, bool whole, struct arena *a) {
    const struct slice parts[] = {id->ns, id->owner, id->alias, whole ? id->path : SLICE("")};
    size_t size = 0, len = 0;
    for (size_t i = 0; i < 4; i++) size += parts[i].len + 1;
    char *out = arena_alloc(a, size);
    if (out == NULL) return SLICE_NONE;
    for (size_t i = 0; i < 4; i++) {
        if (parts[i].len == 0) continue;
        if (len > 0) out[len++] = '/';
        memcpy(out + len, parts[i].ptr, parts[i].len);
        len += parts[i].len;
    }
    return slice_make(out, len);
}

struct slice endpoint_owner_alias(struct slice canonical) {
    struct endpoint_id id;
    if (!endpoint_id_parse(canonical, &id) || id.path.len == 0) return canonical;
    return slice_make(canonical.ptr, (size_t)(id.alias.ptr + id.alias.len - canonical.ptr));
}

/* --- the operator's own names */

const struct endpoint *endpoint_resolve(struct slice path, const struct config_alias *aliases,
                                        size_t n, struct slice *rest) {
    const struct endpoint *best = endpoint_find(path, rest);
    size_t best_len = best != NULL ? best->id_len : 0;
    for (size_t i = 0; i < n; i++) {
        struct slice beyond, name = aliases[i].name;
        if (name.len < best_len || !begins_with_segments(path, name)) continue;
        const struct endpoint *e = endpoint_find(aliases[i].endpoint, &beyond);
        if (e == NULL || beyond.len > 0) continue;
        best = e;
        best_len = name.len;
        *rest = after(path, best_len);
    }
    return best;
}

static bool is_canonical(struct slice text) {
    struct endpoint_id id;
    if (!endpoint_id_parse(text, &id)) return false;
    size_t len = id.owner.len + 1 + id.alias.len + (id.ns.len > 0 ? id.ns.len + 1 : 0) +
                 (id.path.len > 0 ? id.path.len + 1 : 0);
    return len == text.len && slice_find(text, '/') >= 0;
}

const char *endpoint_alias_fault(const struct config_alias *alias) {
    struct slice rest;
    if (!is_canonical(alias->name))
        return "is no endpoint id (owner/alias or workflows/owner/alias)";
    const struct endpoint *e = endpoint_find(alias->endpoint, &rest);
    return e == NULL || rest.len > 0 ? "stands for an endpoint that does not exist" : NULL;
}
