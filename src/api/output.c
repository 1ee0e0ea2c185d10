/* The models' answers and errors as fal's endpoints write them. ASCII only: the official JavaScript client decodes each
 * chunk of a stream on its own and breaks on a character cut between two. */
#include "api/billing.h"

static void add_count(struct buf *b, const char *name, uint64_t n) {
    buf_puts(b, name);
    buf_u64(b, n);
}

static void add_cost(struct buf *b, const struct llm_usage *u) {
    buf_puts(b, ",\"cost\":");
    if (u->has_cost)
        billing_add_usd(b, u->cost_microusd);
    else
        buf_puts(b, "null");
}

void output_usage(struct buf *b, const struct llm_usage *u) {
    add_count(b, ",\"usage\":{\"prompt_tokens\":", u->prompt_tokens);
    add_count(b, ",\"completion_tokens\":", u->completion_tokens);
    add_count(b, ",\"total_tokens\":", u->total_tokens);
    add_cost(b, u);
    add_count(b, ",\"prompt_tokens_details\":{\"cached_tokens\":", u->cached_tokens);
    add_count(b, ",\"cache_write_tokens\":", u->cache_write_tokens);
    buf_puts(b, "}}");
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
        buf_puts(b, err != NULL ? ",\"partial\":true" : ",\"partial\":false");
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

bool output_add_escaped(struct buf *b, struct slice text) {
    size_t before = b->end;
    if (text.len == 0) return true;
    if (!json_add_string(b, text, true)) {
        b->end = before;
        return false;
    }
    b->end -= 2;
    memmove(b->base + before, b->base + before + 1, b->end - before);
    return true;
}

static const char *loc_of(enum llm_fault f) {
    return f == LLM_NO_ROUTE         ? "[\"body\",\"model\"]"
           : f == LLM_CONTENT_POLICY ? "[\"body\",\"prompt\"]"
                                     : "[\"body\"]";
}

static bool is_of_a_file(enum llm_fault f) {
    return f == LLM_FILE || f == LLM_FILE_TOO_LARGE;
}

/* ["body","image_urls",2] of image_urls.2 */
static void add_loc(struct buf *b, const struct llm_error *err) {
    struct slice rest, name = slice_cut(err->param, '.', &rest);
    if (name.len == 0 || !is_of_a_file(err->fault)) {
        buf_puts(b, loc_of(err->fault));
        return;
    }
    buf_printf(b, "[\"body\",\"%.*s\"", SLICE_ARG(name));
    if (rest.len > 0) buf_printf(b, ",%.*s", SLICE_ARG(rest));
    buf_addc(b, ']');
}

void flat_json(struct buf *b, struct slice detail, const char *type) {
    buf_puts(b, "{\"detail\":");
    json_add_string(b, detail, true);
    buf_puts(b, ",\"message\":");
    json_add_string(b, detail, true);
    if (type != NULL) buf_printf(b, ",\"error_type\":\"%s\"", type);
    buf_addc(b, '}');
}

void error_json(struct buf *b, const struct llm_error *err) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    if (!info->model_error) {
        flat_json(b, err->message, info->error_type);
        return;
    }
    const char *type = is_of_a_file(err->fault) && err->code.len > 0 ? err->code.ptr
                                                                     : info->error_type;
    buf_puts(b, "{\"detail\":[{\"loc\":");
    add_loc(b, err);
    buf_puts(b, ",\"msg\":");
    json_add_string(b, err->message, true);
    buf_printf(b,
               ",\"type\":\"%s\",\"url\":\"https://docs.fal.ai/errors/#%s\"}],\"message\":", type,
               type);
    json_add_string(b, err->message, true);
    buf_addc(b, '}');
}

/* --- errors as OpenAI's SDKs read them */

static const char *openai_type(unsigned status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
    }
}

static void add_or_null(struct buf *b, struct slice text) {
    if (text.len > 0)
        json_add_string(b, text, true);
    else
        buf_puts(b, "null");
}

void openai_error_json(struct buf *b, unsigned status, const char *code, struct slice param,
                       struct slice message) {
    buf_puts(b, "{\"error\":{\"message\":");
    json_add_string(b, message, true);
    buf_printf(b, ",\"type\":\"%s\",\"param\":", openai_type(status));
    add_or_null(b, param);
    buf_puts(b, ",\"code\":");
    add_or_null(b, slice_of(code));
    buf_puts(b, "}}");
}

unsigned openai_status(enum llm_fault f) {
    unsigned status = llm_fault_info(f)->http_status;
    if (f == LLM_NO_ROUTE) return 404;
    return status == 422 ? 400 : status;
}

void openai_model_error_json(struct buf *b, const struct llm_error *err) {
    const struct llm_fault_info *info = llm_fault_info(err->fault);
    const char *code = err->code.len > 0            ? err->code.ptr
                       : err->fault == LLM_NO_ROUTE ? "model_not_found"
                       : err->fault == LLM_REFUSED  ? NULL
                                                    : info->error_type;
    openai_error_json(b, openai_status(err->fault), code,
                      err->fault == LLM_NO_ROUTE ? SLICE("model") : err->param, err->message);
}
