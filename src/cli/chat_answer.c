#include "cli/chat.h"

#include "base/json.h"

#include <poll.h>
#include <stdlib.h>
#include <yyjson.h>

#define ENDPOINT "openrouter/router/openai/v1/chat/completions" /* takes a whole conversation */
#define MAX_FDS 32

struct asking {
    struct chat_answer *answer;
    bool terminal;
    bool finished; /* the model said that it was done */
    char *error;   /* what an event says went wrong; from malloc */
    bool over;
    enum fal_code code;
    fal_result *result;
};

/* ---- What comes ---- */

static void show(struct asking *a, const char *text) {
    buf_puts(&a->answer->text, text);
    if (a->terminal) {
        cli_print_text(stdout, text, true);
    } else {
        fputs(text, stdout);
    }
    fflush(stdout);
}

static void note_error(struct asking *a, yyjson_val *error) {
    const char *text = yyjson_get_str(yyjson_is_obj(error) ? json_get(error, "message") : error);
    if (text != NULL && a->error == NULL) {
        a->error = slice_dup(slice_of(text));
    }
}

/* A chunk of OpenAI's dialect. */
static void take_event(const char *event_json, void *user) {
    struct asking *a = user;
    yyjson_doc *doc = yyjson_read(event_json, strlen(event_json), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *choice = yyjson_arr_get_first(json_get(root, "choices"));
    const char *text = yyjson_get_str(json_get(json_get(choice, "delta"), "content"));
    if (text != NULL && text[0] != '\0') {
        show(a, text);
    }
    const char *model = yyjson_get_str(json_get(root, "model"));
    if (a->answer->model == NULL && model != NULL) {
        a->answer->model = slice_dup(slice_of(model));
    }
    a->finished = a->finished || yyjson_is_str(json_get(choice, "finish_reason"));
    note_error(a, json_get(root, "error"));
    yyjson_doc_free(doc);
}

static void take_result(enum fal_code code, fal_result *result, void *user) {
    struct asking *a = user;
    a->over = true;
    a->code = code;
    a->result = result;
}

/* ---- Waiting, with an eye on Ctrl-C ---- */

static void wait_once(fal_client *client, fal_call *call) {
    struct fal_fd fds[MAX_FDS];
    struct pollfd polled[MAX_FDS];
    size_t count = fal_client_fds(client, fds, MAX_FDS);
    int64_t ms = fal_client_timeout_ms(client);
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    count = count < MAX_FDS ? count : MAX_FDS;
    for (size_t i = 0; i < count; i++) {
        int events = ((fds[i].events & FAL_READABLE) != 0 ? POLLIN : 0) |
                     ((fds[i].events & FAL_WRITABLE) != 0 ? POLLOUT : 0);
        polled[i] = (struct pollfd){.fd = fds[i].fd, .events = (short)events};
    }
    int ready = ppoll(polled, count, ms < 0 ? NULL : &time, chat_signals_open());
    if (ready < 0 && chat_signal() != 0) {
        fal_call_cancel(call);
    }
    for (size_t i = 0; ready > 0 && i < count; i++) {
        int events = ((polled[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0 ? FAL_READABLE : 0) |
                     ((polled[i].revents & (POLLOUT | POLLERR)) != 0 ? FAL_WRITABLE : 0);
        if (events != 0) {
            fal_client_ready(client, fds[i].fd, events);
        }
    }
    if (ready <= 0) {
        fal_client_ready(client, -1, 0);
    }
}

static void ask(struct asking *a, const struct cli_args *args, fal_client *client,
                const char *input_json) {
    struct fal_stream_options o = FAL_STREAM_OPTIONS_INIT;
    struct fal_done done = {take_result, a};
    fal_call *call = NULL;
    o.path = ""; /* the dialect's stream is of the same address */
    o.timeout_ms = (int64_t)(args->timeout_s * 1000.0 + 0.999);
    o.hint = args->hint;
    o.on_event = take_event;
    o.user = a;
    a->code = fal_stream_start(client, ENDPOINT, input_json, &o, done, &call);
    while (a->code == FAL_OK && !a->over) {
        wait_once(client, call);
    }
    fal_call_free(call);
}

/* ---- How it ended ---- */

static bool is_too_long(const struct asking *a) {
    const char *code = fal_result_string(a->result, "/error/code");
    return a->code == FAL_ERR_HTTP && buf_len(&a->answer->text) == 0 && code != NULL &&
           strcmp(code, "context_length_exceeded") == 0;
}

static bool is_unknown_model(const struct asking *a) {
    const char *code = fal_result_string(a->result, "/error/code");
    return code != NULL && strcmp(code, "model_not_found") == 0;
}

static int say_why(const struct asking *a, const struct cli_args *args) {
    if (a->code != FAL_OK && a->over && (a->error == NULL || a->code == FAL_ERR_HTTP)) {
        int code = cli_fail(args, a->result);
        if (is_unknown_model(a) && !args->quiet) {
            fputs("(anyllm models lists what there is; /model ID asks another one)\n", stderr);
        }
        return code;
    }
    const char *why = a->error != NULL         ? a->error
                      : a->code != FAL_OK      ? fal_strerror(a->code)
                      : a->answer->text.failed ? "the answer is too large"
                                               : "the answer broke off";
    fprintf(stderr, "anyllm %s: ", args->command);
    cli_print_text(stderr, why, false);
    fputc('\n', stderr);
    return a->error != NULL || a->code != FAL_OK ? CLI_FAILED : CLI_TRANSPORT;
}

/* A terminal gets an empty line between an answer and what comes then. */
static void end_text(const struct buf *text, bool terminal) {
    if (buf_len(text) > 0 && !slice_ends(buf_slice(text), SLICE("\n"))) {
        putchar('\n');
    }
    if (buf_len(text) > 0 && terminal) {
        putchar('\n');
    }
    fflush(stdout);
}

void chat_answer_get(struct chat_answer *answer, const struct cli_args *args, fal_client *client,
                     const char *input_json, bool terminal) {
    struct asking a = {.answer = answer, .terminal = terminal};
    *answer = (struct chat_answer){0};
    buf_init(&answer->text, FAL_MAX_REPLY_BYTES);
    ask(&a, args, client, input_json);
    end_text(&answer->text, terminal);
    bool good = a.code == FAL_OK && a.finished && a.error == NULL && !answer->text.failed;
    answer->end = good ? CHAT_ANSWERED : buf_len(&answer->text) > 0 ? CHAT_CUT : CHAT_UNANSWERED;
    answer->too_long = is_too_long(&a);
    if (a.code == FAL_ERR_CANCELLED) {
        answer->code = 128 + chat_signal();
    } else if (!good && !answer->too_long) {
        answer->code = say_why(&a, args);
    }
    free(a.error);
    fal_result_free(a.result);
}

void chat_answer_free(struct chat_answer *a) {
    buf_free(&a->text);
    free(a->model);
}
