/* anyllm submit: into the queue and back at once. */
#include "cli/cli.h"

#include <stdlib.h>

static int submit(const struct cli_args *args, fal_client *client, const char *input) {
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = (int64_t)(args->timeout_s * 1000.0 + 0.999);
    int code;
    if (fal_queue_submit(client, args->endpoint, input, &o, &result) != FAL_OK) {
        code = cli_fail(args, result);
    } else {
        cli_print_text(stdout, args->json ? fal_result_json(result) : fal_result_request_id(result),
                       args->json);
        putchar('\n');
        code = cli_flush(args->command);
    }
    fal_result_free(result);
    return code;
}

int cmd_submit(int argc, char **argv) {
    struct cli_args args;
    int code;
    if (!cli_parse(argc, argv, CLI_SUBMIT, &args, &code)) {
        return code;
    }
    char *input = cli_input(&args, &code);
    fal_client *client = input != NULL ? cli_client(&args, &code) : NULL;
    if (client != NULL) {
        code = submit(&args, client, input);
    }
    fal_client_free(client);
    free(input);
    return code;
}
