/* anyllm chat: a conversation in the terminal.
 *
 *   chat.c          the command: whose turn it is
 *   chat_commands.c what a line that begins with / does
 *   chat_line.c     reads what the user says: libedit on a terminal, lines of a pipe
 *   chat_answer.c   one answer: asked for, shown as it grows, cancelled
 *   chat_talk.c     the conversation, and the part of it that is sent. Pure
 *   chat_file.c     the conversation in its file, and as Markdown */
#ifndef ANYLLM_CLI_CHAT_H
#define ANYLLM_CLI_CHAT_H

#include "base/buf.h"
#include "cli/cli.h"

#include <signal.h>
#include <sys/types.h>

/* Asked for when nobody named one: fal and the built-in catalogue of anyllm know it, and their own defaults lead to it. A
 * server with a local model alone answers it with that. */
#define CHAT_DEFAULT_MODEL "google/gemini-2.5-flash-lite"
#define CHAT_CONTEXT_BYTES ((size_t)400 << 10) /* what is sent: some 100,000 tokens */
#define CHAT_FILE_BYTES ((size_t)256 << 20)

/* The content, NUL-terminated, from malloc; the buffer is empty. NULL when it failed. */
static inline char *chat_text(struct buf *b) {
    size_t bytes;
    return buf_take(b, &bytes);
}

/* ---- chat_talk.c ---- */

struct chat_message {
    bool by_user;
    bool cut;    /* an answer that did not come to its end */
    char *text;  /* UTF-8; these two from malloc */
    char *model; /* that answered; NULL: not known, or the user */
};

struct chat_talk {
    char *model, *system; /* from malloc; NULL: the default, none */
    struct chat_message *messages;
    size_t count, room;
};

void chat_talk_free(struct chat_talk *talk);
/* Copies. NULL or "" clears. False: no memory, nothing changed. */
bool chat_talk_set(char **field, const char *value);
/* Copies. False: no memory, nothing changed. */
bool chat_talk_add(struct chat_talk *talk, bool by_user, struct slice text, const char *model,
                   bool cut);
/* Takes the last message away. */
void chat_talk_pop(struct chat_talk *talk);
/* The first message that is sent when what is sent may have `max_bytes` of text: the oldest turns are left out, the last
 * message never; it begins with the user. */
size_t chat_talk_first(const struct chat_talk *talk, size_t max_bytes);
/* The bytes of text from that message on. */
size_t chat_talk_bytes(const struct chat_talk *talk, size_t first);
/* The input of OpenAI's dialect, from malloc. NULL: no memory, or a text that is no UTF-8. */
char *chat_talk_input(const struct chat_talk *talk, size_t first, const struct cli_args *args);

/* ---- chat_file.c ---- */

/* The history's path, from malloc; its folders are made. NULL: there is none, said why. */
char *chat_file_path(const struct cli_args *args);
enum chat_file {
    CHAT_FILE_OK,
    CHAT_FILE_NONE,
    CHAT_FILE_BAD,   /* not a conversation; said why */
    CHAT_FILE_MEMORY /* said so */
};
/* Reads a conversation into `talk`, which must be empty. */
enum chat_file chat_file_load(const char *path, struct chat_talk *talk);
/* Writes it whole, readable by the user alone, in one step: the file is the old one or the new one. False: errno. */
bool chat_file_store(const char *path, const struct chat_talk *talk);
/* For people: Markdown, or JSON when the name ends with .json. Only over a file of that name when `again`. False: errno. */
bool chat_file_save(const char *path, const struct chat_talk *talk, bool again);

/* ---- chat_line.c ---- */

enum chat_input {
    CHAT_SAID,
    CHAT_CLEARED, /* Ctrl-C at the prompt; twice on an empty line is CHAT_OVER */
    CHAT_OVER,    /* the end of the input, or a signal: chat_signal */
    CHAT_FAILED   /* said why */
};

struct chat_line; /* where the lines come from */

/* `edit`: standard input and output are terminals. NULL: said why. Blocks the signals that chat_wait waits for. */
struct chat_line *chat_line_open(bool edit);
void chat_line_close(struct chat_line *line);
/* What arrow-up brings back. */
void chat_line_remember(struct chat_line *line, const char *text);
/* What the user says next, several lines when they were joined by a trailing backslash or stand between \"\"\". *text lives
 * until the next call. */
enum chat_input chat_line_read(struct chat_line *line, const char **text);

/* Signals are blocked but inside ppoll with this mask, so none is lost between a look and a wait. */
void chat_signals_begin(void);
const sigset_t *chat_signals_open(void);
/* The signal that came since the last chat_signal_clear: SIGINT, or one that ends the program. 0: none. */
int chat_signal(void);
void chat_signal_clear(void);
/* The terminal's size changed, or the program goes on after a stop; asking clears it. */
bool chat_signal_redraw(void);

/* ---- chat_answer.c ---- */

enum chat_end {
    CHAT_ANSWERED,
    CHAT_CUT,        /* it broke or was cancelled; what came is in `text` */
    CHAT_UNANSWERED, /* nothing came; said why, unless cancelled */
};

struct chat_answer {
    struct buf text;
    enum chat_end end;
    char *model;   /* that answered, as the server says; from malloc; NULL: it does not say */
    bool too_long; /* the model cannot take so much: nothing is said about it */
    int code;      /* the exit code it stands for */
};

/* Asks and shows the answer on standard output as it grows. `a` is initialised by it; free with chat_answer_free. */
void chat_answer_get(struct chat_answer *a, const struct cli_args *args, fal_client *client,
                     const char *input_json, bool terminal);
void chat_answer_free(struct chat_answer *a);

/* ---- chat_commands.c ---- */

struct chat {
    struct cli_args args;
    fal_client *client;
    struct chat_line *line;
    struct chat_talk talk;
    char *path;      /* of the history; NULL: kept nowhere */
    char *saved;     /* what /save wrote last */
    bool is_new;     /* the file holds another conversation */
    bool terminal;   /* a person is there */
    bool told_short; /* that old turns are left out */
    bool told_kept;  /* that the history cannot be written */
    bool over;
    size_t max_bytes;
    int code;
};

/* A line that begins with a slash. */
void chat_command(struct chat *chat, const char *line);
/* For people who watch; nothing with --quiet. */
void chat_note(const struct chat *chat, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
