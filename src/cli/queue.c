/* anyllm queue: what runs and what waits, and how well. On a terminal again every second until Ctrl-C. */
#include "cli/admin.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PATH_MAX_BYTES 256U
#define HEAD_LINES 5 /* above the first request, and what stands below the last */
#define LOOK_S 1

static const char *text_of(yyjson_val *object, const char *name) {
    const char *text = yyjson_get_str(yyjson_obj_get(object, name));
    return text != NULL ? text : "";
}

static uint64_t number_of(yyjson_val *object, const char *name) {
    return yyjson_get_uint(yyjson_obj_get(object, name));
}

/* "0.4s", "12s", "3m05s", "2h10m", "9d04h" */
static const char *age(char out[24], double seconds) {
    unsigned long s = (unsigned long)(seconds > 0 ? seconds : 0);
    if (s < 10) {
        snprintf(out, 24, "%.1fs", seconds > 0 ? seconds : 0);
    } else if (s < 60) {
        snprintf(out, 24, "%lus", s);
    } else if (s < 3600) {
        snprintf(out, 24, "%lum%02lus", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(out, 24, "%luh%02lum", s / 3600, s / 60 % 60);
    } else {
        snprintf(out, 24, "%lud%02luh", s / 86400, s / 3600 % 24);
    }
    return out;
}

static const char *age_of(char out[24], yyjson_val *object, const char *name) {
    return age(out, yyjson_get_num(yyjson_obj_get(object, name)));
}

/* ---- The table ---- */

static void print_totals(yyjson_val *root, FILE *out) {
    char waits[24], runs[24];
    yyjson_val *store = yyjson_obj_get(root, "store");
    bool live = yyjson_is_true(yyjson_obj_get(root, "live"));
    fprintf(out, "waiting %" PRIu64 " (oldest %s)   running %" PRIu64 " (oldest %s)",
            number_of(root, "waiting"), age_of(waits, root, "oldest_waiting_seconds"),
            number_of(root, "running"), age_of(runs, root, "oldest_running_seconds"));
    if (live) {
        fprintf(out, "   owners %" PRIu64 "   quarantined %" PRIu64, number_of(root, "owners"),
                number_of(root, "quarantined"));
    }
    fprintf(out, "\nstore %s, check %s",
            yyjson_is_true(yyjson_obj_get(store, "can_write")) ? "writes" : "DOES NOT WRITE",
            text_of(store, "check"));
    if (yyjson_obj_get(store, "bytes") != NULL) {
        fprintf(out, ", %.1f MiB (%.1f free), log %.1f MiB",
                (double)number_of(store, "bytes") / 1048576,
                (double)number_of(store, "free_bytes") / 1048576,
                (double)number_of(store, "wal_bytes") / 1048576);
    }
    fprintf(out, "%s%s%s\n\n", live ? "" : "   no server runs",
            yyjson_is_true(yyjson_obj_get(root, "loading")) ? "   LOADING" : "",
            yyjson_is_true(yyjson_obj_get(root, "draining")) ? "   ENDING" : "");
}

static void add_number(struct columns *t, yyjson_val *row, const char *name) {
    char text[24];
    yyjson_val *v = yyjson_obj_get(row, name);
    snprintf(text, sizeof(text), "%" PRIu64, yyjson_get_uint(v));
    columns_add(t, yyjson_is_uint(v) ? text : "");
}

static void print_requests(yyjson_val *root, FILE *out) {
    static const char *const heads[] = {"POSITION", "STATE",   "AGE",   "ATTEMPT",
                                        "PRIORITY", "REQUEST", "OWNER", "ENDPOINT"};
    struct columns t;
    char text[24];
    yyjson_val *row, *rows = yyjson_obj_get(root, "requests");
    size_t i, n;
    columns_begin(&t, heads, sizeof(heads) / sizeof(heads[0]), 0xD);
    yyjson_arr_foreach(rows, i, n, row) {
        add_number(&t, row, "position");
        columns_add(&t, text_of(row, "step"));
        columns_add(&t, age_of(text, row, "age_seconds"));
        add_number(&t, row, "attempt");
        columns_add(&t, text_of(row, "priority"));
        columns_add(&t, text_of(row, "request_id"));
        columns_add(&t, text_of(row, "owner"));
        columns_add(&t, text_of(row, "endpoint"));
    }
    columns_print(&t, out);
    if (number_of(root, "more") > 0) {
        fprintf(out, "and %" PRIu64 " more\n", number_of(root, "more"));
    }
}

static yyjson_doc *ask(struct admin *a, const char *limit, int *code) {
    struct buf path;
    yyjson_doc *answer = NULL;
    buf_init(&path, PATH_MAX_BYTES);
    buf_puts(&path, "/admin/queue");
    admin_add_query(&path, "limit", limit);
    if (buf_addc(&path, '\0')) {
        answer = admin_ask(a, "GET", buf_slice(&path).ptr, NULL, code);
    } else {
        *code = cli_usage_error("queue", "an option is too long");
    }
    buf_free(&path);
    return answer;
}

static int show_once(const struct admin_args *args, struct admin *a) {
    int code;
    yyjson_doc *answer = ask(a, args->limit, &code);
    if (answer != NULL && !admin_print_json(args, answer)) {
        print_totals(yyjson_doc_get_root(answer), stdout);
        print_requests(yyjson_doc_get_root(answer), stdout);
    }
    yyjson_doc_free(answer);
    return code;
}

/* ---- Live ---- */

/* A screen of its own, without a cursor and without wrapping; what was there before comes back. */
#define ENTER "\033[?1049h\033[?25l\033[?7l"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"
#define HOME "\033[H"
#define REST_OF_LINE "\033[K"
#define REST_OF_SCREEN "\033[J"

static volatile sig_atomic_t ended;

static void on_signal(int number) {
    ended = number;
}

static void catch_signals(void) {
    struct sigaction act = {.sa_handler = on_signal};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        sigaction(numbers[i], &act, NULL);
    }
}

static void put(const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n <= 0) {
            return;
        }
        text += n;
        len -= (size_t)n;
    }
}

static unsigned screen_lines(void) {
    struct winsize w = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_row > 0 ? w.ws_row : 24;
}

/* At most so many lines, over what stood there; one write, so that nothing flickers. */
static void paint(const char *text, unsigned lines) {
    struct buf b;
    struct slice rest = slice_of(text);
    buf_init(&b, (size_t)1 << 22);
    buf_puts(&b, HOME);
    for (unsigned i = 0; i < lines && rest.ptr != NULL && rest.len > 0; i++) {
        struct slice line = slice_cut(rest, '\n', &rest);
        buf_puts(&b, i > 0 ? "\r\n" : "");
        buf_add(&b, line);
        buf_puts(&b, REST_OF_LINE);
    }
    buf_puts(&b, REST_OF_SCREEN);
    put(buf_slice(&b).ptr, buf_len(&b));
    buf_free(&b);
}

static bool draw(yyjson_val *root, unsigned lines) {
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        return false;
    }
    print_totals(root, out);
    print_requests(root, out);
    fclose(out);
    paint(text, lines);
    free(text);
    return true;
}

static int watch(const struct admin_args *args, struct admin *a) {
    const struct timespec pause = {.tv_sec = LOOK_S};
    int code = CLI_DONE;
    bool entered = false, on = true;
    catch_signals();
    while (on && ended == 0) {
        char limit[24];
        unsigned lines = screen_lines();
        snprintf(limit, sizeof(limit), "%u", lines > HEAD_LINES ? lines - HEAD_LINES : 1);
        yyjson_doc *answer = ask(a, args->limit != NULL ? args->limit : limit, &code);
        if (answer != NULL && !entered) {
            put(ENTER, strlen(ENTER));
            entered = true;
        }
        on = answer != NULL && draw(yyjson_doc_get_root(answer), lines);
        yyjson_doc_free(answer);
        if (on && ended == 0) {
            nanosleep(&pause, NULL);
        }
    }
    if (entered) {
        put(LEAVE, strlen(LEAVE));
    }
    return ended != 0 ? CLI_DONE : code;
}

/* What goes wrong is said on the screen that was there before: this one takes its words with it. */
static int watch_and_tell(const struct admin_args *args, struct admin *a) {
    char *text = NULL;
    size_t len;
    FILE *words = open_memstream(&text, &len);
    if (words != NULL) {
        admin_speak_to(a, words);
    }
    int code = watch(args, a);
    admin_speak_to(a, stderr);
    if (words != NULL && fclose(words) == 0 && ended == 0) {
        fputs(text, stderr);
    }
    free(text);
    return code;
}

/* Where no server runs this command holds the folder's lock: not longer than it takes. */
int cmd_queue(int argc, char **argv) {
    struct admin_args args;
    int code;
    if (!admin_parse(argc, argv, &args, &code)) {
        return code;
    }
    struct admin *a = admin_open(&args, &code);
    if (a != NULL) {
        bool live = !args.json && !args.once && admin_has_server(a) && isatty(STDOUT_FILENO);
        code = live ? watch_and_tell(&args, a) : show_once(&args, a);
    }
    admin_close(a);
    int flushed = cli_flush(args.command);
    return code != 0 ? code : flushed;
}
