/* The anyllm program: one table of commands in main.c, one small file for each. The client commands
 * know libfal's header and nothing of the server. */
#ifndef ANYLLM_CLI_CLI_H
#define ANYLLM_CLI_CLI_H

#include "fal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Exit codes of the client commands; 128 + signal when a signal ended them. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1, /* the request failed */
    CLI_USAGE = 2,
    CLI_TRANSPORT = 3, /* no connection, a broken one, an answer that makes no sense */
    CLI_TIMED_OUT = 4
};

#define CLI_DEFAULT_BASE "http://127.0.0.1:8787"
#define CLI_DEFAULT_ENDPOINT "fal-ai/any-llm"
#define CLI_VISION_ENDPOINT "fal-ai/any-llm/vision" /* with --image */
#define CLI_STDIN_BYTES ((size_t)32 << 20)          /* the server's own default limit of a body */

/* argv[0] is the command's name. Each returns the exit code. */
int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_stream(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_result(int argc, char **argv);
int cmd_cancel(int argc, char **argv);
int cmd_upload(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_serve(int argc, char **argv);         /* serve.c */
int cmd_private_serve(int argc, char **argv); /* serve.c; hidden: what cli_reach starts */
int cmd_keys(int argc, char **argv);          /* this and the next four: see admin.h */
int cmd_usage(int argc, char **argv);
int cmd_webhooks(int argc, char **argv);
int cmd_queue(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_engine_exec(
    int argc, char **argv); /* engine_exec.c; hidden: sets up the engine's process, then execs it */

/* ---- main.c: the table of commands ---- */

/* An option as people see it. Texts live as long as the program. */
struct cli_option {
    char name[48];
    char letter;       /* 0: none */
    const char *value; /* "FILE|URL"; NULL: takes none */
    const char *help;
    const char *fallback; /* the default, where help does not say it; else NULL */
    const char *words;    /* "normal|low": the value is one of these; NULL: anything */
};

/* Option number i of the command, from 0; false: there are no more. */
typedef bool cli_options_fn(const char *command, size_t i, struct cli_option *out);
bool cli_client_option(const char *command, size_t i, struct cli_option *out); /* args.c */
bool cli_serve_option(const char *command, size_t i, struct cli_option *out);  /* help.c */
bool admin_option(const char *command, size_t i, struct cli_option *out);      /* admin_args.c */

struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    cli_options_fn *options; /* NULL: has none */
    const char *usage;       /* begins with its actions, if it has any: "list|replay [OPTION…]" */
    const char *summary;     /* NULL: hidden */
    const char *more;        /* for --help */
};
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

/* NULL: there is none. */
const struct cli_command *cli_find_command(const char *name);

/* ---- help.c ---- */
void cli_print_commands(FILE *out);
/* Says how the command is used. Returns CLI_USAGE. */
int cli_usage(const char *command);

/* ---- args.c: the options of the client commands ---- */

enum cli_command_bit {
    CLI_RUN = 1,
    CLI_SUBMIT = 2,
    CLI_STATUS = 4,
    CLI_RESULT = 8,
    CLI_CANCEL = 16,
    CLI_CHAT = 32,
    CLI_STREAM = 64,
    CLI_UPLOAD = 128,
    CLI_MODELS = 256
};

#define CLI_TEXTS_MAX 32
struct cli_texts {
    const char *at[CLI_TEXTS_MAX];
    size_t count;
};

/* Texts are NULL when not given, numbers 0, unless they say otherwise. */
struct cli_args {
    const char *command;
    const char *base; /* --base, else the environment's, else the default; "fal", "unix:PATH" */
    bool base_is_default;
    bool base_from_fal;   /* from FAL_BASE_URL */
    const char *endpoint; /* never NULL */
    const char *model, *system;
    const char *input;              /* JSON, @FILE or - */
    struct cli_texts images, files; /* FILE or URL; POINTER=FILE */
    struct cli_texts headers;       /* "Name: value" */
    const char *hint, *priority, *webhook, *idempotency_key;
    const char *history, *name, *content_type, *expires;
    double temperature; /* when has_temperature */
    bool has_temperature;
    long max_tokens;
    double timeout_s, start_timeout_s; /* 0: none */
    bool json, quiet, logs, stream, no_stream, follow, wait, go_on;
    char private_base[128]; /* what cli_reach makes of base: "unix:PATH" of the private server */
    bool is_private;        /* base is that */
    bool stdin_taken;       /* standard input is not for the prompt; no option sets it */
    const char *operand;    /* PROMPT, REQUEST-ID, FILE or QUERY */
};

static inline int64_t cli_timeout_ms(const struct cli_args *args) {
    return (int64_t)(args->timeout_s * 1000.0 + 0.999);
}

/* Reads the options that `command` knows. True: go on. False: *code is the exit code (--help was
 * 0). */
bool cli_parse(int argc, char **argv, enum cli_command_bit command, struct cli_args *args,
               int *code);

/* ---- private.c: the user's own server, where no other is ---- */

/* Where no server is named and none listens at the default address, points args->base to the user's private server: for run,
 * stream and chat (args->command) one is started if none runs, and waited for; others take one that runs. False: it could not
 * be, said why, *code is the exit code. cli_client calls it; who talks for longer than that server waits calls it again before
 * he asks: the address stays. */
bool cli_reach(struct cli_args *args, int *code);
/* Whether somebody listens at the socket: 0, or -errno. */
int cli_try_socket(const char *path);

/* ---- client.c ---- */

/* A client for args->base with the credentials that may go there. NULL: said why, *code is the exit
 * code. */
fal_client *cli_client(struct cli_args *args, int *code);

/* For what libfal has no call for. The header line with the key that may go to args->base (wipe it); false: none may. */
bool cli_authorization(const struct cli_args *args, char *line, size_t room);
/* The socket's path of "unix:PATH", else NULL. */
const char *cli_unix_socket(const struct cli_args *args);
bool cli_is_loopback(const struct cli_args *args);

/* The environment has this variable, and it is not empty. */
bool cli_is_set(const char *name);

/* ---- input.c ---- */

struct cli_input {
    char *json;
    struct fal_files files; /* points into this struct: it is not copied */
    struct fal_file list[CLI_TEXTS_MAX * 2];
    char *pointers[CLI_TEXTS_MAX * 2];
};
/* The model's input from --input, prompt (argv's, then what is piped in), options, --image and --file. Borrows from args.
 * False: said why, *code is the exit code, nothing is to be freed. */
bool cli_input_read(const struct cli_args *args, struct cli_input *in, int *code);
/* For the options of a call: what is uploaded first, or NULL. */
const struct fal_files *cli_input_files(const struct cli_input *in);
/* Who is told how far the uploads are, as struct fal_files says; `user` lives as long as the call. */
void cli_input_watch(struct cli_input *in,
                     void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user),
                     void *user);
void cli_input_free(struct cli_input *in);

/* ---- secrets.c ---- */

/* What stands in argv can be read by every user of the machine. True when `text`, of the option named `option` (NULL: of
 * none), holds a key; said so, without it. */
bool cli_refuse_secret(const char *command, const char *option, const char *text);

/* ---- answers.c ---- */

/* What to do about a 401: "; set ANYLLM_KEY…". Else "". Static. */
const char *cli_key_hint(const struct cli_args *args, long http_status);
/* After a connection that was not made, CLI_TRANSPORT: where nobody can be asked at the default address or at a socket says
 * "no server at …; start one". False: there is more to say about it. */
bool cli_no_server(const struct cli_args *args);
/* Says what went wrong and returns the exit code for it. */
int cli_fail(const struct cli_args *args, const fal_result *result);
/* The answer on stdout: its text, or with --json (or when there is no text) the JSON. Returns the
 * exit code. */
int cli_print_answer(const struct cli_args *args, const fal_result *result);

/* ---- terminal.c ---- */

/* "anyllm run: …" on stderr, one line. Returns CLI_USAGE. */
int cli_usage_error(const char *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A server's text for a terminal: control characters become '?', so that no answer can drive the
 * terminal. Line ends and tabs pass when `lines`. */
void cli_print_text(FILE *out, const char *text, bool lines);
/* A server's JSON and a line end on standard output: its bytes as they are, or the same JSON with \u00XX for what could drive
 * a terminal. `one_line`: white space between its values does not end the line. */
void cli_print_json(const char *json, bool one_line);
/* Flushes stdout; a full disk or closed pipe is a failure like another. Returns the exit code. */
int cli_flush(const char *command);
bool cli_is_terminal(FILE *out);

enum cli_colour { CLI_PLAIN, CLI_DIM, CLI_BOLD, CLI_RED, CLI_GREEN, CLI_YELLOW, CLI_CYAN };
/* What switches a terminal to it; "" where `out` is none, NO_COLOR is set or TERM is dumb. */
const char *cli_colour(FILE *out, enum cli_colour colour);

#endif
