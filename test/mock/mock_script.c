/* The table of path prefixes. They combine left to right: /delay/100/cut/50/v1/chat/completions.
 * A row names the field of struct script it fills; no row needs code of its own. */
#include "mock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    FLAG,   /* /name            */
    NUM,    /* /name/N          */
    OPT,    /* /name or /name/N */
    TWO,    /* /name/N/N        */
    TEXT,   /* /name/TEXT, %XX decoded */
    POINT,  /* /name/N or /name/eN */
    HEADER, /* /name/NAME/VALUE, %XX decoded */
    NOTHING
};

struct row {
    const char *name, *args;
    enum kind kind;
    size_t at, size;
    long value; /* OPT: without N */
    const char *help;
};

#define AT(f) offsetof(struct script, f), sizeof(((struct script *)0)->f)

static const struct row rows[] = {
    {"ok", "", NOTHING, 0, 0, 0, "the normal answer (so does no prefix at all)"},
    /* when */
    {"delay", "MS", NUM, AT(delay_ms), 0, "wait before the first byte of the answer"},
    {"sse-interval", "MS", NUM, AT(interval_ms), 0, "wait between the texts of a stream"},
    {"silent", "", FLAG, AT(silent), 0, "take the request, never answer"},
    {"flaky", "K", NUM, AT(flaky), 0,
     "the first K calls of a prompt here meet the other faults (none said: 503), later ones none"},
    /* what instead of an answer */
    {"status", "CODE", NUM, AT(status), 0,
     "this status with an OpenAI error body; 3xx adds Location"},
    {"retry-after", "VALUE", TEXT, AT(retry_after), 0, "Retry-After: VALUE"},
    {"retry-after-ms", "VALUE", TEXT, AT(retry_after_ms), 0, "retry-after-ms: VALUE"},
    {"error-code", "NAME", TEXT, AT(error_code), 0,
     "error.code and error.type, as insufficient_quota"},
    {"echo-auth", "", FLAG, AT(echo_auth), 0, "401 (or /status) whose body repeats Authorization"},
    {"redirect", "", FLAG, AT(redirect), 0, "307 to /ok/v1/... of this mock"},
    {"html", "", FLAG, AT(html), 0, "200 with a page of HTML"},
    {"empty", "", FLAG, AT(empty), 0, "200 with no body"},
    {"null", "", FLAG, AT(null_body), 0, "200 with null"},
    {"no-choices", "", FLAG, AT(no_choices), 0, "200, JSON without choices"},
    {"choices-empty", "", FLAG, AT(choices_empty), 0, "200, \"choices\":[]"},
    /* what in the answer */
    {"tokens", "N", NUM, AT(tokens), 0, "N words (streams make them as they are taken: no limit)"},
    {"wide", "N", NUM, AT(wide), 0, "words of N bytes each, the space between them included"},
    {"count", "", FLAG, AT(count), 0, "the answer says: call N of this prompt"},
    {"cost", "", FLAG, AT(cost), 0, "usage.cost, as OpenRouter"},
    {"usage", "missing|negative|absurd", TEXT, AT(usage), 0, "faulty usage"},
    {"finish", "REASON", TEXT, AT(finish), 0, "finish_reason"},
    {"length-finish", "", FLAG, 0, 0, 0, "finish_reason length"},
    {"reasoning", "", FLAG, AT(reasoning), 0, "also reasoning text, before the answer"},
    {"badutf8", "", FLAG, AT(badutf8), 0, "bytes ff and c3 28 in the middle of the text"},
    {"surrogate-split", "", FLAG, AT(surrogates), 0,
     "the answer is: smile \\ud83d\\ude00 and a raw U+1F600, U+00E9; streamed one byte per write"},
    {"lone-surrogate", "", FLAG, AT(lone_surrogate), 0,
     "\\ud83d ends one delta, \\ude00 begins the next"},
    {"bigline", "N", NUM, AT(bigline), 0, "one word (one line of the stream) of N bytes"},
    {"error-in-stream", "[CODE]", OPT, AT(error_in_stream), 502,
     "200, two deltas, then error{code,message} and finish_reason error; unstreamed: in the body"},
    {"no-done", "", FLAG, AT(no_done), 0, "the stream ends without [DONE]"},
    {"no-finish", "", FLAG, AT(no_finish), 0, "the stream ends without a finish_reason"},
    {"no-blank", "", FLAG, AT(no_blank), 0,
     "the last line of the stream has no blank line after it"},
    {"cr-only", "", FLAG, AT(cr_only), 0, "lines of the stream end in CR"},
    {"crlf", "", FLAG, AT(crlf), 0, "lines of the stream end in CRLF"},
    {"bom", "", OPT, AT(bom), 1, "the stream begins with a byte order mark"},
    {"comments", "[N]", OPT, AT(comments), 1,
     "N lines \": OPENROUTER PROCESSING\" before each event"},
    {"data-lines", "N", NUM, AT(data_lines), 0,
     "the JSON of each event stands in about N data: lines"},
    {"openrouter", "", FLAG, AT(openrouter), 0,
     "OpenRouter's dialect: comments, usage with cost always, X-Generation-Id, its errors"},
    {"whole", "", FLAG, AT(whole), 0, "never streams, whatever was asked for"},
    {"mute", "", FLAG, AT(mute), 0, "no text at all"},
    {"streams", "", FLAG, AT(streams), 0, "always streams"},
    {"sse-fields", "", FLAG, AT(sse_fields), 0,
     "event: error, retry: 0 and an id with NUL in each event"},
    /* how on the wire */
    {"onebyte", "", FLAG, AT(onebyte), 0, "every byte is a write of its own"},
    {"cut", "N|eN", POINT, AT(cut), 0,
     "FIN after N bytes of the response, head included, or N events"},
    {"reset", "N|eN", POINT, AT(reset), 0, "RST there"},
    {"stall", "N|eN", POINT, AT(stall), 0, "nothing more from there on, the connection stays open"},
    {"chunked", "[N]", OPT, AT(chunked), 100, "an unstreamed answer in chunks of N bytes"},
    {"eof", "", FLAG, AT(http10), 0, "HTTP/1.0: the body ends with the connection"},
    {"longer-cl", "", FLAG, AT(longer_cl), 0, "Content-Length is 100 more than the body; then FIN"},
    {"shorter-cl", "", FLAG, AT(shorter_cl), 0, "Content-Length is 10 less than the body"},
    {"surplus", "", FLAG, AT(surplus), 0, "bytes after the body"},
    {"two-responses", "", FLAG, AT(two_responses), 0, "a second response right behind"},
    {"flood-1xx", "", FLAG, 0, 0, 1000, "1,000 times 103 Early Hints first"},
    {"1xx", "N", NUM, AT(early), 0, "N times 103 first"},
    {"headers-big", "[N]", OPT, AT(headers_big), 10 << 20, "N bytes of header lines (10 MiB)"},
    {"header", "NAME/VALUE", HEADER, AT(extra_headers), 0, "one more response header"},
    {"gzip", "", FLAG, AT(gzip), 0, "Content-Encoding: gzip, and it is (streams: only said)"},
    {"encoding", "NAME", TEXT, AT(encoding), 0, "says Content-Encoding: NAME, sends plain"},
    /* what becomes of the connection */
    {"close-after", "", FLAG, AT(close_after), 0, "looks kept alive, but FIN follows the answer"},
    {"close-reused", "", FLAG, AT(close_reused), 0,
     "FIN on the second request of a connection, unanswered"},
    {"conn-close", "", FLAG, AT(conn_close), 0, "Connection: close, and does"},
    {"keepalive", "SECONDS/MAX", TWO, AT(keepalive), 0,
     "says Keep-Alive: timeout=, max= and obeys: idle that long, or the MAX-th call, closes"},
};

enum { ROWS = sizeof rows / sizeof rows[0] };

static bool next_segment(struct span *path, struct span *seg) {
    if (path->len == 0 || *path->p != '/') return false;
    const char *end = memchr(path->p + 1, '/', path->len - 1);
    size_t len = end ? (size_t)(end - path->p) : path->len;
    *seg = (struct span){path->p + 1, len - 1};
    path->p += len;
    path->len -= len;
    return true;
}

static bool digits(struct span s) {
    for (size_t i = 0; i < s.len; i++)
        if (!isdigit((unsigned char)s.p[i])) return false;
    return s.len > 0 && s.len < 12;
}

static long to_long(struct span s) {
    char text[16] = {0};
    memcpy(text, s.p, s.len < sizeof text ? s.len : sizeof text - 1);
    return strtol(text, NULL, 10);
}

static bool take_number(struct span *path, long *out) {
    struct span look = *path, seg;
    if (!next_segment(&look, &seg) || !digits(seg)) return false;
    *path = look;
    *out = to_long(seg);
    return true;
}

/* Appends to a field that holds a NUL-terminated text; %XX decoded; CR and LF left out. */
static bool take_text(struct span *path, char *field, size_t size) {
    struct span seg;
    if (!next_segment(path, &seg)) return false;
    size_t n = strlen(field);
    for (size_t i = 0; i < seg.len; i++) {
        char c = seg.p[i];
        if (c == '%' && i + 2 < seg.len) {
            char hex[3] = {seg.p[i + 1], seg.p[i + 2], 0};
            c = (char)strtoul(hex, NULL, 16);
            i += 2;
        }
        if (n + 1 >= size) return false;
        if (c != '\r' && c != '\n' && c != 0) field[n++] = c;
    }
    field[n] = 0;
    return true;
}

static bool take_point(struct span *path, struct point *out) {
    struct span seg;
    if (!next_segment(path, &seg)) return false;
    out->events = seg.len > 1 && *seg.p == 'e';
    if (out->events) seg = (struct span){seg.p + 1, seg.len - 1};
    out->set = digits(seg);
    out->n = out->set ? (size_t)to_long(seg) : 0;
    return out->set;
}

static bool take_header(struct span *path, char *field, size_t size) {
    static const char *const after[] = {": ", "\r\n"};
    for (int i = 0; i < 2; i++) {
        if (!take_text(path, field, size)) return false;
        size_t n = strlen(field);
        if (n + 3 > size) return false;
        memcpy(field + n, after[i], 3);
    }
    return true;
}

static bool take(const struct row *row, struct span *path, struct script *s) {
    void *field = (char *)s + row->at;
    long *numbers = field;
    switch (row->kind) {
    case NOTHING: return true;
    case FLAG:
        if (row->size)
            *(bool *)field = true;
        else if (row->value)
            s->early = row->value; /* flood-1xx */
        else
            snprintf(s->finish, sizeof s->finish, "length");
        return true;
    case NUM: return take_number(path, numbers);
    case OPT:
        numbers[0] = row->value;
        take_number(path, numbers);
        return true;
    case TWO: return take_number(path, numbers) && take_number(path, numbers + 1);
    case TEXT: *(char *)field = 0; return take_text(path, field, row->size);
    case POINT: return take_point(path, field);
    case HEADER: return take_header(path, field, row->size);
    }
    return false;
}

static void clamp(long *v, long max) {
    if (*v > max) *v = max;
}

static const struct row *find_row(struct span name) {
    for (int i = 0; i < ROWS; i++)
        if (span_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

bool script_parse(struct span target, struct script *s, struct span *rest, char *why, size_t len) {
    memset(s, 0, sizeof *s); /* padding too: script_is_faulty compares bytes */
    const char *query = memchr(target.p, '?', target.len);
    if (query) target.len = (size_t)(query - target.p);
    struct span path = target, seg;
    while (next_segment(&path, &seg)) {
        if (span_is(seg, "v1")) {
            size_t n = (size_t)(seg.p - 1 - target.p);
            *rest = path;
            clamp(&s->early, MOCK_MAX_EARLY);
            clamp(&s->bigline, MOCK_MAX_FILL);
            clamp(&s->headers_big, MOCK_MAX_FILL);
            clamp(&s->comments, MOCK_MAX_EARLY);
            clamp(&s->data_lines, MOCK_MAX_EARLY);
            snprintf(s->prefix, sizeof s->prefix, "%.*s", (int)n, target.p);
            return true;
        }
        const struct row *row = find_row(seg);
        if (!row || !take(row, &path, s)) {
            snprintf(why, len, "%s /%.*s: see mockllm --help",
                     row ? "wrong argument of" : "no such prefix", (int)seg.len, seg.p);
            return false;
        }
    }
    snprintf(why, len, "no /v1 in the path");
    return false;
}

/* Copied by field into zeroed memory: compared with memcmp below. */
static void good_part(const struct script *s, struct script *good) {
    memset(good, 0, sizeof *good);
    good->delay_ms = s->delay_ms;
    good->interval_ms = s->interval_ms;
    good->flaky = s->flaky;
    good->tokens = s->tokens;
    good->cost = s->cost;
    good->count = s->count;
    good->reasoning = s->reasoning;
    good->openrouter = s->openrouter;
    memcpy(good->prefix, s->prefix, sizeof good->prefix);
}

void script_recover(struct script *s) {
    struct script good;
    good_part(s, &good);
    *s = good;
}

bool script_is_faulty(const struct script *s) {
    struct script good;
    good_part(s, &good);
    return memcmp(s, &good, sizeof good) != 0;
}

void script_print_table(void) {
    for (int i = 0; i < ROWS; i++) {
        char left[64];
        snprintf(left, sizeof left, "/%s%s%s", rows[i].name, *rows[i].args ? "/" : "",
                 rows[i].args);
        printf("  %-31s %s\n", left, rows[i].help);
    }
}
