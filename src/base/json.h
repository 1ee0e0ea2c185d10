/* JSON over yyjson, with what yyjson does not do: depth and duplicate keys are checked before a document is used,
 * and output can be kept ASCII-only (official clients break on a UTF-8 character cut between two chunks). */
#ifndef ANYLLM_BASE_JSON_H
#define ANYLLM_BASE_JSON_H

#include "base/buf.h"
#include "base/slice.h"

#include <yyjson.h>

#define JSON_MAX_DEPTH 64U
/* Members of one object: the table of their names must stay in the processor's cache, a million names in one object cost
 * a quarter of a second (measured). */
#define JSON_MAX_MEMBERS 65536U
#define JSON_MAX_KEY_BYTES 65536U
/* Of a document: each takes 16 bytes of memory, so 32 MiB of "[[[[" would take half a gigabyte. */
#define JSON_MAX_VALUES 262144U

enum json_fault {
    JSON_OK,
    JSON_SYNTAX,    /* not JSON, more than one value, NaN, Infinity, over one of the limits above */
    JSON_UNICODE,   /* invalid UTF-8, lone surrogate, BOM */
    JSON_DEPTH,     /* nested deeper than JSON_MAX_DEPTH */
    JSON_DUPLICATE, /* an object names a key twice */
    JSON_MEMORY
};

struct json_error {
    enum json_fault fault;
    size_t offset;      /* byte offset in the text (0 where it is not known) */
    const char *reason; /* static */
};

/* Parses one strict JSON value. NULL on a fault, then *err says which. Free with yyjson_doc_free. The text is
 * copied. Linear in the text, recursion-free. */
yyjson_doc *json_parse(struct slice text, struct json_error *err);

static inline struct slice json_str(yyjson_val *v) {
    return yyjson_is_str(v) ? slice_make(yyjson_get_str(v), yyjson_get_len(v)) : SLICE_NONE;
}
/* Member `key` of object `obj` (NULL-safe: NULL when obj is not an object or has no such key). */
yyjson_val *json_get(yyjson_val *obj, const char *key);

/* A member as it stands in the text; the slices point into it. */
struct json_member {
    struct slice name;  /* between its quotes, escapes as written: compare with json_name_is */
    struct slice value; /* without spaces around it */
    struct slice text;  /* `"name": value` */
};
/* What stands between the braces of an object; empty when there is none. */
struct slice json_inside(struct slice object);
/* Takes the first member off *rest, which begins as json_inside or as a list of members; false: there is none left. Made
 * for text that json_parse has accepted: other text gives some members or none, and is never read past its end. */
bool json_next_member(struct slice *rest, struct json_member *out);
/* Is this what the name says once its escapes are read? */
bool json_name_is(struct slice name, const char *ascii);

/* Appends a JSON string with its quotes. `ascii`: everything outside ASCII as \uXXXX (surrogate pairs).
 * Invalid UTF-8 becomes U+FFFD. */
bool json_add_string(struct buf *b, struct slice s, bool ascii);
/* Appends the value compactly. */
bool json_add_value(struct buf *b, yyjson_val *v, bool ascii);

#endif
