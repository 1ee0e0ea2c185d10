/* Streams are produced event by event as the socket takes them:
 *
 *   ROLE -> WORDS -> FINISH -> USAGE -> DONE -> TRAILER -> END
 *             `-> ERROR ------------------------'      (error-in-stream)
 *
 * One static function per stage appends that stage's bytes and names the next stage. */
#include "mock.h"

void answer_stream_head(struct call *c, struct buf *out) {
    answer_begin_head(c, 200, "text/event-stream; charset=utf-8", out);
    buf_str(out, "Cache-Control: no-cache\r\n");
    if (c->script.longer_cl)
        buf_str(out, "Content-Length: 100000000\r\n\r\n");
    else if (c->script.http10)
        buf_str(out, "\r\n");
    else
        buf_str(out, "Transfer-Encoding: chunked\r\n\r\n");
    c->stage = STAGE_ROLE;
}

static const char *eol(const struct script *s) {
    return s->cr_only ? "\r" : s->crlf ? "\r\n" : "\n";
}

/* The JSON object in n data: lines, broken after its brace, where JSON allows line breaks. */
static void add_data_lines(const struct script *s, struct span json, struct buf *out) {
    buf_str(out, "data: {");
    for (long left = s->data_lines - 1; left > 0; left--) buf_fmt(out, "%sdata: ", eol(s));
    buf_add(out, json.p + 1, json.len - 1);
}

static void add_event_text(const struct call *c, const struct script *s, struct span json,
                           bool last, struct buf *out) {
    if (c->script.openrouter) openrouter_add_comments(c, eol(s), out);
    for (long i = 0; i < s->comments; i++)
        buf_fmt(out, ": OPENROUTER PROCESSING%s%s", eol(s), eol(s));
    if (s->sse_fields) {
        buf_fmt(out, "event: error%sretry: 0%sid: a", eol(s), eol(s));
        buf_add(out, "\0b", 2);
        buf_str(out, eol(s));
    }
    if (s->data_lines) {
        add_data_lines(s, json, out);
    } else {
        buf_str(out, "data: ");
        buf_add(out, json.p, json.len);
    }
    buf_str(out, eol(s));
    if (!last || !s->no_blank) buf_str(out, eol(s));
}

/* One event in the stream's framing. */
static void add_event(struct call *c, struct span json, bool last, struct buf *out) {
    const struct script *s = &c->script;
    struct buf text = {0};
    if (s->bom && c->events == 0) buf_str(&text, "\xEF\xBB\xBF");
    add_event_text(c, s, json, last, &text);
    if (s->longer_cl || s->http10)
        buf_add(out, text.data, text.len);
    else
        answer_add_chunk(out, text.data, text.len);
    buf_free(&text);
    c->events++;
    stats.events++;
}

static void begin_chunk(const struct call *c, struct buf *json) {
    answer_begin_object(c, "chat.completion.chunk", json);
    buf_str(json, ",\"system_fingerprint\":\"fp_mock\",\"choices\":[");
}

static void role_stage(struct call *c, struct buf *out) {
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_str(&json, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                   "\"logprobs\":null,\"finish_reason\":null}]}");
    add_event(c, (struct span){json.data, json.len}, false, out);
    if (c->script.reasoning) {
        json.len = 0;
        begin_chunk(c, &json);
        buf_str(&json, "{\"index\":0,\"delta\":{\"reasoning\":\"First I think. Then I answer.\"},"
                       "\"logprobs\":null,\"finish_reason\":null}]}");
        add_event(c, (struct span){json.data, json.len}, false, out);
    }
    buf_free(&json);
    c->stage = STAGE_WORDS;
}

static void words_stage(struct call *c, struct buf *out) {
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_str(&json, "{\"index\":0,\"delta\":{\"content\":\"");
    bool some = !(c->script.error_in_stream && c->next_word == 2) &&
                answer_add_word(c, c->next_word, &json);
    if (some) {
        buf_str(&json, "\"},\"logprobs\":null,\"finish_reason\":null}]}");
        add_event(c, (struct span){json.data, json.len}, false, out);
        c->next_word++;
    } else {
        c->stage = c->script.error_in_stream ? STAGE_ERROR : STAGE_FINISH;
    }
    buf_free(&json);
}

static void error_stage(struct call *c, struct buf *out) {
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_str(&json, "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,"
                   "\"finish_reason\":\"error\"}],\"error\":");
    if (c->script.openrouter)
        openrouter_add_error(c, c->script.error_in_stream, "mock error in the stream", &json);
    else
        buf_fmt(&json, "{\"code\":%ld,\"message\":\"mock error in the stream\"}",
                c->script.error_in_stream);
    buf_str(&json, "}");
    add_event(c, (struct span){json.data, json.len}, true, out);
    buf_free(&json);
    c->stage = STAGE_TRAILER;
}

static bool wants_usage(const struct call *c) {
    return c->include_usage || c->script.openrouter;
}

static void finish_stage(struct call *c, struct buf *out) {
    const struct script *s = &c->script;
    c->stage = STAGE_USAGE;
    if (s->no_finish) return;
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_fmt(&json, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}]}",
            answer_finish_reason(c));
    bool last = s->no_done && !wants_usage(c);
    add_event(c, (struct span){json.data, json.len}, last, out);
    buf_free(&json);
}

static void usage_stage(struct call *c, struct buf *out) {
    c->stage = STAGE_DONE;
    if (!wants_usage(c) || answer_usage_missing(c)) return;
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_str(&json, "],\"usage\":");
    answer_add_usage(c, &json);
    buf_str(&json, "}");
    add_event(c, (struct span){json.data, json.len}, c->script.no_done, out);
    buf_free(&json);
}

static void done_stage(struct call *c, struct buf *out) {
    c->stage = STAGE_TRAILER;
    if (c->script.no_done) return;
    struct script plain = c->script;
    plain.data_lines = 0;
    struct buf text = {0};
    add_event_text(c, &plain, (struct span){"[DONE]", 6}, true, &text);
    if (plain.longer_cl || plain.http10)
        buf_add(out, text.data, text.len);
    else
        answer_add_chunk(out, text.data, text.len);
    buf_free(&text);
    c->events++;
    stats.events++;
}

static void trailer_stage(struct call *c, struct buf *out) {
    if (!c->script.longer_cl && !c->script.http10) buf_str(out, "0\r\n\r\n");
    answer_add_trailer(&c->script, out);
    c->stage = STAGE_END;
}

bool answer_more(struct call *c, struct buf *out) {
    static void (*const stages[])(struct call *, struct buf *) = {
        [STAGE_ROLE] = role_stage,      [STAGE_WORDS] = words_stage, [STAGE_ERROR] = error_stage,
        [STAGE_FINISH] = finish_stage,  [STAGE_USAGE] = usage_stage, [STAGE_DONE] = done_stage,
        [STAGE_TRAILER] = trailer_stage};
    size_t before = out->len;
    while (c->stage != STAGE_END && out->len == before) stages[c->stage](c, out);
    return out->len != before;
}
