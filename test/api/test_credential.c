/* The text of the keys that this server makes. */
#include "cmocka_all.h"

#include "api/credential.h"

#include <stdlib.h>

static enum credential_form look(const char *text, size_t len) {
    char *exact = malloc(len + 1); /* a read beyond the end is seen by the sanitizer */
    memcpy(exact, text, len);
    enum credential_form form = credential_look(slice_make(exact, len));
    free(exact);
    return form;
}

static void a_made_one_is_ours_and_no_two_are_alike(void **state) {
    char first[CREDENTIAL_BYTES + 1], text[CREDENTIAL_BYTES + 1];
    credential_make(&random_system, first);
    for (int i = 0; i < 1000; i++) {
        credential_make(&random_system, text);
        assert_int_equal(strlen(text), CREDENTIAL_BYTES);
        assert_int_equal(look(text, CREDENTIAL_BYTES), CREDENTIAL_OURS);
        assert_memory_equal(text + CREDENTIAL_ID_BYTES, ":" CREDENTIAL_PREFIX, 8);
        assert_memory_not_equal(text, first, CREDENTIAL_ID_BYTES);
        assert_memory_not_equal(text + 44, first + 44, CREDENTIAL_DRAWN_BYTES);
    }
}

static bool is_mark(size_t at) {
    return at >= CREDENTIAL_ID_BYTES && at < CREDENTIAL_ID_BYTES + sizeof CREDENTIAL_PREFIX;
}

/* Every single letter, changed to every other one. Within the mark itself the key is of another form. */
static void one_wrong_letter_is_seen(void **state) {
    static const char letters[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_:";
    char text[CREDENTIAL_BYTES + 1];
    credential_make(&random_system, text);
    for (size_t at = 0; at < CREDENTIAL_BYTES; at++) {
        char was = text[at];
        for (size_t i = 0; i < sizeof letters - 1; i++) {
            if (letters[i] == was) continue;
            text[at] = letters[i];
            assert_int_equal(look(text, CREDENTIAL_BYTES),
                             is_mark(at) ? CREDENTIAL_OTHER : CREDENTIAL_DAMAGED);
        }
        text[at] = was;
    }
}

static void two_letters_the_wrong_way_round_are_seen(void **state) {
    char text[CREDENTIAL_BYTES + 1];
    credential_make(&random_system, text);
    for (size_t at = CREDENTIAL_ID_BYTES + 8; at + 1 < CREDENTIAL_BYTES; at++) {
        char was = text[at];
        text[at] = text[at + 1];
        text[at + 1] = was;
        if (text[at] != was) assert_int_equal(look(text, CREDENTIAL_BYTES), CREDENTIAL_DAMAGED);
        text[at + 1] = text[at];
        text[at] = was;
    }
}

static void a_missing_or_doubled_letter_is_seen(void **state) {
    char text[CREDENTIAL_BYTES + 1], other[CREDENTIAL_BYTES + 2];
    credential_make(&random_system, text);
    for (size_t at = CREDENTIAL_ID_BYTES + 8; at < CREDENTIAL_BYTES; at++) {
        memcpy(other, text, at);
        memcpy(other + at, text + at + 1, CREDENTIAL_BYTES - at - 1);
        assert_int_equal(look(other, CREDENTIAL_BYTES - 1), CREDENTIAL_DAMAGED);
        memcpy(other + at, text + at, 1);
        memcpy(other + at + 1, text + at, CREDENTIAL_BYTES - at);
        assert_int_equal(look(other, CREDENTIAL_BYTES + 1), CREDENTIAL_DAMAGED);
    }
    for (size_t len = CREDENTIAL_ID_BYTES + 8; len < CREDENTIAL_BYTES; len++)
        assert_int_equal(look(text, len), CREDENTIAL_DAMAGED);
    for (size_t len = 0; len < CREDENTIAL_ID_BYTES + 8; len++)
        assert_int_equal(look(text, len), CREDENTIAL_OTHER);
}

/* The configuration's may look like anything: their secrets and ids are the operator's. */
static void a_key_of_another_form_is_left_alone(void **state) {
    static const char *const others[] = {
        "app1:secret",
        "app1:anyllm_secret",
        "app1:anyllm_",
        ":",
        "",
        "anyllm_",
        "1ad117ff-b304-4a0a-967b-5b41127827e6:0f31c4a9e2d04c6b9d2d8b6c4f6f7b31",
        "1ad117ff-b304-4a0a-967b-5b41127827e6:sk-anyllm_x"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(look(others[i], strlen(others[i])), CREDENTIAL_OTHER);
}

/* Keys that were given out stay good: the checksum is CRC-32 of IEEE 802.3 as zlib computes it. */
static void the_form_stays_as_it_was_given_out(void **state) {
    static const char given[] =
        "00000000-0000-4000-8000-000000000000:anyllm_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    /* python3 -c 'import zlib; print(zlib.crc32(b"…"))', in base62 */
    char text[CREDENTIAL_BYTES + 1];
    memcpy(text, given, sizeof given - 1);
    memcpy(text + sizeof given - 1, "0vToZ4", 7);
    assert_int_equal(look(text, CREDENTIAL_BYTES), CREDENTIAL_OURS);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_made_one_is_ours_and_no_two_are_alike),
        cmocka_unit_test(one_wrong_letter_is_seen),
        cmocka_unit_test(two_letters_the_wrong_way_round_are_seen),
        cmocka_unit_test(a_missing_or_doubled_letter_is_seen),
        cmocka_unit_test(a_key_of_another_form_is_left_alone),
        cmocka_unit_test(the_form_stays_as_it_was_given_out),
    };
    return cmocka_run_group_tests_name("credential", tests, NULL, NULL);
}
