/* anyllm run: the whole way of a request, watched. */
#include "cli/cli.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>

struct watch {
    bool quiet;
    bool begun;
    enum fal_state state;
    int64_t position;
};

static void print_log(const struct fal_log *log) {
    fputs("  | ", stderr);
    cli_print_text(stderr, log->message, false);
    fputc('\n', stderr);
}

static void print_place(const struct fal_status *s) {
    if (s->state == FAL_IN_PROGRESS) {
        fputs("in progress\n", stderr);
    } else if (s->queue_position > 0) {
        fprintf(stderr, "in queue, %" PRId64 " ahead\n", s->queue_position);
    } else {
        fputs("in queue\n", stderr);
    }
}

static void print_end(const struct fal_status *s) {
    if (s->error != NULL) {
        fputs("failed\n", stderr);
    } else if (s->inference_time_s >= 0) {
        fprintf(stderr, "completed in %.2f s\n", s->inference_time_s);
    } else {
        fputs("completed\n", stderr);
    }
}

/* One line when something changed; the model's own lines once each. */
static void print_update(const struct fal_status *s, void *user) {
    struct watch *w = user;
    bool moved = s->state == FAL_IN_QUEUE && s->queue_position != w->position;
    if (w->quiet) {
        return;
    }
    if (s->state != FAL_COMPLETED && (!w->begun || s->state != w->state || moved)) {
        print_place(s);
    }
    for (size_t i = s->first_new_log; i < s->log_count; i++) {
        print_log(s->logs[i]);
    }
    if (s->state == FAL_COMPLETED) {
        print_end(s);
    }
    w->begun = true;
    w->state = s->state;
    w->position = s->queue_position;
}

static void print_id(const char *request_id, void *user) {
    struct watch *w = user;
    if (!w->quiet) {
        fputs("request ", stderr);
        cli_print_text(stderr, request_id, false);
        fputc('\n', stderr);
    }
}

/* ---- SIGINT and SIGTERM cancel the request on the server. A thread waits for them, because a
 * signal handler may do next to nothing; it lives between interrupt_begin and interrupt_end, within
 * the client's life. ---- */

struct interrupt {
    fal_client *client;
    pthread_t thread;
    bool running;
    volatile sig_atomic_t signal; /* the first one that came */
};

static void signals_of_interest(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
}

static void *wait_for_signals(void *user) {
    struct interrupt *in = user;
    sigset_t set;
    int number;
    signals_of_interest(&set);
    while (sigwait(&set, &number) == 0) {
        in->signal = in->signal == 0 ? number : in->signal;
        fal_client_cancel(in->client); /* the second time it ends the wait for the server */
    }
    return NULL;
}

static void interrupt_begin(struct interrupt *in, fal_client *client) {
    sigset_t set;
    *in = (struct interrupt){.client = client};
    signals_of_interest(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    in->running = pthread_create(&in->thread, NULL, wait_for_signals, in) == 0;
    if (!in->running) {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

static void interrupt_end(struct interrupt *in) {
    sigset_t set;
    if (in->running) {
        pthread_cancel(in->thread);
        pthread_join(in->thread, NULL);
        signals_of_interest(&set);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    }
}

static int subscribe(const struct cli_args *args, fal_client *client,
                     const struct cli_input *input) {
    struct watch watch = {.quiet = args->quiet};
    struct interrupt interrupt;
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_result *result = NULL;
    o.logs = !args->quiet;
    o.timeout_ms = cli_timeout_ms(args);
    o.start_timeout_s = args->start_timeout_s;
    o.hint = args->hint;
    o.priority = args->priority;
    o.headers = args->headers.at;
    o.header_count = args->headers.count;
    o.files = cli_input_files(input);
    o.on_enqueue = print_id;
    o.on_queue_update = print_update;
    o.user = &watch;
    interrupt_begin(&interrupt, client);
    enum fal_code rc = fal_subscribe(client, args->endpoint, input->json, &o, &result);
    interrupt_end(&interrupt);
    int code = rc == FAL_OK ? cli_print_answer(args, result) : cli_fail(args, result);
    fal_result_free(result);
    return rc == FAL_ERR_CANCELLED ? 128 + (int)interrupt.signal : code;
}

int cmd_run(int argc, char **argv) {
    struct cli_args args;
    int code;
    if (!cli_parse(argc, argv, CLI_RUN, &args, &code)) {
        return code;
    }
    struct cli_input input;
    if (!cli_input_read(&args, &input, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = subscribe(&args, client, &input);
    }
    fal_client_free(client);
    cli_input_free(&input);
    return code;
}
