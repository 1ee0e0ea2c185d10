#include "client/inputs.h"

#include "base/hex.h"

#include <stdlib.h>

/* Decodes in place; the new length, or -1: a stray '%' or a NUL. */
static ptrdiff_t percent_decode(char *text, size_t len) {
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            if (len - i < 3 || !hex_read(slice_make(text + i + 1, 2), &c, 1) || c == '\0') {
                return -1;
            }
            i += 2;
        }
        text[out++] = c;
    }
    text[out] = '\0';
    return (ptrdiff_t)out;
}

char *client_file_url_path(struct slice url, enum fal_code *code, const char **why) {
    static const char scheme[] = "file://", local[] = "localhost";
    struct slice path = slice_from(url, sizeof(scheme) - 1);
    *code = FAL_ERR_ARGUMENT;
    if (path.len > sizeof(local) &&
        slice_eq_nocase(slice_make(path.ptr, sizeof(local) - 1), slice_of(local))) {
        path = slice_from(path, sizeof(local) - 1);
    }
    if (path.len < 2 || path.ptr[0] != '/') {
        *why = "only file:///path names a file of this machine";
        return NULL;
    }
    if (slice_find(path, '?') >= 0 || slice_find(path, '#') >= 0) {
        *why = "'?' and '#' must be written %3F and %23";
        return NULL;
    }
    if (memchr(path.ptr, '\0', path.len) != NULL) {
        *why = "a path holds no NUL";
        return NULL;
    }
    char *text = slice_dup(path);
    if (text == NULL) {
        *code = FAL_ERR_MEMORY;
        return NULL;
    }
    if (percent_decode(text, path.len) < 0) {
        *why = "a '%' must be followed by two hexadecimal digits, not 00";
        free(text);
        return NULL;
    }
    *code = FAL_OK;
    return text;
}
