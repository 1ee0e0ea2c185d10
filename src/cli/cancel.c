/* anyllm cancel: the wish that a request ends. */
#include "cli/cli.h"

static int cancel(const struct cli_args *args, fal_client *client) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *result = NULL;
    int code;
    o.timeout_ms = cli_timeout_ms(args);
    if (fal_queue_cancel(client, args->endpoint, args->operand, &o, &result) != FAL_OK) {
        code = cli_fail(args, result);
    } else {
        const char *word = fal_result_string(result, "/status");
        const char *json = fal_result_json(result);
        if (args->json && json != NULL) {
            cli_print_json(json, false);
        } else {
            cli_print_text(stdout, word != NULL ? word : "cancelled", false);
            putchar('\n');
        }
        code = cli_flush(args->command);
    }
    fal_result_free(result);
    return code;
}

int cmd_cancel(int argc, char **argv) {
    struct cli_args args;
    int code;
    if (!cli_parse(argc, argv, CLI_CANCEL, &args, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = cancel(&args, client);
    }
    fal_client_free(client);
    return code;
}
