/* What a user sees of a call: the line that says how it stands while he waits, the answer as it grows, and at the end by whom
 * and how fast. */
#ifndef ANYLLM_CLI_WATCH_H
#define ANYLLM_CLI_WATCH_H

#include "cli/line.h"

#define WATCH_MODEL_BYTES 128

struct watch {
    const struct cli_args *args;
    fal_client *client; /* cancelled when standard output takes no more */
    struct cli_line line;
    char model[WATCH_MODEL_BYTES]; /* that was asked for, then that answers; "": unknown */
    char note[LINE_BYTES];         /* the request's newest log line */
    bool uploaded;                 /* what follows the uploads has not been said yet */
    bool begun;                    /* a status, or a piece of the answer, has come */
    enum fal_state state;
    int64_t position;
    struct timespec first; /* when the first piece came */
    bool printed;          /* some of the answer stands on standard output; */
    bool line_open;        /* its last line is not ended */
    int write_error;       /* errno; 0: none */
    bool done;             /* how the call ended: */
    enum fal_code code;
    fal_result *result; /* fal_result_free */
};

void watch_begin(struct watch *w, const struct cli_args *args, fal_client *client);

/* For the options of a call; `user` is the struct watch. */
void watch_upload(uint64_t sent_bytes, uint64_t total_bytes, void *user);
void watch_enqueued(const char *request_id, void *user);
void watch_status(const struct fal_status *status, void *user);
void watch_delta(const char *delta, size_t bytes, bool restart, void *user);
void watch_event(const char *event_json, void *user); /* prints it as a line */

/* For struct fal_done. */
void watch_done(enum fal_code code, fal_result *result, void *user);
/* Until then. */
void watch_wait(struct watch *w, fal_call *call);

/* Before anything else is printed: takes the line away and ends a line of the answer. */
void watch_settle(struct watch *w);
/* Model and tokens per second, where somebody watches. */
void watch_end(struct watch *w);

#endif
