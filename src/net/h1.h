/* HTTP/1.1 codec, both directions, pure: bytes in; consumed, need-more or an error out. No I/O, no allocation.
 *
 * llhttp reads the header lines; our own code reads start lines and judges framing, and closes what llhttp 9.2 lets
 * through (leading zeros in Content-Length, codings before chunked, TE on HTTP/1.0, double spaces, other versions,
 * fragments, missing Host, RTSP and ICE methods …): docs/bad-input.md rows H1–H45 are the tests.
 * What is wrong is refused as soon as the byte that makes it wrong is seen (header lines: when the head is whole), with
 * the same verdict however the bytes arrive; the scan for the end of a head is linear. */
#ifndef ANYLLM_NET_H1_H
#define ANYLLM_NET_H1_H

#include "base/slice.h"

#define H1_MAX_REQUEST_LINE_BYTES 8192U /* without CRLF; status lines too */
#define H1_MAX_HEADER_BYTES 16384U      /* one line without CRLF */
#define H1_MAX_HEAD_BYTES 32768U        /* start line to empty line */
#define H1_MAX_HEADERS 100U
#define H1_MAX_TRAILER_BYTES 8192U
#define H1_MAX_CHUNK_EXT_BYTES 256U         /* per chunk */
#define H1_MAX_CHUNK_EXT_TOTAL_BYTES 16384U /* per body */
/* Framing bytes beyond which payload must be at least a quarter of them. */
#define H1_MAX_CHUNK_OVERHEAD_BYTES 102400U

enum h1_method {
    H1_GET,
    H1_HEAD,
    H1_POST,
    H1_PUT,
    H1_DELETE,
    H1_PATCH,
    H1_OPTIONS,
    H1_CONNECT,
    H1_TRACE
};
const char *h1_method_name(enum h1_method m);

struct h1_header {
    struct slice name, value; /* value trimmed */
};

struct h1_head {
    /* requests */
    enum h1_method method;
    struct slice target; /* as sent; origin form, absolute form or * */
    /* Of the target, percent-encoded (escapes are valid and none is %00), without query. Begins with '/', but is "*"
     * for OPTIONS * and the whole target for CONNECT (to be refused by method). */
    struct slice path;
    struct slice query; /* after '?', len 0 when none */
    struct slice host;  /* validated host[:port]; ptr NULL only for HTTP/1.0 without Host */
    bool expect_continue;
    /* responses */
    unsigned status;
    /* both */
    unsigned minor; /* HTTP/1.minor, 0 or 1 */
    bool keep_alive;
    bool chunked;
    bool has_length;
    uint64_t content_length;
    size_t nheaders;
    struct h1_header headers[H1_MAX_HEADERS];
};

struct h1_error {
    unsigned status;    /* to answer: 400, 414, 417, 431, 501, 505; for responses always 502 */
    const char *reason; /* static, for "Bad request: <reason>" */
};

/* Where the scan for the end of a head stands; zero it before each head. */
struct h1_scan {
    size_t at, line;
    unsigned blank; /* empty lines skipped before a request (at most 2) */
};

enum h1_kind { H1_REQUEST, H1_RESPONSE };
enum h1_result { H1_MORE, H1_DONE, H1_ERROR };

/* Reads one head from the front of data[0..len). Call again with more bytes appended (the same start) on H1_MORE.
 * H1_DONE: *used bytes belong to the head (with skipped empty lines); slices in *head point into data.
 * H1_ERROR: *err says what to answer; the connection must not be read further. */
enum h1_result h1_head(enum h1_kind kind, const char *data, size_t len, struct h1_scan *scan,
                       struct h1_head *head, size_t *used, struct h1_error *err);

/* First header of that name (lower or upper case alike), ptr NULL when absent; *count (may be NULL) gets how many. */
struct slice h1_get(const struct h1_head *head, struct slice name, size_t *count);

enum h1_body_mode { H1_BODY_NONE, H1_BODY_LENGTH, H1_BODY_CHUNKED, H1_BODY_UNTIL_CLOSE };

struct h1_body {
    enum h1_body_mode mode;
    int state;         /* of the chunk reader */
    uint64_t left;     /* of the length or of the chunk */
    uint64_t total;    /* payload bytes so far */
    uint64_t overhead; /* framing bytes so far */
    size_t ext, ext_total, trailer;
    unsigned digits; /* of the chunk's size */
    bool response;
    bool done;
};

/* `head_request`: for responses, whether the request was HEAD (no body then). 1xx, 204, 304 have none. */
void h1_body_init(struct h1_body *b, enum h1_kind kind, const struct h1_head *head,
                  bool head_request);

/* Takes bytes from the front of data: *used are consumed, *out is payload among them (a slice of data, maybe empty).
 * H1_MORE: feed the rest (data + *used) again, or more bytes when *used == len. H1_DONE: the body is complete, what
 * follows *used is not part of it; *out may hold its last payload. H1_ERROR: *out is empty; payload before the fault
 * was given by an earlier call. H1_BODY_UNTIL_CLOSE never says DONE; EOF is the end. Trailers are read and dropped.
 * A body without bytes has `done` set by h1_body_init; feeding it says DONE and consumes nothing. */
enum h1_result h1_body_feed(struct h1_body *b, const char *data, size_t len, size_t *used,
                            struct slice *out, struct h1_error *err);

/* host[:port]: a name, an IPv4 or a bracketed IPv6 address. */
bool h1_host_ok(struct slice s);
/* True when the value may stand in a header we send: no CR, LF, NUL or other control but tab. */
bool h1_value_ok(struct slice value);
bool h1_name_ok(struct slice name);

/* Percent-decodes a path segment or query value into out (capacity >= in.len). False on a bad escape or a NUL. */
bool h1_unescape(struct slice in, bool plus_is_space, char *out, size_t *out_len);
/* Value of query parameter `name`, still encoded; *count (may be NULL) how often it stands. ptr NULL when absent. */
struct slice h1_query(struct slice query, struct slice name, size_t *count);

#endif
