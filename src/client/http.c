/* One exchange on libcurl: request out, reply in. */
#include "client/client.h"

#include "base/loopback.h"

#define STALL_LOOKS 4U /* for one stall_ms */

/* ---- Reply's head ---- */

/* A name too long to be one counts as absent: half an id would be a wrong id. The first of two counts. */
static void take_name(char out[CLIENT_NAME_BYTES], struct slice value) {
    if (out[0] == '\0' && value.len < CLIENT_NAME_BYTES) {
        memcpy(out, value.ptr, value.len);
        out[value.len] = '\0';
    }
}

static void take_request_id(struct client_exchange *x, struct slice value) {
    take_name(x->reply.request_id, value);
}

static void take_error_type(struct client_exchange *x, struct slice value) {
    take_name(x->reply.error_type, value);
}

static void take_etag(struct client_exchange *x, struct slice value) {
    take_name(x->reply.etag, value);
}

static void take_timeout_type(struct client_exchange *x, struct slice value) {
    (void)value;
    x->reply.start_timeout = true; /* with a 504, see read_end */
}

static void take_retryable(struct client_exchange *x, struct slice value) {
    if (slice_eq_nocase(value, SLICE("true"))) {
        x->reply.retryable = 1;
    } else if (slice_eq_nocase(value, SLICE("false"))) {
        x->reply.retryable = 0;
    }
}

static void take_needs_retry(struct client_exchange *x, struct slice value) {
    if (x->reply.retryable < 0 && slice_is(value, "1")) {
        x->reply.retryable = 1;
    }
}

static void take_retry_after(struct client_exchange *x, struct slice value) {
    char text[64];
    if (value.len < sizeof(text) && x->reply.retry_after_s < 0.0) {
        memcpy(text, value.ptr, value.len);
        text[value.len] = '\0';
        x->reply.retry_after_s = client_retry_after_s(text, clock_wall_ms(x->client->clock) / 1000);
    }
}

static void take_content_type(struct client_exchange *x, struct slice value) {
    x->reply.is_json = memmem(value.ptr, value.len, "json", 4) != NULL;
    x->reply.is_event_stream = value.len >= 17 && slice_eq_nocase(slice_make(value.ptr, 17),
                                                                  SLICE("text/event-stream"));
}

static const struct {
    struct slice name;
    void (*take)(struct client_exchange *x, struct slice value);
} known[] = {
    {{"x-fal-request-id", 16}, take_request_id},
    {{"X-Fal-Error-Type", 16}, take_error_type},
    {{"X-Fal-Request-Timeout-Type", 26}, take_timeout_type},
    {{"X-Fal-Retryable", 15}, take_retryable},
    {{"X-Fal-needs-retry", 17}, take_needs_retry},
    {{"Retry-After", 11}, take_retry_after},
    {{"Content-Type", 12}, take_content_type},
    {{"ETag", 4}, take_etag},
};

static void head_reset(struct client_exchange *x) {
    struct client_reply *r = &x->reply;
    x->head_ended = false;
    r->request_id[0] = r->error_type[0] = r->etag[0] = '\0';
    r->start_timeout = r->is_event_stream = false;
    r->is_json = true;
    r->retryable = -1;
    r->retry_after_s = -1.0;
}

static void head_line(struct client_exchange *x, struct slice line) {
    struct slice value, name = slice_cut(line, ':', &value);
    for (size_t i = 0; value.ptr != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
        if (name.len == known[i].name.len && slice_eq_nocase(name, known[i].name)) {
            known[i].take(x, slice_trim(value));
        }
    }
}

/* libcurl takes a head that was cut off for a whole answer. Each line comes here, the
 * empty one last. */
static size_t take_head(char *bytes, size_t size, size_t count, void *user) {
    struct client_exchange *x = user;
    struct slice line = slice_make(bytes, size * count);
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r')) {
        line.len--;
    }
    if (slice_starts(line, SLICE("HTTP/"))) { /* a 1xx answer may have come before */
        head_reset(x);
    } else if (line.len == 0) {
        long status = 0;
        curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
        x->reply.http_status = (int)status;
        x->head_ended = true;
    } else if (!x->head_ended) { /* else trailers */
        head_line(x, line);
    }
    return size * count;
}

/* ---- Reply's body ---- */

static size_t take_body(char *bytes, size_t size, size_t count, void *user) {
    struct client_exchange *x = user;
    struct slice some = slice_make(bytes, size * count);
    if (x->request->sink != NULL && x->reply.http_status / 100 == 2) {
        x->refused = !x->request->sink(x->owner, some);
        return x->refused ? 0 : some.len;
    }
    x->too_large = some.len > FAL_MAX_REPLY_BYTES - buf_len(&x->reply.body);
    return buf_add(&x->reply.body, some) ? some.len : 0;
}

static int take_progress(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                         curl_off_t up) {
    struct client_exchange *x = user;
    (void)down_all;
    (void)down;
    (void)up_all;
    x->request->sent(x->owner, (uint64_t)up);
    return 0;
}

/* ---- Request's body, where libcurl does not take it from memory ---- */

static int64_t copy_body(const struct client_exchange *x, char *out, size_t room) {
    struct slice left = slice_from(x->request->body, (size_t)x->read_bytes);
    size_t n = left.len < room ? left.len : room;
    memcpy(out, left.ptr, n);
    return (int64_t)n;
}

static size_t give_body(char *out, size_t size, size_t count, void *user) {
    struct client_exchange *x = user;
    const struct client_request *r = x->request;
    int64_t n = r->read != NULL ? r->read(x->owner, x->read_bytes, out, size * count)
                                : copy_body(x, out, size * count);
    if (n < 0) {
        return CURL_READFUNC_ABORT;
    }
    x->read_bytes += (uint64_t)n;
    return (size_t)n;
}

static int seek_body(void *user, curl_off_t offset, int origin) {
    struct client_exchange *x = user;
    if (origin != SEEK_SET || offset < 0 || x->request->unrepeatable) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    x->read_bytes = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* Without a reader there must be no seeker either: the handle's last one is gone. */
static CURLcode set_reader(CURL *e, struct client_exchange *x, bool reads) {
    CURLcode rc = curl_easy_setopt(e, CURLOPT_READFUNCTION, reads ? give_body : NULL);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_READDATA, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, reads ? seek_body : NULL);
    return rc ? rc : curl_easy_setopt(e, CURLOPT_SEEKDATA, x);
}

/* ---- Begin ---- */

/* Handles are used again as they are, which spares libcurl most of the work of setting them up: what differs between two
 * exchanges is set each time, also when it is nothing. */
static CURLcode set_method(CURL *e, struct client_exchange *x) {
    const struct client_request *r = x->request;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST,
                                   r->method == CLIENT_PUT ? "PUT" : NULL);
    if (r->method == CLIENT_GET) {
        return rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    }
    /* A body that cannot be rewound goes out once. */
    bool reads = (r->read != NULL || r->unrepeatable) && r->body.len > 0;
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_POST, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
    rc = rc ? rc
            : curl_easy_setopt(e, CURLOPT_POSTFIELDS,
                               reads             ? NULL
                               : r->body.len > 0 ? r->body.ptr
                                                 : "");
    return rc ? rc : set_reader(e, x, reads);
}

static CURLcode set_common(CURL *e, const fal_client *c) {
    CURLcode rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* Whoever gives up while a name is looked up does not wait for the system's resolver: its thread is left to end alone. */
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_timeout_ms);
    if (c->ca_file != NULL) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
    }
    return rc;
}

static CURLcode set_url(CURL *e, const fal_client *c, const char *url) {
    bool socket = c->unix_socket != NULL && client_base_is_home(&c->base, url);
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, url);
    if (c->unix_socket != NULL) {
        rc = rc ? rc
                : curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, socket ? c->unix_socket : NULL);
    }
    /* A proxy named in the environment cannot reach this machine's own loopback. */
    bool direct = socket || loopback_is_url(slice_of(url));
    return rc ? rc : curl_easy_setopt(e, CURLOPT_PROXY, direct ? "" : NULL);
}

CURLcode client_set_way(CURL *e, const fal_client *c, const char *url) {
    CURLcode rc = set_common(e, c);
    return rc ? rc : set_url(e, c, url);
}

CURL *client_easy_new(const fal_client *c) {
    CURL *e = curl_easy_init();
    CURLcode rc = e != NULL ? set_common(e, c) : CURLE_OUT_OF_MEMORY;
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_head);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, take_progress);
    if (rc != CURLE_OK) {
        curl_easy_cleanup(e);
        return NULL;
    }
    return e;
}

static CURLcode set_way(CURL *e, const fal_client *c, const struct client_request *r) {
    CURLcode rc = set_url(e, c,
                          client_request_proxied(c, r) ? c->proxy_url : buf_slice(&r->url).ptr);
    /* On a reused connection that turns out to be closed libcurl sends the request again by itself.
     * For a POST whose fate must be known (fal's hosts take no Idempotency-Key) the connection is a
     * new one. */
    long fresh = r->fresh || (r->method == CLIENT_POST && c->base.fal);
    return rc ? rc : curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, fresh);
}

static CURLcode set_reply(CURL *e, struct client_exchange *x) {
    const struct client_request *r = x->request;
    curl_off_t most = r->sink == NULL ? (curl_off_t)FAL_MAX_REPLY_BYTES : 0;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->curl_error);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_XFERINFODATA, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, most);
    return rc ? rc : curl_easy_setopt(e, CURLOPT_NOPROGRESS, r->sent == NULL ? 1L : 0L);
}

static CURLcode set_up(struct client_exchange *x, const fal_client *c) {
    CURLcode rc = set_way(x->easy, c, x->request);
    rc = rc ? rc : set_method(x->easy, x);
    return rc ? rc : set_reply(x->easy, x);
}

static void link_in(struct client_exchange *x) {
    fal_client *c = x->client;
    x->next = c->exchanges;
    x->link = &c->exchanges;
    if (x->next != NULL) {
        x->next->link = &x->next;
    }
    c->exchanges = x;
    c->exchange_count++;
}

/* libcurl has it no more: its handle is free for the next one. */
static void take_back(struct client_exchange *x) {
    if (x->easy != NULL) {
        curl_multi_remove_handle(x->client->multi, x->easy);
        client_loop_give_easy(x->client, x->easy);
        x->easy = NULL;
    }
}

static void detach(struct client_exchange *x) {
    client_timer_off(&x->look);
    take_back(x);
    if (x->link != NULL) {
        *x->link = x->next;
        if (x->next != NULL) {
            x->next->link = x->link;
        }
        x->link = NULL;
        x->client->exchange_count--;
    }
}

static enum fal_code point_at_lines(struct client_exchange *x) {
    size_t n = 0;
    for (struct slice rest = buf_slice(&x->lines); rest.len > 0; n++) {
        if (n == CLIENT_HEADERS) {
            return FAL_ERR_ARGUMENT;
        }
        /* libcurl reads them only */
        x->headers[n].data = (char *)(uintptr_t)slice_cut(rest, '\0', &rest).ptr;
        x->headers[n].next = NULL;
        if (n > 0) {
            x->headers[n - 1].next = &x->headers[n];
        }
    }
    return FAL_OK;
}

/* All but the large arrays, whose first element says that they are empty. */
static void exchange_clear(struct client_exchange *x) {
    struct client_reply *r = &x->reply;
    memset(x, 0, offsetof(struct client_exchange, reply));
    memset(r, 0, offsetof(struct client_reply, request_id));
    r->message[0] = x->curl_error[0] = '\0';
    x->headers[0] = (struct curl_slist){0};
}

static void look(struct client_timer *timer);

static void look_later(struct client_exchange *x) {
    int64_t pause = x->request->stall_ms / STALL_LOOKS;
    if (x->request->stall_ms > 0) {
        x->look.fire = look;
        client_timer_set(x->client, &x->look, client_now_ms(x->client) + (uint64_t)pause);
    }
}

enum fal_code client_exchange_begin(struct client_exchange *x, fal_client *c,
                                    const struct client_request *request,
                                    void (*done)(struct client_exchange *x), void *owner) {
    exchange_clear(x);
    x->client = c;
    x->request = request;
    x->done = done;
    x->owner = owner;
    head_reset(x);
    buf_init(&x->reply.body, FAL_MAX_REPLY_BYTES);
    enum fal_code code = client_request_lines(&x->lines, c, request);
    code = code == FAL_OK ? point_at_lines(x) : code;
    if (code == FAL_OK) {
        code = FAL_ERR_MEMORY;
        x->easy = client_loop_reserve(c) ? client_loop_easy(c) : NULL;
        if (x->easy != NULL && set_up(x, c) == CURLE_OK &&
            curl_multi_add_handle(c->multi, x->easy) == CURLM_OK) {
            link_in(x);
            look_later(x);
            return FAL_OK;
        }
    }
    client_exchange_end(x);
    return code;
}

/* ---- End ---- */

/* What may work when tried again, and what each means to the caller. The rest is FAL_ERR_CONNECT
 * when nothing was sent (certificates, unknown protocols), else FAL_ERR_TRANSPORT, and not
 * repeated. */
static const struct {
    CURLcode curl;
    enum fal_code code; /* FAL_OK: CONNECT or TRANSPORT, by whether anything was sent */
    bool may_pass;
} outcomes[] = {
    {CURLE_OUT_OF_MEMORY, FAL_ERR_MEMORY, false},
    {CURLE_FILESIZE_EXCEEDED, FAL_ERR_TOO_LARGE, false},
    {CURLE_WEIRD_SERVER_REPLY, FAL_ERR_PROTOCOL, false},
    {CURLE_UNSUPPORTED_PROTOCOL, FAL_ERR_PROTOCOL, false}, /* HTTP/0.9: no status line */
    {CURLE_BAD_CONTENT_ENCODING, FAL_ERR_PROTOCOL, false},
    {CURLE_TOO_MANY_REDIRECTS, FAL_ERR_PROTOCOL, false},
    {CURLE_COULDNT_RESOLVE_PROXY, FAL_OK, true},
    {CURLE_COULDNT_RESOLVE_HOST, FAL_OK, true},
    {CURLE_COULDNT_CONNECT, FAL_OK, true},
    {CURLE_SSL_CONNECT_ERROR, FAL_OK, true},
    {CURLE_OPERATION_TIMEDOUT, FAL_OK, true},
    {CURLE_GOT_NOTHING, FAL_OK, true},
    {CURLE_SEND_ERROR, FAL_OK, true},
    {CURLE_SEND_FAIL_REWIND, FAL_OK, true}, /* see client_request.unrepeatable */
    {CURLE_RECV_ERROR, FAL_OK, true},
    {CURLE_PARTIAL_FILE, FAL_OK, true},
    {CURLE_HTTP2, FAL_OK, true},
    {CURLE_HTTP2_STREAM, FAL_OK, true},
};

static void read_failure(struct client_exchange *x, CURLcode rc) {
    struct client_reply *r = &x->reply;
    long sent_bytes = 0;
    curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
    r->not_sent = sent_bytes == 0;
    r->code = r->not_sent ? FAL_ERR_CONNECT : FAL_ERR_TRANSPORT;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (outcomes[i].curl == rc) {
            r->code = outcomes[i].code != FAL_OK ? outcomes[i].code : r->code;
            r->may_pass = outcomes[i].may_pass;
        }
    }
    if (rc == CURLE_WRITE_ERROR && r->body.failed) {
        r->code = x->too_large ? FAL_ERR_TOO_LARGE : FAL_ERR_MEMORY;
    } else if (rc == CURLE_WRITE_ERROR && x->refused) {
        r->code = FAL_ERR_PROTOCOL;
    }
    bool ours = rc == CURLE_WRITE_ERROR && r->code != FAL_ERR_TRANSPORT;
    const char *text = ours                           ? fal_strerror(r->code)
                       : rc == CURLE_SEND_FAIL_REWIND ? "the connection broke before an answer came"
                       : x->curl_error[0] != '\0'     ? x->curl_error
                                                      : curl_easy_strerror(rc);
    client_error_set_text(r->message, slice_of(text));
}

static void read_end(struct client_exchange *x, CURLcode rc) {
    rc = rc == CURLE_OK && !x->head_ended ? CURLE_PARTIAL_FILE : rc;
    x->reply.start_timeout = x->reply.start_timeout && x->reply.http_status == 504;
    if (rc != CURLE_OK) {
        read_failure(x, rc);
        x->reply.http_status = 0;
    }
}

/* What has reached the peer's system or come from it, give or take what does not change. What libcurl has sent may wait here
 * for minutes where the line is slow, so the system is asked how much of it does. False: nothing has been sent yet. */
static bool bytes_moved(const struct client_exchange *x, uint64_t *moved) {
    curl_off_t up = 0, down = 0;
    long head_up = 0, head_down = 0, ours = 0, theirs = 0;
    curl_easy_getinfo(x->easy, CURLINFO_REQUEST_SIZE, &head_up);
    curl_easy_getinfo(x->easy, CURLINFO_HEADER_SIZE, &head_down);
    curl_easy_getinfo(x->easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(x->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(x->easy, CURLINFO_LOCAL_PORT, &ours);
    curl_easy_getinfo(x->easy, CURLINFO_PRIMARY_PORT, &theirs);
    *moved = (uint64_t)(up + down + head_up + head_down);
    *moved -= client_loop_unsent(x->client, ours, theirs);
    return head_up > 0;
}

/* Looks are counted, not time: a program that was busy elsewhere has made nothing stall. */
static void look(struct client_timer *timer) {
    struct client_exchange *x =
        (struct client_exchange *)(void *)((char *)timer - offsetof(struct client_exchange, look));
    uint64_t moved;
    x->still = bytes_moved(x, &moved) && moved == x->moved ? x->still + 1 : 0;
    x->moved = moved;
    if (x->still < STALL_LOOKS) {
        look_later(x);
        return;
    }
    x->stalled = true;
    snprintf(x->curl_error, sizeof(x->curl_error), "nothing moved for %lld ms",
             (long long)x->request->stall_ms);
    read_end(x, CURLE_OPERATION_TIMEDOUT);
    detach(x);
    x->done(x);
}

void client_exchanges_finish(fal_client *c) {
    int queued = 0;
    for (CURLMsg *m; c->multi != NULL && (m = curl_multi_info_read(c->multi, &queued)) != NULL;) {
        struct client_exchange *x = NULL;
        CURLcode rc = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
        if (m->msg == CURLMSG_DONE && x != NULL) {
            read_end(x, rc);
            detach(x);
            x->done(x);
        }
    }
}

void client_exchanges_fail(fal_client *c, enum fal_code code, const char *message) {
    struct client_exchange *all = c->exchanges; /* those that a `done` begins are not meant */
    c->exchanges = NULL;
    if (all != NULL) {
        all->link = &all;
    }
    for (struct client_exchange *x = all; x != NULL; x = x->next) {
        take_back(x);
    }
    client_loop_renew(c);
    while (all != NULL) {
        struct client_exchange *x = all;
        detach(x);
        x->reply.code = code;
        x->reply.http_status = 0;
        client_error_set_text(x->reply.message, slice_of(message));
        x->done(x);
    }
}

void client_exchange_end(struct client_exchange *x) {
    if (x->client == NULL) {
        return;
    }
    detach(x);
    buf_free(&x->lines);
    buf_free(&x->reply.body);
    x->client = NULL;
}
