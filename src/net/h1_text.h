/* Which bytes may stand where in HTTP/1.1: one table for the parts of the codec. Inside the room only. */
#ifndef ANYLLM_NET_H1_TEXT_H
#define ANYLLM_NET_H1_TEXT_H

#include "base/slice.h"

enum {
    H1_C_TOKEN = 1,  /* tchar of RFC 9110: names, methods, codings */
    H1_C_VALUE = 2,  /* field-value: tab, space, visible, 0x80-0xff */
    H1_C_TARGET = 4, /* request target: visible ASCII but '#' */
    H1_C_HOST = 8,   /* reg-name without percent and sub-delims */
    H1_C_HEX = 16,
    H1_C_DIGIT = 32,
    H1_C_LOWER = 64
};

extern const unsigned char h1_class[256];

static inline bool h1_is(char c, unsigned classes) {
    return (h1_class[(unsigned char)c] & classes) != 0;
}

/* Every byte is of the class; true for an empty slice. */
static inline bool h1_all(struct slice s, unsigned classes) {
    for (size_t i = 0; i < s.len; i++)
        if (!h1_is(s.ptr[i], classes)) return false;
    return true;
}

/* Of a digit h1_is(c, H1_C_HEX) holds for. */
static inline unsigned h1_hex(char c) {
    return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 32U) - 'a' + 10U;
}

#endif
