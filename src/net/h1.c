/* The head of a message.
 *
 * 1. scan: finds the end of the head, line by line, and refuses what can be refused before the head is whole: a NUL, a
 *    bare LF, folding, a line or head too long, a start line that is not HTTP. Every verdict depends only on the bytes
 *    up to the one that decides it, so it is the same however the bytes arrive.
 * 2. The start line is read by our own code: this is where llhttp 9.2 is laxest (double spaces, versions, fragments,
 *    foreign methods) and dearest.
 * 3. llhttp reads the header lines, strictly, without judging framing (its own judgement of Transfer-Encoding is lax,
 *    and it gives one error for several causes).
 * 4. judge: framing, Host, Expect, Connection, in our own words. */
#include "net/h1.h"

#include "net/h1_text.h"

#include <llhttp.h>
#include <pthread.h>

#define MAX_METHOD_BYTES 32U
#define MAX_EMPTY_LINES 2U

struct reading {
    enum h1_kind kind;
    const char *data;
    size_t len;
    size_t start;   /* of the start line, behind empty lines */
    size_t headers; /* first byte behind the start line once that was read in this call, else 0 */
    struct h1_scan *scan;
    struct h1_head *head;
    struct h1_error *err;
};

static bool refuse(struct h1_error *err, unsigned status, const char *reason) {
    *err = (struct h1_error){status, reason};
    return false;
}

static bool is_nocase(struct slice s, const char *lower, size_t len) {
    if (s.len != len) return false;
    for (size_t i = 0; i < len;
         i++) /* | 32 is right for letters and '-'; no other byte of a token becomes one */
        if ((s.ptr[i] | 32) != lower[i]) return false;
    return true;
}
#define IS_NOCASE(s, lit) is_nocase((s), (lit), sizeof(lit) - 1)

/* --- start lines */

static const struct {
    struct slice name;
    enum h1_method method;
} methods[] = {
    {{"GET", 3}, H1_GET},         {{"HEAD", 4}, H1_HEAD},       {{"POST", 4}, H1_POST},
    {{"PUT", 3}, H1_PUT},         {{"DELETE", 6}, H1_DELETE},   {{"PATCH", 5}, H1_PATCH},
    {{"OPTIONS", 7}, H1_OPTIONS}, {{"CONNECT", 7}, H1_CONNECT}, {{"TRACE", 5}, H1_TRACE},
};

const char *h1_method_name(enum h1_method m) {
    return methods[m].name.ptr;
}

static bool find_method(struct slice name, struct h1_head *head, struct h1_error *err) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!slice_eq(name, methods[i].name)) continue;
        head->method = methods[i].method;
        return true;
    }
    if (!h1_all(name, H1_C_TOKEN)) return refuse(err, 400, "invalid method");
    return refuse(err, 501, "method not implemented");
}

/* What can be said of the method before its line is whole. CR, LF and NUL are left to the scan, which names them. */
static bool method_begins_well(const char *p, size_t len, struct h1_error *err) {
    size_t n = len < MAX_METHOD_BYTES + 1 ? len : MAX_METHOD_BYTES + 1;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ' ' && i > 0) return true;
        if (p[i] == '\r' || p[i] == '\n' || p[i] == '\0') return true;
        if (!h1_is(p[i], H1_C_TOKEN) || h1_is(p[i], H1_C_LOWER))
            return refuse(err, 400, "invalid method");
    }
    return n <= MAX_METHOD_BYTES || refuse(err, 400, "invalid method");
}

static bool read_version(struct slice v, unsigned *minor, struct h1_error *err) {
    if (v.len == 8 && memcmp(v.ptr, "HTTP/1.", 7) == 0 && (v.ptr[7] == '1' || v.ptr[7] == '0')) {
        *minor = (unsigned)(v.ptr[7] - '0');
        return true;
    }
    if (!slice_starts(v, SLICE("HTTP/"))) return refuse(err, 400, "malformed request line");
    struct slice low, high = slice_cut(slice_from(v, 5), '.', &low);
    bool numbers = high.len > 0 && low.len > 0 && h1_all(high, H1_C_DIGIT) &&
                   h1_all(low, H1_C_DIGIT);
    return numbers ? refuse(err, 505, "HTTP version not supported")
                   : refuse(err, 400, "malformed request line");
}

bool h1_host_ok(struct slice s) {
    size_t n = 0;
    if (s.len > 0 && s.ptr[0] == '[') {
        for (n = 1; n < s.len && (h1_is(s.ptr[n], H1_C_HEX) || s.ptr[n] == ':' || s.ptr[n] == '.');)
            n++;
        if (n < 3 || n == s.len || s.ptr[n++] != ']') return false;
    } else {
        while (n < s.len && h1_is(s.ptr[n], H1_C_HOST)) n++;
    }
    if (n == 0) return false;
    if (n == s.len) return true;
    uint64_t port;
    return s.ptr[n] == ':' && s.len - n <= 6 &&
           slice_to_range(slice_from(s, n + 1), 1, 65535, &port);
}

static bool path_escapes_ok(struct slice path) {
    const char *p = path.ptr, *end = path.ptr + path.len;
    while ((p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (end - p < 3 || !h1_is(p[1], H1_C_HEX) || !h1_is(p[2], H1_C_HEX)) return false;
        if (p[1] == '0' && p[2] == '0') return false;
        p += 3;
    }
    return true;
}

static bool split_path(struct slice s, struct h1_head *head, struct h1_error *err) {
    struct slice query;
    head->path = slice_cut(s, '?', &query);
    head->query = query.ptr != NULL ? query : slice_make(s.ptr + s.len, 0);
    if (head->path.len == 0) head->path = SLICE("/"); /* http://host?query */
    return path_escapes_ok(head->path) || refuse(err, 400, "invalid escape in path");
}

/* http://host[:port][/path][?query]; the authority is kept in head->host until the Host header is seen. */
static bool read_absolute(struct slice t, struct h1_head *head, struct h1_error *err) {
    size_t scheme = slice_eq_nocase(slice_make(t.ptr, t.len < 7 ? t.len : 7), SLICE("http://")) ? 7
                    : slice_eq_nocase(slice_make(t.ptr, t.len < 8 ? t.len : 8), SLICE("https://"))
                        ? 8
                        : 0;
    if (scheme == 0) return refuse(err, 400, "invalid request target");
    size_t end = scheme;
    while (end < t.len && t.ptr[end] != '/' && t.ptr[end] != '?') end++;
    head->host = slice_make(t.ptr + scheme, end - scheme);
    if (!h1_host_ok(head->host)) return refuse(err, 400, "invalid request target");
    return split_path(slice_from(t, end), head, err);
}

static bool read_target(struct h1_head *head, struct h1_error *err) {
    struct slice t = head->target;
    head->query = slice_make(t.ptr + t.len, 0);
    head->host = SLICE_NONE;
    if (!h1_all(t, H1_C_TARGET)) return refuse(err, 400, "invalid request target");
    if (head->method == H1_CONNECT) {
        head->path = t;
        return h1_host_ok(t) || refuse(err, 400, "invalid request target");
    }
    if (t.ptr[0] == '/') return split_path(t, head, err);
    if (t.len != 1 || t.ptr[0] != '*') return read_absolute(t, head, err);
    head->path = t;
    return head->method == H1_OPTIONS || refuse(err, 400, "invalid request target");
}

static bool read_request_line(struct slice line, struct h1_head *head, struct h1_error *err) {
    struct slice version, rest, method = slice_cut(line, ' ', &rest);
    head->status = 0;
    if (rest.ptr == NULL) return refuse(err, 400, "malformed request line");
    head->target = slice_cut(rest, ' ', &version);
    if (head->target.len == 0) return refuse(err, 400, "malformed request line");
    if (version.ptr == NULL) return refuse(err, 400, "malformed request line");
    return read_version(version, &head->minor, err) && find_method(method, head, err) &&
           read_target(head, err);
}

/* "HTTP/1.1 200 OK", "HTTP/1.1 200 ", and for old servers "HTTP/1.1 200". */
static bool read_status_line(struct slice line, struct h1_head *head, struct h1_error *err) {
    uint64_t status;
    head->method = H1_GET;
    head->target = head->path = head->query = head->host = SLICE_NONE;
    if (line.len < 12 || line.ptr[8] != ' ' || (line.len > 12 && line.ptr[12] != ' '))
        return refuse(err, 502, "malformed status line");
    if (!read_version(slice_make(line.ptr, 8), &head->minor, err))
        return err->status == 505 ? false : refuse(err, 502, "malformed status line");
    if (!slice_to_range(slice_make(line.ptr + 9, 3), 100, 599, &status))
        return refuse(err, 502, "invalid status");
    head->status = (unsigned)status;
    return h1_value_ok(slice_from(line, 12)) || refuse(err, 502, "malformed status line");
}

static bool start_begins_well(const struct reading *r) {
    static const char http[] = "HTTP/1.";
    const char *p = r->data + r->start;
    size_t len = r->len - r->start;
    if (r->kind == H1_REQUEST) return method_begins_well(p, len, r->err);
    size_t n = len < sizeof http - 1 ? len : sizeof http - 1;
    return memcmp(p, http, n) == 0 || refuse(r->err, 502, "not HTTP/1");
}

static bool read_start_line(struct reading *r, size_t end) {
    struct slice line = slice_make(r->data + r->start, end - r->start);
    r->headers = end + 2;
    return r->kind == H1_REQUEST ? read_request_line(line, r->head, r->err)
                                 : read_status_line(line, r->head, r->err);
}

/* --- the scan for the end of the head */

/* At most two empty lines before a request (RFC 9112 2.2: some clients send one behind a body). */
static bool skip_empty_lines(struct reading *r) {
    struct h1_scan *s = r->scan;
    while (r->kind == H1_REQUEST && r->len - s->line >= 2 &&
           memcmp(r->data + s->line, "\r\n", 2) == 0) {
        if (s->blank == MAX_EMPTY_LINES)
            return refuse(r->err, 400, "empty lines before the request");
        s->blank++;
        s->line += 2;
        s->at = s->line;
    }
    return true;
}

static bool in_start_line(const struct reading *r) {
    return r->scan->line == r->start;
}

/* The LF of the current line must stand before this offset. */
static size_t line_stop(const struct reading *r) {
    size_t max = in_start_line(r) ? H1_MAX_REQUEST_LINE_BYTES : H1_MAX_HEADER_BYTES;
    size_t stop = r->scan->line + max + 2, head_stop = r->start + H1_MAX_HEAD_BYTES; /* + 2: CRLF */
    return stop < head_stop ? stop : head_stop;
}

static bool refuse_length(const struct reading *r) {
    return in_start_line(r) ? refuse(r->err, 414, "URI too long")
                            : refuse(r->err, 431, "headers too large");
}

static bool is_folded(const struct reading *r) {
    size_t line = r->scan->line;
    return line > r->start && line < r->len && (r->data[line] == ' ' || r->data[line] == '\t');
}

/* One whole line, its LF at `lf`. */
static bool check_line(struct reading *r, size_t lf) {
    if (lf == r->scan->line || r->data[lf - 1] != '\r')
        return refuse(r->err, 400, "line must end in CRLF");
    return !in_start_line(r) || read_start_line(r, lf - 1);
}

static enum h1_result scan_lines(struct reading *r) {
    struct h1_scan *s = r->scan;
    for (bool last = false; !last; s->line = s->at) {
        if (is_folded(r)) return refuse(r->err, 400, "line folding not allowed"), H1_ERROR;
        size_t stop = line_stop(r), end = stop < r->len ? stop : r->len;
        const char *lf = memchr(r->data + s->at, '\n', end - s->at);
        s->at = lf != NULL ? (size_t)(lf - r->data) + 1 : end;
        if (lf == NULL && end < stop) return H1_MORE;
        if (lf == NULL) return refuse_length(r), H1_ERROR;
        if (!check_line(r, s->at - 1)) return H1_ERROR;
        last = s->at == s->line + 2; /* cannot be the start line, which is never empty */
    }
    return H1_DONE;
}

/* H1_DONE: the head is data[start..scan->at). A NUL is looked for in all new bytes at once: it stands before the byte
 * that decided, so it wins. */
static enum h1_result scan_head(struct reading *r) {
    struct h1_scan *s = r->scan;
    if (s->line == s->blank * 2U && !skip_empty_lines(r)) return H1_ERROR;
    r->start = s->blank * 2U;
    if (s->line == r->start && !start_begins_well(r)) return H1_ERROR;
    size_t from = s->at;
    enum h1_result result = scan_lines(r);
    if (memchr(r->data + from, '\0', s->at - from) == NULL) return result;
    refuse(r->err, 400, "NUL in head");
    return H1_ERROR;
}

/* --- header lines through llhttp */

static int on_name(llhttp_t *p, const char *at, size_t len) {
    struct reading *r = p->data;
    struct h1_head *h = r->head;
    if (h->nheaders == H1_MAX_HEADERS) {
        refuse(r->err, 431, "headers too large");
        return HPE_USER;
    }
    h->headers[h->nheaders++] = (struct h1_header){slice_make(at, len), slice_make(at + len, 0)};
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len) {
    struct h1_head *h = ((struct reading *)p->data)->head;
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t')) len--;
    h->headers[h->nheaders - 1].value = slice_make(at, len);
    return 0;
}

static int on_end(llhttp_t *p) {
    return HPE_PAUSED; /* before llhttp looks at Upgrade or at the body */
}

static const llhttp_settings_t settings = {
    .on_header_field = on_name, .on_header_value = on_value, .on_headers_complete = on_end};

/* An llhttp that has read a start line: a third of its time for a head is spent there, and ours was read already. It
 * is a plain struct and is copied for each head. The two leniences leave framing to `judge`; they loosen nothing else. */
static llhttp_t primed;
static pthread_once_t primed_once = PTHREAD_ONCE_INIT;

static void prime(void) {
    static const char line[] = "GET / HTTP/1.1\r\n";
    llhttp_init(&primed, HTTP_REQUEST, &settings);
    llhttp_set_lenient_transfer_encoding(&primed, 1);
    llhttp_set_lenient_chunked_length(&primed, 1);
    llhttp_execute(&primed, line, sizeof line - 1);
}

static bool length_ok(struct slice v, struct h1_error *err);

/* llhttp refused the header read last, a Content-Length: in our words. */
static bool explain_length(const struct reading *r) {
    const struct h1_head *h = r->head;
    const char *from = h->headers[h->nheaders - 1].value.ptr;
    const char *cr = memchr(from, '\r', (size_t)(r->data + r->scan->at - from));
    size_t count;
    h1_get(h, SLICE("content-length"), &count);
    if (count > 1) return refuse(r->err, 400, "repeated Content-Length");
    struct slice value = slice_make(from, (size_t)(cr - from));
    if (value.len > 0 && value.ptr[0] == ':') value = slice_from(value, 1); /* no value was read */
    if (!length_ok(slice_trim(value), r->err)) return false;
    return refuse(r->err, 400, "invalid Content-Length");
}

/* llhttp stopped at `at`: behind the colon of its line it is the value. */
static bool explain_line(const struct reading *r, const char *at) {
    const char *line = at;
    while (line[-1] != '\n') line--; /* a start line stands before every header line */
    bool in_value = memchr(line, ':', (size_t)(at - line)) != NULL;
    return refuse(r->err, 400, in_value ? "invalid header value" : "invalid header name");
}

static bool read_headers(struct reading *r) {
    pthread_once(&primed_once, prime);
    llhttp_t p = primed;
    p.data = r;
    r->head->nheaders = 0;
    llhttp_errno_t e = llhttp_execute(&p, r->data + r->headers, r->scan->at - r->headers);
    if (e == HPE_PAUSED && llhttp_get_error_pos(&p) == r->data + r->scan->at) return true;
    if (e == HPE_USER) return false; /* the callback said why */
    if (e == HPE_OK || e == HPE_PAUSED) return refuse(r->err, 400, "malformed header");
    if (e == HPE_INVALID_CONTENT_LENGTH || e == HPE_UNEXPECTED_CONTENT_LENGTH)
        return explain_length(r);
    return explain_line(r, llhttp_get_error_pos(&p));
}

/* --- what the headers mean together */

struct seen {
    unsigned hosts, lengths, codings;
    bool chunked, chunked_not_last, other_coding, bad_coding;
    bool close, keep_alive;
};

static bool length_ok(struct slice v, struct h1_error *err) {
    uint64_t n;
    if (slice_find(v, ',') >= 0) return refuse(err, 400, "repeated Content-Length");
    if (v.len == 0 || !h1_all(v, H1_C_DIGIT) || (v.len > 1 && v.ptr[0] == '0'))
        return refuse(err, 400, "invalid Content-Length");
    return slice_to_range(v, 0, INT64_MAX, &n) || refuse(err, 400, "Content-Length out of range");
}

static bool holds_chunked(struct slice s) {
    for (; s.len >= 7; s = slice_from(s, 1))
        if (is_nocase(slice_make(s.ptr, 7), "chunked", 7)) return true;
    return false;
}

/* Anything that is nearly "chunked" is an attempt to make two readers disagree: 400; other codings: 501. A tab beside
 * it is within the grammar, but llhttp itself and others do not see "chunked" then. */
static void note_codings(struct seen *s, const struct h1_header *h) {
    struct slice rest = h->value;
    s->codings++;
    for (const char *p = h->name.ptr + h->name.len; *p != '\r'; p++) s->bad_coding |= *p == '\t';
    do {
        struct slice coding = slice_trim(slice_cut(rest, ',', &rest));
        if (s->chunked) s->chunked_not_last = true;
        if (IS_NOCASE(coding, "chunked"))
            s->chunked = true;
        else if (!h1_name_ok(coding) || holds_chunked(coding))
            s->bad_coding = true;
        else
            s->other_coding = true;
    } while (rest.ptr != NULL);
}

static void note_connection(struct seen *s, struct slice value) {
    struct slice rest = value;
    do {
        struct slice option = slice_trim(slice_cut(rest, ',', &rest));
        if (IS_NOCASE(option, "close"))
            s->close = true;
        else if (IS_NOCASE(option, "keep-alive"))
            s->keep_alive = true;
    } while (rest.ptr != NULL);
}

static bool note_host(struct seen *s, struct h1_head *head, struct slice value,
                      struct h1_error *err) {
    if (s->hosts++ > 0 || !h1_host_ok(value)) return refuse(err, 400, "invalid Host");
    if (head->host.ptr != NULL && !slice_eq_nocase(head->host, value))
        return refuse(err, 400, "Host differs from the request target");
    head->host = value;
    return true;
}

static bool note_expect(struct h1_head *head, struct slice value, struct h1_error *err) {
    if (!slice_eq_nocase(value, SLICE("100-continue")))
        return refuse(err, 417, "unknown expectation");
    head->expect_continue = head->minor == 1; /* RFC 9110 10.1.1: ignored from HTTP/1.0 */
    return true;
}

static bool note_length(struct seen *s, struct h1_head *head, struct slice value,
                        struct h1_error *err) {
    if (s->lengths++ > 0) return refuse(err, 400, "repeated Content-Length");
    if (!length_ok(value, err)) return false;
    head->has_length = true;
    return slice_to_u64(value, &head->content_length);
}

static bool note(struct seen *s, enum h1_kind kind, struct h1_head *head, const struct h1_header *h,
                 struct h1_error *err) {
    switch (h->name.len) {
    case 4:
        if (kind == H1_REQUEST && IS_NOCASE(h->name, "host"))
            return note_host(s, head, h->value, err);
        break;
    case 6:
        if (kind == H1_REQUEST && IS_NOCASE(h->name, "expect"))
            return note_expect(head, h->value, err);
        break;
    case 10:
        if (IS_NOCASE(h->name, "connection")) note_connection(s, h->value);
        break;
    case 14:
        if (IS_NOCASE(h->name, "content-length")) return note_length(s, head, h->value, err);
        break;
    case 17:
        if (IS_NOCASE(h->name, "transfer-encoding")) note_codings(s, h);
        break;
    default: break;
    }
    return true;
}

static bool judge_framing(const struct seen *s, struct h1_head *head, struct h1_error *err) {
    if (s->codings == 0) return true;
    if (head->has_length) return refuse(err, 400, "both Content-Length and Transfer-Encoding");
    if (head->minor == 0) return refuse(err, 400, "Transfer-Encoding on HTTP/1.0");
    if (s->bad_coding || s->chunked_not_last || s->codings > 1)
        return refuse(err, 400, "unsupported or repeated Transfer-Encoding");
    if (s->other_coding) return refuse(err, 501, "transfer coding not implemented");
    head->chunked = true;
    return true;
}

static bool judge(enum h1_kind kind, struct h1_head *head, struct h1_error *err) {
    struct seen s = {0};
    head->expect_continue = head->chunked = head->has_length = false;
    head->content_length = 0;
    for (size_t i = 0; i < head->nheaders; i++)
        if (!note(&s, kind, head, &head->headers[i], err)) return false;
    if (kind == H1_REQUEST && s.hosts == 0 && head->minor == 1)
        return refuse(err, 400, "invalid Host");
    head->keep_alive = !s.close && (head->minor == 1 || s.keep_alive);
    return judge_framing(&s, head, err);
}

static enum h1_result read_head(struct reading *r) {
    enum h1_result result = scan_head(r);
    if (result != H1_DONE) return result;
    if (r->headers ==
        0) { /* the start line was seen in an earlier call, and may have moved since */
        const char *lf = memchr(r->data + r->start, '\n', r->scan->at - r->start);
        if (!read_start_line(r, (size_t)(lf - r->data) - 1)) return H1_ERROR;
    }
    return read_headers(r) && judge(r->kind, r->head, r->err) ? H1_DONE : H1_ERROR;
}

enum h1_result h1_head(enum h1_kind kind, const char *data, size_t len, struct h1_scan *scan,
                       struct h1_head *head, size_t *used, struct h1_error *err) {
    struct reading r = {
        .kind = kind, .data = data, .len = len, .scan = scan, .head = head, .err = err};
    enum h1_result result = len > 0 ? read_head(&r) : H1_MORE;
    *used = result == H1_DONE ? scan->at : 0;
    if (result == H1_ERROR && kind == H1_RESPONSE) err->status = 502;
    return result;
}
