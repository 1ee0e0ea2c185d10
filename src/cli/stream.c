#include "cli/stream.h"
#include "cli/interrupt.h"
#include "cli/watch.h"

#include <errno.h>

static void fill_options(struct fal_stream_options *o, const struct cli_args *args,
                         const struct cli_input *input, bool events, struct watch *watch) {
    o->timeout_ms = cli_timeout_ms(args);
    o->start_timeout_s = args->start_timeout_s;
    o->hint = args->hint;
    o->headers = args->headers.at;
    o->header_count = args->headers.count;
    o->files = cli_input_files(input);
    if (events) {
        o->on_event = watch_event;
    } else if (!args->json) {
        o->on_delta = watch_delta;
    }
    o->user = watch;
}

/* What is wrong with an argument only the blocking call can say: it ends at once. */
static void follow(const struct cli_args *args, const struct cli_input *input, bool events,
                   struct watch *watch) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    struct fal_done done = {watch_done, watch};
    fal_call *call = NULL;
    fill_options(&o, args, input, events, watch);
    cli_line_say(&watch->line, "%s%s", watch->model,
                 watch->model[0] != '\0' ? ": waiting" : "waiting");
    if (fal_stream_start(watch->client, args->endpoint, input->json, &o, done, &call) == FAL_OK) {
        watch_wait(watch, call);
    } else {
        watch->code = fal_stream(watch->client, args->endpoint, input->json, &o, &watch->result);
    }
}

/* What has not been printed while it came: the last event, or an answer that is no text. */
static int print_rest(const struct cli_args *args, const struct watch *watch) {
    return watch->printed ? cli_flush(args->command) : cli_print_answer(args, watch->result);
}

static int print_end(const struct cli_args *args, const struct watch *watch) {
    if (watch->write_error != 0) {
        errno = watch->write_error;
        return cli_flush(args->command);
    }
    return watch->code == FAL_OK ? print_rest(args, watch) : cli_fail(args, watch->result);
}

int stream_answer(const struct cli_args *args, fal_client *client, struct cli_input *input,
                  bool events) {
    struct watch watch;
    struct interrupt interrupt;
    watch_begin(&watch, args, client);
    cli_input_watch(input, watch_upload, &watch);
    interrupt_begin(&interrupt, client);
    follow(args, input, events, &watch);
    watch_settle(&watch);
    int code = print_end(args, &watch);
    interrupt_end(&interrupt);
    if (watch.code == FAL_OK) {
        watch_end(&watch);
    }
    fal_result_free(watch.result);
    bool interrupted = atomic_load(&interrupt.number) != 0 && watch.code == FAL_ERR_CANCELLED;
    return interrupted ? 128 + atomic_load(&interrupt.number) : code;
}

int cmd_stream(int argc, char **argv) {
    struct cli_args args;
    struct cli_input input;
    int code;
    if (!cli_parse(argc, argv, CLI_STREAM, &args, &code)) {
        return code;
    }
    if (!cli_input_read(&args, &input, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = stream_answer(&args, client, &input, args.json);
    }
    fal_client_free(client);
    cli_input_free(&input);
    return code;
}
