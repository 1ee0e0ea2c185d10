#include "api/credential.h"

#include <string.h>

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* CRC-32 of IEEE 802.3 by half bytes. */
static uint32_t crc32(const char *text, size_t len) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)text[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static void add_check(const char *text, size_t len, char out[CREDENTIAL_CHECK_BYTES]) {
    uint32_t crc = crc32(text, len);
    for (size_t i = CREDENTIAL_CHECK_BYTES; i-- > 0; crc /= 62) out[i] = digits[crc % 62];
}

void credential_make(const struct random *r, char out[CREDENTIAL_BYTES + 1]) {
    char *at = out + CREDENTIAL_ID_BYTES;
    random_uuid(r, out);
    memcpy(at, ":" CREDENTIAL_PREFIX, sizeof CREDENTIAL_PREFIX);
    at += sizeof CREDENTIAL_PREFIX;
    for (size_t i = 0; i < CREDENTIAL_DRAWN_BYTES; i++) *at++ = digits[random_below(r, 62)];
    add_check(out, (size_t)(at - out), at);
    out[CREDENTIAL_BYTES] = '\0';
}

enum credential_form credential_look(struct slice text) {
    static const struct slice mark = {":" CREDENTIAL_PREFIX, sizeof CREDENTIAL_PREFIX};
    char check[CREDENTIAL_CHECK_BYTES];
    size_t covered = CREDENTIAL_BYTES - CREDENTIAL_CHECK_BYTES;
    if (text.len <= CREDENTIAL_ID_BYTES ||
        !slice_starts(slice_from(text, CREDENTIAL_ID_BYTES), mark))
        return CREDENTIAL_OTHER;
    if (text.len != CREDENTIAL_BYTES) return CREDENTIAL_DAMAGED;
    add_check(text.ptr, covered, check);
    return memcmp(check, text.ptr + covered, sizeof check) == 0 ? CREDENTIAL_OURS
                                                                : CREDENTIAL_DAMAGED;
}
