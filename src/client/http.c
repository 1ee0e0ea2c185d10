#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Request ---- */

/* curl_slist_append frees nothing when it fails: the list stays as it was. */
static bool add_header(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer == NULL) {
        return false;
    }
    *list = longer;
    return true;
}

static bool add_headers(struct client_exchange *x, const fal_client *c,
                        const struct client_request *request) {
    bool ok = add_header(&x->headers, "Accept: application/json");
    /* Without this libcurl waits a second for "100 Continue" before a large body. */
    ok = ok && add_header(&x->headers, "Expect:");
    if (request->method != CLIENT_GET) {
        ok = ok && add_header(&x->headers, "Content-Type: application/json");
    }
    if (c->authorization != NULL) {
        ok = ok && add_header(&x->headers, c->authorization);
    }
    return ok;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *user) {
    struct client_exchange *x = user;
    x->too_large = size * count > FAL_MAX_REPLY_BYTES - buf_len(&x->reply.body);
    return buf_add(&x->reply.body, slice_make(bytes, size * count)) ? size * count : 0;
}

/* libcurl takes a head that was cut off for a whole answer. Each line comes here, the
 * empty one last. */
static size_t watch_head(char *bytes, size_t size, size_t count, void *user) {
    struct client_exchange *x = user;
    struct slice line = slice_make(bytes, size * count);
    if (slice_starts(line,
                     SLICE("HTTP/"))) { /* a 1xx answer may have come before; trailers follow */
        x->head_ended = false;
    } else if (slice_is(line, "\r\n") || slice_is(line, "\n")) {
        x->head_ended = true;
    }
    return line.len;
}

static CURLcode set_method(CURL *e, const struct client_request *request) {
    if (request->method == CLIENT_GET) {
        return curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    }
    CURLcode rc = curl_easy_setopt(e, CURLOPT_POST, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
    rc = rc ? rc
            : curl_easy_setopt(e, CURLOPT_POSTFIELDS,
                               request->body.len > 0 ? request->body.ptr : "");
    if (request->method == CLIENT_PUT) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "PUT");
    }
    return rc;
}

static CURLcode set_limits(CURL *e, const fal_client *c) {
    CURLcode rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_timeout_ms);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)FAL_MAX_REPLY_BYTES);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    /* A proxy named in the environment cannot reach this machine's own loopback. */
    if (c->base.loopback) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_PROXY, "");
    }
    return rc;
}

static CURLcode set_up(struct client_exchange *x, fal_client *c,
                       const struct client_request *request) {
    CURL *e = x->easy;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->curl_error);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_URL, request->url);
    rc = rc ? rc : set_method(e, request);
    rc = rc ? rc : set_limits(e, c);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_USERAGENT, c->user_agent);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->headers);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, watch_head);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
    /* On a reused connection that turns out to be closed libcurl sends the request again by itself.
     * For a POST whose fate must be known (fal's hosts take no Idempotency-Key) the connection is a
     * new one. */
    if (request->method == CLIENT_POST && c->base.fal) {
        rc = rc ? rc : curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    }
    return rc;
}

enum fal_code client_exchange_begin(struct client_exchange *x, fal_client *c,
                                    const struct client_request *request) {
    *x = (struct client_exchange){.headers = request->extra};
    x->reply.retry_after_s = -1.0;
    x->reply.retryable = -1;
    buf_init(&x->reply.body, FAL_MAX_REPLY_BYTES);
    x->easy = curl_easy_init();
    if (x->easy == NULL || !add_headers(x, c, request)) {
        goto fail;
    }
    if (set_up(x, c, request) != CURLE_OK || curl_multi_add_handle(c->multi, x->easy) != CURLM_OK) {
        goto fail;
    }
    return FAL_OK;
fail:
    curl_easy_cleanup(x->easy);
    x->easy = NULL;
    client_exchange_end(x, c);
    return FAL_ERR_MEMORY;
}

/* ---- Reply ---- */

static const char *header(CURL *e, const char *name) {
    struct curl_header *h = NULL;
    return curl_easy_header(e, name, 0, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value : NULL;
}

/* A name too long to be one counts as absent: half an id would be a wrong id. */
static void copy_name(char out[CLIENT_NAME_BYTES], const char *value) {
    size_t len = value != NULL ? strlen(value) : 0;
    if (len < CLIENT_NAME_BYTES) {
        memcpy(out, value != NULL ? value : "", len);
        out[len] = '\0';
    }
}

static int read_retryable(CURL *e) {
    const char *said = header(e, "X-Fal-Retryable");
    if (said != NULL && slice_eq_nocase(slice_of(said), SLICE("true"))) {
        return 1;
    }
    if (said != NULL && slice_eq_nocase(slice_of(said), SLICE("false"))) {
        return 0;
    }
    said = header(e, "X-Fal-needs-retry");
    return said != NULL && strcmp(said, "1") == 0 ? 1 : -1;
}

static void read_headers(struct client_reply *r, CURL *e, const fal_client *c) {
    long status = 0;
    curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
    r->http_status = (int)status;
    copy_name(r->request_id, header(e, "x-fal-request-id"));
    copy_name(r->error_type, header(e, "X-Fal-Error-Type"));
    r->start_timeout = status == 504 && header(e, "X-Fal-Request-Timeout-Type") != NULL;
    r->retryable = read_retryable(e);
    const char *wait = header(e, "Retry-After");
    if (wait != NULL) {
        r->retry_after_s = client_retry_after_s(wait, clock_wall_ms(c->clock) / 1000);
    }
    char *type = NULL;
    curl_easy_getinfo(e, CURLINFO_CONTENT_TYPE, &type);
    r->is_json = type == NULL || strstr(type, "json") != NULL;
}

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
    {CURLE_RECV_ERROR, FAL_OK, true},
    {CURLE_PARTIAL_FILE, FAL_OK, true},
    {CURLE_HTTP2, FAL_OK, true},
    {CURLE_HTTP2_STREAM, FAL_OK, true},
};

static void read_outcome(struct client_exchange *x, CURLcode rc) {
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
    }
    const char *text = x->curl_error[0] != '\0' ? x->curl_error : curl_easy_strerror(rc);
    client_error_set_text(r->message, slice_of(text));
}

bool client_exchange_poll(struct client_exchange *x, fal_client *c) {
    int running = 0, queued = 0;
    CURLMcode rc = curl_multi_perform(c->multi, &running);
    if (rc != CURLM_OK) {
        x->reply.code = rc == CURLM_OUT_OF_MEMORY ? FAL_ERR_MEMORY : FAL_ERR_TRANSPORT;
        client_error_set_text(x->reply.message, slice_of(curl_multi_strerror(rc)));
        return true;
    }
    CURLMsg *m = curl_multi_info_read(c->multi, &queued);
    if (m == NULL || m->msg != CURLMSG_DONE) {
        return false;
    }
    CURLcode result = m->data.result == CURLE_OK && !x->head_ended ? CURLE_PARTIAL_FILE
                                                                   : m->data.result;
    if (result == CURLE_OK) {
        read_headers(&x->reply, x->easy, c);
    } else {
        read_outcome(x, result);
    }
    return true;
}

void client_exchange_end(struct client_exchange *x, fal_client *c) {
    if (x->easy != NULL) {
        curl_multi_remove_handle(c->multi, x->easy);
        curl_easy_cleanup(x->easy);
    }
    curl_slist_free_all(x->headers);
    buf_free(&x->reply.body);
    *x = (struct client_exchange){0};
}
