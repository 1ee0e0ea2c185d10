/* One line on standard error that says how things stand and is written over: for a user who watches. */
#include "cli/line.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NARROWEST 20
#define USUAL 80

void cli_line_begin(struct cli_line *l, bool quiet) {
    const char *term = getenv("TERM");
    bool dumb = term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0;
    *l = (struct cli_line){.mode = quiet || !cli_is_terminal(stderr) ? LINE_OFF
                                   : dumb                            ? LINE_PLAIN
                                                                     : LINE_OVER};
    clock_gettime(CLOCK_MONOTONIC, &l->since);
}

double cli_seconds_since(const struct timespec *since) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - since->tv_sec) + (double)(now.tv_nsec - since->tv_nsec) / 1e9;
}

static size_t width(void) {
    struct winsize w;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= NARROWEST;
    return known ? w.ws_col : USUAL;
}

/* Where the text must end to fit into so many columns, each character taken for one. */
static size_t fitting(const char *text, size_t columns) {
    size_t at = 0;
    for (size_t n = 0; text[at] != '\0'; at++) {
        bool begins = ((unsigned char)text[at] & 0xC0) != 0x80;
        if (begins && n++ == columns) {
            break;
        }
    }
    return at;
}

/* In one write: standard error is not buffered, and a line that is drawn letter by letter flickers. */
static void write_over(struct cli_line *l, char *text) {
    char *all = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&all, &bytes);
    if (out == NULL) {
        return;
    }
    text[fitting(text, width() - 1)] = '\0';
    fprintf(out, "\r\033[K%s", cli_colour(stderr, CLI_DIM));
    cli_print_text(out, text, false);
    fputs(cli_colour(stderr, CLI_PLAIN), out);
    if (fclose(out) == 0) {
        fwrite(all, 1, bytes, stderr);
        l->shown = true;
    }
    free(all);
}

static void draw(struct cli_line *l) {
    char text[LINE_BYTES + 32];
    long seconds = (long)cli_seconds_since(&l->since);
    int n = snprintf(text, sizeof(text), "%s", l->last);
    if (seconds >= LINE_PATIENCE_S && n >= 0) {
        snprintf(text + n, sizeof(text) - (size_t)n, ", %ld s", seconds);
    }
    if (!l->shown || strcmp(text, l->drawn) != 0) {
        snprintf(l->drawn, sizeof(l->drawn), "%s", text);
        write_over(l, text);
    }
}

void cli_line_say(struct cli_line *l, const char *fmt, ...) {
    char text[LINE_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (l->mode == LINE_PLAIN && strcmp(text, l->last) != 0) {
        cli_print_text(stderr, text, false);
        fputc('\n', stderr);
    }
    snprintf(l->last, sizeof(l->last), "%s", text);
    if (l->mode == LINE_OVER) {
        draw(l);
    }
}

void cli_line_tick(struct cli_line *l) {
    if (l->shown) {
        draw(l);
    }
}

void cli_line_clear(struct cli_line *l) {
    if (l->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    l->shown = false;
}

void cli_line_end(struct cli_line *l, const char *fmt, ...) {
    char text[LINE_BYTES];
    va_list args;
    cli_line_clear(l);
    if (l->mode == LINE_OFF) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fputs(cli_colour(stderr, CLI_DIM), stderr);
    cli_print_text(stderr, text, false);
    fprintf(stderr, "%s\n", cli_colour(stderr, CLI_PLAIN));
}
