/* anyllm run: the whole way of a request, watched. On a terminal the answer is printed as it grows, from the endpoint's stream;
 * else it goes through the queue and is printed when it is whole. */
#include "cli/interrupt.h"
#include "cli/stream.h"
#include "cli/watch.h"

#include <string.h>

static void fill_options(struct fal_subscribe_options *o, const struct cli_args *args,
                         const struct cli_input *input, struct watch *watch) {
    o->logs = args->logs || watch->line.mode != LINE_OFF;
    o->timeout_ms = cli_timeout_ms(args);
    o->start_timeout_s = args->start_timeout_s;
    o->hint = args->hint;
    o->priority = args->priority;
    o->headers = args->headers.at;
    o->header_count = args->headers.count;
    o->files = cli_input_files(input);
    o->on_enqueue = watch_enqueued;
    o->on_queue_update = watch_status;
    o->user = watch;
}

/* What is wrong with an argument only the blocking call can say: it ends at once. */
static void subscribe(const struct cli_args *args, const struct cli_input *input,
                      struct watch *watch) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    struct fal_done done = {watch_done, watch};
    fal_call *call = NULL;
    fill_options(&o, args, input, watch);
    if (fal_subscribe_start(watch->client, args->endpoint, input->json, &o, done, &call) ==
        FAL_OK) {
        watch_wait(watch, call);
    } else {
        watch->code = fal_subscribe(watch->client, args->endpoint, input->json, &o, &watch->result);
    }
}

static int through_the_queue(const struct cli_args *args, fal_client *client,
                             struct cli_input *input) {
    struct watch watch;
    struct interrupt interrupt;
    watch_begin(&watch, args, client);
    cli_input_watch(input, watch_upload, &watch);
    interrupt_begin(&interrupt, client);
    subscribe(args, input, &watch);
    watch_settle(&watch);
    bool ok = watch.code == FAL_OK;
    int code = ok ? cli_print_answer(args, watch.result) : cli_fail(args, watch.result);
    interrupt_end(&interrupt);
    if (ok) {
        watch_end(&watch);
    }
    fal_result_free(watch.result);
    return watch.code == FAL_ERR_CANCELLED ? 128 + atomic_load(&interrupt.number) : code;
}

static bool begins(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* Endpoints whose stream is known to be one of text; another may have none. */
static bool has_stream(const char *endpoint) {
    return begins(endpoint, "fal-ai/any-llm") ||
           (begins(endpoint, "openrouter/router") && strstr(endpoint, "/openai/") == NULL);
}

static bool streams(const struct cli_args *args) {
    bool queue_wanted = args->no_stream || args->json || args->logs || args->priority != NULL;
    return args->stream || (!queue_wanted && cli_is_terminal(stdout) && has_stream(args->endpoint));
}

int cmd_run(int argc, char **argv) {
    struct cli_args args;
    struct cli_input input;
    int code;
    if (!cli_parse(argc, argv, CLI_RUN, &args, &code)) {
        return code;
    }
    if (args.stream && (args.no_stream || args.logs || args.priority != NULL)) {
        return cli_usage_error(
            args.command, "--stream is without a queue: not with --no-stream, --logs, --priority");
    }
    if (!cli_input_read(&args, &input, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = streams(&args) ? stream_answer(&args, client, &input, false)
                              : through_the_queue(&args, client, &input);
    }
    fal_client_free(client);
    cli_input_free(&input);
    return code;
}
