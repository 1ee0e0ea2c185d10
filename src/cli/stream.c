#include "cli/stream.h"
#include "cli/interrupt.h"
#include "cli/watch.h"

#include <errno.h>

static enum fal_code follow(const struct cli_args *args, fal_client *client,
                            const struct cli_input *input, bool events, struct watch *watch,
                            fal_result **result) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    o.timeout_ms = cli_timeout_ms(args);
    o.start_timeout_s = args->start_timeout_s;
    o.hint = args->hint;
    o.headers = args->headers.at;
    o.header_count = args->headers.count;
    o.files = cli_input_files(input);
    if (events) {
        o.on_event = watch_event;
    } else if (!args->json) {
        o.on_delta = watch_delta;
    }
    o.user = watch;
    cli_line_say(&watch->line, "%s%s", args->model != NULL ? args->model : "waiting",
                 args->model != NULL ? ": waiting" : "");
    return fal_stream(client, args->endpoint, input->json, &o, result);
}

/* What has not been printed while it came: the last event, or an answer that is no text. */
static int print_rest(const struct cli_args *args, const struct watch *watch,
                      const fal_result *result) {
    return watch->printed ? cli_flush(args->command) : cli_print_answer(args, result);
}

int stream_answer(const struct cli_args *args, fal_client *client, const struct cli_input *input,
                  bool events) {
    struct watch watch;
    struct interrupt interrupt;
    fal_result *result = NULL;
    watch_begin(&watch, args, client);
    interrupt_begin(&interrupt, client);
    enum fal_code rc = follow(args, client, input, events, &watch, &result);
    watch_settle(&watch);
    int code;
    if (watch.write_error != 0) {
        errno = watch.write_error;
        code = cli_flush(args->command);
    } else {
        code = rc == FAL_OK ? print_rest(args, &watch, result) : cli_fail(args, result);
    }
    interrupt_end(&interrupt);
    if (rc == FAL_OK) {
        watch_end(&watch, result);
    }
    fal_result_free(result);
    return interrupt.number != 0 && rc == FAL_ERR_CANCELLED ? 128 + (int)interrupt.number : code;
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
