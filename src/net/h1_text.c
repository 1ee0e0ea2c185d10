#include "net/h1_text.h"

#include "net/h1.h"

/* Row = high half of the byte. The sums are those of the enum in the header; test_h1 checks every cell against the
 * grammar written out. */
/* clang-format off */
const unsigned char h1_class[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    2, 7, 6, 3, 7, 7, 7, 7, 6, 6, 7, 7, 6, 15, 15, 6,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 6, 6, 6, 6, 6, 6,
    6, 31, 31, 31, 31, 31, 31, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 6, 6, 6, 7, 15,
    7, 95, 95, 95, 95, 95, 95, 79, 79, 79, 79, 79, 79, 79, 79, 79,
    79, 79, 79, 79, 79, 79, 79, 79, 79, 79, 79, 6, 7, 6, 15, 0,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
    2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,
};
/* clang-format on */

bool h1_value_ok(struct slice value) {
    return h1_all(value, H1_C_VALUE);
}

bool h1_name_ok(struct slice name) {
    return name.len > 0 && h1_all(name, H1_C_TOKEN);
}

struct slice h1_get(const struct h1_head *head, struct slice name, size_t *count) {
    struct slice found = SLICE_NONE;
    size_t n = 0;
    for (size_t i = 0; i < head->nheaders; i++) {
        const struct h1_header *h = &head->headers[i];
        if (h->name.len != name.len || !slice_eq_nocase(h->name, name)) continue;
        if (n++ == 0) found = h->value;
        if (count == NULL) break;
    }
    if (count != NULL) *count = n;
    return found;
}

bool h1_unescape(struct slice in, bool plus_is_space, char *out, size_t *out_len) {
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            if (in.len - i < 3 || !h1_is(in.ptr[i + 1], H1_C_HEX) ||
                !h1_is(in.ptr[i + 2], H1_C_HEX))
                return false;
            c = (char)(h1_hex(in.ptr[i + 1]) << 4 | h1_hex(in.ptr[i + 2]));
            i += 2;
        }
        if (c == '\0') return false;
        out[n++] = c;
    }
    *out_len = n;
    return true;
}

struct slice h1_query(struct slice query, struct slice name, size_t *count) {
    struct slice found = SLICE_NONE, rest = query;
    size_t n = 0;
    while (rest.len > 0) {
        struct slice value, pair = slice_cut(rest, '&', &rest), key = slice_cut(pair, '=', &value);
        if (!slice_eq(key, name)) continue;
        if (n++ > 0) continue;
        found = value.ptr != NULL ? value : slice_make(key.ptr + key.len, 0);
    }
    if (count != NULL) *count = n;
    return found;
}
