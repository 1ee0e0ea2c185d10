/* anyllm result: the answer of a completed request; with --wait once it has completed. */
#include "cli/cli.h"

#include "base/clock.h"

/* Nothing of it cancels the request: who asks for an answer may come back later. */
static enum fal_code wait_for_end(const struct cli_args *args, fal_client *client, int *code) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = cli_timeout_ms(args);
    enum fal_code rc = fal_queue_stream_status(client, args->endpoint, args->operand, &o, &result);
    if (rc != FAL_OK) {
        *code = cli_fail(args, result);
    }
    fal_result_free(result);
    return rc;
}

static int result_of(const struct cli_args *args, fal_client *client, int64_t timeout_ms) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = timeout_ms;
    enum fal_code rc = fal_queue_result(client, args->endpoint, args->operand, &o, &result);
    int code = rc == FAL_OK ? cli_print_answer(args, result) : cli_fail(args, result);
    fal_result_free(result);
    return code;
}

/* Of --timeout; 0: none. */
static int64_t what_is_left(const struct cli_args *args, uint64_t began_ms) {
    int64_t whole = cli_timeout_ms(args);
    int64_t left = whole - (int64_t)(clock_mono_ms(&clock_system) - began_ms);
    return whole == 0 ? 0 : left > 0 ? left : 1;
}

int cmd_result(int argc, char **argv) {
    struct cli_args args;
    int code;
    uint64_t began_ms = clock_mono_ms(&clock_system);
    if (!cli_parse(argc, argv, CLI_RESULT, &args, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL && (!args.wait || wait_for_end(&args, client, &code) == FAL_OK)) {
        code = result_of(&args, client, what_is_left(&args, began_ms));
    }
    fal_client_free(client);
    return code;
}
