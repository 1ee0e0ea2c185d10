#include "api/telling.h"

#define KEEP_BYTES (64U << 10)

void telling_init(struct telling *t) {
    *t = (struct telling){0};
    buf_init(&t->text, TELLING_MAX_BYTES);
    buf_init(&t->reasoning, TELLING_MAX_BYTES);
}

void telling_reset(struct telling *t) {
    buf_reset(&t->text, KEEP_BYTES);
    buf_reset(&t->reasoning, KEEP_BYTES);
    t->told = 0;
    t->dirty = false;
}

void telling_free(struct telling *t) {
    buf_free(&t->text);
    buf_free(&t->reasoning);
}

static size_t length(const struct telling *t) {
    return buf_len(&t->text) + buf_len(&t->reasoning);
}

bool telling_add(struct telling *t, struct slice text, struct slice reasoning) {
    if (!output_add_escaped(&t->text, text) || !output_add_escaped(&t->reasoning, reasoning))
        return false;
    t->dirty = true;
    return true;
}

bool telling_is_due(const struct telling *t) {
    size_t now = length(t);
    return t->dirty &&
           (now < TELLING_EVERY_DELTA_BYTES || now - t->told >= t->told / TELLING_GROWTH);
}

void telling_open(struct telling *t, struct buf *b, bool reasoning, bool partial,
                  const struct llm_usage *usage, const struct llm_error *err) {
    buf_puts(b, "{\"output\":\"");
    buf_add(b, buf_slice(&t->text));
    if (reasoning) {
        buf_puts(b, "\",\"reasoning\":\"");
        buf_add(b, buf_slice(&t->reasoning));
    }
    buf_puts(b, partial ? "\",\"partial\":true,\"error\":" : "\",\"partial\":false,\"error\":");
    if (err != NULL)
        json_add_string(b, err->message, true);
    else
        buf_puts(b, "null");
    if (usage != NULL && usage->known) output_usage(b, usage);
    t->dirty = false;
    t->told = length(t);
}
