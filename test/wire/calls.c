#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void expect_status(const char *what, const struct answer *a, unsigned status) {
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

void expect_says(const char *what, const struct answer *a, const char *says) {
    if (says != NULL && !answer_says(a, says))
        fail_msg("%s: does not say %s: %s", what, says, a->body.p);
}

void expect_header(const char *what, const struct answer *a, const char *name, const char *value) {
    char got[256];
    answer_header(a, name, got, sizeof got);
    if (strcmp(got, value) != 0)
        fail_msg("%s: %s is \"%s\" instead of \"%s\"", what, name, got, value);
}

/* --- the queue */

char *submitted_id(const struct answer *a) {
    yyjson_doc *doc = answer_json("submit", a);
    const char *id = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "request_id"));
    if (id == NULL) fail_msg("a submit without an id: %u %s", a->status, a->body.p);
    char *copy = strdup(id);
    yyjson_doc_free(doc);
    return copy;
}

static struct answer ask_queue(unsigned port, const char *queue, const char *headers,
                               const char *id, const char *tail) {
    struct text t = {0};
    text_printf(&t, "GET %s/requests/%s%s HTTP/1.1\r\n" HOST "%s\r\n", queue, id, tail, headers);
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

struct answer result_of(unsigned port, const char *queue, const char *headers, const char *id) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(3)) {
        struct answer a = ask_queue(port, queue, headers, id, "/status");
        unsigned status = a.status;
        if (status != 202) expect_status("a poll", &a, 200);
        answer_free(&a);
        if (status == 200) return ask_queue(port, queue, headers, id, "");
    }
    fail_msg("%s is never completed", id);
    return (struct answer){0};
}

struct answer queued(unsigned port, const char *queue, const char *headers, const char *body,
                     size_t len) {
    struct answer a = post(port, queue, headers, body, len);
    expect_status("submit", &a, 200);
    char *id = submitted_id(&a);
    answer_free(&a);
    a = result_of(port, queue, headers, id);
    free(id);
    return a;
}

/* --- streams */

/* Whole chunks only; a chunk that is cut is no event. True when the last one came. */
static bool dechunk_all(const char *p, size_t len, struct text *body) {
    while (len > 0) {
        char *line_end;
        size_t size = strtoul(p, &line_end, 16), head = (size_t)(line_end - p) + 2;
        if (len < head + size + 2) return false;
        text_add(body, p + head, size);
        p += head + size + 2;
        len -= head + size + 2;
        if (size == 0) return true;
    }
    return false;
}

static void note_event(struct streamed *s, const char *data, size_t len) {
    if (s->done) fail_msg("more behind [DONE]: %.*s", (int)len, data);
    s->done = len == 6 && memcmp(data, "[DONE]", 6) == 0;
    if (s->done) return;
    text_free(&s->last);
    text_add(&s->last, data, len);
    s->events++;
}

static void read_events(struct streamed *s) {
    const char *at = s->body.len > 0 ? s->body.p : "";
    for (const char *end; (end = strstr(at, "\n\n")) != NULL; at = end + 2)
        if (strncmp(at, "data: ", 6) == 0)
            note_event(s, at + 6, (size_t)(end - at - 6));
        else if (*at != ':')
            fail_msg("neither event nor comment: %s", at);
    if (*at != '\0') fail_msg("the stream ends within an event: %s", at);
}

struct streamed stream_of(unsigned port, const char *path, const char *headers, const char *body,
                          size_t len) {
    struct peer p = peer_open(port);
    struct streamed s = {0};
    struct text t = {0};
    text_printf(&t,
                "POST %s HTTP/1.1\r\n" HOST "%sConnection: close\r\nContent-Length: %zu\r\n\r\n",
                path, headers, len);
    text_add(&t, body, len);
    peer_send(&p, t.p, t.len);
    text_free(&t);
    peer_listen(&p, PATIENCE_MS);
    if (p.end == PEER_OPEN) fail_msg("%s: the stream does not end: %s", path, body);
    const char *blank = p.in.len > 0 ? strstr(p.in.p, "\r\n\r\n") : NULL;
    if (blank == NULL) fail_msg("%s: no answer to %s", path, body);
    s.status = (unsigned)strtoul(p.in.p + 9, NULL, 10);
    const char *named = strstr(p.in.p, "x-fal-request-id: ");
    if (named == NULL || named > blank) fail_msg("%s: no request id: %s", path, p.in.p);
    size_t rest = p.in.len - (size_t)(blank + 4 - p.in.p);
    s.events_type = strstr(p.in.p, "text/event-stream") != NULL;
    if (s.events_type) {
        s.whole = dechunk_all(blank + 4, rest, &s.body);
        read_events(&s);
    } else {
        text_add(&s.body, blank + 4, rest);
    }
    peer_close(&p);
    return s;
}

void streamed_free(struct streamed *s) {
    text_free(&s->body);
    text_free(&s->last);
}
