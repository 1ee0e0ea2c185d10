/* The other end of a connection to the server: raw bytes out, answers in. Written for these tests alone, so that a fault
 * of the product's codec cannot hide behind the same fault here. */
#ifndef ANYLLM_TEST_WIRE_PEER_H
#define ANYLLM_TEST_WIRE_PEER_H

#include "server.h"

#include <yyjson.h>

/* How long an answer, or the end of a connection, is waited for. */
#define PATIENCE_MS 20000U

/* --- text that grows */

struct text {
    char *p; /* NUL-terminated; NULL while empty */
    size_t len, cap;
};
void text_add(struct text *t, const void *bytes, size_t len);
void text_puts(struct text *t, const char *s);
void text_fill(struct text *t, char c, size_t n);
void text_printf(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);

/* --- answers */

struct answer {
    unsigned status;
    struct text head, body; /* the head from the status line to the blank line; the body decoded */
    bool close;             /* says Connection: close */
};
/* The value of a header, into `out` (empty text when it is not there); false when it is not there. */
bool answer_header(const struct answer *a, const char *name, char *out, size_t size);
/* What every answer must have: see peer.c. `what` names the case in a failure. */
void check_answer(const char *what, const struct answer *a);
/* The body as JSON; fails the test when it is none. Free it. */
yyjson_doc *answer_json(const char *what, const struct answer *a);
bool answer_says(const struct answer *a, const char *part);

/* --- connections */

enum peer_end { PEER_OPEN, PEER_ENDED, PEER_RESET };

struct peer {
    int fd;
    struct text in; /* what came and was not yet taken */
    enum peer_end end;
    struct answer answer;
};

struct peer peer_open(unsigned port);
void peer_close(struct peer *p);
/* False when the server no longer takes anything. The rest is not sent then. */
bool peer_send(struct peer *p, const char *bytes, size_t len);
bool peer_puts(struct peer *p, const char *text);
/* One byte per write; ends early when the server has said something. */
bool peer_trickle(struct peer *p, const char *bytes, size_t len);
/* The next whole answer, checked by check_answer; NULL when the connection ends or nothing comes before it is whole.
 * It lives until the next one or peer_close. `peer_answer_to_head` expects no body. */
const struct answer *peer_answer(struct peer *p);
const struct answer *peer_answer_to_head(struct peer *p);
const struct answer *peer_answer_within(struct peer *p, unsigned ms);
/* Reads and keeps what comes for so long, or until the end. */
void peer_listen(struct peer *p, unsigned ms);
/* True when the server ends the connection without another byte. */
bool peer_is_ended(struct peer *p);
/* True when a second request is answered. */
bool peer_is_kept(struct peer *p);
void peer_half_close(struct peer *p);

/* One request on a connection of its own. Free with answer_free. Fails the test when nothing comes. */
struct answer ask(unsigned port, const char *bytes, size_t len);
struct answer ask_text(unsigned port, const char *text);
void answer_free(struct answer *a);

/* "POST path" with a JSON body; `headers` as "Name: value\r\n" lines. */
struct answer post(unsigned port, const char *path, const char *headers, const char *body,
                   size_t len);
struct answer post_json(unsigned port, const char *path, const char *body);
struct answer get(unsigned port, const char *path);

/* A number of /metrics: "anyllm_queue_submitted_total", with its labels if it has them. */
unsigned long metric(unsigned port, const char *name);

/* GET /_stats of the mock. Free it. POST /_reset. */
yyjson_doc *mock_stats(const struct mock *m);
unsigned long mock_count(const struct mock *m, const char *name);
void mock_reset(const struct mock *m);

#define HOST "Host: 127.0.0.1\r\n"
#define HEALTHZ "GET /healthz HTTP/1.1\r\n" HOST "\r\n"

#endif
