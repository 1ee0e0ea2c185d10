/* anyllm help, anyllm COMMAND --help: printed from the tables. */
#include "cli/cli.h"

#include "base/config.h"

#include <string.h>

static const char client_words[] =
    "\nEnvironment:\n"
    "  ANYLLM_BASE, FAL_BASE_URL  the server, in this order, where --base is not given\n"
    "  ANYLLM_KEY                 the key for an anyllm server; never sent to fal\n"
    "  FAL_KEY                    the key for fal (or FAL_KEY_ID and FAL_KEY_SECRET); sent to fal,\n"
    "                             and to the server that FAL_BASE_URL names, and to no other\n"
    "  NO_COLOR                   no colours\n"
    "\nExit codes: 0 done, 1 the request failed, 2 usage, 3 transport, 4 timed out,\n"
    "130 interrupted.\n";

static const char admin_words[] =
    "\nExit codes: 0 done, 1 refused, 2 usage, 3 no way to the server, 4 timed out.\n";

static const char serve_words[] =
    "\nEach option can stand in the file (log_level: debug) and in the environment\n"
    "(ANYLLM_LOG_LEVEL=debug). Options win over the environment, the environment over the file.\n"
    "Keys, upstreams and routes stand in the file; ANYLLM_KEYS=ID:SECRET,… and OPENROUTER_API_KEY\n"
    "need no file. docs/configuration.md has all of it.\n"
    "\nExit codes: 64 usage, 66 model or engine, 69 port, 71 no memory or threads, 73 data folder,\n"
    "74 the disk lost what it had synced, 78 configuration.\n";

void cli_print_commands(FILE *out) {
    fputs("Usage: anyllm COMMAND [OPTION…]\n\nCommands:\n", out);
    for (size_t i = 0; i < cli_command_count; i++) {
        if (cli_commands[i].summary != NULL) {
            fprintf(out, "  %-10s %s\n", cli_commands[i].name, cli_commands[i].summary);
        }
    }
    fputs("\nanyllm COMMAND --help says more about each.\n", out);
}

/* --config is read before the others, so it is not in their table. */
bool cli_serve_option(const char *command, size_t i, struct cli_option *out) {
    struct config_flag flag = {.name = "config",
                               .arg = "FILE",
                               .help = "the configuration, YAML",
                               .fallback = "$XDG_CONFIG_HOME/anyllm/anyllm.yaml, "
                                           "/etc/anyllm/anyllm.yaml"};
    (void)command;
    if (i > 0 && !config_flag_at(i - 1, &flag)) {
        return false;
    }
    *out = (struct cli_option){
        .value = flag.arg, .help = flag.help, .fallback = flag.fallback, .words = flag.words};
    snprintf(out->name, sizeof(out->name), "%s", flag.name);
    return true;
}

/* "-m, --model ID" */
static int write_left(const struct cli_option *o, char *left, size_t room) {
    char letter[] = {'-', o->letter, ',', ' ', '\0'};
    return snprintf(left, room, "%s--%s%s%s", o->letter != 0 ? letter : "    ", o->name,
                    o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
}

/* The help begins where the widest option of reasonable width ends. */
#define WIDEST_LEFT 34

static void print_options(const struct cli_command *c) {
    struct cli_option o;
    char left[128];
    int width = 0;
    for (size_t i = 0; c->options(c->name, i, &o); i++) {
        int n = write_left(&o, left, sizeof(left));
        width = n > width && n <= WIDEST_LEFT ? n : width;
    }
    fputs("\nOptions:\n", stdout);
    for (size_t i = 0; c->options(c->name, i, &o); i++) {
        write_left(&o, left, sizeof(left));
        printf("  %-*s  %s", width, left, o.help);
        if (o.fallback != NULL) {
            printf(" [%s]", o.fallback);
        }
        putchar('\n');
    }
}

static void print_command(const struct cli_command *c) {
    static const struct {
        cli_options_fn *options;
        const char *words;
    } ends[] = {{cli_client_option, client_words},
                {admin_option, admin_words},
                {cli_serve_option, serve_words}};
    printf("Usage: anyllm %s %s\n\n%s.\n%s", c->name, c->usage,
           c->summary != NULL ? c->summary : "", c->more);
    if (c->options == NULL) {
        return;
    }
    print_options(c);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        fputs(c->options == ends[i].options ? ends[i].words : "", stdout);
    }
}

int cli_usage(const char *command) {
    const struct cli_command *c = cli_find_command(command);
    return cli_usage_error(command, "usage: anyllm %s %s", command, c != NULL ? c->usage : "");
}

int cmd_help(int argc, char **argv) {
    const struct cli_command *c = argc > 1 ? cli_find_command(argv[1]) : NULL;
    if (argc > 2) {
        return cli_usage_error("help", "one command only");
    }
    if (argc > 1 && (c == NULL || c->summary == NULL)) {
        return cli_usage_error("help", "there is no command '%s'", argv[1]);
    }
    if (c != NULL) {
        print_command(c);
    } else {
        cli_print_commands(stdout);
    }
    return cli_flush("help");
}
