/* anyllm status: one look at a queued request. */
#include "cli/cli.h"

#include <inttypes.h>

static void print_status(const struct fal_status *s) {
    static const char *const names[] = {[FAL_IN_QUEUE] = "in queue",
                                        [FAL_IN_PROGRESS] = "in progress",
                                        [FAL_COMPLETED] = "completed"};
    for (size_t i = 0; i < s->log_count; i++) {
        fputs("  | ", stdout);
        cli_print_text(stdout, s->logs[i]->message, false);
        putchar('\n');
    }
    fputs(names[s->state], stdout);
    if (s->queue_position > 0) {
        printf(", %" PRId64 " ahead", s->queue_position);
    }
    if (s->error != NULL) {
        fputs(", failed: ", stdout);
        cli_print_text(stdout, s->error, false);
    }
    putchar('\n');
}

static int status(const struct cli_args *args, fal_client *client) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *result = NULL;
    int code;
    o.logs = args->logs;
    o.timeout_ms = cli_timeout_ms(args);
    if (fal_queue_status(client, args->endpoint, args->operand, &o, &result) != FAL_OK) {
        code = cli_fail(args, result);
    } else {
        if (args->json) {
            puts(fal_result_json(result));
        } else {
            print_status(fal_result_status(result));
        }
        code = cli_flush(args->command);
    }
    fal_result_free(result);
    return code;
}

int cmd_status(int argc, char **argv) {
    struct cli_args args;
    int code;
    if (!cli_parse(argc, argv, CLI_STATUS, &args, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = status(&args, client);
    }
    fal_client_free(client);
    return code;
}
