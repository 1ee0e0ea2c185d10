#include "cli/interrupt.h"

#include <unistd.h>

static const int numbers[] = {SIGINT, SIGTERM};
#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

/* Ignored ones stay so: a job in the background of a script is not meant by the terminal's Ctrl-C. Returns one of them; 0: there
 * are none. */
static int signals_of_interest(sigset_t *set) {
    struct sigaction now;
    int any = 0;
    sigemptyset(set);
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
            sigaddset(set, numbers[i]);
            any = numbers[i];
        }
    }
    return any;
}

static void *wait_for_signals(void *user) {
    struct interrupt *in = user;
    int number;
    while (sigwait(&in->signals, &number) == 0 && !atomic_load(&in->ended)) {
        if (atomic_load(&in->number) != 0) {
            _exit(128 + number);
        }
        atomic_store(&in->number, number);
        fal_client_cancel(in->client);
    }
    return NULL;
}

void interrupt_begin(struct interrupt *in, fal_client *client) {
    *in = (struct interrupt){.client = client};
    in->wake = signals_of_interest(&in->signals);
    pthread_sigmask(SIG_BLOCK, &in->signals, NULL);
    in->running = in->wake != 0 && pthread_create(&in->thread, NULL, wait_for_signals, in) == 0;
    if (!in->running) {
        pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
    }
}

/* Cancelling the thread would end it without its cleanup; a signal of its own wakes it. */
void interrupt_end(struct interrupt *in) {
    if (in->running) {
        atomic_store(&in->ended, true);
        pthread_kill(in->thread, in->wake);
        pthread_join(in->thread, NULL);
        pthread_sigmask(SIG_UNBLOCK, &in->signals, NULL);
    }
}
