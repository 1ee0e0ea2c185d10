#include "cli/interrupt.h"

#include <unistd.h>

/* Ignored ones stay so: a job in the background of a script is not meant by the terminal's Ctrl-C. */
static void signals_of_interest(sigset_t *set) {
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction now;
    sigemptyset(set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
            sigaddset(set, numbers[i]);
        }
    }
}

static void *wait_for_signals(void *user) {
    struct interrupt *in = user;
    int number;
    while (sigwait(&in->signals, &number) == 0) {
        if (in->number != 0) {
            _exit(128 + number);
        }
        in->number = number;
        fal_client_cancel(in->client);
    }
    return NULL;
}

void interrupt_begin(struct interrupt *in, fal_client *client) {
    *in = (struct interrupt){.client = client};
    signals_of_interest(&in->signals);
    pthread_sigmask(SIG_BLOCK, &in->signals, NULL);
    in->running = pthread_create(&in->thread, NULL, wait_for_signals, in) == 0;
    if (!in->running) {
        pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
    }
}

void interrupt_end(struct interrupt *in) {
    if (in->running) {
        pthread_cancel(in->thread);
        pthread_join(in->thread, NULL);
        pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
    }
}
