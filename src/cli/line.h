/* One line on standard error that is written over, for a user who watches: nothing where standard error is no terminal or with
 * --quiet; each new text on a line of its own where the terminal is dumb. */
#ifndef ANYLLM_CLI_LINE_H
#define ANYLLM_CLI_LINE_H

#include "cli/cli.h"

#include <time.h>

#define LINE_BYTES 256
#define LINE_PATIENCE_S 2 /* from then on the line counts the seconds */

struct cli_line {
    enum { LINE_OFF, LINE_PLAIN, LINE_OVER } mode;
    bool shown;                                    /* it stands on the screen */
    char last[LINE_BYTES], drawn[LINE_BYTES + 32]; /* without and with the seconds */
    struct timespec since;                         /* cli_line_begin */
};

void cli_line_begin(struct cli_line *l, bool quiet);
/* In place of what stands there. Control characters become '?'; what does not fit is cut. */
void cli_line_say(struct cli_line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The time goes on: where the line stands, its seconds are written anew. */
void cli_line_tick(struct cli_line *l);
/* Away with it: before anything else is written to the terminal. */
void cli_line_clear(struct cli_line *l);
/* The last words, on a line that stays. */
void cli_line_end(struct cli_line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For on_progress of uploads; `line` is a struct cli_line. upload.c. */
void cli_line_upload(uint64_t sent_bytes, uint64_t total_bytes, void *line);

double cli_seconds_since(const struct timespec *since);

#endif
