/* What a call tells: lines for the log a poller sees, lines for the operator's log, and the text of an error. */
#include "llm/inner.h"

#include <stdio.h>

#define FAULT_LINES_PER_SECOND 10U
#define REPLACED_LINES_PER_SECOND 1U

void say(struct llm_call *c, const char *level, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    if (c->sink->on_log == NULL) return;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0) return;
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    c->sink->on_log(c->user, level, slice_make(line, len));
}

static struct slice answering(const struct llm_call *c) {
    return c->steps[c->at].model;
}

static void log_replaced(struct llm_call *c) {
    char asked[LOG_QUOTE_BYTES];
    if (!log_allow(&c->m->replaced_rate, REPLACED_LINES_PER_SECOND)) return;
    log_request(LOG_INFO, c->r.request_id, "model_replaced",
                "asked=%s answered_by=%.*s upstream=%.*s", log_quote(asked, c->r.model),
                SLICE_ARG(answering(c)), SLICE_ARG(c->up->cfg->name));
}

void say_route(struct llm_call *c) {
    struct slice model = answering(c), asked = c->r.model, name = c->up->cfg->name;
    if (slice_eq(model, asked)) {
        say(c, "INFO", "upstream %.*s answers %.*s", SLICE_ARG(name), SLICE_ARG(model));
        return;
    }
    log_replaced(c);
    say(c, "INFO", "upstream %.*s answers; %.*s was asked for, %.*s is used", SLICE_ARG(name),
        SLICE_ARG(asked), SLICE_ARG(model));
}

void say_waiting_slot(struct llm_call *c) {
    say(c, "INFO", "waiting for a slot of %.*s: %zu running, %zu before this request",
        SLICE_ARG(c->up->cfg->name), c->up->in_flight, c->up->waiting.n - 1);
}

void say_waiting_engine(struct llm_call *c) {
    say(c, "INFO", "waiting for the engine: %s", engine_state_text(c->up->engine));
}

void say_generation(const struct llm_call *c, struct slice id) {
    char quoted[LOG_QUOTE_BYTES];
    if (id.len == 0 || log_get_level() < LOG_DEBUG) return;
    log_request(LOG_DEBUG, c->r.request_id, "upstream_generation", "upstream=%.*s id=%s",
                SLICE_ARG(c->up->cfg->name), log_quote(quoted, id));
}

void say_first_token(struct llm_call *c) {
    say(c, "INFO", "first token after %llu ms", (unsigned long long)(c->first_ms - c->sent_ms));
}

void say_done(struct llm_call *c, const struct llm_result *r) {
    if (c->sink->on_log == NULL) return;
    uint64_t now = net_now_ms(c->m->o.loop), took = now - c->sent_ms;
    uint64_t tokens = r->usage.known ? r->usage.completion_tokens : 0;
    uint64_t speaking = c->first_ms != 0 && now > c->first_ms ? now - c->first_ms : took;
    if (tokens > 0 && speaking > 0)
        say(c, "INFO", "%llu tokens in %.2f s, %.1f tokens per second", (unsigned long long)tokens,
            (double)took / 1000, (double)tokens * 1000 / (double)speaking);
    else
        say(c, "INFO", "answered in %.2f s", (double)took / 1000);
}

void say_fault(struct llm_call *c, enum llm_fault f, const char *detail) {
    char quoted[LOG_QUOTE_BYTES];
    say(c, fault_blames_upstream(f) ? "WARN" : "ERROR", "%.*s: %.*s", SLICE_ARG(c->up->cfg->name),
        SLICE_ARG(buf_slice(&c->message)));
    if (!log_allow(&c->m->fault_rate, FAULT_LINES_PER_SECOND)) return;
    log_request(fault_blames_upstream(f) ? LOG_WARN : LOG_INFO, c->r.request_id, "upstream_fault",
                "upstream=%.*s fault=%s status=%u detail=%s", SLICE_ARG(c->up->cfg->name),
                fault_name(f), c->status,
                log_quote(quoted, slice_of(detail != NULL ? detail : "")));
}

/* Figures that are none (U22): the ledger has null for them. */
void say_odd_usage(const struct llm_call *c, const struct llm_usage *u) {
    char quoted[LOG_QUOTE_BYTES];
    if (!log_allow(&c->m->fault_rate, FAULT_LINES_PER_SECOND)) return;
    log_request(LOG_WARN, c->r.request_id, "usage_unknown", "upstream=%.*s usage=%s",
                SLICE_ARG(c->up->cfg->name), log_quote(quoted, u->raw));
}

/* The upstream's own words are repeated where they help the caller: about the input, or about a passing trouble. About
 * our credentials they may quote the key, so they never are. */
static bool may_repeat(enum llm_fault f) {
    return f == LLM_REFUSED || f == LLM_CONTENT_POLICY || f == LLM_RATE_LIMITED ||
           f == LLM_UNSUPPORTED || f == LLM_UPSTREAM_ERROR || f == LLM_UPSTREAM_OVERLOADED;
}

/* Only what is a name, and only about the caller's own input: all else could say too much. */
static void keep_name(char *out, size_t size, struct slice name, struct slice key) {
    bool ok = name.len < size && (key.len == 0 || name.len == 0 ||
                                  memmem(name.ptr, name.len, key.ptr, key.len) == NULL);
    for (size_t i = 0; ok && i < name.len; i++) {
        char ch = name.ptr[i];
        ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
             (ch != '\0' && strchr("_.-[]", ch) != NULL);
    }
    if (ok && name.len > 0) memcpy(out, name.ptr, name.len);
    out[ok ? name.len : 0] = '\0';
}

void say_names(struct llm_call *c, enum llm_fault f, const struct upstream_error *e) {
    bool own = f == LLM_REFUSED || f == LLM_CONTENT_POLICY || f == LLM_UNSUPPORTED;
    struct slice code = own && e != NULL ? fault_code(e) : SLICE(""),
                 param = own && e != NULL ? e->param : SLICE("");
    keep_name(c->code, sizeof c->code, code, c->up->secrets.key);
    keep_name(c->param, sizeof c->param, param, c->up->secrets.key);
}

void say_message(struct llm_call *c, enum llm_fault f, const struct upstream_error *e,
                 const char *detail) {
    struct buf *b = &c->message;
    buf_reset(b, LLM_MAX_MESSAGE_BYTES);
    if (f == LLM_UNKNOWN_MODEL) {
        buf_printf(
            b,
            "upstream %.*s does not know the model %.*s (sent as %.*s): its entry in the catalogue of models "
            "(catalogue: in the configuration) needs another upstream_id or a replaced_by",
            SLICE_ARG(c->up->cfg->name), SLICE_ARG(answering(c)),
            SLICE_ARG(c->steps[c->at].upstream_id));
        return;
    }
    if (f == LLM_ENGINE && c->up->engine != NULL) {
        buf_printf(b, "%s: %s", fault_sentence(f), engine_state_text(c->up->engine));
        return;
    }
    if (f == LLM_BAD_ANSWER && detail != NULL) {
        buf_printf(b, "%s: %s", fault_sentence(f), detail);
        return;
    }
    bool repeat = e != NULL && e->message.len > 0 && may_repeat(f),
         own = f == LLM_REFUSED || f == LLM_CONTENT_POLICY;
    if (!repeat || !own) buf_puts(b, fault_sentence(f));
    if (repeat && !own) buf_puts(b, ": ");
    if (repeat) fault_scrub(b, e->message, &c->up->secrets);
}
