/* Tokens, with a signer of the test's own: what one may open, and what is none. */
#include "cmocka_all.h"

#include "api/jwt.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOW 1795400000

static char dir[64];
static struct signer *signer;
static struct arena arena;

static int64_t wall(void *user) {
    return (int64_t)NOW * 1000;
}

static const struct clock test_clock = {.wall_ms = wall};

static struct signer *new_signer(void) {
    char reason[512];
    snprintf(dir, sizeof dir, "/tmp/test-jwt-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return signer_open(dir, &test_clock, &random_system, reason, sizeof reason);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    return remove(path);
}

static void remove_folder(void) {
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int open_signer(void **state) {
    signer = new_signer();
    arena_init(&arena, 1U << 20);
    return signer == NULL;
}

static int close_signer(void **state) {
    signer_free(signer);
    arena_free(&arena);
    remove_folder();
    return 0;
}

static struct jwt_claims some_claims(void) {
    return (struct jwt_claims){.owner = SLICE("acme"),
                               .key_id = SLICE("k1"),
                               .napps = 2,
                               .apps = {SLICE("any-llm"), SLICE("fal-ai/other/sub")},
                               .issued_s = NOW,
                               .expires_s = NOW + 120};
}

static void write_token(struct buf *b, const struct signer *s) {
    struct jwt_claims claims = some_claims();
    buf_init(b, JWT_MAX_BYTES);
    assert_true(jwt_write(b, s, &claims));
}

static void jwt_reads_what_it_wrote(void **state) {
    struct jwt_claims out;
    struct buf b;
    write_token(&b, signer);
    assert_null(jwt_read(buf_slice(&b), signer, NOW, &arena, &out));
    assert_true(slice_is(out.owner, "acme"));
    assert_true(slice_is(out.key_id, "k1"));
    assert_int_equal(out.napps, 2);
    assert_true(slice_is(out.apps[1], "fal-ai/other/sub"));
    assert_int_equal(out.expires_s, NOW + 120);
    buf_free(&b);
}

static void jwt_ends_at_its_second(void **state) {
    struct jwt_claims out;
    struct buf b;
    write_token(&b, signer);
    assert_null(jwt_read(buf_slice(&b), signer, NOW + 119, &arena, &out));
    assert_string_equal(jwt_read(buf_slice(&b), signer, NOW + 120, &arena, &out),
                        "The token has expired");
    buf_free(&b);
}

/* Any character replaced by another, any cut, anything behind it. */
static void jwt_refuses_every_change(void **state) {
    struct jwt_claims out;
    struct buf b;
    write_token(&b, signer);
    for (size_t i = 0; i < buf_len(&b); i++) {
        char *at = b.base + b.start + i, old = *at;
        *at = old == 'A' ? 'B' : 'A';
        if (jwt_read(buf_slice(&b), signer, NOW, &arena, &out) == NULL)
            fail_msg("changed at %zu", i);
        *at = old;
        assert_non_null(jwt_read(slice_make(b.base + b.start, i), signer, NOW, &arena, &out));
        arena_reset(&arena);
    }
    char *last = b.base + b.end - 1, kept = *last; /* its lowest bits are of no byte */
    *last = (char)(kept == 'A' ? 'B' : kept == 'Q' ? 'R' : kept == 'g' ? 'h' : 'x');
    assert_non_null(jwt_read(buf_slice(&b), signer, NOW, &arena, &out));
    *last = kept;
    assert_null(jwt_read(buf_slice(&b), signer, NOW, &arena, &out));
    buf_puts(&b, "A");
    assert_non_null(jwt_read(buf_slice(&b), signer, NOW, &arena, &out));
    buf_free(&b);
}

static void jwt_refuses_what_another_server_signed(void **state) {
    struct jwt_claims out;
    struct buf b;
    char ours[sizeof dir];
    memcpy(ours, dir, sizeof dir);
    struct signer *other = new_signer();
    assert_non_null(other);
    write_token(&b, other);
    assert_string_equal(jwt_read(buf_slice(&b), signer, NOW, &arena, &out), "Invalid token");
    assert_null(jwt_read(buf_slice(&b), other, NOW, &arena, &out));
    buf_free(&b);
    signer_free(other);
    remove_folder();
    memcpy(dir, ours, sizeof dir);
}

static void jwt_refuses_what_is_none(void **state) {
    static const char *const rows[] = {
        "", ".", "..", "...", "a.b.c", "a.b", "a..c", "e30.e30.", "e30.e30.e30",
        /* {"alg":"none","typ":"JWT","kid":"x"}.{"sub":"acme","key_id":"k1"}. */
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIiwia2lkIjoieCJ9.eyJzdWIiOiJhY21lIiwia2V5X2lkIjoiazEifQ.",
        /* HS256 with 32 zero bytes as signature */
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IngifQ.e30."
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Key a:b", "eyJ hbGciOiJub25lIn0.e30.", "e30=.e30=.e30="};
    struct jwt_claims out;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (jwt_read(slice_of(rows[i]), signer, NOW, &arena, &out) == NULL) fail_msg("%s", rows[i]);
    char *large = calloc(1, JWT_MAX_BYTES + 1);
    assert_non_null(large);
    memset(large, 'A', JWT_MAX_BYTES + 1);
    large[1] = large[3] = '.';
    assert_non_null(jwt_read(slice_make(large, JWT_MAX_BYTES + 1), signer, NOW, &arena, &out));
    free(large);
}

static const struct {
    const char *named, *app;
    bool whole, opens;
} names[] = {
    {"any-llm", "fal-ai/any-llm", false, true},
    {"any-llm", "fal-ai/any-llm/vision", false, true},
    {"any-llm", "acme/any-llm", false, true},
    {"any-llm", "fal-ai/any-llm-2", false, false},
    {"any", "fal-ai/any-llm", false, false},
    {"fal-ai", "fal-ai/any-llm", false, false},
    {"llm", "workflows/acme/llm", false, true},
    {"acme", "workflows/acme/llm", false, false},
    {"fal-ai/any-llm", "fal-ai/any-llm", false, true},
    {"fal-ai/any-llm", "fal-ai/any-llm/enterprise", false, true},
    {"fal-ai/any-llm", "fal-ai/any-llmx", false, false},
    {"fal-ai/any-llm", "acme/any-llm", false, false},
    {"fal-ai/any-llm/realtime", "fal-ai/any-llm", false, true},
    {"fal-ai/any-llm/stream", "fal-ai/any-llm/stream", false, true},
    {"fal-ai/any-llm/vision", "fal-ai/any-llm", false, false},
    {"fal-ai/any-llm/vision", "fal-ai/any-llm", true, true},
    {"fal-ai/any-llm/vision", "fal-ai/any-llm/vision", false, true},
    {"fal-ai/other/vision", "fal-ai/any-llm", true, false},
    {"", "fal-ai/any-llm", true, false},
    {"/realtime", "fal-ai/any-llm", true, false},
};

static void jwt_opens_what_it_names(void **state) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct jwt_claims c = {.napps = 1, .apps = {slice_of(names[i].named)}};
        if (jwt_allows(&c, slice_of(names[i].app), names[i].whole) != names[i].opens)
            fail_msg("%s for %s", names[i].named, names[i].app);
    }
    struct jwt_claims none = {0};
    assert_false(jwt_allows(&none, SLICE("fal-ai/any-llm"), true));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jwt_reads_what_it_wrote),
        cmocka_unit_test(jwt_ends_at_its_second),
        cmocka_unit_test(jwt_refuses_every_change),
        cmocka_unit_test(jwt_refuses_what_another_server_signed),
        cmocka_unit_test(jwt_refuses_what_is_none),
        cmocka_unit_test(jwt_opens_what_it_names),
    };
    return cmocka_run_group_tests(tests, open_signer, close_signer);
}
