/* The direct call and those of the queue: one machine, see queue.c. */
#ifndef ANYLLM_CLIENT_QUEUE_H
#define ANYLLM_CLIENT_QUEUE_H

#include "client/status_stream.h"

enum client_step { CLIENT_RUN, CLIENT_SUBMIT, CLIENT_STATUS, CLIENT_RESULT, CLIENT_CANCEL };

struct client_queue_call {
    fal_call call;
    /* What is asked, filled by api.c. */
    enum client_step first_step;
    bool follow;             /* to the end of the request, then its result */
    struct client_post post; /* its endpoint also of calls that do not POST */
    char *url;               /* given by the caller, or NULL */
    char *idempotency_key;
    bool random_key; /* it is libfal's own */
    bool logs, streaming;
    int64_t poll_interval_ms;
    void (*on_enqueue)(const char *request_id, void *user);
    void (*on_queue_update)(const struct fal_status *status, void *user);
    void *user;

    /* How far it is. */
    enum client_step step;           /* of the try that runs */
    bool answered;                   /* the server was there once */
    struct client_status *submitted; /* the submit's reply: its addresses are followed */
    int64_t poll_ms;
    struct client_timer timer; /* between two polls */
    struct client_try try;
    struct client_follow stream; /* in place of polls */
};

extern const struct client_kind client_queue_kind;

#endif
