/* What a call ended with, on standard output or standard error, and as an exit code. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void print_answer_text(const char *text) {
    if (cli_is_terminal(stdout)) {
        cli_print_text(stdout, text, true);
    } else {
        fputs(text, stdout);
    }
    size_t len = strlen(text);
    if (len == 0 || text[len - 1] != '\n') {
        putchar('\n');
    }
}

int cli_print_answer(const struct cli_args *args, const fal_result *result) {
    const char *text = args->json ? NULL : fal_result_string(result, "/output");
    /* A provider's failure can come as a success with `error` in it. */
    const char *error = fal_result_string(result, "/error");
    bool failed = error != NULL && error[0] != '\0';
    if (text == NULL) {
        cli_print_json(fal_result_json(result), false);
    } else if (!failed || text[0] != '\0') {
        print_answer_text(text);
    }
    if (failed) {
        fprintf(stderr, "anyllm %s: the model failed: ", args->command);
        cli_print_text(stderr, error, false);
        fputc('\n', stderr);
    }
    int code = cli_flush(args->command);
    return failed ? CLI_FAILED : code;
}

static int exit_code(enum fal_code code) {
    switch (code) {
    case FAL_OK: return CLI_DONE;
    case FAL_ERR_ARGUMENT: return CLI_USAGE;
    case FAL_ERR_CONNECT:
    case FAL_ERR_TRANSPORT:
    case FAL_ERR_PROTOCOL:
    case FAL_ERR_TOO_LARGE: return CLI_TRANSPORT;
    case FAL_ERR_TIMEOUT: return CLI_TIMED_OUT;
    case FAL_ERR_MEMORY:
    case FAL_ERR_BUSY:
    case FAL_ERR_HTTP:
    case FAL_ERR_CANCELLED: break;
    }
    return CLI_FAILED;
}

/* " (missing, HTTP 422, request 80e7…)" as far as it is known. */
static void print_particulars(const struct fal_error *e) {
    const char *separator = " (";
    if (e->error_type[0] != '\0') {
        fputs(separator, stderr);
        cli_print_text(stderr, e->error_type, false);
        separator = ", ";
    }
    if (e->http_status != 0 && strncmp(e->message, "HTTP ", 5) != 0) {
        fprintf(stderr, "%sHTTP %d", separator, e->http_status);
        separator = ", ";
    }
    if (e->request_id[0] != '\0') {
        fprintf(stderr, "%srequest ", separator);
        cli_print_text(stderr, e->request_id, false);
        separator = ", ";
    }
    fputs(separator[0] == ',' ? ")" : "", stderr);
}

const char *cli_key_hint(const struct cli_args *args, long http_status) {
    if (http_status != 401) {
        return "";
    }
    if (strcmp(args->base, FAL_BASE_FAL) == 0) {
        return "; is FAL_KEY a key of fal's?";
    }
    return cli_is_set("ANYLLM_KEY") ? "; is ANYLLM_KEY a key of that server's?"
                                    : "; set ANYLLM_KEY to a key of that server";
}

/* libcurl speaks of port 80 of localhost. `serve` wants the whole path. */
static bool no_server_at_socket(const struct cli_args *args, const char *path) {
    char here[PATH_MAX] = "";
    struct stat st;
    int e = -cli_try_socket(path);
    if (e != 0 && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
        cli_usage_error(args->command, "no server at %s: it is no socket", args->base);
    } else if (args->is_private && (e == ENOENT || e == ECONNREFUSED)) {
        cli_usage_error(args->command, "no server at %s: the private one has ended; ask again",
                        args->base);
    } else if (e == ENOENT || e == ECONNREFUSED) {
        bool whole = path[0] == '/' || getcwd(here, sizeof(here)) == NULL;
        cli_usage_error(args->command,
                        "no server at %s: %s; is one running there? start one with: anyllm serve "
                        "--listen unix:%s%s%s",
                        args->base, strerror(e), here, whole ? "" : "/", path);
    } else if (e != 0) {
        cli_usage_error(args->command, "cannot connect to %s: %s", args->base, strerror(e));
    }
    return e != 0;
}

bool cli_no_server(const struct cli_args *args) {
    const char *path = cli_unix_socket(args);
    if (args->base_is_default) {
        cli_usage_error(args->command, "no server at %s; start one with: anyllm serve", args->base);
        return true;
    }
    return path != NULL && no_server_at_socket(args, path);
}

int cli_fail(const struct cli_args *args, const fal_result *result) {
    const struct fal_error *e = fal_result_error(result);
    if (e->code == FAL_ERR_CONNECT && cli_no_server(args)) {
        return CLI_TRANSPORT;
    }
    fprintf(stderr, "anyllm %s: ", args->command);
    if (e->code == FAL_ERR_CONNECT || e->code == FAL_ERR_TRANSPORT) {
        bool never = e->code == FAL_ERR_CONNECT;
        fprintf(stderr, "%s%s: ", never ? "cannot connect to " : "", args->base);
    }
    cli_print_text(stderr, e->message, false);
    print_particulars(e);
    /* Over TLS there are more reasons, and the message tells them. */
    if (e->code == FAL_ERR_CONNECT && strncmp(args->base, "http:", 5) == 0) {
        fputs("; is a server running there?", stderr);
    }
    fprintf(stderr, "%s\n", cli_key_hint(args, e->http_status));
    return exit_code(e->code);
}
