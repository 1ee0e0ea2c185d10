/* The contract's files and keys, whatever stands behind it. */
#include "store/store_suite.h"

#include <stdio.h>
#include <stdlib.h>

static struct store_file file(unsigned n, enum store_file_state state) {
    struct store_file f = {.state = state,
                           .owner = SLICE("app1"),
                           .name = SLICE("a picture.png"),
                           .content_type = SLICE("image/png"),
                           .acl = SLICE("{\"default\":\"hide\"}"),
                           .bytes = 1000 + n,
                           .created_ms = 5000 + n,
                           .lifetime_ms = 3600000,
                           .expires_ms = 90000};
    snprintf(f.id, sizeof f.id, "%s", id_of(n));
    memset(f.sha256, (int)n, sizeof f.sha256);
    return f;
}

static void same_file(const struct store_file *a, const struct store_file *b) {
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->state, b->state);
    assert_true(slice_eq(a->owner, b->owner) && slice_eq(a->name, b->name) &&
                slice_eq(a->content_type, b->content_type) && slice_eq(a->acl, b->acl));
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->sha256, b->sha256, 32);
    assert_int_equal(a->created_ms, b->created_ms);
    assert_int_equal(a->lifetime_ms, b->lifetime_ms);
    assert_int_equal(a->expires_ms, b->expires_ms);
}

static void is_file(struct fixture *f, const struct store_file *expected) {
    assert_int_equal(READ(f, ask_file(f, expected->id)), STORE_OK);
    assert_int_equal(f->nfiles, 1);
    same_file(&f->files[0], expected);
}

/* --- one file */

static void file_gives_back_what_it_was_given(void **state) {
    struct fixture *f = *state;
    static const char odd[] = "\xf0\x9f\x98\x80 \0 \xff'\";--";
    struct store_file one = file(1, STORE_FILE_PENDING), two = file(2, STORE_FILE_WHOLE);
    two.owner = two.name = two.content_type = two.acl = slice_make(odd, sizeof odd - 1);
    two.bytes = INT64_MAX;
    memset(one.id, 'f', sizeof one.id - 1); /* the longest */
    assert_int_equal(READ(f, ask_file(f, one.id)), STORE_NOT_FOUND);
    assert_int_equal(f->nfiles, 0);
    assert_int_equal(status_of(f, give_file(f, &one)), STORE_OK);
    assert_int_equal(status_of(f, give_file(f, &two)), STORE_OK);
    for (unsigned round = 0; round < 2; round++) {
        is_file(f, &one);
        is_file(f, &two);
        fixture_close(f);
        fixture_open(f);
    }
    assert_int_equal(READ(f, ask_file(f, "")), STORE_NOT_FOUND);
    assert_int_equal(READ(f, ask_file(f, "' OR 1=1 --")), STORE_NOT_FOUND);
}

static void file_of_a_taken_id_is_stale(void **state) {
    struct fixture *f = *state;
    struct store_file one = file(1, STORE_FILE_WHOLE), other = file(1, STORE_FILE_PENDING);
    other.owner = SLICE("app2");
    give_file(f, &one);
    assert_int_equal(status_of(f, give_file(f, &other)), STORE_STALE);
    is_file(f, &one);
}

static void finish_takes_over_what_the_bytes_are_and_happens_once(void **state) {
    struct fixture *f = *state;
    struct store_file one = file(1, STORE_FILE_PENDING), end = file(7, STORE_FILE_WHOLE);
    assert_int_equal(status_of(f, give_whole(f, &one)), STORE_NOT_FOUND);
    give_file(f, &one);
    snprintf(end.id, sizeof end.id, "%s", one.id);
    end.owner = SLICE("thief");
    end.name = SLICE("other");
    end.acl = SLICE("other");
    end.content_type = SLICE("text/plain");
    end.expires_ms = 0;
    end.state = STORE_FILE_PENDING; /* says nothing */
    assert_int_equal(status_of(f, give_whole(f, &end)), STORE_OK);
    one.state = STORE_FILE_WHOLE;
    one.bytes = 1007;
    one.content_type = SLICE("text/plain");
    one.expires_ms = 0;
    memset(one.sha256, 7, sizeof one.sha256);
    is_file(f, &one);
    end.bytes = 1;
    assert_int_equal(status_of(f, give_whole(f, &end)), STORE_STALE);
    is_file(f, &one);
}

static void acl_is_replaced_and_removal_is_final(void **state) {
    struct fixture *f = *state;
    struct store_file one = file(1, STORE_FILE_WHOLE);
    assert_int_equal(status_of(f, give_acl(f, one.id, SLICE("{}"))), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_removal(f, &one)), STORE_NOT_FOUND);
    give_file(f, &one);
    assert_int_equal(status_of(f, give_acl(f, one.id, SLICE("{\"default\":\"allow\"}"))), STORE_OK);
    one.acl = SLICE("{\"default\":\"allow\"}");
    is_file(f, &one);
    assert_int_equal(status_of(f, give_acl(f, one.id, SLICE_NONE)), STORE_OK);
    one.acl = SLICE("");
    is_file(f, &one);
    assert_int_equal(status_of(f, give_removal(f, &one)), STORE_OK);
    assert_int_equal(READ(f, ask_file(f, one.id)), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_removal(f, &one)), STORE_NOT_FOUND);
    assert_int_equal(status_of(f, give_whole(f, &one)), STORE_NOT_FOUND);
}

/* Who saw an upload run out must not remove the file that it has become meanwhile. */
static void removal_is_of_the_row_that_was_seen(void **state) {
    struct fixture *f = *state;
    struct store_file seen = file(1, STORE_FILE_PENDING), whole = file(1, STORE_FILE_WHOLE), other;
    give_file(f, &seen);
    give_whole(f, &whole);
    assert_int_equal(status_of(f, give_removal(f, &seen)), STORE_STALE);
    is_file(f, &whole);
    other = whole;
    other.expires_ms++;
    assert_int_equal(status_of(f, give_removal(f, &other)), STORE_STALE);
    other = whole;
    other.bytes--;
    assert_int_equal(status_of(f, give_removal(f, &other)), STORE_STALE);
    is_file(f, &whole);
    whole.acl = SLICE("another, which does not matter");
    assert_int_equal(status_of(f, give_removal(f, &whole)), STORE_OK);
    assert_int_equal(READ(f, ask_file(f, whole.id)), STORE_NOT_FOUND);
}

/* --- many */

#define MANY 100U

/* Each third is app2's, each fifth is PENDING, each fourth is kept for ever, the others expire at 10000 + n. */
static void give_many(struct fixture *f) {
    for (unsigned i = 0; i < MANY; i++) {
        unsigned n = i * 37U % MANY;
        struct store_file one = file(n, n % 5 ? STORE_FILE_WHOLE : STORE_FILE_PENDING);
        if (n % 3 == 0) one.owner = SLICE("app2");
        one.expires_ms = n % 4 ? 10000 + n : 0;
        give_file(f, &one);
    }
    fixture_settle(f);
}

static void walk(struct fixture *f, struct store_file_query q, bool (*is_chosen)(unsigned n)) {
    unsigned next = 0;
    char after[STORE_ID_BYTES];
    q.limit = 9;
    for (bool more = true; more;) {
        assert_int_equal(READ(f, ask_files(f, &q)), STORE_OK);
        more = f->answers[f->tickets].more;
        assert_true(f->nfiles == 9 || !more);
        for (size_t i = 0; i < f->nfiles; i++, next++) {
            while (!is_chosen(next)) next++;
            assert_string_equal(f->files[i].id, id_of(next));
        }
        if (f->nfiles > 0) snprintf(after, sizeof after, "%s", f->files[f->nfiles - 1].id);
        q.after = after;
    }
    while (next < MANY && !is_chosen(next)) next++;
    assert_int_equal(next, MANY);
}

static bool any(unsigned n) {
    return true;
}

static bool of_app2(unsigned n) {
    return n % 3 == 0;
}

static bool expired(unsigned n) {
    return n % 4 && n < 50;
}

static bool expired_of_app2(unsigned n) {
    return expired(n) && of_app2(n);
}

static void files_page_in_order_of_id_by_owner_and_expiry(void **state) {
    struct fixture *f = *state;
    give_many(f);
    walk(f, (struct store_file_query){0}, any);
    walk(f, (struct store_file_query){.owner = SLICE("app2")}, of_app2);
    walk(f, (struct store_file_query){.expires_before_ms = 10050}, expired);
    walk(f, (struct store_file_query){.owner = SLICE("app2"), .expires_before_ms = 10050},
         expired_of_app2);
    struct store_file_query q = {.owner = SLICE("nobody")};
    assert_int_equal(READ(f, ask_files(f, &q)), STORE_OK);
    assert_int_equal(f->nfiles, 0);
}

static void file_sums_count_pending_ones_with_what_they_declared(void **state) {
    struct fixture *f = *state;
    assert_int_equal(READ(f, ask_file_sums(f)), STORE_OK);
    assert_int_equal(f->nfile_sums, 0);
    give_many(f);
    assert_int_equal(READ(f, ask_file_sums(f)), STORE_OK);
    assert_int_equal(f->nfile_sums, 2);
    assert_true(slice_is(f->file_sums[0].owner, "app1"));
    assert_int_equal(f->file_sums[0].files, 66);
    assert_int_equal(f->file_sums[1].files, 34);
    assert_int_equal(f->file_sums[0].pending + f->file_sums[1].pending, 20);
    assert_int_equal(f->file_sums[0].bytes + f->file_sums[1].bytes, 100000 + 99 * 50);
}

static void what_files_are_given_is_copied(void **state) {
    struct fixture *f = *state;
    char text[] = "kept", id[STORE_ID_BYTES], after[STORE_ID_BYTES] = "0";
    struct store_file one = file(1, STORE_FILE_WHOLE), expected = one;
    snprintf(id, sizeof id, "%s", one.id);
    one.owner = one.name = one.content_type = slice_of(text);
    expected.owner = expected.name = expected.content_type = expected.acl = SLICE("kept");
    give_file(f, &one);
    give_acl(f, id, slice_of(text));
    memset(text, 'x', sizeof text - 1);
    memset(id, 'x', sizeof id - 1);
    memset(&one, 'x', sizeof one);
    is_file(f, &expected);
    memcpy(text, "kept", sizeof text);
    struct store_file_query q = {.owner = slice_of(text), .after = after};
    ask_files(f, &q);
    memset(text, 'x', sizeof text - 1);
    memset(after, 'x', sizeof after - 1);
    fixture_settle(f);
    assert_int_equal(f->nfiles, 1);
}

/* --- keys */

static struct store_key key(const char *id, int64_t created_ms) {
    struct store_key k = {.id = slice_of(id),
                          .alias = SLICE("ci \xf0\x9f\x98\x80"),
                          .owner = SLICE("team"),
                          .scope = 1,
                          .created_ms = created_ms,
                          .expires_ms = 99999};
    memset(k.sha256, id[0], sizeof k.sha256);
    return k;
}

static void same_key(const struct store_key *a, const struct store_key *b) {
    assert_true(slice_eq(a->id, b->id) && slice_eq(a->alias, b->alias) &&
                slice_eq(a->owner, b->owner));
    assert_int_equal(a->scope, b->scope);
    assert_memory_equal(a->sha256, b->sha256, 32);
    assert_int_equal(a->created_ms, b->created_ms);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->revoked_ms, b->revoked_ms);
}

static void keys_come_back_in_order_of_their_making(void **state) {
    struct fixture *f = *state;
    struct store_key late = key("a", 3000), early = key("b", 2000);
    late.revoked_ms = 5;
    late.scope = 0;
    assert_int_equal(READ(f, ask_keys(f)), STORE_OK);
    assert_int_equal(f->nkeys, 0);
    give_key(f, &late);
    give_key(f, &early);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(READ(f, ask_keys(f)), STORE_OK);
        assert_int_equal(f->nkeys, 2);
        same_key(&f->keys[0], &early);
        same_key(&f->keys[1], &late);
        fixture_close(f);
        fixture_open(f);
    }
}

static void key_of_a_taken_id_is_stale_even_when_revoked(void **state) {
    struct fixture *f = *state;
    struct store_key first = key("a", 3000), second = key("a", 4000);
    second.owner = SLICE("thief");
    give_key(f, &first);
    assert_int_equal(status_of(f, give_key(f, &second)), STORE_STALE);
    assert_int_equal(status_of(f, give_revocation(f, SLICE("a"), 3500)), STORE_OK);
    assert_int_equal(status_of(f, give_key(f, &second)), STORE_STALE);
    first.revoked_ms = 3500;
    assert_int_equal(READ(f, ask_keys(f)), STORE_OK);
    assert_int_equal(f->nkeys, 1);
    same_key(&f->keys[0], &first);
}

static void a_key_stays_revoked_since_the_first_time(void **state) {
    struct fixture *f = *state;
    struct store_key one = key("a", 3000), other = key("b", 3001);
    assert_int_equal(status_of(f, give_revocation(f, SLICE("a"), 3500)), STORE_NOT_FOUND);
    give_key(f, &one);
    give_key(f, &other);
    assert_int_equal(status_of(f, give_revocation(f, SLICE("a"), 3500)), STORE_OK);
    assert_int_equal(status_of(f, give_revocation(f, SLICE("a"), 4500)), STORE_OK);
    assert_int_equal(READ(f, ask_keys(f)), STORE_OK);
    assert_int_equal(f->keys[0].revoked_ms, 3500);
    assert_int_equal(f->keys[1].revoked_ms, 0);
}

static void what_keys_are_given_is_copied(void **state) {
    struct fixture *f = *state;
    char text[] = "kept";
    struct store_key one = key("a", 3000), expected = one;
    one.id = one.alias = one.owner = slice_of(text);
    expected.id = expected.alias = expected.owner = SLICE("kept");
    expected.revoked_ms = 7;
    give_key(f, &one);
    give_revocation(f, slice_of(text), 7);
    memset(text, 'x', sizeof text - 1);
    memset(&one, 'x', sizeof one);
    assert_int_equal(READ(f, ask_keys(f)), STORE_OK);
    assert_int_equal(f->nkeys, 1);
    same_key(&f->keys[0], &expected);
}

#define T(name) {#name, name, fixture_setup, fixture_teardown, NULL}

int store_suite_files(const struct suite_backend *backend) {
    struct CMUnitTest tests[] = {
        T(file_gives_back_what_it_was_given),
        T(file_of_a_taken_id_is_stale),
        T(finish_takes_over_what_the_bytes_are_and_happens_once),
        T(acl_is_replaced_and_removal_is_final),
        T(files_page_in_order_of_id_by_owner_and_expiry),
        T(removal_is_of_the_row_that_was_seen),
        T(file_sums_count_pending_ones_with_what_they_declared),
        T(what_files_are_given_is_copied),
        T(keys_come_back_in_order_of_their_making),
        T(key_of_a_taken_id_is_stale_even_when_revoked),
        T(a_key_stays_revoked_since_the_first_time),
        T(what_keys_are_given_is_copied),
    };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tests[i].initial_state = (void *)(uintptr_t)backend;
    return cmocka_run_group_tests_name("files and keys", tests, NULL, NULL);
}
