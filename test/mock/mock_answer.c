/* What the mock says. A stream is produced event by event as the socket takes it:
 *
 *   ROLE -> WORDS -> FINISH -> USAGE -> DONE -> TRAILER -> END
 *             `-> ERROR ------------------------'      (error-in-stream)
 *
 * One static function per stage appends that stage's bytes and names the next stage. */
#include "mock.h"

#include <stdio.h>
#include <string.h>

static const char *const words[] = {
    "The",       "meaning",   "of",        "life",       "is",       "a",     "question", "that",
    "people",    "have",      "asked",     "for",        "as",       "long",  "as",       "they",
    "have",      "asked",     "questions", "at",         "all,",     "and",   "the",      "honest",
    "answer",    "is",        "that",      "nobody",     "can",      "hand",  "it",       "to",
    "you.",      "Some",      "find",      "it",         "in",       "work",  "done",     "well,",
    "some",      "in",        "the",       "people",     "they",     "love,", "some",     "in",
    "curiosity", "and",       "some",      "in",         "quiet.",   "What",  "most",     "of",
    "them",      "share",     "is",        "attention:", "they",     "look",  "closely",  "at",
    "one",       "thing",     "for",       "a",          "long",     "time,", "and",      "it",
    "gives",     "something", "back.",     "So",         "choose",   "a",     "thing",    "worth",
    "looking",   "at,",       "begin",     "today,",     "be",       "kind",  "on",       "the",
    "way,",      "and",       "let",       "the",        "question", "rest",  "for",      "a",
    "while;",    "it",        "will",      "still",      "be",       "there", "when",     "you",
    "come",      "back",      "to",        "it,",        "and",      "by",    "then",     "you",
    "may",       "not",       "need",      "it",         "any",      "more.", "This",     "text",
    "is",        "a",         "fixed",     "answer",     "of",       "the",   "mock.",    "Ask",
    "again",     "tomorrow",  "and",       "you",        "will",     "hear",  "the",      "very",
    "same",      "words,",    "which",     "is",         "what",     "a",     "mock",     "is",
    "good",      "for."};

enum { FIXED_WORDS = sizeof words / sizeof words[0] };

/* ---- the text ---- */

static bool special_text(const struct call *c) {
    const struct script *s = &c->script;
    return s->surrogates || s->lone_surrogate || s->badutf8 || s->bigline || s->count;
}

/* The texts that are not words: at most four pieces, each one delta. Pieces are JSON text. */
static bool special_word(const struct call *c, size_t i, struct buf *out) {
    const struct script *s = &c->script;
    static const char *const surrogates[] = {"smile \\ud83d\\ude00 ",
                                             "\xF0\x9F\x98\x80 caf\xC3\xA9", " end"};
    static const char *const lone[] = {"smile \\ud83d", "\\ude00 end"};
    static const char *const bad[] = {"before ", "\xFF", "\xC3(", " after"};
    if (s->surrogates && i < 3)
        buf_str(out, surrogates[i]);
    else if (s->lone_surrogate && i < 2)
        buf_str(out, lone[i]);
    else if (s->badutf8 && i < 4)
        buf_str(out, bad[i]);
    else if (s->bigline && i == 0)
        buf_fill(out, 'x', (size_t)s->bigline);
    else if (s->count && i == 0)
        buf_fmt(out, "call %llu of this prompt", (unsigned long long)c->prompt_calls);
    else
        return false;
    return true;
}

/* Appends the i-th piece of the answer; false when there is none. */
static bool add_word(const struct call *c, size_t i, struct buf *out) {
    if (special_text(c)) return special_word(c, i, out);
    if (i >= c->words) return false;
    if (i > 0) buf_add(out, " ", 1);
    if (c->nonce[0] && i == 0)
        buf_str(out, c->nonce);
    else
        buf_str(out, words[i % FIXED_WORDS]);
    return true;
}

/* All pieces. The fixed answer, which the benchmark asks for, is put together once. */
static void add_all_words(const struct call *c, struct buf *out) {
    static struct buf fixed;
    if (c->nonce[0] || special_text(c) || c->words != FIXED_WORDS) {
        for (size_t i = 0; i < MOCK_MAX_WHOLE_WORDS && add_word(c, i, out); i++);
        return;
    }
    if (fixed.len == 0)
        for (size_t i = 0; add_word(c, i, &fixed); i++);
    buf_add(out, fixed.data, fixed.len);
}

static void add_usage(const struct call *c, struct buf *out) {
    const char *fault = c->script.usage;
    unsigned long long in = c->prompt_bytes / 4 + 1, made = c->words;
    if (strcmp(fault, "negative") == 0)
        buf_str(out, "{\"prompt_tokens\":-5,\"completion_tokens\":-7,\"total_tokens\":-12");
    else if (strcmp(fault, "absurd") == 0)
        buf_str(out, "{\"prompt_tokens\":1000000000000,\"completion_tokens\":1000000000000,"
                     "\"total_tokens\":2000000000000");
    else
        buf_fmt(out, "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu", in,
                made, in + made);
    if (c->script.cost) buf_str(out, ",\"cost\":0.000123");
    buf_str(out, "}");
}

static bool usage_missing(const struct call *c) {
    return strcmp(c->script.usage, "missing") == 0;
}

static const char *finish_reason(const struct call *c) {
    return c->script.finish[0] ? c->script.finish : "stop";
}

/* ---- bodies that are whole ---- */

static void begin_object(const struct call *c, const char *object, struct buf *out) {
    buf_fmt(
        out,
        "{\"id\":\"chatcmpl-mock-%012llx\",\"object\":\"%s\",\"created\":1735689600,\"model\":\"",
        (unsigned long long)c->id, object);
    buf_json(out, (struct span){c->model, strlen(c->model)});
    buf_str(out, "\"");
}

static void completion_body(struct call *c, struct buf *out) {
    begin_object(c, "chat.completion", out);
    if (c->script.choices_empty) buf_str(out, ",\"choices\":[]");
    if (!c->script.choices_empty && !c->script.no_choices) {
        buf_str(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",");
        if (c->script.reasoning) buf_str(out, "\"reasoning\":\"First I think. Then I answer.\",");
        buf_str(out, "\"content\":\"");
        add_all_words(c, out);
        buf_fmt(out, "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"%s\"}]",
                finish_reason(c));
    }
    if (!usage_missing(c)) {
        buf_str(out, ",\"usage\":");
        add_usage(c, out);
    }
    buf_str(out, ",\"system_fingerprint\":\"fp_mock\"}");
}

static void error_body(const struct call *c, long status, struct buf *out) {
    const struct script *s = &c->script;
    buf_str(out, "{\"error\":{\"message\":\"");
    if (s->echo_auth) {
        buf_str(out, "Incorrect API key provided: ");
        buf_json(out, (struct span){c->authorization, strlen(c->authorization)});
    } else {
        buf_fmt(out, "mock error %ld", status);
    }
    buf_str(out, "\",\"type\":\"");
    const char *code = s->error_code[0] ? s->error_code : "mock_error";
    buf_json(out, (struct span){code, strlen(code)});
    buf_str(out, "\",\"code\":");
    if (s->error_code[0])
        buf_fmt(out, "\"%s\"}}", code);
    else
        buf_fmt(out, "%ld}}", status);
}

static void models_body(struct buf *out) {
    buf_str(out, "{\"object\":\"list\",\"data\":["
                 "{\"id\":\"mock-small\",\"object\":\"model\",\"owned_by\":\"mock\"},"
                 "{\"id\":\"mock-large\",\"object\":\"model\",\"owned_by\":\"mock\"}]}");
}

static bool fails(const struct script *s) {
    return s->status >= 400 || s->echo_auth || s->redirect || (s->status >= 300 && s->status < 400);
}

/* A 200 whose body is not what was asked for. False when the answer is a good one. */
static bool odd_body(const struct script *s, const char **type, struct buf *out) {
    if (s->html) {
        *type = "text/html; charset=utf-8";
        buf_str(out, "<!doctype html><html><head><title>Welcome</title></head>"
                     "<body><h1>It works</h1></body></html>\n");
    } else if (s->null_body) {
        buf_str(out, "null");
    } else if (!s->empty) {
        return false;
    }
    return true;
}

/* ---- gzip, stored blocks: valid, and nobody has to compress ---- */

static uint32_t crc32_of(const char *p, size_t n) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)p[i];
        for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void add_le(struct buf *b, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++) {
        char c = (char)(v >> (8 * i));
        buf_add(b, &c, 1);
    }
}

static void wrap_gzip(struct buf *body) {
    struct buf z = {0};
    buf_add(&z, "\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
    for (size_t at = 0; at < body->len || at == 0;) {
        size_t n = body->len - at < 65535 ? body->len - at : 65535;
        bool last = at + n == body->len;
        buf_add(&z, last ? "\1" : "\0", 1);
        add_le(&z, (uint32_t)n, 2);
        add_le(&z, (uint32_t)~n, 2);
        buf_add(&z, body->data + at, n);
        at += n;
        if (last) break;
    }
    add_le(&z, crc32_of(body->data, body->len), 4);
    add_le(&z, (uint32_t)body->len, 4);
    buf_free(body);
    *body = z;
}

/* ---- the head ---- */

static const char *reason(long status) {
    static const struct {
        long status;
        const char *text;
    } names[] = {{200, "OK"},
                 {301, "Moved Permanently"},
                 {302, "Found"},
                 {307, "Temporary Redirect"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {402, "Payment Required"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {422, "Unprocessable Entity"},
                 {429, "Too Many Requests"},
                 {500, "Internal Server Error"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status) return names[i].text;
    return "Mock";
}

static void add_big_headers(size_t bytes, struct buf *out) {
    for (size_t i = 0; bytes > 0; i++) {
        size_t line = bytes < 4096 ? bytes : 4096;
        buf_fmt(out, "X-Big-%zu: ", i);
        buf_fill(out, 'b', line);
        buf_str(out, "\r\n");
        bytes -= line;
    }
}

static void begin_head(struct call *c, long status, const char *type, struct buf *out) {
    const struct script *s = &c->script;
    for (long i = 0; i < s->early; i++) buf_str(out, "HTTP/1.1 103 Early Hints\r\n\r\n");
    buf_fmt(out, "HTTP/1.%d %ld %s\r\nContent-Type: %s\r\n", s->http10 ? 0 : 1, status,
            reason(status), type);
    if (status >= 300 && status < 400) buf_str(out, "Location: /ok/v1/chat/completions\r\n");
    if (s->retry_after[0]) buf_fmt(out, "Retry-After: %s\r\n", s->retry_after);
    if (s->retry_after_ms[0]) buf_fmt(out, "retry-after-ms: %s\r\n", s->retry_after_ms);
    if (s->gzip || s->encoding[0])
        buf_fmt(out, "Content-Encoding: %s\r\n", s->gzip ? "gzip" : s->encoding);
    if (c->close) buf_str(out, "Connection: close\r\n");
    if (s->keepalive[0] || s->keepalive[1])
        buf_fmt(out, "Keep-Alive: timeout=%ld, max=%ld\r\n", s->keepalive[0], s->keepalive[1]);
    buf_str(out, s->extra_headers);
    if (s->headers_big) add_big_headers((size_t)s->headers_big, out);
}

static void add_trailer(const struct script *s, struct buf *out) {
    static const char second[] = "{\"second\":\"nobody asked for it\"}";
    if (s->two_responses)
        buf_fmt(out,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n%s",
                sizeof second - 1, second);
    if (s->surplus) buf_str(out, "surplus bytes after the body");
}

static void add_chunk(struct buf *out, const char *p, size_t n) {
    buf_fmt(out, "%zx\r\n", n);
    buf_add(out, p, n);
    buf_str(out, "\r\n");
}

/* Sends a whole body behind its head in the framing the script wants. */
static void add_body(struct call *c, const struct buf *body, struct buf *out) {
    const struct script *s = &c->script;
    size_t said = body->len;
    if (s->longer_cl) said += 100;
    if (s->shorter_cl) said -= said > 10 ? 10 : said;
    if (s->chunked) {
        buf_str(out, "Transfer-Encoding: chunked\r\n\r\n");
        size_t step = (size_t)s->chunked;
        for (size_t at = 0; at < body->len; at += step)
            add_chunk(out, body->data + at, body->len - at < step ? body->len - at : step);
        buf_str(out, "0\r\n\r\n");
        return;
    }
    if (s->http10)
        buf_str(out, "\r\n");
    else
        buf_fmt(out, "Content-Length: %zu\r\n\r\n", said);
    buf_add(out, body->data, body->len);
}

static void whole_answer(struct call *c, struct span rest, struct buf *out) {
    static struct buf body; /* kept for the next answer */
    struct script *s = &c->script;
    const char *type = "application/json";
    body.len = 0;
    long status = s->status ? s->status : s->echo_auth ? 401 : s->redirect ? 307 : 200;
    if (!c->chat && !span_is(rest, "/models") && status == 200) status = 404;
    if (status != 200 || (s->error_in_stream && c->chat))
        error_body(c, status == 200 ? s->error_in_stream : status, &body);
    else if (odd_body(s, &type, &body))
        ;
    else if (c->chat)
        completion_body(c, &body);
    else
        models_body(&body);
    if (s->gzip) wrap_gzip(&body);
    begin_head(c, status, type, out);
    add_body(c, &body, out);
    add_trailer(s, out);
    body.len = 0;
    buf_trim(&body);
    c->stage = STAGE_END;
}

/* ---- streams ---- */

static void stream_head(struct call *c, struct buf *out) {
    begin_head(c, 200, "text/event-stream; charset=utf-8", out);
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

static void add_event_text(const struct script *s, struct span json, bool last, struct buf *out) {
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
    add_event_text(s, json, last, &text);
    if (s->longer_cl || s->http10)
        buf_add(out, text.data, text.len);
    else
        add_chunk(out, text.data, text.len);
    buf_free(&text);
    c->events++;
    stats.events++;
}

static void begin_chunk(const struct call *c, struct buf *json) {
    begin_object(c, "chat.completion.chunk", json);
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
                add_word(c, c->next_word, &json);
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
    buf_fmt(
        &json,
        "{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"error\"}],"
        "\"error\":{\"code\":%ld,\"message\":\"mock error in the stream\"}}",
        c->script.error_in_stream);
    add_event(c, (struct span){json.data, json.len}, true, out);
    buf_free(&json);
    c->stage = STAGE_TRAILER;
}

static void finish_stage(struct call *c, struct buf *out) {
    const struct script *s = &c->script;
    c->stage = STAGE_USAGE;
    if (s->no_finish) return;
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_fmt(&json, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}]}",
            finish_reason(c));
    bool last = s->no_done && !c->include_usage;
    add_event(c, (struct span){json.data, json.len}, last, out);
    buf_free(&json);
}

static void usage_stage(struct call *c, struct buf *out) {
    c->stage = STAGE_DONE;
    if (!c->include_usage || usage_missing(c)) return;
    struct buf json = {0};
    begin_chunk(c, &json);
    buf_str(&json, "],\"usage\":");
    add_usage(c, &json);
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
    add_event_text(&plain, (struct span){"[DONE]", 6}, true, &text);
    if (plain.longer_cl || plain.http10)
        buf_add(out, text.data, text.len);
    else
        add_chunk(out, text.data, text.len);
    buf_free(&text);
    c->events++;
    stats.events++;
}

static void trailer_stage(struct call *c, struct buf *out) {
    if (!c->script.longer_cl && !c->script.http10) buf_str(out, "0\r\n\r\n");
    add_trailer(&c->script, out);
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

void answer_begin(struct call *c, struct span rest, struct buf *out) {
    struct script *s = &c->script;
    c->words = s->tokens > 0 ? (size_t)s->tokens : FIXED_WORDS;
    if (s->http10 || s->longer_cl || s->close_after) c->drop = true;
    if (s->surrogates && c->stream) s->onebyte = true;
    bool streams = c->chat && c->stream && !fails(s) && !s->html && !s->empty && !s->null_body &&
                   !s->no_choices && !s->choices_empty;
    if (streams)
        stream_head(c, out);
    else
        whole_answer(c, rest, out);
}
