#include "cli/admin.h"
#include "cli/cli.h"

#include <string.h>

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

/* The one table: dispatch, `anyllm help`, `anyllm COMMAND --help`. */
static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage;
    const char *summary; /* NULL: hidden */
    const char *more;    /* for --help */
} commands[] = {
    {"serve", cmd_serve, "[OPTION…]",
     "the server: gateway and durable queue in front of language models", ""},
    {"run", cmd_run, "[OPTION…] PROMPT|-", "ask a model through the queue, print its answer",
     "PROMPT is the question; - reads it from standard input. How the request stands and the\n"
     "model's own log lines go to standard error, the answer to standard output. Ctrl-C cancels\n"
     "the request on the server.\n"},
    {"chat", cmd_chat, "[OPTION…]", "a conversation in the terminal", ""},
    {"stream", cmd_stream, "[OPTION…] PROMPT|-",
     "ask a model directly, print its answer as it grows",
     "Nothing is kept by the server; for long work use run or submit.\n"},
    {"submit", cmd_submit, "[OPTION…] PROMPT|-", "put a request into the queue, print its id",
     "The request goes on without this program: see status, result, cancel.\n"},
    {"status", cmd_status, "[OPTION…] REQUEST-ID", "say how a queued request stands", ""},
    {"result", cmd_result, "[OPTION…] REQUEST-ID", "print the answer of a completed request", ""},
    {"cancel", cmd_cancel, "[OPTION…] REQUEST-ID", "cancel a queued or running request", ""},
    {"upload", cmd_upload, "[OPTION…] FILE|-",
     "put a file into the server's storage, print its address", ""},
    {"models", cmd_models, "[OPTION…] [QUERY]", "list the models that can be asked", ""},
    {"keys", cmd_keys, "create|list|revoke [OPTION…] [KEY-ID]",
     "make, list and revoke the keys of the server on this machine",
     "create prints the new key once, alone on standard output. revoke takes effect at once.\n"
     "With no server running the command does the work itself.\n"},
    {"usage", cmd_usage, "[OPTION…]", "say what was used and what it cost, of the same server",
     "Costs are the upstreams', charges what the keys' owners owe; a + says that some calls' are\n"
     "not known, and ? that none is. ERRORS are 5xx, REFUSED 4xx.\n"},
    {"webhooks", cmd_webhooks, "list|replay [OPTION…] [REQUEST-ID|--all]",
     "list deliveries of webhooks, try dead ones again", ""},
    {"queue", cmd_queue, "[OPTION…]", "show what runs and what waits, as it changes",
     "On a terminal again every second until Ctrl-C; else, with --once and where no server runs, once.\n"},
    {"backup", cmd_backup, "[OPTION…] FILE", "make a copy of the database while the server works",
     "FILE must not exist; the server makes it, with its own rights. What was uploaded (files/) and the\n"
     "signing keys (keys/) are beside the database and are copied as files are.\n"},
    {"version", cmd_version, "", "print the version", ""},
    {"help", cmd_help, "[COMMAND]", "print this list, or how to use a command", ""},
    {"engine-exec", cmd_engine_exec, "", NULL, ""},
};

static const char environment[] =
    "\nEnvironment:\n"
    "  ANYLLM_BASE, FAL_BASE_URL  the server, in this order, where --base is not given\n"
    "  ANYLLM_KEY                 the key for an anyllm server; never sent to fal\n"
    "  FAL_KEY                    the key for fal (or FAL_KEY_ID and FAL_KEY_SECRET); sent to fal,\n"
    "                             and to the server that FAL_BASE_URL names, and to no other\n"
    "\nExit codes: 0 done, 1 the request failed, 2 usage, 3 transport, 4 timed out,\n"
    "130 interrupted.\n";

static const char exit_codes[] =
    "\nExit codes: 0 done, 1 refused, 2 usage, 3 no way to the server, 4 timed out.\n";

static const struct command *find(const char *name) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

const char *cli_usage(const char *command) {
    const struct command *c = find(command);
    return c != NULL ? c->usage : "";
}

static void print_commands(FILE *out) {
    fputs("Usage: anyllm COMMAND [OPTION…]\n\nCommands:\n", out);
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].summary != NULL) {
            fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
        }
    }
    fputs("\nanyllm COMMAND --help says more about each.\n", out);
}

static void print_help(const struct command *c) {
    printf("Usage: anyllm %s %s\n\n%s.\n%s", c->name, c->usage,
           c->summary != NULL ? c->summary : "", c->more);
    if (cli_print_options(stdout, c->name)) {
        fputs(environment, stdout);
    } else if (admin_print_options(stdout, c->name)) {
        fputs(exit_codes, stdout);
    }
}

static int cmd_version(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        return cli_usage_error("version", "takes no arguments");
    }
    printf("anyllm %s\n", ANYLLM_VERSION);
    return cli_flush("version");
}

static int cmd_help(int argc, char **argv) {
    const struct command *c = argc > 1 ? find(argv[1]) : NULL;
    if (argc > 1 && c == NULL) {
        return cli_usage_error("help", "there is no command '%s'", argv[1]);
    }
    if (c != NULL && strcmp(c->name, "serve") == 0) {
        char *ask[] = {(char[]){"serve"}, (char[]){"--help"}, NULL};
        return c->run(2, ask);
    }
    if (c != NULL) {
        print_help(c);
    } else {
        print_commands(stdout);
    }
    return cli_flush("help");
}

/* `anyllm --help`, `anyllm run --help`. serve has options of its own and answers itself. */
static bool asks_for_help(const struct command *c, int argc, char **argv) {
    if (strcmp(c->name, "serve") == 0 || c->summary == NULL) {
        return false;
    }
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_commands(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        name = "version";
    }
    const struct command *c = find(name);
    if (c == NULL) {
        return cli_usage_error(NULL, "there is no command '%s'; anyllm help lists them", name);
    }
    if (asks_for_help(c, argc - 1, argv + 1)) {
        print_help(c);
        return cli_flush("help");
    }
    return c->run(argc - 1, argv + 1);
}
