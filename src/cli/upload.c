/* anyllm upload: a file into the server's storage; its address on standard output. */
#include "cli/admin.h"
#include "cli/line.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MIB 1048576.0

void cli_line_upload(uint64_t sent, uint64_t total, void *user) {
    struct cli_line *line = user;
    if (total == UINT64_MAX || total == 0) {
        cli_line_say(line, "uploading, %.1f MiB", (double)sent / MIB);
    } else {
        cli_line_say(line, "uploading, %.0f %% of %.1f MiB", (double)sent * 100.0 / (double)total,
                     (double)total / MIB);
    }
}

static int64_t read_stdin(void *buffer, size_t room, void *user) {
    ssize_t n;
    (void)user;
    do {
        n = read(STDIN_FILENO, buffer, room);
    } while (n < 0 && errno == EINTR);
    return n;
}

static bool set_lifecycle(const struct cli_args *args, struct fal_lifecycle *l) {
    if (args->expires == NULL || admin_duration(args->expires, &l->expires_in_s)) {
        return true;
    }
    l->expires_in_s = FAL_EXPIRES_NEVER;
    if (strcmp(args->expires, "never") == 0) {
        return true;
    }
    cli_usage_error(args->command, "--expires '%s': wants a time as 15m, 12h or 30d, or never",
                    args->expires);
    return false;
}

static int print_address(const struct cli_args *args, const fal_result *result) {
    const char *url = fal_result_string(result, "/url");
    if (args->json || url == NULL) {
        cli_print_json(fal_result_json(result), false);
    } else {
        cli_print_text(stdout, url, false);
        putchar('\n');
    }
    return cli_flush(args->command);
}

static int upload(const struct cli_args *args, fal_client *client,
                  const struct fal_lifecycle *lifecycle) {
    struct fal_file file = FAL_FILE_INIT;
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct cli_line line;
    fal_result *result = NULL;
    bool piped = strcmp(args->operand, "-") == 0;
    file.path = piped ? NULL : args->operand;
    file.read = piped ? read_stdin : NULL;
    file.name = args->name;
    file.content_type = args->content_type;
    o.timeout_ms = cli_timeout_ms(args);
    o.lifecycle = args->expires != NULL ? lifecycle : NULL;
    o.on_progress = cli_line_upload;
    o.user = &line;
    cli_line_begin(&line, args->quiet);
    enum fal_code rc = fal_storage_upload(client, &file, &o, &result);
    cli_line_clear(&line);
    int code = rc == FAL_OK ? print_address(args, result) : cli_fail(args, result);
    fal_result_free(result);
    return code;
}

int cmd_upload(int argc, char **argv) {
    struct cli_args args;
    struct fal_lifecycle lifecycle = FAL_LIFECYCLE_INIT;
    int code;
    if (!cli_parse(argc, argv, CLI_UPLOAD, &args, &code)) {
        return code;
    }
    if (!set_lifecycle(&args, &lifecycle)) {
        return CLI_USAGE;
    }
    if (strcmp(args.operand, "-") != 0 && access(args.operand, R_OK) != 0) {
        return cli_usage_error(args.command, "%s: %s", args.operand, strerror(errno));
    }
    fal_client *client = cli_client(&args, &code);
    if (client != NULL) {
        code = upload(&args, client, &lifecycle);
    }
    fal_client_free(client);
    return code;
}
