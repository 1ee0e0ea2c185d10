/* anyllm result: the answer of a completed request. */
#include "cli/cli.h"

static int result_of(const struct cli_args *args, fal_client *client) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = cli_timeout_ms(args);
    enum fal_code rc = fal_queue_result(client, args->endpoint, args->operand, &o, &result);
    int code = rc == FAL_OK ? cli_print_answer(args, result) : cli_fail(args, result);
    fal_result_free(result);
    return code;
}

int cmd_result(int argc, char **argv) {
    struct cli_args args;
    int code;
    if (!cli_parse(argc, argv, CLI_RESULT, &args, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = result_of(&args, client);
    }
    fal_client_free(client);
    return code;
}
