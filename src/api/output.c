/* The models' answers and errors as fal's endpoints write them. ASCII only: the official JavaScript client decodes each
 * chunk of a stream on its own and breaks on a character cut between two. */
#include "api/call.h"

void output_usage(struct buf *b, const struct llm_usage *u) {
    buf_printf(
        b, ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu",
        (unsigned long long)u->prompt_tokens, (unsigned long long)u->completion_tokens,
        (unsigned long long)u->total_tokens);
    if (u->has_cost)
        buf_printf(b, ",\"cost\":%lld.%06lld", (long long)(u->cost_microusd / 1000000),
                   (long long)(u->cost_microusd % 1000000));
    else
        buf_puts(b, ",\"cost\":null");
    buf_printf(b,
               ",\"prompt_tokens_details\":{\"cached_tokens\":%llu,\"cache_write_tokens\":%llu}}",
               (unsigned long long)u->cached_tokens, (unsigned long long)u->cache_write_tokens);
}

void output_json(struct buf *b, const struct endpoint *e, const struct llm_request *r,
                 const struct llm_result *result, const struct llm_error *err) {
    buf_puts(b, "{\"output\":");
    json_add_string(b, result->output, true);
    if ((e->outputs & OUTPUT_REASONING) != 0) {
        buf_puts(b, ",\"reasoning\":");
        if (r->reasoning && result->reasoning.len > 0)
            json_add_string(b, result->reasoning, true);
        else
            buf_puts(b, "null");
    }
    if ((e->outputs & OUTPUT_PARTIAL) != 0)
        buf_printf(b, ",\"partial\":%s", err != NULL ? "true" : "false");
    if ((e->outputs & OUTPUT_ERROR) != 0) {
        buf_puts(b, ",\"error\":");
        if (err != NULL)
            json_add_string(b, err->message, true);
        else
            buf_puts(b, "null");
    }
    if ((e->outputs & OUTPUT_USAGE) != 0 && result->usage.known) output_usage(b, &result->usage);
    buf_addc(b, '}');
}

static const char *loc_of(enum llm_fault f) {
    return f == LLM_NO_ROUTE         ? "[\"body\",\"model\"]"
           : f == LLM_CONTENT_POLICY ? "[\"body\",\"prompt\"]"
                                     : "[\"body\"]";
}

void error_json(struct buf *b, const struct llm_error *err) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    if (info->model_error) {
        buf_printf(b, "{\"detail\":[{\"loc\":%s,\"msg\":", loc_of(err->fault));
        json_add_string(b, err->message, true);
        buf_printf(b, ",\"type\":\"%s\",\"url\":\"https://docs.fal.ai/errors/#%s\"}],\"message\":",
                   info->error_type, info->error_type);
        json_add_string(b, err->message, true);
    } else {
        buf_puts(b, "{\"detail\":");
        json_add_string(b, err->message, true);
        buf_puts(b, ",\"message\":");
        json_add_string(b, err->message, true);
        buf_printf(b, ",\"error_type\":\"%s\"", info->error_type);
    }
    buf_addc(b, '}');
}
