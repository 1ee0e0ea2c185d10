/* The event stream of a queued request's status, opened again when it ends too early. Part of a call: its deadline, its end.
 *
 * The status so far is *last, the owner's: each event's takes the place of the one before, with all log lines that came.
 *   `update`, optional: *last is new. False: no more, nothing follows.
 *   `done`: once, from the loop. The owner then calls client_follow_end, as at any other end. */
#ifndef ANYLLM_CLIENT_STATUS_STREAM_H
#define ANYLLM_CLIENT_STATUS_STREAM_H

#include "client/events.h"

enum client_followed {
    CLIENT_FOLLOW_COMPLETED,
    CLIENT_FOLLOW_NO_STREAM, /* the server has none: 404, 405, 501, or an answer that is no event stream */
    CLIENT_FOLLOW_FAILED, /* see client_follow_fail */
};

struct client_follow {
    fal_call *call;
    struct client_events events;
    struct client_timer again; /* the pause before it is opened again */
    struct buf url;            /* NUL-terminated */
    const struct buf *lines;   /* the caller's own header lines, or NULL */
    const char *request_id;    /* borrowed */
    bool wait_on; /* pauses may end after the deadline: the call then has something to do */
    struct client_status **last;
    unsigned barren; /* streams without an event, one after the other */
    bool begun;      /* this stream has had an event */
    bool answered;   /* the server was there once: as in client_try */
    bool enough;     /* update said false */
    const char *why; /* FAILED, when it is not the exchange's own error */
    enum fal_code code;
    bool (*update)(struct client_follow *f);
    void (*done)(struct client_follow *f, enum client_followed how);
};

/* Appends the address of the stream to that of a status: "/stream" before its query, and logs=0 or 1. False: no memory. */
bool client_follow_url(struct buf *out, struct slice status_url, bool logs);

/* url, call, last and the rest are the owner's to set after client_follow_init. FAL_ERR_MEMORY: done will not come. */
void client_follow_init(struct client_follow *f, fal_call *call);
enum fal_code client_follow_begin(struct client_follow *f);
void client_follow_end(struct client_follow *f);
/* Ends the call with the error of CLIENT_FOLLOW_FAILED. */
void client_follow_fail(struct client_follow *f);

#endif
