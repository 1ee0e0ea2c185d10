#include "llm/adapter.h"

#include "base/json.h"
#include "net/h1.h"

#include <stdio.h>
#include <stdlib.h>

static void add_text(struct buf *b, struct slice s) {
    json_add_string(b, s, false);
}

static void add_user_parts(struct buf *b, const struct llm_request *r) {
    buf_puts(b, "[{\"type\":\"text\",\"text\":");
    add_text(b, r->prompt);
    buf_addc(b, '}');
    for (size_t i = 0; i < r->nimages; i++) {
        buf_puts(b, ",{\"type\":\"image_url\",\"image_url\":{\"url\":");
        add_text(b, r->images[i]);
        buf_puts(b, "}}");
    }
    buf_addc(b, ']');
}

static void add_messages(struct buf *b, const struct llm_request *r) {
    buf_puts(b, ",\"messages\":[");
    if (r->system_prompt.len > 0) {
        buf_puts(b, "{\"role\":\"system\",\"content\":");
        add_text(b, r->system_prompt);
        buf_puts(b, "},");
    }
    buf_puts(b, "{\"role\":\"user\",\"content\":");
    if (r->nimages > 0)
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

static void add_openrouter(struct buf *b, const struct llm_request *r) {
    buf_puts(b, r->latency ? ",\"provider\":{\"sort\":\"latency\""
                           : ",\"provider\":{\"sort\":\"throughput\"");
    if (r->keeps_nothing) buf_puts(b, ",\"data_collection\":\"deny\"");
    buf_puts(b, r->reasoning ? "},\"reasoning\":{\"enabled\":true}"
                             : "},\"reasoning\":{\"exclude\":true}");
    buf_puts(b, ",\"usage\":{\"include\":true}");
}

bool adapter_body(struct buf *b, const struct config_upstream *up, struct slice model,
                  const struct llm_request *r, bool stream) {
    uint32_t max_tokens = r->has_max_tokens ? r->max_tokens : up->default_max_tokens;
    buf_puts(b, "{\"model\":");
    add_text(b, model);
    add_messages(b, r);
    if (max_tokens > 0) {
        buf_puts(b, ",\"max_tokens\":");
        buf_u64(b, max_tokens);
    }
    if (r->has_temperature) {
        buf_puts(b, ",\"temperature\":");
        add_number(b, r->temperature);
    }
    if (stream) buf_puts(b, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    if (up->kind == UPSTREAM_OPENROUTER) add_openrouter(b, r);
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
