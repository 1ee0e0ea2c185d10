#include "cli/chat.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static void model(struct chat *chat, const char *rest);
static void system_prompt(struct chat *chat, const char *rest);
static void save(struct chat *chat, const char *rest);
static void begin_new(struct chat *chat, const char *rest);
static void help(struct chat *chat, const char *rest);
static void quit(struct chat *chat, const char *rest);

static const struct {
    const char *name, *value, *help;
    void (*run)(struct chat *chat, const char *rest);
} commands[] = {
    {"model", "[ID]", "ask this model from now on; alone: say which", model},
    {"system", "[TEXT|-]", "the system prompt from now on; - for none; alone: say which",
     system_prompt},
    {"save", "FILE", "write the conversation as Markdown, or as JSON: NAME.json", save},
    {"new", "", "begin a new conversation with the same model and system prompt", begin_new},
    {"help", "", "this list", help},
    {"quit", "", "end the program, as Ctrl-D does", quit},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

void chat_note(const struct chat *chat, const char *fmt, ...) {
    char *text = NULL;
    va_list args;
    if (chat->args.quiet) {
        return;
    }
    va_start(args, fmt);
    int bytes = vasprintf(&text, fmt, args);
    va_end(args);
    if (bytes >= 0) {
        fputc('(', stderr);
        cli_print_text(stderr, text, true); /* the history may be another's */
        fputs(")\n", stderr);
        free(text);
    }
}

static void set(struct chat *chat, char **field, const char *value) {
    if (!chat_talk_set(field, value)) {
        cli_usage_error("chat", "%s", strerror(ENOMEM));
        chat->code = CLI_FAILED;
    }
}

static void model(struct chat *chat, const char *rest) {
    if (rest[0] != '\0') {
        set(chat, &chat->talk.model, rest);
        chat->max_bytes = CHAT_CONTEXT_BYTES;
    }
    chat_note(chat, "model: %s", chat->talk.model != NULL ? chat->talk.model : "the default");
}

static void system_prompt(struct chat *chat, const char *rest) {
    if (rest[0] != '\0') {
        set(chat, &chat->talk.system, strcmp(rest, "-") == 0 ? NULL : rest);
    }
    chat_note(chat, "system prompt: %s", chat->talk.system != NULL ? chat->talk.system : "none");
}

/* "~/x" as a shell would read it; from malloc. */
static char *expand(const char *path) {
    struct buf out;
    const char *home = getenv("HOME");
    bool tilde = strncmp(path, "~/", 2) == 0 && home != NULL;
    buf_init(&out, CLI_STDIN_BYTES);
    buf_printf(&out, "%s%s", tilde ? home : "", tilde ? path + 1 : path);
    return chat_text(&out);
}

static void save(struct chat *chat, const char *rest) {
    char *path = rest[0] != '\0' ? expand(rest) : NULL;
    if (path == NULL) {
        cli_usage_error("chat", "usage: /save FILE");
        return;
    }
    bool again = chat->saved != NULL && strcmp(chat->saved, path) == 0;
    if (chat_file_save(path, &chat->talk, again)) {
        chat_note(chat, "saved: %s", path);
        set(chat, &chat->saved, path);
    } else {
        cli_usage_error("chat", "%s: %s", path,
                        errno == EEXIST ? "it is there already; name another file"
                                        : strerror(errno));
        chat->code = CLI_FAILED;
    }
    free(path);
}

static void begin_new(struct chat *chat, const char *rest) {
    (void)rest;
    while (chat->talk.count > 0) {
        chat_talk_pop(&chat->talk);
    }
    chat->is_new = true;
    chat->told_short = false;
    chat_note(chat, "a new conversation");
}

static void help(struct chat *chat, const char *rest) {
    (void)rest;
    (void)chat;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  /%-7s %-9s %s\n", commands[i].name, commands[i].value, commands[i].help);
    }
    puts("  //TEXT             say /TEXT to the model\n"
         "  \\ at a line's end goes on in the next one; so does \"\"\" until the next \"\"\".\n"
         "  Ctrl-C stops an answer; at the prompt it clears the line.");
}

static void quit(struct chat *chat, const char *rest) {
    (void)rest;
    chat->over = true;
}

void chat_command(struct chat *chat, const char *line) {
    struct slice rest = SLICE_NONE;
    struct slice name = slice_cut(slice_from(slice_of(line), 1), ' ', &rest);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (slice_is(slice_trim(name), commands[i].name)) {
            char *value = slice_dup(slice_trim(rest.ptr != NULL ? rest : SLICE("")));
            commands[i].run(chat, value != NULL ? value : "");
            free(value);
            return;
        }
    }
    fputs("anyllm chat: there is no /", stderr);
    for (size_t i = 0; i < name.len; i++) {
        char one[] = {name.ptr[i], '\0'};
        cli_print_text(stderr, one, false);
    }
    fputs("; /help lists what there is\n", stderr);
    chat->code = CLI_USAGE;
}
