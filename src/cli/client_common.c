#include "cli/cli.h"

#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

/* ---- The client ---- */

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static bool has_fal_key(void) {
    return is_set("FAL_KEY") || (is_set("FAL_KEY_ID") && is_set("FAL_KEY_SECRET"));
}

static bool is_loopback(const char *base) {
    static const char *const starts[] = {"http://127.",       "https://127.", "http://localhost",
                                         "https://localhost", "http://[::1]", "https://[::1]"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        if (strncmp(base, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* The user's key for fal goes to fal, or where the user said FAL_… is: never to a server named by
 * --base alone. NULL lets libfal take FAL_KEY. A loopback server without keys takes any credentials
 * but wants some. */
static const char *credentials(const struct cli_args *args) {
    if (strcmp(args->base, FAL_BASE_FAL) == 0) {
        return NULL;
    }
    if (is_set("ANYLLM_KEY")) {
        return getenv("ANYLLM_KEY");
    }
    if (args->base_from_fal && has_fal_key()) {
        return NULL;
    }
    return is_loopback(args->base) ? "local" : "";
}

fal_client *cli_client(const struct cli_args *args, int *code) {
    fal_client *client = NULL;
    struct fal_options o = FAL_OPTIONS_INIT;
    if (strcmp(args->base, FAL_BASE_FAL) == 0 && !has_fal_key()) {
        *code = cli_usage_error(args->command, "fal wants a key: set FAL_KEY");
        return NULL;
    }
    o.credentials = credentials(args);
    o.base_url = args->base;
    o.user_agent = "anyllm/" ANYLLM_VERSION;
    o.no_connect_retry = true;
    enum fal_code rc = fal_client_new(&o, &client);
    if (rc == FAL_ERR_ARGUMENT) {
        *code = cli_usage_error(
            args->command, "'%s' is no address of a server (http://HOST:PORT, or fal)", args->base);
    } else if (rc != FAL_OK) {
        cli_usage_error(args->command, "%s", fal_strerror(rc));
        *code = CLI_FAILED;
    }
    return client;
}

/* ---- The input ---- */

static char *read_stdin(const char *command, size_t *len) {
    struct buf text;
    char chunk[16384];
    ssize_t n;
    buf_init(&text, CLI_STDIN_BYTES);
    while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || !buf_add(&text, slice_make(chunk, (size_t)n))) {
            cli_usage_error(command, "standard input: %s",
                            n < 0 ? strerror(errno) : "longer than 32 MiB");
            buf_free(&text);
            return NULL;
        }
    }
    return buf_take(&text, len);
}

static bool put_prompt(const struct cli_args *args, yyjson_mut_doc *doc, yyjson_mut_val *root) {
    if (args->operand == NULL) {
        return args->input != NULL;
    }
    size_t len = strlen(args->operand);
    char *piped = NULL;
    if (strcmp(args->operand, "-") == 0 && (piped = read_stdin(args->command, &len)) == NULL) {
        return false;
    }
    yyjson_mut_val *value = yyjson_mut_strncpy(doc, piped != NULL ? piped : args->operand, len);
    free(piped);
    return yyjson_mut_obj_put(root, yyjson_mut_str(doc, "prompt"), value);
}

static bool put_options(const struct cli_args *args, yyjson_mut_doc *doc, yyjson_mut_val *root) {
    bool ok = true;
    if (args->model != NULL) {
        ok = ok && yyjson_mut_obj_put(root, yyjson_mut_str(doc, "model"),
                                      yyjson_mut_str(doc, args->model));
    }
    if (args->system != NULL) {
        ok = ok && yyjson_mut_obj_put(root, yyjson_mut_str(doc, "system_prompt"),
                                      yyjson_mut_str(doc, args->system));
    }
    if (args->has_temperature) {
        ok = ok && yyjson_mut_obj_put(root, yyjson_mut_str(doc, "temperature"),
                                      yyjson_mut_real(doc, args->temperature));
    }
    if (args->max_tokens > 0) {
        ok = ok && yyjson_mut_obj_put(root, yyjson_mut_str(doc, "max_tokens"),
                                      yyjson_mut_sint(doc, args->max_tokens));
    }
    return ok;
}

/* --input as a document that can be added to; an empty object without it. */
static yyjson_mut_doc *start_input(const struct cli_args *args) {
    const char *text = args->input != NULL ? args->input : "{}";
    yyjson_doc *given = yyjson_read(text, strlen(text), 0);
    bool is_object = yyjson_is_obj(yyjson_doc_get_root(given));
    yyjson_mut_doc *doc = is_object ? yyjson_doc_mut_copy(given, NULL) : NULL;
    yyjson_doc_free(given);
    if (doc == NULL) {
        cli_usage_error(args->command, "--input must be a JSON object");
    }
    return doc;
}

char *cli_input(const struct cli_args *args, int *code) {
    char *json = NULL;
    *code = CLI_USAGE;
    yyjson_mut_doc *doc = start_input(args);
    if (doc == NULL) {
        return NULL;
    }
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    if (put_prompt(args, doc, root) && put_options(args, doc, root)) {
        json = yyjson_mut_write(doc, 0, NULL);
        if (json == NULL) {
            cli_usage_error(args->command, "the prompt or an option is not UTF-8 text");
        }
    }
    yyjson_mut_doc_free(doc);
    return json;
}

/* ---- Output ---- */

void cli_print_text(FILE *out, const char *text, bool lines) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0; /* ESC's 8-bit relatives, in UTF-8 */
        bool control = (*p < 0x20 && !(lines && (*p == '\n' || *p == '\t'))) || *p == 0x7F || c1;
        fputc(control ? '?' : *p, out);
        p += c1 ? 1 : 0;
    }
}

static void print_answer_text(const char *text) {
    if (isatty(STDOUT_FILENO)) {
        cli_print_text(stdout, text, true);
    } else {
        fputs(text, stdout);
    }
    size_t len = strlen(text);
    if (len == 0 || text[len - 1] != '\n') {
        putchar('\n');
    }
}

int cli_flush(const char *command) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_usage_error(command, "cannot write to standard output: %s", strerror(errno));
        return CLI_FAILED;
    }
    return CLI_DONE;
}

int cli_print_answer(const struct cli_args *args, const fal_result *result) {
    const char *text = args->json ? NULL : fal_result_string(result, "/output");
    /* A provider's failure can come as a success with `error` in it. */
    const char *error = fal_result_string(result, "/error");
    bool failed = error != NULL && error[0] != '\0';
    if (text == NULL) {
        print_answer_text(fal_result_json(result));
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

int cli_fail(const struct cli_args *args, const fal_result *result) {
    const struct fal_error *e = fal_result_error(result);
    fprintf(stderr, "anyllm %s: ", args->command);
    if (e->code == FAL_ERR_CONNECT && args->base_is_default) {
        fprintf(stderr, "cannot connect to %s: is it running? start it with: anyllm serve\n",
                args->base);
        return CLI_TRANSPORT;
    }
    if (e->code == FAL_ERR_CONNECT || e->code == FAL_ERR_TRANSPORT) {
        fprintf(stderr, "%s: ", args->base);
    }
    cli_print_text(stderr, e->message, false);
    print_particulars(e);
    if (e->http_status == 401 && !is_set("ANYLLM_KEY") && strcmp(args->base, FAL_BASE_FAL) != 0) {
        fputs("; set ANYLLM_KEY to a key of that server", stderr);
    }
    fputc('\n', stderr);
    return exit_code(e->code);
}
