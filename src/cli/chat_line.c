#include "cli/chat.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>
#include <wchar.h>

#define FENCE SLICE("\"\"\"")
#define REMEMBERED 500

/* ---- Signals ---- */

static volatile sig_atomic_t came, redraw;
static sigset_t open_mask;

static void on_signal(int number) {
    if (number == SIGWINCH || number == SIGCONT) {
        redraw = 1;
    } else {
        came = number;
    }
}

void chat_signals_begin(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT};
    struct sigaction action = {.sa_handler = on_signal}, before;
    sigset_t ours;
    sigemptyset(&ours);
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL); /* nohup's wish counts */
            sigaddset(&ours, numbers[i]);
        }
    }
    sigprocmask(SIG_BLOCK, &ours, &open_mask);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        sigdelset(&open_mask, numbers[i]);
    }
}

const sigset_t *chat_signals_open(void) {
    return &open_mask;
}

int chat_signal(void) {
    return came;
}

void chat_signal_clear(void) {
    came = 0;
}

bool chat_signal_redraw(void) {
    bool was = redraw != 0;
    redraw = 0;
    return was;
}

/* ---- Where lines come from ---- */

struct chat_line {
    EditLine *editor; /* NULL: plain lines */
    History *history;
    struct buf in; /* read and not yet given */
    size_t given;  /* of it, with the last line */
    bool ended;
    bool more;    /* the turn goes on in the next line */
    bool empty;   /* the line on which Ctrl-C was pressed */
    bool pressed; /* the last thing was Ctrl-C on an empty line */
    struct buf text;
};

/* True: there is something to read. False: a signal came. */
static bool wait_for_input(void) {
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    return ppoll(&p, 1, NULL, chat_signals_open()) > 0;
}

static char *prompt(EditLine *editor) {
    static char first[] = "> ", next[] = "... ";
    struct chat_line *l = NULL;
    el_get(editor, EL_CLIENTDATA, (void **)&l);
    return l->more ? next : first;
}

static bool wait_for_key(struct chat_line *l) {
    while (!wait_for_input()) {
        if (chat_signal() != 0) {
            const LineInfo *at = el_line(l->editor);
            l->empty = at->lastchar == at->buffer;
            return false;
        }
        if (chat_signal_redraw()) {
            fputs("\r", stdout); /* where the editor thinks it begins */
            fflush(stdout);
            el_set(l->editor, EL_PREP_TERM, 1);
            el_resize(l->editor);
            el_set(l->editor, EL_REFRESH);
        }
    }
    return true;
}

/* As el_rfunc_t says: 1, 0 at the end, -1 on an error or a signal. */
static int read_key(EditLine *editor, wchar_t *key) {
    struct chat_line *l = NULL;
    mbstate_t state = {0};
    char byte;
    el_get(editor, EL_CLIENTDATA, (void **)&l);
    for (;;) {
        ssize_t n = wait_for_key(l) ? read(STDIN_FILENO, &byte, 1) : -1;
        if (n != 1) {
            return n == 0 ? 0 : -1;
        }
        switch (mbrtowc(key, &byte, 1, &state)) {
        case (size_t)-2: break; /* not whole yet */
        case (size_t)-1: state = (mbstate_t){0}; break;
        default: return 1;
        }
    }
}

static bool begin_editing(struct chat_line *l) {
    HistEvent event;
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
    }
    l->history = history_init();
    l->editor = l->history != NULL ? el_init("anyllm", stdin, stdout, stderr) : NULL;
    if (l->editor == NULL) {
        return false;
    }
    history(l->history, &event, H_SETSIZE, REMEMBERED);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->editor, EL_CLIENTDATA, l);
    el_set(l->editor, EL_PROMPT, prompt);
    el_set(l->editor, EL_EDITOR, "emacs");
    el_set(l->editor, EL_SIGNAL, 0);
    el_set(l->editor, EL_HIST, history, l->history);
    el_set(l->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->editor, NULL); /* the user's ~/.editrc */
    el_set(l->editor, EL_GETCFN, read_key);
    return true;
}

struct chat_line *chat_line_open(bool edit) {
    struct chat_line *l = calloc(1, sizeof(*l));
    if (l != NULL) {
        buf_init(&l->in, CLI_STDIN_BYTES);
        buf_init(&l->text, CLI_STDIN_BYTES);
    }
    if (l == NULL || (edit && !begin_editing(l))) {
        cli_usage_error("chat", "%s", l == NULL ? strerror(ENOMEM) : "cannot edit lines here");
        chat_line_close(l);
        return NULL;
    }
    chat_signals_begin();
    return l;
}

void chat_line_close(struct chat_line *l) {
    if (l == NULL) {
        return;
    }
    if (l->editor != NULL) {
        el_end(l->editor);
    }
    if (l->history != NULL) {
        history_end(l->history);
    }
    buf_free(&l->in);
    buf_free(&l->text);
    free(l);
}

void chat_line_remember(struct chat_line *l, const char *text) {
    HistEvent event;
    if (l->history != NULL && text[0] != '\0') {
        history(l->history, &event, H_ENTER, text);
    }
}

/* ---- One line ---- */

static enum chat_input interrupted(struct chat_line *l) {
    if (l->editor == NULL || chat_signal() != SIGINT) {
        return CHAT_OVER;
    }
    bool nothing = l->empty && !l->more;
    if (nothing && l->pressed) {
        puts("^C");
        return CHAT_OVER;
    }
    chat_signal_clear();
    puts(nothing ? "^C (again, or Ctrl-D, to quit)" : "^C");
    l->pressed = nothing;
    return CHAT_CLEARED;
}

static enum chat_input edited_line(struct chat_line *l, struct slice *out) {
    int bytes = 0;
    el_set(l->editor, EL_PREP_TERM, 1); /* before the prompt: what is typed at it is ours */
    const char *text = el_gets(l->editor, &bytes);
    if (text == NULL && chat_signal() != 0) {
        return interrupted(l);
    }
    if (text == NULL) {
        putchar('\n');
        return CHAT_OVER;
    }
    *out = slice_make(text, (size_t)bytes);
    return CHAT_SAID;
}

static enum chat_input plain_line(struct chat_line *l, struct slice *out) {
    ptrdiff_t end;
    buf_consume(&l->in, l->given);
    l->given = 0;
    while ((end = slice_find(buf_slice(&l->in), '\n')) < 0 && !l->ended) {
        if (!buf_reserve(&l->in, 65536)) {
            cli_usage_error("chat", "a line is longer than 32 MiB");
            return CHAT_FAILED;
        }
        ssize_t n = wait_for_input() ? read(STDIN_FILENO, l->in.base + l->in.end, 65536) : -1;
        if (n < 0 && chat_signal() != 0) {
            return CHAT_OVER;
        }
        l->in.end += n > 0 ? (size_t)n : 0;
        l->ended = n == 0 || (n < 0 && errno != EINTR);
    }
    l->given = end >= 0 ? (size_t)end + 1 : buf_len(&l->in);
    *out = slice_make(buf_slice(&l->in).ptr, l->given);
    return l->given > 0 ? CHAT_SAID : CHAT_OVER;
}

static enum chat_input one_line(struct chat_line *l, struct slice *out) {
    enum chat_input end = l->editor != NULL ? edited_line(l, out) : plain_line(l, out);
    while (end == CHAT_SAID && (slice_ends(*out, SLICE("\n")) || slice_ends(*out, SLICE("\r")))) {
        out->len--;
    }
    l->pressed = l->pressed && end != CHAT_SAID;
    return end;
}

/* ---- One turn ---- */

/* Adds the line; true when the turn goes on. */
static bool add_line(struct buf *text, struct slice line, bool *fenced) {
    bool opened = buf_len(text) == 0 && !*fenced && slice_starts(line, FENCE);
    *fenced = *fenced || opened;
    line = slice_from(line, opened ? FENCE.len : 0);
    struct slice mark = *fenced ? FENCE : SLICE("\\");
    bool marked = slice_ends(line, mark);
    line.len -= marked ? mark.len : 0;
    buf_add(text, line);
    if (marked == *fenced) {
        return false;
    }
    return (opened && line.len == 0) || buf_puts(text, "\n");
}

/* For the line history: it shows one line, and a turn of several was remembered line by line. */
static void remember(struct chat_line *l, struct slice line) {
    char *copy = l->history != NULL ? slice_dup(line) : NULL;
    if (copy != NULL) {
        chat_line_remember(l, copy);
    }
    free(copy);
}

static enum chat_input finish(struct chat_line *l, const char **text) {
    buf_addc(&l->text, '\0');
    if (l->text.failed) {
        cli_usage_error("chat", "%s",
                        l->text.no_memory ? strerror(ENOMEM) : "this is longer than 32 MiB");
        return CHAT_FAILED;
    }
    *text = buf_slice(&l->text).ptr;
    for (char *at = l->text.base + l->text.start; at < l->text.base + l->text.end - 1; at++) {
        *at = *at == '\0' ? ' ' : *at;
    }
    return CHAT_SAID;
}

enum chat_input chat_line_read(struct chat_line *l, const char **text) {
    struct slice line = SLICE_NONE;
    bool fenced = false, goes_on = true;
    buf_reset(&l->text, 65536);
    for (l->more = false; goes_on; l->more = true) {
        enum chat_input end = one_line(l, &line);
        if (end == CHAT_OVER && chat_signal() == 0 && l->more) {
            break; /* what there is */
        }
        if (end != CHAT_SAID) {
            return end;
        }
        remember(l, line);
        goes_on = add_line(&l->text, line, &fenced);
    }
    return finish(l, text);
}
