/* Texts of upstreams are repeated to callers, so keys and addresses are taken out of them first. */
#include "llm/fault.h"

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Characters keys are made of, and the stars that stand in for some of them. */
static bool is_token(char c) {
    return is_word(c) || c == '-' || c == '.' || c == '*' || c == '+' || c == '/' || c == '=';
}

static size_t token_len(struct slice s, size_t at) {
    size_t n = 0;
    while (at + n < s.len && is_token(s.ptr[at + n])) n++;
    return n;
}

static bool starts_nocase(struct slice s, struct slice prefix) {
    return s.len >= prefix.len && slice_eq_nocase(slice_make(s.ptr, prefix.len), prefix);
}

static size_t match_url(struct slice s) {
    static const struct slice schemes[] = {
        {"http://", 7}, {"https://", 8}, {"ws://", 5}, {"wss://", 6}, {"unix:/", 6}};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!starts_nocase(s, schemes[i])) continue;
        size_t n = schemes[i].len;
        while (n < s.len && (unsigned char)s.ptr[n] > ' ' && strchr("\"'<>)]},;", s.ptr[n]) == NULL)
            n++;
        return n;
    }
    return 0;
}

static size_t match_port(struct slice s, size_t n) {
    size_t start = n;
    if (n >= s.len || s.ptr[n] != ':') return start;
    n++;
    if (n >= s.len || !is_digit(s.ptr[n])) return start;
    while (n < s.len && is_digit(s.ptr[n])) n++;
    return n;
}

static size_t match_ipv4(struct slice s) {
    size_t n = 0;
    for (int part = 0; part < 4; part++) {
        size_t digits = 0;
        if (part > 0 && (n >= s.len || s.ptr[n++] != '.')) return 0;
        while (n < s.len && is_digit(s.ptr[n]) && digits < 4) n++, digits++;
        if (digits == 0 || digits > 3) return 0;
    }
    return n < s.len && (is_word(s.ptr[n]) || s.ptr[n] == '.') && n + 1 < s.len &&
                   is_word(s.ptr[n + 1])
               ? 0
               : match_port(s, n);
}

static size_t match_ipv6(struct slice s) {
    size_t n = 1, colons = 0;
    if (s.len < 4 || s.ptr[0] != '[') return 0;
    while (n < s.len && (strchr("0123456789abcdefABCDEF:.%", s.ptr[n]) != NULL && s.ptr[n] != '\0'))
        colons += s.ptr[n++] == ':';
    return colons >= 2 && n < s.len && s.ptr[n] == ']' ? match_port(s, n + 1) : 0;
}

static size_t match_host(struct slice s, struct slice host) {
    if (host.len == 0 || !starts_nocase(s, host)) return 0;
    if (s.len > host.len && is_word(s.ptr[host.len])) return 0;
    return match_port(s, host.len);
}

static size_t match_key(struct slice s, struct slice key, bool word_start) {
    if (key.len >= 4 && slice_starts(s, key)) return key.len;
    if (!word_start) return 0;
    if (starts_nocase(s, SLICE("bearer "))) return 7 + token_len(s, 7);
    size_t n = slice_starts(s, SLICE("sk-")) ? token_len(s, 0) : 0;
    return n >= 8 ? n : 0;
}

static size_t match_address(struct slice s, const struct fault_secrets *secrets, bool word_start) {
    size_t n;
    if ((n = match_ipv6(s)) > 0) return n;
    if (!word_start) return 0;
    if ((n = match_url(s)) > 0 || (n = match_ipv4(s)) > 0 || (n = match_host(s, secrets->host)) > 0)
        return n;
    return match_host(s, SLICE("localhost"));
}

/* Length of the UTF-8 character at the front, 0 when it is not one. */
static size_t utf8_len(struct slice s) {
    unsigned char c = (unsigned char)s.ptr[0];
    size_t n = c < 0x80             ? 1
               : (c & 0xe0) == 0xc0 ? 2
               : (c & 0xf0) == 0xe0 ? 3
               : (c & 0xf8) == 0xf0 ? 4
                                    : 0;
    if (n == 0 || n > s.len) return 0;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s.ptr[i] & 0xc0) != 0x80) return 0;
    return n;
}

static struct slice printable(struct slice s, size_t *used) {
    size_t n = utf8_len(s);
    *used = n > 0 ? n : 1;
    if (n == 0) return SLICE("?");
    if ((unsigned char)s.ptr[0] < ' ' || s.ptr[0] == 0x7f) return SLICE(" ");
    return slice_make(s.ptr, n);
}

void fault_scrub(struct buf *out, struct slice text, const struct fault_secrets *secrets) {
    size_t at = 0, used, start = buf_len(out);
    while (at < text.len) {
        struct slice rest = slice_from(text, at), piece;
        bool word_start = at == 0 || !is_word(text.ptr[at - 1]);
        if ((used = match_key(rest, secrets->key, word_start)) > 0)
            piece = SLICE("[key]");
        else if ((used = match_address(rest, secrets, word_start)) > 0)
            piece = SLICE("[address]");
        else
            piece = printable(rest, &used);
        if (buf_len(out) - start + piece.len > FAULT_MAX_TEXT_BYTES) return;
        buf_add(out, piece);
        at += used;
    }
}
