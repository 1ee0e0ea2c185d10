/* The options of the client commands: one table, read with getopt_long. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASKING (CLI_RUN | CLI_STREAM | CLI_SUBMIT)
#define TALKING (ASKING | CLI_CHAT)
#define KNOWING (CLI_STATUS | CLI_RESULT | CLI_CANCEL)
#define EVERY (TALKING | KNOWING | CLI_UPLOAD | CLI_MODELS)

/* How a value is read, and into what. */
enum kind {
    FLAG,    /* bool, takes no value */
    TEXT,    /* const char * */
    CHOICE,  /* const char *, one of those in the table */
    TEXTS,   /* struct cli_texts; may repeat */
    SECONDS, /* double, more than 0 */
    WARMTH,  /* double from 0 to 2; unset it is negative */
    COUNT    /* long, 1 or more */
};

#define AT(member) offsetof(struct cli_args, member)

static const struct row {
    const char *name;
    const char *value; /* NULL: takes none */
    unsigned commands;
    char letter; /* 0: none */
    enum kind kind;
    size_t at;
    const char *help;
} options[] = {
    {"base", "URL|fal|unix:PATH", EVERY, 0, TEXT, AT(base),
     "the server; fal is fal itself (default " CLI_DEFAULT_BASE ")"},
    {"endpoint", "ID", ASKING | KNOWING, 0, TEXT, AT(endpoint),
     "the endpoint (default " CLI_DEFAULT_ENDPOINT ", with --image " CLI_VISION_ENDPOINT ")"},
    {"model", "ID", TALKING, 'm', TEXT, AT(model), "the model to ask"},
    {"system", "TEXT", TALKING, 's', TEXT, AT(system), "the system prompt"},
    {"image", "FILE|URL", ASKING, 'i', TEXTS, AT(images),
     "a picture to ask about; may repeat; a file is uploaded first"},
    {"temperature", "NUMBER", TALKING, 't', WARMTH, AT(temperature), "0 to 2"},
    {"max-tokens", "NUMBER", TALKING, 0, COUNT, AT(max_tokens), "the longest answer, in tokens"},
    {"input", "JSON|@FILE|-", ASKING, 0, TEXT, AT(input),
     "the endpoint's input as a JSON object; the options above are added to it"},
    {"file", "POINTER=FILE", ASKING, 0, TEXTS, AT(files),
     "upload FILE, put its address at this place of the input (/audio_url); may repeat"},
    {"header", "NAME:VALUE", ASKING, 'H', TEXTS, AT(headers),
     "a header line for the server, never one with a secret; may repeat"},
    {"hint", "TEXT", TALKING, 0, TEXT, AT(hint), "ask the runner that answered this hint before"},
    {"priority", "normal|low", CLI_RUN | CLI_SUBMIT, 0, CHOICE, AT(priority),
     "the place in the queue (default normal)"},
    {"start-timeout", "SECONDS", ASKING, 0, SECONDS, AT(start_timeout_s),
     "the server gives up when the model has not begun by then"},
    {"webhook", "URL", CLI_SUBMIT, 0, TEXT, AT(webhook), "where the server reports the end"},
    {"idempotency-key", "TEXT", CLI_SUBMIT, 0, TEXT, AT(idempotency_key),
     "the same again with this text makes no second request"},
    {"stream", NULL, CLI_RUN, 0, FLAG, AT(stream),
     "print the answer as it grows (default on a terminal)"},
    {"no-stream", NULL, CLI_RUN, 0, FLAG, AT(no_stream), "print the answer when it is whole"},
    {"follow", NULL, CLI_STATUS, 'f', FLAG, AT(follow), "go on until the request has ended"},
    {"logs", NULL, CLI_RUN | CLI_STATUS, 0, FLAG, AT(logs),
     "with the model's log lines; run: all its way through the queue, on standard error"},
    {"wait", NULL, CLI_RESULT, 'w', FLAG, AT(wait), "wait for the end of the request first"},
    {"history", "FILE", CLI_CHAT, 0, TEXT, AT(history), "keep the conversation in this file"},
    {"continue", NULL, CLI_CHAT, 'c', FLAG, AT(go_on),
     "go on with the conversation in the history"},
    {"name", "NAME", CLI_UPLOAD, 0, TEXT, AT(name), "the file's name (default: FILE's)"},
    {"content-type", "TYPE", CLI_UPLOAD, 0, TEXT, AT(content_type),
     "its MIME type (default: by its name)"},
    {"expires", "30d|never", CLI_UPLOAD, 0, TEXT, AT(expires),
     "how long it is kept, as 90s, 15m, 12h, 30d or 2w (default: as the server likes)"},
    {"timeout", "SECONDS", EVERY, 0, SECONDS, AT(timeout_s),
     "give up after this time; run cancels the request (default: never)"},
    {"json", NULL, EVERY & ~(unsigned)CLI_CHAT, 'j', FLAG, AT(json), "print the server's JSON"},
    {"quiet", NULL, TALKING | CLI_RESULT | CLI_UPLOAD, 'q', FLAG, AT(quiet),
     "nothing on standard error but errors"},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static const struct {
    const char *name;
    enum cli_command_bit bit;
} client_commands[] = {{"run", CLI_RUN},       {"chat", CLI_CHAT},     {"stream", CLI_STREAM},
                       {"submit", CLI_SUBMIT}, {"status", CLI_STATUS}, {"result", CLI_RESULT},
                       {"cancel", CLI_CANCEL}, {"upload", CLI_UPLOAD}, {"models", CLI_MODELS}};

static unsigned bit_of(const char *command) {
    unsigned bit = 0;
    for (size_t i = 0; i < sizeof(client_commands) / sizeof(client_commands[0]); i++) {
        bit |= strcmp(client_commands[i].name, command) == 0 ? client_commands[i].bit : 0U;
    }
    return bit;
}

bool cli_client_option(const char *command, size_t i, struct cli_option *out) {
    unsigned bit = bit_of(command);
    for (const struct row *r = options; r < options + OPTION_COUNT; r++) {
        if ((r->commands & bit) != 0 && i-- == 0) {
            *out = (struct cli_option){.letter = r->letter,
                                       .value = r->value,
                                       .help = r->help,
                                       .words = r->kind == CHOICE ? r->value : NULL};
            snprintf(out->name, sizeof(out->name), "%s", r->name);
            return true;
        }
    }
    return false;
}

/* ---- Reading ---- */

static bool read_number(const char *text, double min, double max, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && isfinite(*out) && *out >= min &&
           *out <= max;
}

static const char *add_text(struct cli_texts *list, const char *value) {
    if (list->count == CLI_TEXTS_MAX) {
        return "too many of them (32 at most)";
    }
    list->at[list->count++] = value;
    return NULL;
}

/* "b" is one of "a|b|c". */
static bool is_one_of(const char *value, const char *words) {
    size_t len = strlen(value);
    for (const char *w = words; *w != '\0'; w += strcspn(w, "|"), w += *w == '|') {
        if (len > 0 && strcspn(w, "|") == len && strncmp(w, value, len) == 0) {
            return true;
        }
    }
    return false;
}

/* NULL, or what is wrong with the value. */
static const char *set_option(struct cli_args *args, const struct row *o, const char *value) {
    void *place = (char *)args + o->at;
    double number = 0;
    switch (o->kind) {
    case FLAG: *(bool *)place = true; return NULL;
    case TEXT: *(const char **)place = value; return NULL;
    case CHOICE: *(const char **)place = value; return is_one_of(value, o->value) ? NULL : o->value;
    case TEXTS: return add_text(place, value);
    case SECONDS:
        if (!read_number(value, 0, 1e9, place) || *(double *)place <= 0) {
            return "must be a number of seconds, more than 0";
        }
        return NULL;
    case WARMTH: return read_number(value, 0, 2, place) ? NULL : "must be a number from 0 to 2";
    case COUNT: break;
    }
    if (!read_number(value, 1, 1e9, &number) || number != floor(number)) {
        return "must be a whole number, 1 or more";
    }
    *(long *)place = (long)number;
    return NULL;
}

/* getopt_long gives an option's place in the table plus FIRST, and letters as they are. */
#define FIRST 256

static void make_getopt_tables(unsigned command, struct option longs[OPTION_COUNT + 1],
                               char letters[OPTION_COUNT * 2 + 2]) {
    *letters++ = ':';
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct row *o = &options[i];
        if ((o->commands & command) == 0) {
            continue;
        }
        int has = o->value != NULL ? required_argument : no_argument;
        *longs++ = (struct option){o->name, has, NULL, FIRST + (int)i};
        if (o->letter != 0) {
            *letters++ = o->letter;
            if (o->value != NULL) *letters++ = ':';
        }
    }
    *longs = (struct option){0};
    *letters = '\0';
}

static const struct row *option_of(int found, unsigned command) {
    if (found >= FIRST) {
        return &options[found - FIRST];
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (options[i].letter == found && (options[i].commands & command) != 0) {
            return &options[i];
        }
    }
    return NULL;
}

/* Without a value that may be a key. */
static bool unknown_option(const char *command, const char *text) {
    static const char *const keys[] = {"--key", "--api-key", "--fal-key", "--token", "--password"};
    int len = (int)strcspn(text, "=");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strncmp(text, keys[i], (size_t)len) == 0 && keys[i][len] == '\0') {
            cli_usage_error(command,
                            "keys do not belong on the command line, where every user of this "
                            "machine can read them: set ANYLLM_KEY, or FAL_KEY for fal");
            return false;
        }
    }
    cli_usage_error(command, "there is no option '%.*s'; see anyllm %s --help", len, text, command);
    return false;
}

static bool read_options(int argc, char **argv, enum cli_command_bit command,
                         struct cli_args *args) {
    struct option longs[OPTION_COUNT + 1];
    char letters[OPTION_COUNT * 2 + 2];
    int found;
    make_getopt_tables(command, longs, letters);
    opterr = 0;
    optind = 1;
    while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        if (found == ':') {
            cli_usage_error(args->command, "%s needs a value", argv[optind - 1]);
            return false;
        }
        const struct row *o = option_of(found, command);
        if (o == NULL) {
            return unknown_option(args->command, argv[optind - 1]);
        }
        if (optarg != NULL && cli_refuse_secret(args->command, o->name, optarg)) {
            return false;
        }
        const char *why = set_option(args, o, optarg);
        if (why != NULL) {
            cli_usage_error(args->command, "--%s '%s': %s%s", o->name, optarg,
                            o->kind == CHOICE ? "must be one of " : "", why);
            return false;
        }
    }
    return true;
}

static void set_defaults(struct cli_args *args) {
    static const char *const variables[] = {"ANYLLM_BASE", "FAL_BASE_URL"};
    for (size_t i = 0; i < 2 && args->base == NULL; i++) {
        const char *value = getenv(variables[i]);
        if (value != NULL && value[0] != '\0') {
            args->base = value;
            args->base_from_fal = i == 1;
        }
    }
    args->base_is_default = args->base == NULL;
    args->base = args->base != NULL ? args->base : CLI_DEFAULT_BASE;
    if (args->endpoint == NULL) {
        args->endpoint = args->images.count > 0 ? CLI_VISION_ENDPOINT : CLI_DEFAULT_ENDPOINT;
    }
    args->has_temperature = args->temperature >= 0;
}

static const char *operand_name(enum cli_command_bit command) {
    return (command & KNOWING) != 0 ? "request id"
           : command == CLI_UPLOAD  ? "file"
           : command == CLI_MODELS  ? "query"
                                    : "prompt";
}

/* A prompt can also come through a pipe, or stand in --input. */
static bool needs_operand(const struct cli_args *args, enum cli_command_bit command) {
    bool asks = (command & ASKING) != 0 && args->input == NULL && isatty(STDIN_FILENO);
    return asks || (command & (KNOWING | CLI_UPLOAD)) != 0;
}

bool cli_parse(int argc, char **argv, enum cli_command_bit command, struct cli_args *args,
               int *code) {
    *args = (struct cli_args){.command = argv[0], .temperature = -1};
    *code = CLI_USAGE;
    if (!read_options(argc, argv, command, args)) {
        return false;
    }
    set_defaults(args);
    if (argc - optind > 1) {
        cli_usage_error(args->command, "one %s only; put it in quotes", operand_name(command));
        return false;
    }
    args->operand = argv[optind]; /* NULL at the end */
    if (args->operand != NULL && cli_refuse_secret(args->command, NULL, args->operand)) {
        return false;
    }
    if (args->operand == NULL && needs_operand(args, command)) {
        cli_usage(args->command);
        return false;
    }
    return true;
}
