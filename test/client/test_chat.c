/* anyllm chat as a person sees it on a terminal, and as a script drives it through pipes. The test is the server, too: it
 * takes a request, sends pieces of an answer, and looks at the terminal in between. */
#include "client/program.h"
#include "client/pty.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define UP "\x1b[A"
#define CTRL_C "\x03"
#define CTRL_D "\x04"
#define DONE "data: [DONE]\n\n"
#define STOP "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"

struct room {
    struct pty pty;
    int listener, conn;
    const char *last;                   /* what was answered */
    char base[64], home[64], path[128]; /* of the history */
    char home_is[80];
    char request[65536], file[65536];
};

/* ---- The room ---- */

static int open_room(void **state) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    struct room *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->conn = -1;
    r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(r->listener, 8), 0);
    assert_int_equal(getsockname(r->listener, (struct sockaddr *)&at, &len), 0);
    snprintf(r->base, sizeof(r->base), "http://127.0.0.1:%d", ntohs(at.sin_port));
    snprintf(r->home, sizeof(r->home), "/tmp/anyllm-chat-XXXXXX");
    assert_non_null(mkdtemp(r->home));
    snprintf(r->home_is, sizeof(r->home_is), "HOME=%s", r->home);
    snprintf(r->path, sizeof(r->path), "%s/.local/state/anyllm/chat.json", r->home);
    *state = r;
    return 0;
}

static int close_room(void **state) {
    struct room *r = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", r->home);
    if (r->conn >= 0) {
        close(r->conn);
    }
    close(r->listener);
    free(r);
    return system(command);
}

#define ENVIRONMENT(r) ENV((r)->home_is, (char[]){"TERM=xterm"}, (char[]){"LANG=C.UTF-8"})
/* On a terminal, up to the first prompt. */
#define CHAT(r, ...)                                                                \
    (pty_start(&(r)->pty, ANYLLM_BINARY, ENVIRONMENT(r),                            \
               ARGV((char[]){"chat"}, (char[]){"--base"}, (r)->base, __VA_ARGS__)), \
     pty_expect(&(r)->pty, "> "))

static void say(struct room *r, const char *text) {
    pty_type(&r->pty, text);
    pty_type(&r->pty, "\r");
}

static void leave(struct room *r) {
    pty_type(&r->pty, CTRL_D);
    pty_end(&r->pty);
    assert_int_equal(r->pty.code, 0);
}

static void wait_for(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, PTY_WAIT_S * 1000) != 1) {
        fail_msg("nothing came");
    }
}

static bool is_whole(const char *request) {
    const char *end = strstr(request, "\r\n\r\n");
    const char *length = strcasestr(request, "\r\nContent-Length:");
    return end != NULL && length != NULL && strlen(end + 4) >= strtoul(length + 17, NULL, 10);
}

/* Takes the next question into r->request. */
static void take_request(struct room *r) {
    size_t len = 0;
    ssize_t n = 1;
    wait_for(r->listener);
    r->conn = accept(r->listener, NULL, NULL);
    r->request[0] = '\0';
    while (!is_whole(r->request) && n > 0) {
        wait_for(r->conn);
        n = read(r->conn, r->request + len, sizeof(r->request) - 1 - len);
        len += n > 0 ? (size_t)n : 0;
        r->request[len] = '\0';
    }
    assert_true(n > 0);
}

static void reply(struct room *r, const char *bytes) {
    assert_int_equal(send(r->conn, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
}

static void hang_up(struct room *r) {
    close(r->conn);
    r->conn = -1;
}

static void begin_stream(struct room *r) {
    reply(r, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
}

static void reply_text(struct room *r, const char *text) {
    char event[512];
    snprintf(event, sizeof(event), "data: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\n\n",
             text);
    reply(r, event);
}

static void end_stream(struct room *r) {
    reply(r, STOP DONE);
    hang_up(r);
}

/* One question and its whole answer. */
static void answer(struct room *r, const char *text) {
    r->last = text;
    take_request(r);
    begin_stream(r);
    reply_text(r, text);
    end_stream(r);
}

static void expect_note(struct room *r, const char *text) {
    pty_expect(&r->pty, text);
    pty_expect(&r->pty, "> ");
}

/* The answer is there, and after it the prompt. */
static void expect_answer(struct room *r) {
    expect_note(r, r->last);
}

static void refuse(struct room *r, const char *status, const char *body) {
    char all[512];
    snprintf(all, sizeof(all),
             "HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             status, strlen(body), body);
    take_request(r);
    reply(r, all);
    hang_up(r);
}

static const char *file_text(struct room *r, const char *path) {
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(r->file, 1, sizeof(r->file) - 1, f) : 0;
    r->file[n] = '\0';
    if (f != NULL) {
        fclose(f);
    }
    return r->file;
}

static const char *in_home(struct room *r, const char *name) {
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", r->home, name);
    return path;
}

/* ---- On a terminal ---- */

static void chat_shows_the_answer_as_it_comes(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "Question?");
    take_request(r);
    expect_in(r->request, "POST /run/openrouter/router/openai/v1/chat/completions HTTP/1.1\r\n");
    expect_in(r->request, "\"messages\":[{\"role\":\"user\",\"content\":\"Question?\"}]");
    expect_in(r->request, "\"stream\":true");
    begin_stream(r);
    reply_text(r, "First,");
    pty_expect(&r->pty, "First,");
    reply_text(r, " second.");
    pty_expect(&r->pty, " second.");
    end_stream(r);
    pty_expect(&r->pty, "> ");
    leave(r);
}

static void chat_keeps_what_no_terminal_should_see_from_it(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "Question?");
    answer(r, "\\u001b[2J\\u009bgone");
    expect_note(r, "?[2J?gone");
    leave(r);
}

static void chat_sends_the_conversation_so_far(void **state) {
    struct room *r = *state;
    CHAT(r, (char[]){"--system"}, (char[]){"Be short."}, (char[]){"--max-tokens"}, (char[]){"9"});
    say(r, "One?");
    answer(r, "Uno.");
    expect_answer(r);
    say(r, "Two?");
    answer(r, "Due.");
    expect_in(r->request, "\"messages\":[{\"role\":\"system\",\"content\":\"Be short.\"},"
                          "{\"role\":\"user\",\"content\":\"One?\"},"
                          "{\"role\":\"assistant\",\"content\":\"Uno.\"},"
                          "{\"role\":\"user\",\"content\":\"Two?\"}]");
    expect_in(r->request, "\"max_tokens\":9");
    expect_answer(r);
    leave(r);
}

static void ctrl_c_ends_the_answer_and_not_the_program(void **state) {
    struct room *r = *state;
    char byte;
    CHAT(r, NULL);
    say(r, "Question?");
    take_request(r);
    begin_stream(r);
    reply_text(r, "Half an");
    pty_expect(&r->pty, "Half an");
    pty_type(&r->pty, CTRL_C);
    wait_for(r->conn);
    assert_true(read(r->conn, &byte, 1) <= 0); /* the server sees it go */
    hang_up(r);
    expect_note(r, "(cancelled; what came of it is kept)");
    expect_in(file_text(r, r->path), "\"content\": \"Half an\"");
    expect_in(r->file, "\"cut\": true");
    say(r, "Go on.");
    answer(r, "answer.");
    expect_in(r->request, "{\"role\":\"assistant\",\"content\":\"Half an\"}");
    expect_answer(r);
    leave(r);
}

static void ctrl_c_before_the_first_word_forgets_the_question(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "Question?");
    take_request(r);
    pty_type(&r->pty, CTRL_C);
    expect_note(r, "(cancelled)");
    hang_up(r);
    say(r, "Another?");
    answer(r, "Yes.");
    expect_in(r->request, "\"messages\":[{\"role\":\"user\",\"content\":\"Another?\"}]");
    expect_answer(r);
    leave(r);
}

static void ctrl_c_at_the_prompt_clears_the_line_and_twice_on_an_empty_one_quits(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    pty_type(&r->pty, "unwanted");
    pty_expect(&r->pty, "unwanted");
    pty_type(&r->pty, CTRL_C);
    expect_note(r, "^C\r\n");
    say(r, "Wanted?");
    answer(r, "Yes.");
    expect_in(r->request, "\"content\":\"Wanted?\"");
    expect_answer(r);
    pty_type(&r->pty, CTRL_C);
    expect_note(r, "to quit)");
    pty_type(&r->pty, CTRL_C);
    pty_end(&r->pty);
    assert_int_equal(r->pty.code, 0);
}

static void arrow_up_brings_back_a_line_and_those_of_the_kept_conversation(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "Question?");
    answer(r, "Yes.");
    expect_answer(r);
    say(r, UP);
    answer(r, "Again yes.");
    expect_in(r->request, "\"content\":\"Yes.\"},{\"role\":\"user\",\"content\":\"Question?\"}]");
    expect_answer(r);
    leave(r);
    CHAT(r, NULL);
    say(r, UP);
    answer(r, "Still yes.");
    expect_in(r->request, "\"messages\":[{\"role\":\"user\",\"content\":\"Question?\"}]");
    expect_answer(r);
    leave(r);
}

static void a_line_of_text_in_any_script_can_be_edited(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "Grüße, 世界x\x7f");
    answer(r, "你好");
    expect_in(r->request, "\"content\":\"Grüße, 世界\"");
    expect_note(r, "你好");
    leave(r);
}

static void several_lines_are_one_turn(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "one\\");
    pty_expect(&r->pty, "... ");
    say(r, "two");
    answer(r, "Yes.");
    expect_in(r->request, "\"content\":\"one\\ntwo\"");
    expect_answer(r);
    say(r, "\"\"\"");
    pty_expect(&r->pty, "... ");
    say(r, "three\\");
    pty_expect(&r->pty, "... ");
    say(r, "four\"\"\"");
    answer(r, "Yes.");
    expect_in(r->request, "\"content\":\"three\\\\\\nfour\"");
    expect_answer(r);
    leave(r);
}

/* ---- Commands ---- */

static void slash_model_and_system_count_from_then_on(void **state) {
    struct room *r = *state;
    CHAT(r, (char[]){"-m"}, (char[]){"a/one"});
    say(r, "/model b/two");
    expect_note(r, "(model: b/two)");
    say(r, "/system Be kind.");
    expect_note(r, "(system prompt: Be kind.)");
    say(r, "Question?");
    answer(r, "Yes.");
    expect_in(r->request, "\"model\":\"b/two\"");
    expect_in(r->request, "{\"role\":\"system\",\"content\":\"Be kind.\"}");
    expect_answer(r);
    say(r, "/system -");
    expect_note(r, "(system prompt: none)");
    say(r, "/model");
    expect_note(r, "(model: b/two)");
    leave(r);
}

static void slash_save_writes_markdown_or_json_and_over_no_other_file(void **state) {
    struct room *r = *state;
    FILE *mine = fopen(in_home(r, "mine.md"), "w");
    assert_non_null(mine);
    fclose(mine);
    CHAT(r, (char[]){"-m"}, (char[]){"a/one"});
    say(r, "Question?");
    answer(r, "Yes.");
    expect_answer(r);
    say(r, "/save ~/talk.md");
    expect_note(r, "(saved: ");
    assert_string_equal(file_text(r, in_home(r, "talk.md")),
                        "# Conversation\n\n**You**\n\nQuestion?\n\n**a/one**\n\nYes.\n");
    say(r, "/save ~/talk.json");
    expect_note(r, "(saved: ");
    expect_in(file_text(r, in_home(r, "talk.json")), "\"content\": \"Question?\"");
    say(r, "/save ~/mine.md");
    expect_note(r, "it is there already");
    assert_string_equal(file_text(r, in_home(r, "mine.md")), "");
    leave(r);
}

static void slash_new_begins_again_and_unknown_ones_are_not_sent(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "One?");
    answer(r, "Uno.");
    expect_answer(r);
    say(r, "/dance");
    expect_note(r, "there is no /dance; /help lists what there is");
    say(r, "/new");
    expect_note(r, "(a new conversation)");
    say(r, "//etc/passwd, what is it?");
    answer(r, "A file.");
    expect_in(r->request,
              "\"messages\":[{\"role\":\"user\",\"content\":\"/etc/passwd, what is it?\"}]");
    expect_answer(r);
    say(r, "/help");
    expect_note(r, "Ctrl-C stops an answer");
    say(r, "/quit");
    pty_end(&r->pty);
    assert_int_equal(r->pty.code, 0);
}

/* ---- The history ---- */

static void continue_goes_on_and_a_new_conversation_leaves_the_old_one_beside(void **state) {
    struct room *r = *state;
    struct stat info;
    CHAT(r, (char[]){"-m"}, (char[]){"a/one"}, (char[]){"-s"}, (char[]){"Be short."});
    say(r, "One?");
    answer(r, "Uno.");
    expect_answer(r);
    leave(r);
    assert_int_equal(stat(r->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    CHAT(r, (char[]){"--continue"});
    say(r, "Two?");
    answer(r, "Due.");
    expect_in(r->request, "\"model\":\"a/one\"");
    expect_in(r->request, "Be short.");
    expect_in(r->request, "{\"role\":\"assistant\",\"content\":\"Uno.\"}");
    expect_answer(r);
    leave(r);
    CHAT(r, NULL);
    say(r, "Three?");
    answer(r, "Tre.");
    expect_not_in(r->request, "Uno.");
    expect_answer(r);
    leave(r);
    expect_not_in(file_text(r, r->path), "Uno.");
    expect_in(file_text(r, in_home(r, ".local/state/anyllm/chat.json~")), "Uno.");
}

static void a_file_that_is_no_conversation_is_left_alone(void **state) {
    struct room *r = *state;
    struct program p;
    char path[128];
    snprintf(path, sizeof(path), "%s", in_home(r, "notes.txt"));
    FILE *mine = fopen(path, "w");
    assert_non_null(mine);
    fputs("my notes", mine);
    fclose(mine);
    program_begin(&p, ANYLLM_BINARY, "Question?\n", -1, ENVIRONMENT(r),
                  ARGV("chat", "--base", r->base, "--history", path));
    program_end(&p);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "this is no conversation of anyllm chat");
    assert_string_equal(file_text(r, path), "my notes");
}

/* It may have come from elsewhere. */
static void a_history_does_not_drive_the_terminal_either(void **state) {
    struct room *r = *state;
    char path[128];
    snprintf(path, sizeof(path), "%s", in_home(r, "other.json"));
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"format\":\"anyllm chat 1\",\"model\":\"a\\u001b[2J\",\"messages\":"
          "[{\"role\":\"user\",\"content\":\"x\\u001b[2Jy\"}]}",
          f);
    fclose(f);
    pty_start(&r->pty, ANYLLM_BINARY, ENVIRONMENT(r),
              ARGV((char[]){"chat"}, (char[]){"--base"}, r->base, (char[]){"--history"}, path,
                   (char[]){"--continue"}));
    pty_expect(&r->pty, "(a?[2J, the conversation goes on; ");
    pty_expect(&r->pty, "> ");
    pty_type(&r->pty, UP);
    pty_expect(&r->pty, "x^[[2Jy");
    pty_type(&r->pty, CTRL_C);
    pty_expect(&r->pty, "> ");
    leave(r);
}

static void a_history_that_cannot_be_written_is_said_once(void **state) {
    struct room *r = *state;
    CHAT(r, (char[]){"--history"}, (char[]){"/nowhere/at/all.json"});
    say(r, "One?");
    answer(r, "Uno.");
    expect_note(r, "the conversation is not kept: /nowhere/at/all.json: No such file");
    say(r, "Two?");
    answer(r, "Due.");
    expect_answer(r);
    leave(r);
    expect_not_in(r->pty.text, "not kept");
}

/* ---- What goes wrong ---- */

static void an_error_of_one_turn_ends_neither_program_nor_conversation(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "One?");
    answer(r, "Uno.");
    expect_answer(r);
    say(r, "Lost?");
    refuse(r, "404 No", "{\"error\":{\"message\":\"no such model\"}}");
    expect_note(r, "anyllm chat: no such model (HTTP 404)");
    say(r, "Two?");
    answer(r, "Due.");
    expect_in(r->request, "\"content\":\"Uno.\"},{\"role\":\"user\",\"content\":\"Two?\"}]");
    expect_answer(r);
    leave(r);
}

static void an_answer_that_breaks_off_is_kept_and_marked(void **state) {
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "One?");
    take_request(r);
    begin_stream(r);
    reply_text(r, "Half");
    reply(r, "data: {\"error\":{\"message\":\"the upstream fell over\"}}\n\n");
    hang_up(r);
    pty_expect(&r->pty, "Half\r\n");
    expect_note(r, "the upstream fell over");
    expect_in(file_text(r, r->path), "\"cut\": true");
    leave(r);
}

static void old_turns_are_left_out_when_the_model_cannot_take_them(void **state) {
    static const char too_long[] =
        "{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}";
    struct room *r = *state;
    CHAT(r, NULL);
    say(r, "One, in not so few words as it could be said?");
    answer(r, "Uno.");
    expect_answer(r);
    say(r, "Two?");
    refuse(r, "400 No", too_long);
    answer(r, "Due.");
    expect_in(r->request, "\"messages\":[{\"role\":\"user\",\"content\":\"Two?\"}]");
    pty_expect(&r->pty, "its oldest turns are not sent any more)");
    expect_note(r, "Due.");
    say(r, "Three?");
    refuse(r, "400 No", too_long);
    refuse(r, "400 No", too_long);
    expect_note(r, "this is longer than the model can take");
    leave(r);
}

/* ---- Through pipes ---- */

static void from_a_pipe_each_line_is_a_turn(void **state) {
    struct room *r = *state;
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "One?\r\n\n\"\"\"Two\nlines?\"\"\"\nLast", -1, ENVIRONMENT(r),
                  ARGV("chat", "--base", r->base));
    answer(r, "\\u001b[1mUno.");
    answer(r, "Due.\\n");
    expect_in(r->request, "\"content\":\"Two\\nlines?\"");
    answer(r, "Tre.");
    program_end(&p);
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "\x1b[1mUno.\nDue.\nTre.\n");
    assert_string_equal(p.err, "");
}

static void in_a_pipe_a_failed_turn_is_an_exit_code(void **state) {
    struct room *r = *state;
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "One?\nTwo?\n", -1, ENVIRONMENT(r),
                  ARGV("chat", "--base", r->base));
    refuse(r, "404 No", "{\"error\":{\"message\":\"no such model\"}}");
    answer(r, "Due.");
    program_end(&p);
    assert_int_equal(p.code, 1);
    assert_string_equal(p.out, "Due.\n");
    assert_string_equal(p.err, "anyllm chat: no such model (HTTP 404)\n");
}

static void ctrl_c_in_a_pipe_ends_the_program_and_keeps_the_answer(void **state) {
    struct room *r = *state;
    struct program p;
    program_begin(&p, ANYLLM_BINARY, "One?\nTwo?\n", -1, ENVIRONMENT(r),
                  ARGV("chat", "--base", r->base));
    take_request(r);
    begin_stream(r);
    reply_text(r, "Half");
    char out[8] = "";
    while (pread(p.out_fd, out, 4, 0) < 4) {
        usleep(1000);
    }
    kill(p.pid, SIGINT);
    program_end(&p);
    assert_int_equal(p.code, 130);
    assert_string_equal(p.out, "Half\n");
    expect_in(file_text(r, r->path), "\"cut\": true");
}

static void chat_takes_no_prompt(void **state) {
    struct room *r = *state;
    struct program p;
    PROGRAM_RUN(&p, ANYLLM_BINARY, ENVIRONMENT(r), "chat", "Hello");
    assert_int_equal(p.code, 2);
    expect_in(p.err, "takes no prompt");
}

#define ROOM_TEST(f) cmocka_unit_test_setup_teardown(f, open_room, close_room)

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(chat_shows_the_answer_as_it_comes),
        ROOM_TEST(chat_keeps_what_no_terminal_should_see_from_it),
        ROOM_TEST(chat_sends_the_conversation_so_far),
        ROOM_TEST(ctrl_c_ends_the_answer_and_not_the_program),
        ROOM_TEST(ctrl_c_before_the_first_word_forgets_the_question),
        ROOM_TEST(ctrl_c_at_the_prompt_clears_the_line_and_twice_on_an_empty_one_quits),
        ROOM_TEST(arrow_up_brings_back_a_line_and_those_of_the_kept_conversation),
        ROOM_TEST(a_line_of_text_in_any_script_can_be_edited),
        ROOM_TEST(several_lines_are_one_turn),
        ROOM_TEST(slash_model_and_system_count_from_then_on),
        ROOM_TEST(slash_save_writes_markdown_or_json_and_over_no_other_file),
        ROOM_TEST(slash_new_begins_again_and_unknown_ones_are_not_sent),
        ROOM_TEST(continue_goes_on_and_a_new_conversation_leaves_the_old_one_beside),
        ROOM_TEST(a_file_that_is_no_conversation_is_left_alone),
        ROOM_TEST(a_history_does_not_drive_the_terminal_either),
        ROOM_TEST(a_history_that_cannot_be_written_is_said_once),
        ROOM_TEST(an_error_of_one_turn_ends_neither_program_nor_conversation),
        ROOM_TEST(an_answer_that_breaks_off_is_kept_and_marked),
        ROOM_TEST(old_turns_are_left_out_when_the_model_cannot_take_them),
        ROOM_TEST(from_a_pipe_each_line_is_a_turn),
        ROOM_TEST(in_a_pipe_a_failed_turn_is_an_exit_code),
        ROOM_TEST(ctrl_c_in_a_pipe_ends_the_program_and_keeps_the_answer),
        ROOM_TEST(chat_takes_no_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
