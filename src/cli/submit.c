/* anyllm submit: into the queue and back at once. */
#include "cli/line.h"

static int submit(const struct cli_args *args, fal_client *client, struct cli_input *input) {
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = cli_timeout_ms(args);
    o.start_timeout_s = args->start_timeout_s;
    o.hint = args->hint;
    o.priority = args->priority;
    o.webhook_url = args->webhook;
    o.idempotency_key = args->idempotency_key;
    o.headers = args->headers.at;
    o.header_count = args->headers.count;
    o.files = cli_input_files(input);
    struct cli_line line;
    int code;
    cli_line_begin(&line, args->quiet);
    cli_input_watch(input, cli_line_upload, &line);
    enum fal_code rc = fal_queue_submit(client, args->endpoint, input->json, &o, &result);
    cli_line_clear(&line);
    if (rc != FAL_OK) {
        code = cli_fail(args, result);
    } else {
        if (args->json) {
            cli_print_json(fal_result_json(result), false);
        } else {
            cli_print_text(stdout, fal_result_request_id(result), false);
            putchar('\n');
        }
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
    struct cli_input input;
    if (!cli_input_read(&args, &input, &code)) {
        return code;
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = submit(&args, client, &input);
    }
    fal_client_free(client);
    cli_input_free(&input);
    return code;
}
