/* SIGINT and SIGTERM while a call runs: the first cancels it (and its request on the server), the second ends the program at
 * once. A thread waits for them, because a signal handler may do next to nothing. */
#ifndef ANYLLM_CLI_INTERRUPT_H
#define ANYLLM_CLI_INTERRUPT_H

#include "fal.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>

struct interrupt {
    fal_client *client;
    sigset_t signals; /* those that are not ignored */
    int wake;         /* one of them, which ends the thread */
    pthread_t thread;
    bool running;
    atomic_bool ended;
    atomic_int number; /* the first one that came; 0: none */
};

/* Between the two, within the client's life. */
void interrupt_begin(struct interrupt *in, fal_client *client);
void interrupt_end(struct interrupt *in);

#endif
