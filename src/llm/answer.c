#include "llm/answer.h"

#include <stdlib.h>

/* yyjson asks for at most 12 times the text and its copy: 256 KiB hold answers of about 20 KB, nearly all. Pages are
 * touched only as far as an answer reaches. */
#define POOL_BYTES (256U << 10)
#define MAX_JOINED_BYTES (16U << 20)
#define MAX_CLEAN_BYTES (64U << 20)
#define MAX_USAGE_BYTES 4096U
#define MAX_TOKENS 1000000000U
#define MAX_MICROUSD 1000000000000
#define KEEP_BYTES 65536U

bool answer_init(struct answer_reader *r) {
    *r = (struct answer_reader){.pool = malloc(POOL_BYTES)};
    buf_init(&r->text, MAX_JOINED_BYTES);
    buf_init(&r->reasoning, MAX_JOINED_BYTES);
    buf_init(&r->clean, MAX_CLEAN_BYTES);
    buf_init(&r->raw_usage, MAX_USAGE_BYTES);
    return r->pool != NULL;
}

void answer_free(struct answer_reader *r) {
    answer_done(r);
    buf_free(&r->text);
    buf_free(&r->reasoning);
    buf_free(&r->clean);
    buf_free(&r->raw_usage);
    free(r->pool);
    r->pool = NULL;
}

void answer_done(struct answer_reader *r) {
    yyjson_doc_free(r->doc);
    r->doc = NULL;
    buf_reset(&r->text, KEEP_BYTES);
    buf_reset(&r->reasoning, KEEP_BYTES);
    buf_reset(&r->clean, KEEP_BYTES);
    buf_reset(&r->raw_usage, MAX_USAGE_BYTES);
}

/* --- text that is not UTF-8 */

/* Length of a well-formed UTF-8 character at p, 0 when it is none; *bad is how many bytes one U+FFFD stands for
 * (the longest beginning of a character, as the Unicode standard advises). */
static size_t utf8_char(const unsigned char *p, size_t left, size_t *bad) {
    unsigned char low = 0x80, high = 0xbf;
    size_t n = p[0] < 0x80   ? 1
               : p[0] < 0xc2 ? 0
               : p[0] < 0xe0 ? 2
               : p[0] < 0xf0 ? 3
               : p[0] < 0xf5 ? 4
                             : 0;
    *bad = 1;
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
    for (size_t i = 1; i < n; i++) {
        if (i >= left || p[i] < low || p[i] > high) return 0;
        low = 0x80;
        high = 0xbf;
        *bad = i + 1;
    }
    return n;
}

static bool hex4(const char *p, unsigned *out) {
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0) return false;
        *out = *out << 4 | (unsigned)d;
    }
    return true;
}

/* Length of the escape at s (which begins with a backslash); *lone: half of a surrogate pair. */
static size_t escape_len(struct slice s, bool *lone) {
    unsigned unit, second;
    *lone = false;
    if (s.len < 2) return s.len;
    if (s.ptr[1] != 'u' || s.len < 6 || !hex4(s.ptr + 2, &unit)) return 2;
    if (unit < 0xd800 || unit > 0xdfff) return 6;
    bool pair = unit < 0xdc00 && s.len >= 12 && s.ptr[6] == '\\' && s.ptr[7] == 'u' &&
                hex4(s.ptr + 8, &second) && second >= 0xdc00 && second <= 0xdfff;
    *lone = !pair;
    return pair ? 12 : 6;
}

/* Appends json with a U+FFFD for each broken character (and half pair, when `escapes`); returns how many. */
static uint64_t add_repaired(struct buf *b, struct slice json, bool escapes) {
    size_t at = 0, bad;
    uint64_t repaired = 0;
    while (at < json.len && !b->failed) {
        struct slice rest = slice_from(json, at);
        bool lone = false;
        size_t n = escapes && rest.ptr[0] == '\\'
                       ? escape_len(rest, &lone)
                       : utf8_char((const unsigned char *)rest.ptr, rest.len, &bad);
        if (n > 0 && !lone)
            buf_add(b, slice_make(rest.ptr, n));
        else {
            buf_add(b, SLICE("\xef\xbf\xbd"));
            repaired++;
        }
        at += n > 0 ? n : bad;
    }
    return repaired;
}

bool answer_add_utf8(struct buf *b, struct slice text) {
    (void)add_repaired(b, text, false);
    return !b->failed;
}

/* --- parsing */

static yyjson_doc *parse(struct answer_reader *r, struct slice json, yyjson_read_err *err) {
    yyjson_alc alc;
    char *text = (char *)(uintptr_t)json.ptr; /* not written to: the flag for that is not set */
    bool fits = json.len > 0 &&
                yyjson_read_max_memory_usage(json.len, YYJSON_READ_NUMBER_AS_RAW) < POOL_BYTES - 64;
    if (fits) yyjson_alc_pool_init(&alc, r->pool, POOL_BYTES);
    return yyjson_read_opts(text, json.len, YYJSON_READ_NUMBER_AS_RAW, fits ? &alc : NULL, err);
}

static yyjson_val *parse_object(struct answer_reader *r, struct slice json, bool *repaired) {
    yyjson_read_err err;
    if (slice_starts(json, SLICE("\xef\xbb\xbf"))) json = slice_from(json, 3);
    r->doc = parse(r, json, &err);
    if (r->doc == NULL && err.code == YYJSON_READ_ERROR_INVALID_STRING) {
        *repaired = true;
        buf_reset(&r->clean, KEEP_BYTES);
        r->repaired += add_repaired(&r->clean, json, true);
        if (!r->clean.failed) r->doc = parse(r, buf_slice(&r->clean), &err);
    }
    yyjson_val *root = yyjson_doc_get_root(r->doc);
    return yyjson_is_obj(root) ? root : NULL;
}

/* Text as a string, or as a list of parts whose texts are joined. */
static struct slice read_text(yyjson_val *v, struct buf *joined) {
    if (!yyjson_is_arr(v)) return json_str(v);
    yyjson_arr_iter it = yyjson_arr_iter_with(v);
    for (yyjson_val *part; (part = yyjson_arr_iter_next(&it)) != NULL;) {
        struct slice text = yyjson_is_str(part) ? json_str(part) : json_str(json_get(part, "text"));
        if (text.len > 0) buf_add(joined, text);
    }
    return buf_slice(joined);
}

static struct slice number_text(yyjson_val *v) {
    return yyjson_is_raw(v) ? slice_make(yyjson_get_raw(v), yyjson_get_len(v)) : SLICE_NONE;
}

static void read_error(yyjson_val *v, struct answer *out) {
    yyjson_val *code = json_get(v, "code"), *metadata = json_get(v, "metadata");
    if (v == NULL || yyjson_is_null(v) || out->has_error) return;
    out->has_error = true;
    out->error.message = yyjson_is_str(v) ? json_str(v) : json_str(json_get(v, "message"));
    out->error.type = json_str(json_get(v, "type"));
    if (out->error.type.len == 0) out->error.type = json_str(json_get(metadata, "error_type"));
    out->error.param = json_str(json_get(v, "param"));
    out->error.code = yyjson_is_str(code) ? json_str(code) : number_text(code);
    out->error.flagged = json_get(metadata, "flagged_input") != NULL ||
                         yyjson_arr_size(json_get(metadata, "reasons")) > 0;
}

/* Errors that stand bare: older vLLM's {"object":"error","message":…} and FastAPI's {"detail":…}. */
static void read_bare_error(yyjson_val *root, struct answer *out) {
    struct slice detail = json_str(json_get(root, "detail"));
    if (slice_is(json_str(json_get(root, "object")), "error")) {
        read_error(root, out);
    } else if (detail.len > 0 && !out->has_error) {
        out->has_error = true;
        out->error.message = detail;
    }
}

/* --- usage */

/* Negative, fractional or absurd counts are no counts (U22). */
static bool read_count(yyjson_val *v, uint64_t *out) {
    return slice_to_range(number_text(v), 0, MAX_TOKENS, out);
}

static void read_usage(struct answer_reader *r, yyjson_val *v, struct llm_usage *u) {
    yyjson_val *in = json_get(v, "prompt_tokens_details"),
               *out = json_get(v, "completion_tokens_details");
    if (!yyjson_is_obj(v)) return;
    u->known = read_count(json_get(v, "prompt_tokens"), &u->prompt_tokens);
    u->known = read_count(json_get(v, "completion_tokens"), &u->completion_tokens) && u->known;
    if (!read_count(json_get(v, "total_tokens"), &u->total_tokens))
        u->total_tokens = u->prompt_tokens + u->completion_tokens;
    read_count(json_get(in, "cached_tokens"), &u->cached_tokens);
    read_count(json_get(in, "cache_write_tokens"), &u->cache_write_tokens);
    read_count(json_get(out, "reasoning_tokens"), &u->reasoning_tokens);
    u->has_cost = answer_money(number_text(json_get(v, "cost")), &u->cost_microusd);
    char memory[2 * MAX_USAGE_BYTES];
    yyjson_alc alc;
    yyjson_alc_pool_init(&alc, memory, sizeof memory);
    size_t len;
    char *text = yyjson_val_write_opts(v, YYJSON_WRITE_NOFLAG, &alc, &len, NULL);
    buf_reset(&r->raw_usage, MAX_USAGE_BYTES);
    if (text != NULL && buf_add(&r->raw_usage, slice_make(text, len)))
        u->raw = buf_slice(&r->raw_usage);
}

struct decimal {
    const char *digits; /* with the point among them */
    size_t len;
    long long point; /* how many digits stand before the point, exponent applied */
};

/* A JSON number without a sign; the syntax was checked by the parser or is checked here. */
static bool read_decimal(struct slice s, struct decimal *d) {
    size_t at = 0, whole = 0, power = 0;
    bool negative_power = false;
    while (whole < s.len && s.ptr[whole] >= '0' && s.ptr[whole] <= '9') whole++;
    if (whole == 0) return false;
    at = whole;
    if (at < s.len && s.ptr[at] == '.')
        for (at++; at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9';) at++;
    *d = (struct decimal){s.ptr, at, (long long)whole};
    if (at == s.len) return true;
    if (s.ptr[at] != 'e' && s.ptr[at] != 'E') return false;
    at++;
    if (at < s.len && (s.ptr[at] == '-' || s.ptr[at] == '+')) negative_power = s.ptr[at++] == '-';
    if (at == s.len) return false;
    for (; at < s.len; at++) {
        if (s.ptr[at] < '0' || s.ptr[at] > '9') return false;
        if (power < 100000) power = power * 10 + (size_t)(s.ptr[at] - '0');
    }
    d->point += negative_power ? -(long long)power : (long long)power;
    return true;
}

bool answer_money(struct slice decimal, int64_t *microusd) {
    struct decimal d;
    int64_t v = 0;
    bool up = false;
    if (!read_decimal(decimal, &d)) return false;
    long long keep = d.point + 6, seen = 0;
    for (size_t i = 0; i < d.len && seen <= keep; i++) {
        if (d.digits[i] == '.') continue;
        if (seen == keep)
            up = d.digits[i] >= '5';
        else if ((v = v * 10 + (d.digits[i] - '0')) > MAX_MICROUSD)
            return false;
        seen++;
    }
    for (; seen < keep && v > 0; seen++)
        if ((v *= 10) > MAX_MICROUSD) return false;
    *microusd = v + up;
    return true;
}

int64_t answer_cost(const struct llm_usage *u, const struct catalogue_model *m) {
    uint64_t cached = m->cached_picousd < 0                 ? 0
                      : u->cached_tokens < u->prompt_tokens ? u->cached_tokens
                                                            : u->prompt_tokens;
    /* at most 1e9 tokens at 1e12 pico-dollars: 128 bits hold it */
    __int128 pico = (__int128)(u->prompt_tokens - cached) * m->prompt_picousd +
                    (__int128)cached * m->cached_picousd +
                    (__int128)u->completion_tokens * m->completion_picousd;
    __int128 micro = (pico + 500000) / 1000000;
    return micro > MAX_MICROUSD ? MAX_MICROUSD : (int64_t)micro;
}

/* --- the answer */

static bool is_silence(yyjson_val *v) {
    return yyjson_is_null(v) || (yyjson_is_str(v) && yyjson_get_len(v) == 0) ||
           (yyjson_is_ctn(v) && unsafe_yyjson_get_len(v) == 0);
}

/* The first chunk of a stream gives a role, often nothing else: until one says more, another upstream can still answer. */
static bool delta_says(yyjson_val *delta) {
    yyjson_obj_iter it = yyjson_obj_iter_with(delta);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;)
        if (!is_silence(yyjson_obj_iter_get_val(key)) && !slice_is(json_str(key), "role"))
            return true;
    return false;
}

/* --- members: one walk over an object instead of one for each name */

struct name {
    const char *text;
    size_t len;
};
#define NAME(text) {text, sizeof text - 1}

/* found[i] gets the value of names[i], NULL where there is none. */
static void find_members(yyjson_val *obj, const struct name *names, size_t n, yyjson_val **found) {
    yyjson_obj_iter it = yyjson_obj_iter_with(obj);
    for (size_t i = 0; i < n; i++) found[i] = NULL;
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
        size_t len = yyjson_get_len(key);
        for (size_t i = 0; i < n; i++)
            if (names[i].len == len && memcmp(names[i].text, yyjson_get_str(key), len) == 0)
                found[i] = yyjson_obj_iter_get_val(key);
    }
}

enum root_member { ROOT_ERROR, ROOT_CHOICES, ROOT_USAGE, ROOT_COUNT };
static const struct name root_names[ROOT_COUNT] = {NAME("error"), NAME("choices"), NAME("usage")};

enum choice_member { CHOICE_ERROR, CHOICE_MESSAGE, CHOICE_DELTA, CHOICE_FINISH, CHOICE_COUNT };
static const struct name choice_names[CHOICE_COUNT] = {NAME("error"), NAME("message"),
                                                       NAME("delta"), NAME("finish_reason")};

enum text_member { TEXT_CONTENT, TEXT_REFUSAL, TEXT_REASONING, TEXT_REASONING_CONTENT, TEXT_COUNT };
static const struct name text_names[TEXT_COUNT] = {NAME("content"), NAME("refusal"),
                                                   NAME("reasoning"), NAME("reasoning_content")};

static bool read_texts(struct answer_reader *r, yyjson_val *message, struct answer *out) {
    yyjson_val *at[TEXT_COUNT];
    find_members(message, text_names, TEXT_COUNT, at);
    out->content = read_text(at[TEXT_CONTENT], &r->text);
    if (out->content.len == 0) out->content = json_str(at[TEXT_REFUSAL]);
    bool other = at[TEXT_REASONING] == NULL || yyjson_is_null(at[TEXT_REASONING]);
    out->reasoning = read_text(at[other ? TEXT_REASONING_CONTENT : TEXT_REASONING], &r->reasoning);
    return !r->text.failed && !r->reasoning.failed;
}

static bool read_choice(struct answer_reader *r, yyjson_val *choice, enum answer_kind kind,
                        struct answer *out) {
    yyjson_val *at[CHOICE_COUNT];
    find_members(choice, choice_names, CHOICE_COUNT, at);
    yyjson_val *message = at[kind == ANSWER_WHOLE ? CHOICE_MESSAGE : CHOICE_DELTA];
    read_error(at[CHOICE_ERROR], out);
    out->finish_reason = json_str(at[CHOICE_FINISH]);
    out->has_choice = yyjson_is_obj(choice) && (yyjson_is_obj(message) || kind != ANSWER_WHOLE);
    if (kind == ANSWER_EVENT) out->says = yyjson_is_str(at[CHOICE_FINISH]) || delta_says(message);
    if (!yyjson_is_obj(message)) return out->has_choice || out->has_error;
    return read_texts(r, message, out);
}

bool answer_read(struct answer_reader *r, struct slice json, enum answer_kind kind,
                 struct answer *out) {
    yyjson_val *at[ROOT_COUNT];
    answer_done(r);
    *out = (struct answer){0};
    yyjson_val *root = parse_object(r, json, &out->repaired);
    if (root == NULL) return false;
    find_members(root, root_names, ROOT_COUNT, at);
    yyjson_val *choices = at[ROOT_CHOICES], *choice = yyjson_arr_get_first(choices);
    read_error(at[ROOT_ERROR], out);
    if (choices == NULL) read_bare_error(root, out);
    if (choice != NULL && !read_choice(r, choice, kind, out)) return false;
    if (slice_is(out->finish_reason, "error") && !out->has_error) out->has_error = true;
    read_usage(r, at[ROOT_USAGE], &out->usage);
    if (out->has_error) return true;
    if (kind == ANSWER_WHOLE) return out->has_choice;
    bool has_usage = yyjson_is_obj(at[ROOT_USAGE]);
    out->says = out->says || yyjson_arr_size(choices) > 1;
    out->only_usage = choice == NULL && has_usage;
    return choice != NULL || yyjson_is_arr(choices) || has_usage;
}
