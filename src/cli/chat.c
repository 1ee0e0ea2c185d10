/* anyllm chat: whose turn it is. */
#include "cli/chat.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- The history ---- */

/* The conversation that was in the file stays beside it, once. */
static void move_aside(const char *path) {
    struct buf name;
    buf_init(&name, 8192);
    buf_printf(&name, "%s~", path);
    char *aside = chat_text(&name);
    if (aside != NULL) {
        rename(path, aside);
    }
    free(aside);
}

static void keep(struct chat *chat) {
    if (chat->path == NULL) {
        return;
    }
    if (chat->is_new) {
        move_aside(chat->path);
        chat->is_new = false;
    }
    if (!chat_file_store(chat->path, &chat->talk) && !chat->told_kept) {
        cli_usage_error("chat", "the conversation is not kept: %s: %s", chat->path,
                        strerror(errno));
        chat->told_kept = true;
    }
}

/* What was said in the file's conversation can be said again, whichever goes on. */
static void remember(struct chat *chat, const struct chat_talk *talk) {
    for (size_t i = 0; i < talk->count; i++) {
        const struct chat_message *m = &talk->messages[i];
        if (m->by_user && strchr(m->text, '\n') == NULL) {
            chat_line_remember(chat->line, m->text);
        }
    }
}

static bool begin_talk(struct chat *chat) {
    struct chat_talk before = {0};
    const struct cli_args *args = &chat->args;
    chat->path = chat_file_path(args);
    enum chat_file file = chat->path != NULL ? chat_file_load(chat->path, &before) : CHAT_FILE_NONE;
    if (file == CHAT_FILE_BAD || file == CHAT_FILE_MEMORY) {
        chat->code = file == CHAT_FILE_BAD ? CLI_USAGE : CLI_FAILED;
        return false;
    }
    remember(chat, &before);
    chat->is_new = !args->go_on;
    if (args->go_on) {
        chat->talk = before;
    } else {
        chat_talk_free(&before);
    }
    if ((args->model != NULL && !chat_talk_set(&chat->talk.model, args->model)) ||
        (args->system != NULL && !chat_talk_set(&chat->talk.system, args->system))) {
        chat->code = CLI_FAILED;
        return false;
    }
    return true;
}

/* ---- A turn ---- */

/* The model could not take what was sent from message `first` on: false when there is nothing left to leave out. */
static bool send_less(struct chat *chat, size_t first) {
    if (first + 1 >= chat->talk.count) {
        cli_usage_error("chat", "this is longer than the model can take");
        chat->code = CLI_FAILED;
        return false;
    }
    chat->max_bytes = chat_talk_bytes(&chat->talk, first) / 2;
    return true;
}

/* True: ask again with less. */
static bool ask(struct chat *chat, struct chat_answer *answer) {
    size_t first = chat_talk_first(&chat->talk, chat->max_bytes);
    if (first > 0 && !chat->told_short) {
        chat_note(chat, "the conversation has become long: its oldest turns are not sent any more");
        chat->told_short = true;
    }
    char *input = chat_talk_input(&chat->talk, first, &chat->args);
    if (input == NULL) {
        cli_usage_error("chat", "this is not UTF-8 text");
        answer->code = CLI_USAGE;
        answer->end = CHAT_UNANSWERED;
        return false;
    }
    chat_answer_get(answer, &chat->args, chat->client, input, isatty(STDOUT_FILENO) == 1);
    free(input);
    return answer->too_long && send_less(chat, first);
}

/* A question without an answer is not part of the conversation; arrow-up brings it back. */
static void conclude(struct chat *chat, const struct chat_answer *answer) {
    bool cancelled = answer->code > 128;
    if (answer->end == CHAT_UNANSWERED) {
        chat_talk_pop(&chat->talk);
    } else if (chat_talk_add(&chat->talk, false, buf_slice(&answer->text),
                             answer->model != NULL ? answer->model : chat->talk.model,
                             answer->end == CHAT_CUT)) {
        keep(chat);
    } else {
        cli_usage_error("chat", "%s", strerror(ENOMEM));
    }
    if (cancelled) {
        chat_note(chat,
                  answer->end == CHAT_CUT ? "cancelled; what came of it is kept" : "cancelled");
    }
    if (answer->code != 0) {
        chat->code = answer->code;
    }
}

static void turn(struct chat *chat, const char *text) {
    struct chat_answer answer = {0};
    if (chat->args.is_private && !cli_reach(&chat->args, &chat->code)) {
        return; /* it ends when nobody asks for a while, and people think */
    }
    if (!chat_talk_add(&chat->talk, true, slice_of(text), NULL, false)) {
        cli_usage_error("chat", "%s", strerror(ENOMEM));
        return;
    }
    while (ask(chat, &answer)) {
        chat_answer_free(&answer);
    }
    conclude(chat, &answer);
    chat_answer_free(&answer);
    if (chat->terminal && chat_signal() == SIGINT) {
        chat_signal_clear();
    }
    if (cli_flush("chat") != CLI_DONE) {
        chat->code = CLI_FAILED;
        chat->over = true;
    }
}

static void take(struct chat *chat, const char *text) {
    if (text[0] == '/' && text[1] != '/') {
        chat_command(chat, text);
    } else if (text[strspn(text, " \t\n")] != '\0') {
        turn(chat, text[0] == '/' ? text + 1 : text);
    }
}

static void talk(struct chat *chat) {
    const char *text = NULL;
    if (chat->terminal) {
        chat_note(chat, "%s%s; /help lists the commands, Ctrl-D quits",
                  chat->talk.model != NULL ? chat->talk.model : "the default model",
                  chat->talk.count > 0 ? ", the conversation goes on" : "");
    }
    while (!chat->over && chat_signal() == 0) {
        enum chat_input input = chat_line_read(chat->line, &text);
        if (input == CHAT_SAID) {
            take(chat, text);
        }
        chat->over = chat->over || input == CHAT_OVER;
        if (input == CHAT_FAILED) {
            chat->code = CLI_FAILED;
            chat->over = !chat->terminal;
        }
    }
}

/* A person has seen what failed; a script wants to know. */
static int exit_code(const struct chat *chat) {
    int number = chat_signal();
    if (number != 0 && !(chat->terminal && number == SIGINT)) {
        return 128 + number;
    }
    return chat->terminal ? CLI_DONE : chat->code;
}

int cmd_chat(int argc, char **argv) {
    struct chat chat = {.max_bytes = CHAT_CONTEXT_BYTES};
    int code;
    if (!cli_parse(argc, argv, CLI_CHAT, &chat.args, &code)) {
        return code;
    }
    if (chat.args.operand != NULL) {
        return cli_usage_error("chat", "takes no prompt: say it when it asks, or use anyllm run");
    }
    chat.terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    chat.client = cli_client(&chat.args, &code);
    chat.line = chat.client != NULL ? chat_line_open(chat.terminal) : NULL;
    chat.code = chat.client == NULL ? code : chat.line == NULL ? CLI_FAILED : CLI_DONE;
    if (chat.line != NULL && begin_talk(&chat)) {
        talk(&chat);
        chat.code = exit_code(&chat);
    }
    chat_line_close(chat.line);
    fal_client_free(chat.client);
    chat_talk_free(&chat.talk);
    free(chat.path);
    free(chat.saved);
    return chat.code;
}
