/* anyllm status: one look at a queued request, or with --follow each change of it until its end. */
#include "cli/cli.h"

#include <inttypes.h>

static void print_status(const struct fal_status *s, size_t first_log) {
    static const char *const names[] = {[FAL_IN_QUEUE] = "in queue",
                                        [FAL_IN_PROGRESS] = "in progress",
                                        [FAL_COMPLETED] = "completed"};
    for (size_t i = first_log; i < s->log_count; i++) {
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

static int look(const struct cli_args *args, fal_client *client) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    fal_result *result = NULL;
    int code;
    o.logs = args->logs;
    o.timeout_ms = cli_timeout_ms(args);
    if (fal_queue_status(client, args->endpoint, args->operand, &o, &result) != FAL_OK) {
        code = cli_fail(args, result);
    } else {
        if (args->json) {
            cli_print_json(fal_result_json(result), false);
        } else {
            print_status(fal_result_status(result), 0);
        }
        code = cli_flush(args->command);
    }
    fal_result_free(result);
    return code;
}

/* ---- --follow ---- */

struct following {
    const struct cli_args *args;
    bool begun;
    enum fal_state state;
    int64_t position;
};

static void print_change(const struct fal_status *s, void *user) {
    struct following *f = user;
    bool news = !f->begun || s->state != f->state || s->queue_position != f->position ||
                s->first_new_log < s->log_count;
    f->begun = true;
    f->state = s->state;
    f->position = s->queue_position;
    if (f->args->json) {
        cli_print_json(s->json, true);
    } else if (news) {
        print_status(s, s->first_new_log);
    }
    fflush(stdout); /* whoever reads it wants it now */
}

static int follow(const struct cli_args *args, fal_client *client) {
    struct following following = {.args = args};
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    fal_result *result = NULL;
    o.timeout_ms = cli_timeout_ms(args);
    o.logs = args->logs;
    o.on_queue_update = print_change;
    o.user = &following;
    enum fal_code rc = fal_queue_stream_status(client, args->endpoint, args->operand, &o, &result);
    int code = rc == FAL_OK ? cli_flush(args->command) : cli_fail(args, result);
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
        code = args.follow ? follow(&args, client) : look(&args, client);
    }
    fal_client_free(client);
    return code;
}
