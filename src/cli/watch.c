#include "cli/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

/* Too short a time to speak of a rate. */
#define LEAST_SECONDS 0.01
#define TICK_MS 500

void watch_begin(struct watch *w, const struct cli_args *args, fal_client *client) {
    *w = (struct watch){.args = args, .client = client};
    cli_line_begin(&w->line, args->quiet);
    snprintf(w->model, sizeof(w->model), "%s", args->model != NULL ? args->model : "");
}

static void say(struct watch *w, const char *what) {
    cli_line_say(&w->line, "%s%s%s", w->model, w->model[0] != '\0' ? ": " : "", what);
}

void watch_upload(uint64_t sent, uint64_t total, void *user) {
    struct watch *w = user;
    cli_line_upload(sent, total, &w->line);
    w->uploaded = sent == total;
}

/* The line does not speak of uploads for as long as the model thinks. */
static void tick(struct watch *w) {
    if (w->uploaded && !w->begun) {
        say(w, "waiting");
    }
    w->uploaded = false;
    cli_line_tick(&w->line);
}

/* ---- The queue ---- */

/* anyllm's own words for who answers: "upstream lab answers a/b", or "…; a/b was asked for, c/d is used". */
static bool find_model(struct watch *w, const char *message) {
    static const char answers[] = " answers ", asked[] = " was asked for, ", used[] = " is used";
    const char *from = strstr(message, asked), *to = from != NULL ? strstr(from, used) : NULL;
    if (strncmp(message, "upstream ", 9) != 0) {
        return false;
    }
    if (to != NULL) {
        from += sizeof(asked) - 1;
        snprintf(w->model, sizeof(w->model), "%.*s", (int)(to - from), from);
    } else if ((from = strstr(message, answers)) != NULL) {
        snprintf(w->model, sizeof(w->model), "%s", from + sizeof(answers) - 1);
    }
    return from != NULL;
}

static void take_log(struct watch *w, const struct fal_log *log) {
    if (!find_model(w, log->message)) {
        snprintf(w->note, sizeof(w->note), "%s", log->message);
    }
    if (w->args->logs) {
        cli_line_clear(&w->line);
        fputs("  | ", stderr);
        cli_print_text(stderr, log->message, false);
        fputc('\n', stderr);
    }
}

static void place(char *out, size_t size, const struct watch *w, const struct fal_status *s) {
    if (s->state == FAL_IN_PROGRESS) {
        snprintf(out, size, "%s", w->note[0] != '\0' && !w->args->logs ? w->note : "in progress");
    } else if (s->queue_position > 0) {
        snprintf(out, size, "in queue, %" PRId64 " ahead", s->queue_position);
    } else {
        snprintf(out, size, "in queue");
    }
}

/* --logs: the whole way in lines, for a file or a person. */
static void print_way(const struct watch *w, const struct fal_status *s, const char *text) {
    bool moved = s->state == FAL_IN_QUEUE && s->queue_position != w->position;
    if (s->state != FAL_COMPLETED && (!w->begun || s->state != w->state || moved)) {
        fprintf(stderr, "%s\n", text);
    }
}

static void print_completed(const struct fal_status *s) {
    if (s->error != NULL) {
        fputs("failed\n", stderr);
    } else if (s->inference_time_s >= 0) {
        fprintf(stderr, "completed in %.2f s\n", s->inference_time_s);
    } else {
        fputs("completed\n", stderr);
    }
}

void watch_enqueued(const char *request_id, void *user) {
    struct watch *w = user;
    w->uploaded = false;
    if (!w->args->logs) {
        say(w, "in queue");
        return;
    }
    cli_line_clear(&w->line);
    fputs("request ", stderr);
    cli_print_text(stderr, request_id, false);
    fputc('\n', stderr);
}

void watch_status(const struct fal_status *s, void *user) {
    struct watch *w = user;
    char text[LINE_BYTES];
    place(text, sizeof(text), w, s);
    if (w->args->logs) {
        cli_line_clear(&w->line);
        print_way(w, s, text);
    }
    for (size_t i = s->first_new_log; i < s->log_count; i++) {
        take_log(w, s->logs[i]);
    }
    place(text, sizeof(text), w, s);
    if (s->state != FAL_COMPLETED) {
        say(w, text);
    } else if (w->args->logs) {
        print_completed(s);
    }
    w->begun = true;
    w->state = s->state;
    w->position = s->queue_position;
}

/* ---- The answer ---- */

static void flush(struct watch *w) {
    if (w->write_error == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        w->write_error = errno;
        fal_client_cancel(w->client);
    }
}

/* A NUL inside is a control character like others. */
static void print_for_terminal(const char *text, size_t bytes) {
    for (size_t at = 0; at < bytes; at++) {
        cli_print_text(stdout, text + at, true);
        at += strlen(text + at);
        if (at < bytes) {
            putchar('?');
        }
    }
}

void watch_delta(const char *delta, size_t bytes, bool restart, void *user) {
    struct watch *w = user;
    cli_line_clear(&w->line);
    if (!w->begun) {
        clock_gettime(CLOCK_MONOTONIC, &w->first);
    }
    w->begun = true;
    if (restart && w->printed) {
        watch_settle(w);
    }
    if (bytes == 0) {
        return;
    }
    if (cli_is_terminal(stdout)) {
        print_for_terminal(delta, bytes);
    } else {
        fwrite(delta, 1, bytes, stdout);
    }
    w->printed = true;
    w->line_open = delta[bytes - 1] != '\n';
    flush(w);
}

void watch_event(const char *event_json, void *user) {
    struct watch *w = user;
    cli_line_clear(&w->line);
    if (!w->begun) {
        clock_gettime(CLOCK_MONOTONIC, &w->first);
    }
    w->begun = true;
    cli_print_json(event_json, true);
    w->printed = true;
    flush(w);
}

/* ---- The call ---- */

void watch_done(enum fal_code code, fal_result *result, void *user) {
    struct watch *w = user;
    w->done = true;
    w->code = code;
    w->result = result;
}

void watch_wait(struct watch *w, fal_call *call) {
    while (!w->done) {
        enum fal_code rc = fal_client_wait(w->client, TICK_MS);
        if (rc == FAL_ERR_CANCELLED) {
            fal_call_cancel(call);
        } else if (rc != FAL_OK) {
            cli_line_clear(&w->line);
            cli_usage_error(w->args->command, "%s", fal_strerror(rc));
            exit(CLI_FAILED);
        }
        tick(w);
    }
    fal_call_free(call);
}

void watch_settle(struct watch *w) {
    cli_line_clear(&w->line);
    if (w->line_open) {
        putchar('\n');
        w->line_open = false;
        flush(w);
    }
}

/* ---- The end ---- */

/* 0: the server did not say. */
static uint64_t tokens_of(const fal_result *result) {
    const char *json = fal_result_json(result);
    yyjson_doc *doc = json != NULL ? yyjson_read(json, strlen(json), 0) : NULL;
    uint64_t n = yyjson_get_uint(yyjson_doc_ptr_get(doc, "/usage/completion_tokens"));
    yyjson_doc_free(doc);
    return n;
}

/* From the first piece of a stream; else what the server says; else the whole. */
static double seconds_of(const struct watch *w, const fal_result *result, double total) {
    const struct fal_status *s = fal_result_status(result);
    if (w->first.tv_sec != 0) {
        double speaking = cli_seconds_since(&w->first);
        return speaking > LEAST_SECONDS ? speaking : total;
    }
    return s != NULL && s->inference_time_s > LEAST_SECONDS ? s->inference_time_s : total;
}

void watch_end(struct watch *w) {
    double total = cli_seconds_since(&w->line.since);
    uint64_t tokens = tokens_of(w->result);
    char speed[96] = "";
    if (tokens > 0) {
        snprintf(speed, sizeof(speed), "%" PRIu64 " tokens, %.1f tokens per second, ", tokens,
                 (double)tokens / seconds_of(w, w->result, total));
    }
    watch_settle(w);
    cli_line_end(&w->line, "%s%s%s%.1f s", w->model, w->model[0] != '\0' ? ": " : "", speed, total);
}
