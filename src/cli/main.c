/* The one table of commands: dispatch, help, completion and the man page's check come from it. */
#include "cli/cli.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int cmd_version(int argc, char **argv);

const struct cli_command cli_commands[] = {
    {"serve", cmd_serve, cli_serve_option, "[OPTION…]",
     "the server: gateway and durable queue in front of language models",
     "Without options it listens on http://127.0.0.1:8787 and serves the local model.\n"},
    {"run", cmd_run, cli_client_option, "[OPTION…] PROMPT|-", "ask a model, print its answer",
     "PROMPT is the question; what is piped in comes after it, or is the question itself. A terminal\n"
     "sees the answer as it grows; a pipe gets it whole, through the queue. Ctrl-C cancels the\n"
     "request on the server. Where no server runs, a private one is started and ends by itself.\n"},
    {"chat", cmd_chat, cli_client_option, "[OPTION…]", "hold a conversation in the terminal",
     "What was said so far goes along with each question. /help lists what else can be typed; Ctrl-C\n"
     "stops an answer, Ctrl-D quits. The conversation is kept in a file (by default chat.json under\n"
     "$XDG_STATE_HOME/anyllm, else ~/.local/state/anyllm). From a pipe each line is a question.\n"},
    {"stream", cmd_stream, cli_client_option, "[OPTION…] PROMPT|-",
     "ask a model directly, print its answer as it grows",
     "Nothing is kept by the server; for long work use run or submit.\n"},
    {"submit", cmd_submit, cli_client_option, "[OPTION…] PROMPT|-",
     "put a request into the queue, print its id",
     "The request goes on without this program: see status, result, cancel.\n"},
    {"status", cmd_status, cli_client_option, "[OPTION…] REQUEST-ID",
     "say how a queued request stands", ""},
    {"result", cmd_result, cli_client_option, "[OPTION…] REQUEST-ID",
     "print the answer of a completed request", ""},
    {"cancel", cmd_cancel, cli_client_option, "[OPTION…] REQUEST-ID",
     "cancel a queued or running request", ""},
    {"upload", cmd_upload, cli_client_option, "[OPTION…] FILE|-",
     "put a file into the server's storage, print its address",
     "- reads the file from standard input. The address can stand in any input: run --image URL.\n"},
    {"models", cmd_models, cli_client_option, "[OPTION…] [QUERY]",
     "list the models that can be asked",
     "With QUERY those in whose id or name its words stand.\n"},
    {"keys", cmd_keys, admin_option, "create|list|revoke [OPTION…] [KEY-ID]",
     "make, list and revoke the keys of the server on this machine",
     "create prints the new key once, alone on standard output. revoke takes effect at once.\n"
     "With no server running the command does the work itself.\n"},
    {"usage", cmd_usage, admin_option, "[OPTION…]",
     "say what was used and what it cost, of the same server",
     "Costs are the upstreams', charges what the keys' owners owe; a + says that some calls' are\n"
     "not known, and ? that none is. ERRORS are 5xx, REFUSED 4xx.\n"},
    {"webhooks", cmd_webhooks, admin_option, "list|replay [OPTION…] [REQUEST-ID|--all]",
     "list deliveries of webhooks, try dead ones again", ""},
    {"queue", cmd_queue, admin_option, "[OPTION…]", "show what runs and what waits, as it changes",
     "On a terminal again every second until Ctrl-C; else, with --once and where no server runs, once.\n"},
    {"backup", cmd_backup, admin_option, "[OPTION…] FILE",
     "make a copy of the database while the server works",
     "FILE must not exist; the server makes it, with its own rights. What was uploaded (files/) and the\n"
     "signing keys (keys/) are beside the database and are copied as files are.\n"},
    {"completion", cmd_completion, NULL, "bash|zsh|fish",
     "print what makes a shell complete anyllm's words",
     "bash: eval \"$(anyllm completion bash)\" in ~/.bashrc; zsh the same in ~/.zshrc, after compinit;\n"
     "fish: anyllm completion fish >~/.config/fish/completions/anyllm.fish. A package has done it.\n"},
    {"version", cmd_version, NULL, "", "print the version", ""},
    {"help", cmd_help, NULL, "[COMMAND]", "print this list, or how to use a command", ""},
    {"engine-exec", cmd_engine_exec, NULL, "", NULL, ""},
    {"private-serve", cmd_private_serve, NULL, "", NULL, ""},
};
const size_t cli_command_count = sizeof(cli_commands) / sizeof(cli_commands[0]);

const struct cli_command *cli_find_command(const char *name) {
    for (size_t i = 0; i < cli_command_count; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

static int cmd_version(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        return cli_usage_error("version", "takes no arguments");
    }
    printf("anyllm %s\n", ANYLLM_VERSION);
    return cli_flush("version");
}

/* `anyllm run --help` */
static bool asks_for_help(const struct cli_command *c, int argc, char **argv) {
    for (int i = 1; i < argc && c->summary != NULL && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* Started with `>&-`, the next file or connection would get number 1, and the answer would be written into it. What stands
 * there instead cannot be printed to, nor read as a prompt. */
static void fill_standard_descriptors(void) {
    static const int flags[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", flags[fd]) != fd) {
            _exit(CLI_FAILED);
        }
    }
}

int main(int argc, char **argv) {
    fill_standard_descriptors();
    if (argc < 2) {
        cli_print_commands(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        name = "version";
    }
    const struct cli_command *c = cli_find_command(name);
    if (c == NULL) {
        return cli_usage_error(NULL, "there is no command '%s'; anyllm help lists them", name);
    }
    if (asks_for_help(c, argc - 1, argv + 1)) {
        char *ask[] = {(char[]){"help"}, argv[1], NULL};
        return cmd_help(2, ask);
    }
    return c->run(argc - 1, argv + 1);
}
