/* The conversation of anyllm chat: what of it is sent, and how it lies in its file. */
#include "cli/chat.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void say(struct chat_talk *talk, const char *question, const char *answer) {
    assert_true(chat_talk_add(talk, true, slice_of(question), NULL, false));
    if (answer != NULL) {
        assert_true(chat_talk_add(talk, false, slice_of(answer), "a/one", false));
    }
}

static void talk_sends_all_that_fits_and_begins_with_the_user(void **state) {
    (void)state;
    struct chat_talk talk = {0};
    say(&talk, "12345", "12345");
    say(&talk, "12345", "12345");
    say(&talk, "12345", NULL);
    assert_int_equal(chat_talk_first(&talk, 25), 0);
    assert_int_equal(chat_talk_first(&talk, 24), 2); /* the answer alone would fit */
    assert_int_equal(chat_talk_first(&talk, 15), 2);
    assert_int_equal(chat_talk_first(&talk, 14), 4);
    assert_int_equal(chat_talk_first(&talk, 0), 4); /* the question itself always goes */
    assert_int_equal(chat_talk_bytes(&talk, 2), 15);
    assert_true(chat_talk_set(&talk.system, "1"));
    assert_int_equal(chat_talk_first(&talk, 25), 2);
    chat_talk_free(&talk);
}

static void talk_halves_until_only_the_question_is_left(void **state) {
    (void)state;
    struct chat_talk talk = {0};
    size_t first = 0, rounds = 0;
    for (int i = 0; i < 50; i++) {
        say(&talk, i % 3 == 0 ? "" : "question", i % 2 == 0 ? "a somewhat longer answer" : "");
    }
    say(&talk, "last", NULL);
    for (; first + 1 < talk.count; rounds++) {
        size_t next = chat_talk_first(&talk, chat_talk_bytes(&talk, first) / 2);
        assert_true(next > first);
        first = next;
    }
    assert_in_range(rounds, 1, 20);
    chat_talk_free(&talk);
}

static void talk_is_openais_input(void **state) {
    (void)state;
    struct chat_talk talk = {0};
    struct cli_args args = {.has_temperature = true, .temperature = 0.5, .max_tokens = 7};
    say(&talk, "One?", "Uno \"1\".");
    say(&talk, "Two?", NULL);
    assert_true(chat_talk_set(&talk.model, "b/two") && chat_talk_set(&talk.system, "Be short."));
    char *json = chat_talk_input(&talk, 2, &args);
    assert_string_equal(json, "{\"model\":\"b/two\",\"messages\":["
                              "{\"role\":\"system\",\"content\":\"Be short.\"},"
                              "{\"role\":\"user\",\"content\":\"Two?\"}],\"stream\":true,"
                              "\"temperature\":0.5,\"max_tokens\":7}");
    free(json);
    say(&talk, "\xff", NULL);
    assert_null(chat_talk_input(&talk, 0, &args));
    chat_talk_free(&talk);
}

/* ---- In a file ---- */

struct place {
    char folder[64], path[96];
};

static int make_place(void **state) {
    static struct place place;
    snprintf(place.folder, sizeof(place.folder), "/tmp/anyllm-talk-XXXXXX");
    assert_non_null(mkdtemp(place.folder));
    snprintf(place.path, sizeof(place.path), "%s/chat.json", place.folder);
    *state = &place;
    return 0;
}

static int remove_place(void **state) {
    struct place *place = *state;
    unlink(place->path);
    return rmdir(place->folder); /* nothing else may be left there */
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void talk_comes_back_from_its_file(void **state) {
    struct place *place = *state;
    struct chat_talk talk = {0}, again = {0};
    struct stat info;
    say(&talk, "One?\n\tГрüße 世", "Uno.");
    assert_true(chat_talk_add(&talk, false, SLICE("Half"), NULL, true));
    assert_true(chat_talk_set(&talk.system, "Be short."));
    umask(0);
    write_file(place->path, "old and longer than nothing");
    assert_true(chat_file_store(place->path, &talk));
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(chat_file_load(place->path, &again), CHAT_FILE_OK);
    assert_int_equal(again.count, 3);
    assert_true(again.messages[0].by_user && again.messages[2].cut && !again.messages[1].cut);
    assert_string_equal(again.messages[0].text, "One?\n\tГрüße 世");
    assert_string_equal(again.messages[1].model, "a/one");
    assert_string_equal(again.system, "Be short.");
    assert_null(again.model);
    chat_talk_free(&talk);
    chat_talk_free(&again);
}

static void file_of_something_else_is_no_conversation(void **state) {
    static const char *const texts[] = {
        "",
        "nonsense",
        "[]",
        "{}",
        "{\"format\":\"anyllm chat 2\",\"messages\":[]}",
        "{\"format\":\"anyllm chat 1\",\"messages\":{}}",
        "{\"format\":\"anyllm chat 1\",\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}",
        "{\"format\":\"anyllm chat 1\",\"messages\":[{\"role\":\"user\",\"content\":1}]}",
        "{\"format\":\"anyllm chat 1\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"},7]}"};
    struct place *place = *state;
    struct chat_talk talk = {0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_file(place->path, texts[i]);
        assert_int_equal(chat_file_load(place->path, &talk), CHAT_FILE_BAD);
        assert_int_equal(talk.count, 0);
    }
    unlink(place->path);
    assert_int_equal(chat_file_load(place->path, &talk), CHAT_FILE_NONE);
}

static void file_that_cannot_be_written_leaves_the_old_one(void **state) {
    struct place *place = *state;
    struct chat_talk talk = {0};
    say(&talk, "\xff", NULL); /* is no JSON string */
    write_file(place->path, "old");
    assert_false(chat_file_store(place->path, &talk));
    FILE *f = fopen(place->path, "r");
    assert_non_null(f);
    assert_int_equal(fgetc(f), 'o');
    fclose(f);
    chat_talk_free(&talk);
    say(&talk, "x", NULL);
    assert_false(chat_file_store("/nowhere/at/all.json", &talk));
    assert_int_equal(errno, ENOENT);
    chat_talk_free(&talk);
}

#define PLACE_TEST(f) cmocka_unit_test_setup_teardown(f, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(talk_sends_all_that_fits_and_begins_with_the_user),
        cmocka_unit_test(talk_halves_until_only_the_question_is_left),
        cmocka_unit_test(talk_is_openais_input),
        PLACE_TEST(talk_comes_back_from_its_file),
        PLACE_TEST(file_of_something_else_is_no_conversation),
        PLACE_TEST(file_that_cannot_be_written_leaves_the_old_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
