/* OpenRouter's dialect (/openrouter): what it adds to OpenAI's wire, as its documentation says.
 *
 * Streams begin with comment lines while it looks for a provider and keep them up now and then; usage comes always, asked
 * for or not, in the last chunk, with cost and details; each answer has a name, also as X-Generation-Id; a provider that
 * fails later is a chunk with a top-level error and finish_reason "error", and nothing follows it. */
#include "mock.h"

enum { COMMENT_EVERY = 8 };

void openrouter_add_head(const struct call *c, long status, struct buf *out) {
    buf_str(out, "X-Generation-Id: gen-mock-");
    buf_num(out, c->id + 1000000000);
    buf_str(out, "\r\n");
    if ((status == 429 || status == 503) && !c->script.retry_after[0])
        buf_str(out, "Retry-After: 2\r\n");
}

void openrouter_begin_object(const struct call *c, struct buf *out) {
    buf_str(out, "{\"id\":\"gen-mock-");
    buf_num(out, c->id + 1000000000);
    buf_str(out, "\",\"provider\":\"Mock\"");
}

void openrouter_add_comments(const struct call *c, const char *eol, struct buf *out) {
    int n = c->events == 0 ? 2 : c->events % COMMENT_EVERY == 0;
    for (; n > 0; n--) buf_fmt(out, ": OPENROUTER PROCESSING%s%s", eol, eol);
}

/* Behind prompt_tokens, completion_tokens and total_tokens. */
void openrouter_add_usage(const struct call *c, struct buf *out) {
    if (!c->script.cost) buf_str(out, ",\"cost\":0.0005595");
    buf_str(out, ",\"is_byok\":false,\"prompt_tokens_details\":{\"cached_tokens\":3,"
                 "\"cache_write_tokens\":0,\"audio_tokens\":0},\"cost_details\":{"
                 "\"upstream_inference_cost\":null},\"completion_tokens_details\":{"
                 "\"reasoning_tokens\":2}");
}

static const char *error_type(long status) {
    static const struct {
        long status;
        const char *type;
    } types[] = {
        {400, "invalid_request"},      {401, "authentication"},      {402, "payment_required"},
        {403, "permission_denied"},    {404, "not_found"},           {429, "rate_limit_exceeded"},
        {502, "provider_unavailable"}, {503, "provider_overloaded"}, {504, "timeout"}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].status == status) return types[i].type;
    return "server_error";
}

/* The object behind "error": in a body and in a chunk. */
void openrouter_add_error(const struct call *c, long status, const char *message, struct buf *out) {
    const char *type = c->script.error_code[0] ? c->script.error_code : error_type(status);
    buf_fmt(out, "{\"code\":%ld,\"message\":\"%s\",\"metadata\":{\"provider_name\":\"Mock\",",
            status, message);
    buf_fmt(out, "\"error_type\":\"%s\"}}", type);
}
