/* What is written for people: never what drives their terminal, colours only where they are wanted. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ESC's 8-bit relatives, in UTF-8. */
static bool is_c1(const unsigned char *p) {
    return p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0;
}

void cli_print_text(FILE *out, const char *text, bool lines) {
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool c1 = is_c1(p);
        bool control = (*p < 0x20 && !(lines && (*p == '\n' || *p == '\t'))) || *p == 0x7F || c1;
        fputc(control ? '?' : *p, out);
        p += c1 ? 1 : 0;
    }
}

/* Below a space JSON has only white space, between its values; the others stand in strings. */
void cli_print_json(const char *json, bool one_line) {
    bool terminal = cli_is_terminal(stdout);
    unsigned char last = '\0';
    for (const unsigned char *p = (const unsigned char *)json; *p != '\0'; p++) {
        bool space = *p < 0x20 && (one_line || (terminal && *p != '\n' && *p != '\t'));
        last = space ? ' ' : *p;
        if (terminal && (*p == 0x7F || is_c1(p))) {
            p += *p == 0x7F ? 0 : 1; /* whose second byte is the number of the character */
            printf("\\u%04x", *p);
        } else {
            putchar(last);
        }
    }
    if (last != '\n') {
        putchar('\n');
    }
}

int cli_flush(const char *command) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_usage_error(command, "cannot write to standard output: %s", strerror(errno));
        return CLI_FAILED;
    }
    return CLI_DONE;
}

bool cli_is_terminal(FILE *out) {
    return isatty(fileno(out)) != 0;
}

const char *cli_colour(FILE *out, enum cli_colour colour) {
    static const char *const codes[] = {
        [CLI_PLAIN] = "\033[0m", [CLI_DIM] = "\033[2m",    [CLI_BOLD] = "\033[1m",
        [CLI_RED] = "\033[31m",  [CLI_GREEN] = "\033[32m", [CLI_YELLOW] = "\033[33m",
        [CLI_CYAN] = "\033[36m"};
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    bool wanted = cli_is_terminal(out) && (no == NULL || no[0] == '\0') &&
                  (term == NULL || strcmp(term, "dumb") != 0);
    return wanted ? codes[colour] : "";
}

int cli_usage_error(const char *command, const char *fmt, ...) {
    va_list args;
    fprintf(stderr, "anyllm%s%s: ", command != NULL ? " " : "", command != NULL ? command : "");
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return CLI_USAGE;
}
