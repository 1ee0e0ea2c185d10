/* What the mock says: the texts, the heads, the answers that are not streamed. */
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

/* A word; with /wide/N repeated or cut to N bytes, less the space before it. */
static void add_word(const char *word, size_t i, size_t wide, struct buf *out) {
    size_t len = strlen(word), left = wide - (i > 0);
    if (!wide) {
        buf_add(out, word, len);
        return;
    }
    for (; left > len; left -= len) buf_add(out, word, len);
    buf_add(out, word, left);
}

/* Appends the i-th piece of the answer; false when there is none. */
bool answer_add_word(const struct call *c, size_t i, struct buf *out) {
    if (special_text(c)) return special_word(c, i, out);
    if (i >= c->words) return false;
    if (i > 0) buf_add(out, " ", 1);
    if (c->nonce[0] && i == 0)
        buf_str(out, c->nonce);
    else
        add_word(words[i % FIXED_WORDS], i, (size_t)c->script.wide, out);
    return true;
}

/* All pieces. The fixed answer, which the benchmark asks for, is put together once. */
static void add_all_words(const struct call *c, struct buf *out) {
    static struct buf fixed;
    if (c->nonce[0] || special_text(c) || c->words != FIXED_WORDS || c->script.wide) {
        for (size_t i = 0; i < MOCK_MAX_WHOLE_WORDS && answer_add_word(c, i, out); i++);
        return;
    }
    if (fixed.len == 0)
        for (size_t i = 0; answer_add_word(c, i, &fixed); i++);
    buf_add(out, fixed.data, fixed.len);
}

static void add_true_usage(const struct call *c, struct buf *out) {
    uint64_t in = c->prompt_bytes / 4 + 1, made = c->words;
    buf_str(out, "{\"prompt_tokens\":");
    buf_num(out, in);
    buf_str(out, ",\"completion_tokens\":");
    buf_num(out, made);
    buf_str(out, ",\"total_tokens\":");
    buf_num(out, in + made);
}

void answer_add_usage(const struct call *c, struct buf *out) {
    const char *fault = c->script.usage;
    if (strcmp(fault, "negative") == 0)
        buf_str(out, "{\"prompt_tokens\":-5,\"completion_tokens\":-7,\"total_tokens\":-12");
    else if (strcmp(fault, "absurd") == 0)
        buf_str(out, "{\"prompt_tokens\":1000000000000,\"completion_tokens\":1000000000000,"
                     "\"total_tokens\":2000000000000");
    else
        add_true_usage(c, out);
    if (c->script.cost) buf_str(out, ",\"cost\":0.000123");
    if (c->script.openrouter) openrouter_add_usage(c, out);
    buf_str(out, "}");
}

bool answer_usage_missing(const struct call *c) {
    return strcmp(c->script.usage, "missing") == 0;
}

const char *answer_finish_reason(const struct call *c) {
    return c->script.finish[0] ? c->script.finish : "stop";
}

/* ---- bodies that are whole ---- */

void answer_begin_object(const struct call *c, const char *object, struct buf *out) {
    if (c->script.openrouter) {
        openrouter_begin_object(c, out);
    } else {
        buf_str(out, "{\"id\":\"chatcmpl-mock-");
        buf_num(out, c->id + 1000000000); /* the same length for long */
        buf_str(out, "\"");
    }
    buf_str(out, ",\"object\":\"");
    buf_str(out, object);
    buf_str(out, "\",\"created\":1735689600,\"model\":\"");
    buf_json(out, (struct span){c->model, strlen(c->model)});
    buf_str(out, "\"");
}

static void completion_body(struct call *c, struct buf *out) {
    answer_begin_object(c, "chat.completion", out);
    if (c->script.choices_empty) buf_str(out, ",\"choices\":[]");
    if (!c->script.choices_empty && !c->script.no_choices) {
        buf_str(out, ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",");
        if (c->script.reasoning) buf_str(out, "\"reasoning\":\"First I think. Then I answer.\",");
        buf_str(out, "\"content\":\"");
        add_all_words(c, out);
        buf_str(out, "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"");
        buf_str(out, answer_finish_reason(c));
        buf_str(out, "\"}]");
    }
    if (!answer_usage_missing(c)) {
        buf_str(out, ",\"usage\":");
        answer_add_usage(c, out);
    }
    buf_str(out, ",\"system_fingerprint\":\"fp_mock\"}");
}

static void error_body(const struct call *c, long status, struct buf *out) {
    const struct script *s = &c->script;
    if (s->openrouter && !s->echo_auth) {
        buf_str(out, "{\"error\":");
        openrouter_add_error(c, status, "mock error", out);
        buf_str(out, ",\"user_id\":\"user_mock\"}");
        return;
    }
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

void answer_begin_head(struct call *c, long status, const char *type, struct buf *out) {
    const struct script *s = &c->script;
    for (long i = 0; i < s->early; i++) buf_str(out, "HTTP/1.1 103 Early Hints\r\n\r\n");
    buf_str(out, s->http10 ? "HTTP/1.0 " : "HTTP/1.1 ");
    buf_num(out, (uint64_t)status);
    buf_str(out, " ");
    buf_str(out, reason(status));
    buf_str(out, "\r\nContent-Type: ");
    buf_str(out, type);
    buf_str(out, "\r\n");
    if (status >= 300 && status < 400) buf_str(out, "Location: /ok/v1/chat/completions\r\n");
    if (s->retry_after[0]) buf_fmt(out, "Retry-After: %s\r\n", s->retry_after);
    if (s->retry_after_ms[0]) buf_fmt(out, "retry-after-ms: %s\r\n", s->retry_after_ms);
    if (s->gzip || s->encoding[0])
        buf_fmt(out, "Content-Encoding: %s\r\n", s->gzip ? "gzip" : s->encoding);
    if (c->close) buf_str(out, "Connection: close\r\n");
    if (s->keepalive[0] || s->keepalive[1])
        buf_fmt(out, "Keep-Alive: timeout=%ld, max=%ld\r\n", s->keepalive[0], s->keepalive[1]);
    if (s->openrouter) openrouter_add_head(c, status, out);
    buf_str(out, s->extra_headers);
    if (s->headers_big) add_big_headers((size_t)s->headers_big, out);
}

void answer_add_trailer(const struct script *s, struct buf *out) {
    static const char second[] = "{\"second\":\"nobody asked for it\"}";
    if (s->two_responses)
        buf_fmt(out,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n%s",
                sizeof second - 1, second);
    if (s->surplus) buf_str(out, "surplus bytes after the body");
}

void answer_add_chunk(struct buf *out, const char *p, size_t n) {
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
            answer_add_chunk(out, body->data + at, body->len - at < step ? body->len - at : step);
        buf_str(out, "0\r\n\r\n");
        return;
    }
    if (!s->http10) {
        buf_str(out, "Content-Length: ");
        buf_num(out, said);
        buf_str(out, "\r\n");
    }
    buf_str(out, "\r\n");
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
    answer_begin_head(c, status, type, out);
    add_body(c, &body, out);
    answer_add_trailer(s, out);
    body.len = 0;
    buf_trim(&body);
    c->stage = STAGE_END;
}

void answer_begin(struct call *c, struct span rest, struct buf *out) {
    struct script *s = &c->script;
    c->words = s->mute ? 0 : s->tokens > 0 ? (size_t)s->tokens : FIXED_WORDS;
    if (s->http10 || s->longer_cl || s->close_after) c->drop = true;
    if (s->surrogates && c->stream) s->onebyte = true;
    bool streams = c->chat && (c->stream || s->streams) && !s->whole && !fails(s) && !s->html &&
                   !s->empty && !s->null_body && !s->no_choices && !s->choices_empty;
    if (streams)
        answer_stream_head(c, out);
    else
        whole_answer(c, rest, out);
}
