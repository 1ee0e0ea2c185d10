/* One child process of the engine and one tiny HTTP exchange with it. The supervisor and the calibration stand on these
 * two; neither knows more of processes and sockets than this page. Loop's thread only. */
#ifndef ANYLLM_LLM_ENGINE_CHILD_H
#define ANYLLM_LLM_ENGINE_CHILD_H

#include "base/secret.h"
#include "net/loop.h"

struct engine_child;

struct engine_exit {
    int64_t status;
    int signal; /* 0: ended by itself */
    const char *
        last_line; /* what it said last about its trouble, "" when nothing; valid during the call */
};

struct engine_child_options {
    struct net_loop *loop;
    char *const *args, *const *env; /* NULL-terminated; args[0] is the program to execute */
    uint32_t term_ms;               /* engine_child_stop: from TERM to KILL */
    /* Exactly once, after the child was reaped and its output read; the child is freed when it returns. Never before
     * engine_child_start has returned. */
    void (*on_exit)(void *user, const struct engine_exit *how);
    void *user;
};

/* NULL with a negative uv error in *err: on_exit will not be called. Everything is copied.
 *
 * The child dies with us through PR_SET_PDEATHSIG (see engine_exec.c). The kernel sends that signal when the *thread*
 * that forked ends, not the process: uv_spawn forks on the loop's thread, which lives as long as the server. */
struct engine_child *engine_child_start(const struct engine_child_options *o, int *err);
int engine_child_pid(const struct engine_child *c);
void engine_child_stop(struct engine_child *c); /* TERM, after term_ms KILL */
void engine_child_kill(
    struct engine_child *c); /* KILL; also ends a child that is stopped or hangs */
/* Logs the last lines the child wrote. */
void engine_child_log_tail(const struct engine_child *c, int log_level);

struct engine_call;

struct engine_call_options {
    struct net_loop *loop;
    const char *socket;
    const struct secret *key; /* NULL: none is sent */
    const char *path;
    struct slice
        body; /* ptr NULL: GET, and the answer's status is all that is wanted; else POST of JSON */
    uint32_t timeout_ms; /* for the whole exchange */
    /* Exactly once unless cancelled, never before engine_call_start has returned. status 0: no answer. body is valid
     * during the call. */
    void (*on_end)(void *user, unsigned status, struct slice body);
    void *user;
};

/* NULL: out of memory, on_end will not be called. Strings and body are copied. */
struct engine_call *engine_call_start(const struct engine_call_options *o);
void engine_call_cancel(struct engine_call *c);

#endif
