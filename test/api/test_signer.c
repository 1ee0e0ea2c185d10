/* The server's own keys, in a folder of the test's own and under its clock. */
#include "cmocka_all.h"

#include "api/signer.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY 86400
#define START 1795400000 /* Unix time of the first start */

static int64_t now_s;
static char dir[64];
static char reason[512];

static int64_t wall(void *user) {
    return now_s * 1000;
}

static const struct clock test_clock = {.wall_ms = wall};
static const struct slice message = {"id\nuser\n1\nabc", 13};

static int fresh_folder(void **state) {
    snprintf(dir, sizeof dir, "/tmp/test-signer-XXXXXX");
    now_s = START;
    return mkdtemp(dir) == NULL;
}

static void path_of(char path[256], const char *name) {
    snprintf(path, 256, "%s/keys/%s", dir, name);
}

static glob_t key_files(void) {
    char pattern[256];
    glob_t g;
    path_of(pattern, "sign-*.pem");
    int e = glob(pattern, 0, NULL, &g);
    assert_true(e == 0 || e == GLOB_NOMATCH);
    return g;
}

static size_t files(void) {
    glob_t g = key_files();
    size_t n = g.gl_pathc;
    globfree(&g);
    return n;
}

static int remove_folder(void **state) {
    static const char *const names[] = {"secret", "rotate", "unfinished", ""};
    char path[256];
    glob_t g = key_files();
    for (size_t i = 0; i < g.gl_pathc; i++) unlink(g.gl_pathv[i]);
    globfree(&g);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(path, names[i]);
        remove(path);
    }
    return rmdir(dir);
}

static struct signer *opened(void) {
    struct signer *s = signer_open(dir, &test_clock, &random_system, reason, sizeof reason);
    if (s == NULL) fail_msg("%s", reason);
    return s;
}

static void refused(const char *why) {
    assert_null(signer_open(dir, &test_clock, &random_system, reason, sizeof reason));
    if (strstr(reason, why) == NULL) fail_msg("\"%s\" is not in \"%s\"", why, reason);
}

static void reload(struct signer *s) {
    if (!signer_reload(s, reason, sizeof reason)) fail_msg("%s", reason);
}

static void put(const char *name, const char *text, mode_t mode) {
    char path[256];
    path_of(path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void ask_for_a_new_one(struct signer *s) {
    put("rotate", "", 0644);
    reload(s);
}

static char *jwks(struct signer *s) {
    struct buf b;
    buf_init(&b, 1 << 16);
    signer_jwks(s, &b);
    size_t n;
    char *text = buf_take(&b, &n);
    assert_non_null(text);
    return text;
}

static size_t published(struct signer *s) {
    char *text = jwks(s);
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, "\"kty\"")) != NULL; at++) n++;
    free(text);
    return n;
}

static void kid_of(struct signer *s, char kid[64]) {
    struct slice k = signer_kid(s);
    snprintf(kid, 64, "%.*s", SLICE_ARG(k));
}

static mode_t mode_of(const char *name) {
    struct stat st;
    char path[256];
    path_of(path, name);
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 0777;
}

/* --- */

static void the_first_start_makes_keys_that_others_cannot_read(void **state) {
    struct signer *s = opened();
    struct stat st;
    glob_t g = key_files();
    assert_int_equal(g.gl_pathc, 1);
    assert_int_equal(stat(g.gl_pathv[0], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_non_null(strstr(g.gl_pathv[0], "/sign-1795400000-"));
    globfree(&g);
    assert_int_equal(mode_of("secret"), 0600);
    assert_int_equal(mode_of(""), 0700);
    signer_free(s);
}

static void a_restart_keeps_the_keys_and_the_secret(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES], a[SIGNER_MAC_BYTES], b[SIGNER_MAC_BYTES];
    struct signer *s = opened();
    assert_true(signer_sign(s, message, sig));
    signer_mac(s, message, a);
    signer_free(s);
    s = opened();
    assert_true(signer_verify(s, SLICE_NONE, message, sig));
    signer_mac(s, message, b);
    assert_memory_equal(a, b, sizeof a);
    signer_mac(s, SLICE("another"), b);
    assert_memory_not_equal(a, b, sizeof a);
    signer_free(s);
}

static void a_flipped_bit_anywhere_is_refused(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES];
    char text[32];
    struct signer *s = opened();
    assert_true(signer_sign(s, message, sig));
    assert_true(signer_verify(s, signer_kid(s), message, sig));
    for (size_t bit = 0; bit < sizeof sig * 8; bit++) {
        sig[bit / 8] = (unsigned char)(sig[bit / 8] ^ (1U << bit % 8));
        assert_false(signer_verify(s, SLICE_NONE, message, sig));
        sig[bit / 8] = (unsigned char)(sig[bit / 8] ^ (1U << bit % 8));
    }
    memcpy(text, message.ptr, message.len);
    for (size_t bit = 0; bit < message.len * 8; bit++) {
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        assert_false(signer_verify(s, SLICE_NONE, slice_make(text, message.len), sig));
        text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
    }
    assert_false(signer_verify(s, SLICE("0123456789abcdef"), message, sig));
    signer_free(s);
}

/* What a receiver does: the key out of the list, OpenSSL's own functions. */
static void the_list_holds_the_key_that_verifies_padded(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES], raw[48];
    struct signer *s = opened();
    char *text = jwks(s), *x = strstr(text, "\"x\":\""), kid[64];
    assert_non_null(x);
    kid_of(s, kid);
    assert_int_equal(strlen(kid), 16);
    assert_non_null(strstr(text, kid));
    static const char start[] =
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"";
    assert_memory_equal(text, start, sizeof start - 1);
    x += 5;
    assert_memory_equal(x + 43, "=\"}]}", 6);
    for (size_t i = 0; i < 43; i++) x[i] = x[i] == '-' ? '+' : x[i] == '_' ? '/' : x[i];
    assert_int_equal(EVP_DecodeBlock(raw, (unsigned char *)x, 44), 33);
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, 32);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_true(signer_sign(s, message, sig));
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k), 1);
    assert_int_equal(
        EVP_DigestVerify(ctx, sig, sizeof sig, (const unsigned char *)message.ptr, message.len), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(k);
    free(text);
    signer_free(s);
}

static void a_new_key_is_published_a_day_before_it_signs(void **state) {
    char old[64], kid[64];
    struct signer *s = opened();
    kid_of(s, old);
    now_s += 10 * DAY;
    ask_for_a_new_one(s);
    assert_int_equal(published(s), 2);
    now_s += DAY - 1;
    kid_of(s, kid);
    assert_string_equal(kid, old);
    now_s += 1;
    kid_of(s, kid);
    assert_string_not_equal(kid, old);
    signer_free(s);
}

static void a_replaced_key_verifies_and_is_published_for_two_days(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES];
    char old[64];
    struct signer *s = opened();
    kid_of(s, old);
    assert_true(signer_sign(s, message, sig));
    now_s += DAY;
    ask_for_a_new_one(s);
    now_s += 3 * DAY - 1;
    reload(s);
    assert_int_equal(published(s), 2);
    assert_true(signer_verify(s, slice_of(old), message, sig));
    now_s += 1;
    assert_int_equal(published(s), 1);
    assert_false(signer_verify(s, slice_of(old), message, sig));
    assert_int_equal(files(), 2);
    reload(s);
    assert_int_equal(files(), 1);
    assert_int_equal(published(s), 1);
    signer_free(s);
}

static void the_wish_for_a_new_key_is_met_once(void **state) {
    char path[256];
    struct signer *s = opened();
    ask_for_a_new_one(s);
    path_of(path, "rotate");
    assert_int_equal(access(path, F_OK), -1);
    reload(s);
    assert_int_equal(files(), 2);
    signer_free(s);
    s = opened();
    assert_int_equal(files(), 2);
    signer_free(s);
}

static void a_key_of_ninety_days_is_replaced(void **state) {
    struct signer *s = opened();
    now_s += 90 * DAY - 1;
    reload(s);
    assert_int_equal(files(), 1);
    now_s += 1;
    reload(s);
    assert_int_equal(files(), 2);
    signer_free(s);
}

static void during_an_overlap_every_published_key_signs(void **state) {
    unsigned char sigs[SIGNER_MAX_KEYS][SIGNER_SIGNATURE_BYTES], one[SIGNER_SIGNATURE_BYTES];
    struct signer *s = opened();
    assert_int_equal(signer_sign_all(s, message, sigs), 1);
    ask_for_a_new_one(s);
    assert_int_equal(signer_sign_all(s, message, sigs), 2);
    assert_true(signer_sign(s, message, one));
    assert_memory_equal(sigs[0], one, sizeof one);
    assert_memory_not_equal(sigs[1], one, sizeof one);
    assert_true(signer_verify(s, SLICE_NONE, message, sigs[1]));
    signer_free(s);
}

static void a_removed_key_is_forgotten_at_the_next_look(void **state) {
    char old[64], kid[64];
    struct signer *s = opened();
    kid_of(s, old);
    ask_for_a_new_one(s);
    glob_t g = key_files();
    assert_int_equal(unlink(g.gl_pathv[strstr(g.gl_pathv[0], old) == NULL]), 0);
    globfree(&g);
    reload(s);
    kid_of(s, kid);
    assert_string_not_equal(kid, old);
    assert_int_equal(published(s), 1);
    signer_free(s);
}

static void a_clock_gone_back_still_signs(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES];
    struct signer *s = opened();
    now_s -= 1000 * DAY;
    assert_true(signer_sign(s, message, sig));
    ask_for_a_new_one(s);
    assert_int_equal(files(), 2);
    assert_true(signer_verify(s, SLICE_NONE, message, sig));
    signer_free(s);
}

static void a_key_that_others_can_read_is_refused(void **state) {
    static const mode_t modes[] = {0640, 0604, 0660, 0644};
    signer_free(opened());
    glob_t g = key_files();
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(g.gl_pathv[0], modes[i]), 0);
        refused("chmod 600");
    }
    assert_int_equal(chmod(g.gl_pathv[0], 0600), 0);
    globfree(&g);
    char path[256];
    path_of(path, "secret");
    assert_int_equal(chmod(path, 0644), 0);
    refused("/keys/secret: others than its owner");
    assert_int_equal(chmod(path, 0600), 0);
    path_of(path, "");
    assert_int_equal(chmod(path, 0777), 0);
    refused("chmod 700");
    assert_int_equal(chmod(path, 0700), 0);
    signer_free(opened());
}

static void a_damaged_file_is_refused_and_never_replaced(void **state) {
    signer_free(opened());
    put("sign-1795400001-x.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        0600);
    refused("sign-1795400001-x.pem: holds no Ed25519 key");
    char path[256];
    path_of(path, "sign-1795400001-x.pem");
    assert_int_equal(unlink(path), 0);
    put("secret", "short", 0600);
    refused("secret: is damaged");
    assert_int_equal(files(), 1);
}

static void an_encrypted_or_foreign_key_is_refused_without_a_question(void **state) {
    static const char x25519[] =
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VuBCIEIIgtLpxnSPJMVDHIpg2wknqz1w1HhqxwyPy+v9SdN05V\n"
        "-----END PRIVATE KEY-----\n";
    signer_free(opened());
    put("sign-1795400001-x.pem", x25519, 0600);
    refused("holds no Ed25519 key");
    put("sign-1795400001-x.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", 0600);
    refused("holds no Ed25519 key");
}

static void what_was_left_unfinished_is_made_again(void **state) {
    signer_free(opened());
    put("unfinished", "half", 0600);
    struct signer *s = opened();
    ask_for_a_new_one(s);
    assert_int_equal(published(s), 2);
    signer_free(s);
}

static void a_failed_look_leaves_the_keys_as_they_were(void **state) {
    unsigned char sig[SIGNER_SIGNATURE_BYTES];
    struct signer *s = opened();
    glob_t g = key_files();
    assert_int_equal(chmod(g.gl_pathv[0], 0644), 0);
    globfree(&g);
    assert_false(signer_reload(s, reason, sizeof reason));
    assert_true(signer_sign(s, message, sig));
    assert_true(signer_verify(s, SLICE_NONE, message, sig));
    signer_free(s);
}

static void wishes_without_end_are_met_up_to_a_number(void **state) {
    struct signer *s = opened();
    for (int i = 0; i < 20; i++) ask_for_a_new_one(s);
    assert_int_equal(files(), SIGNER_MAX_KEYS);
    signer_free(s);
    signer_free(opened());
}

static void no_folder_is_one_line(void **state) {
    assert_null(signer_open("/nonexistent/x", &test_clock, &random_system, reason, sizeof reason));
    assert_string_equal(reason, "/nonexistent/x/keys: No such file or directory");
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, fresh_folder, remove_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_first_start_makes_keys_that_others_cannot_read),
        IN_FOLDER(a_restart_keeps_the_keys_and_the_secret),
        IN_FOLDER(a_flipped_bit_anywhere_is_refused),
        IN_FOLDER(the_list_holds_the_key_that_verifies_padded),
        IN_FOLDER(a_new_key_is_published_a_day_before_it_signs),
        IN_FOLDER(a_replaced_key_verifies_and_is_published_for_two_days),
        IN_FOLDER(the_wish_for_a_new_key_is_met_once),
        IN_FOLDER(a_key_of_ninety_days_is_replaced),
        IN_FOLDER(during_an_overlap_every_published_key_signs),
        IN_FOLDER(a_removed_key_is_forgotten_at_the_next_look),
        IN_FOLDER(a_clock_gone_back_still_signs),
        IN_FOLDER(a_key_that_others_can_read_is_refused),
        IN_FOLDER(a_damaged_file_is_refused_and_never_replaced),
        IN_FOLDER(an_encrypted_or_foreign_key_is_refused_without_a_question),
        IN_FOLDER(what_was_left_unfinished_is_made_again),
        IN_FOLDER(a_failed_look_leaves_the_keys_as_they_were),
        IN_FOLDER(wishes_without_end_are_met_up_to_a_number),
        cmocka_unit_test(no_folder_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
