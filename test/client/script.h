/* A server that follows a script: request number n gets answer number n, whatever it asks; or, where
 * several come at once, the first answer left that is meant for it (`when`). It runs in a thread of
 * the test, on 127.0.0.1, on a port that the kernel chooses, and remembers the bytes of every
 * request. */
#ifndef ANYLLM_TEST_CLIENT_SCRIPT_H
#define ANYLLM_TEST_CLIENT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

struct script_step {
    int status;          /* 0: see raw */
    const char *body;    /* JSON; "$BASE" stands for http://127.0.0.1:PORT. NULL: none */
    const char *headers; /* further lines, each with its \r\n. NULL: none */
    const char *raw;  /* sent as it is, then the connection is closed; "": closed without a byte */
    size_t raw_bytes; /* 0: strlen */
    size_t filler_bytes; /* after raw: so many spaces */
    bool drip;           /* raw goes out a byte at a time, */
    int drip_ms;         /* with so long between two */
    bool stay;           /* after raw the connection is not closed */
    bool close;          /* after the answer */
    bool hang;           /* no answer, the connection stays */
    size_t hold;         /* the answer waits until so many requests are there in all */
    const char *when;    /* only for a request whose first line holds this. NULL: for any */
    size_t cut_bytes;    /* closed without an answer when so many bytes of the request are there */
    void (*hook)(
        void
            *user); /* called in the server's thread when the request is there, before the answer */
    void *user;
};

struct script;

/* Never NULL; a fault of the set-up ends the test program. */
struct script *script_start(const struct script_step *steps, size_t count);
/* The same on a unix domain socket, which the caller removes; its base is http://localhost. */
struct script *script_start_unix(const char *path, const struct script_step *steps, size_t count);
void script_stop(struct script *s);

const char *script_base(const struct script *s); /* http://127.0.0.1:PORT */
size_t script_count(struct script *s);           /* requests so far */
/* Head and body of request i as they came. "" when there was none. Lives until script_stop. */
const char *script_request(struct script *s, size_t i);
/* Connections accepted so far. */
size_t script_connections(struct script *s);

/* "POST /queue/a/b HTTP/1.1" is the first line of request i. */
bool script_asked(struct script *s, size_t i, const char *line);
/* The request has this header line, names without regard to case. */
bool script_has_header(struct script *s, size_t i, const char *line);

#define SCRIPT(...)                                         \
    script_start((const struct script_step[]){__VA_ARGS__}, \
                 sizeof((const struct script_step[]){__VA_ARGS__}) / sizeof(struct script_step))

#endif
