/* Starts that must fail: one line that says what is wrong and what to do, and its exit code. 64 usage, 66 model or engine,
 * 69 port, 73 data folder, 78 configuration. */
#include "peer.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UPSTREAMS "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:9/v1\" }\n"

static char scratch[MAX_PATH];

/* The text, copied once into memory that lives as long as the suite. */
static const char *keep(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *keep(const char *fmt, ...) {
    static char room[64][MAX_PATH * 2];
    static size_t n;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(room[n % 64], sizeof room[0], fmt, ap);
    va_end(ap);
    return room[n++ % 64];
}

static const char *file(const char *name, const char *bytes, size_t len) {
    const char *path = keep("%s/%s", scratch, name);
    file_write(path, bytes, len);
    return path;
}

/* Exactly one line for people, that holds both texts, and no key. */
static void expect_failure(const char *what, const struct server_options *o, int code,
                           const char *says, const char *says_too) {
    char err[MAX_ERR];
    int got = server_fails(o, err);
    if (got != code) fail_msg("%s: exit %d instead of %d:\n%s", what, got, code, err);
    const char *line = strstr(err, "anyllm serve: ");
    if (line == NULL) fail_msg("%s: no line of its own:\n%s", what, err);
    const char *end = strchr(line, '\n');
    if (end == NULL || end[1] != '\0') fail_msg("%s: not one line at the end:\n%s", what, err);
    if (strstr(line, says) == NULL) fail_msg("%s: does not say \"%s\":\n%s", what, says, err);
    if (says_too != NULL && strstr(line, says_too) == NULL)
        fail_msg("%s: does not say \"%s\":\n%s", what, says_too, err);
    const char *found = canary_in(err, strlen(err));
    if (found != NULL) fail_msg("%s: says the key %s:\n%s", what, found, err);
}

/* --- 78: the file, as rows */

struct config_row {
    const char *name, *config, *says, *says_too;
};

static const struct config_row configs[] = {
    {"config_unknown_key_is_78", "log_level: info\nlisten_on: 127.0.0.1:0\n" UPSTREAMS, ":2:1",
     "listen_on"},
    {"config_unknown_key_of_an_upstream_is_78", "upstreams:\n  up: { kind: openai, base_uri: x }\n",
     ":2:", "base_uri"},
    {"config_unknown_key_of_a_key_is_78",
     UPSTREAMS "keys:\n  - { id: a, secret: " CANARY_CLIENT ", color: red }\n", ":4:", "color"},
    {"config_unknown_key_of_a_route_is_78", UPSTREAMS "routes:\n  - { models: \"*\", to: [up] }\n",
     ":4:", "models"},
    {"config_wrong_type_is_78", UPSTREAMS "max_connections: many\n", ":3:", "max_connections"},
    {"config_mapping_for_a_number_is_78", UPSTREAMS "max_connections: { a: 1 }\n",
     ":3:", "max_connections"},
    {"config_text_for_a_list_of_upstreams_is_78", "upstreams: none\n", ":1:", "upstreams"},
    {"config_out_of_bounds_is_78", UPSTREAMS "max_body_bytes: 1\n", ":3:", "max_body_bytes"},
    {"config_negative_is_78", UPSTREAMS "grace: -1\n", ":3:", "grace"},
    {"config_too_large_for_a_number_is_78", UPSTREAMS "max_connections: 99999999999999999999999\n",
     ":3:", "max_connections"},
    {"config_unknown_level_is_78", UPSTREAMS "log_level: loud\n", ":3:", "log_level"},
    {"config_broken_YAML_is_78", UPSTREAMS "keys: [\n", ":", NULL},
    {"config_tab_is_78", "upstreams:\n\tup: { kind: openai }\n", ":2:", NULL},
    {"config_a_list_is_78", "- a\n- b\n", ":1:", NULL},
    {"config_key_twice_is_78", UPSTREAMS "grace: 1\ngrace: 2\n", ":4:", "duplicate key"},
    {"config_unknown_kind_is_78", "upstreams:\n  up: { kind: magic }\n", ":2:", "kind"},
    {"config_no_kind_is_78", "upstreams:\n  up: { base_url: \"http://127.0.0.1:9/v1\" }\n",
     ":2:", "kind"},
    {"config_no_base_url_is_78", "upstreams:\n  up: { kind: openai }\n", ":2:", "base_url"},
    {"config_base_url_of_another_scheme_is_78",
     "upstreams:\n  up: { kind: openai, base_url: \"ftp://a/v1\" }\n", ":2:", "http://"},
    {"config_base_url_with_password_is_78",
     "upstreams:\n  up: { kind: openai, base_url: \"http://u:" CANARY_UPSTREAM "@a/v1\" }\n",
     ":2:", "base_url"},
    {"config_route_to_nobody_is_78", UPSTREAMS "routes:\n  - { model: \"*\", to: [lab] }\n",
     ":4:", "lab"},
    {"config_unset_variable_is_78", UPSTREAMS "public_url: ${ANYLLM_TEST_NOT_SET}\n",
     ":3:", "ANYLLM_TEST_NOT_SET"},
    {"config_bad_sha256_is_78", UPSTREAMS "keys:\n  - { id: a, sha256: 12345 }\n", ":4:", "sha256"},
    {"config_key_without_secret_is_78", UPSTREAMS "keys:\n  - { id: a }\n", ":4:", NULL},
    {"config_key_with_unknown_scope_is_78",
     UPSTREAMS "keys:\n  - { id: a, secret: " CANARY_CLIENT ", scope: ROOT }\n", ":4:", "scope"},
    {"config_secret_of_the_wrong_type_is_78",
     UPSTREAMS "keys:\n  - { id: a, secret: [" CANARY_CLIENT "] }\n", ":4:", "wants one value"},
    {"config_bad_size_is_78", UPSTREAMS "max_body_bytes: 32 pounds\n", ":3:", "max_body_bytes"},
    {"config_bad_proxy_is_78", UPSTREAMS "trusted_proxies: [\"10.0.0.0/99\"]\n", "trusted_proxies",
     NULL},
};
#define NCONFIGS (sizeof configs / sizeof *configs)

static void config_is_refused(void **state) {
    const struct config_row *r = *state;
    struct server_options o = {.config = r->config},
                          check = {.config = r->config, .args = {"--check"}};
    expect_failure(r->name, &o, 78, r->says, r->says_too);
    if (strcmp(r->name, "config_bad_proxy_is_78") != 0)
        expect_failure(r->name, &check, 78, r->says, r->says_too);
}

/* --- 78: what is not in the file */

static void a_config_file_that_is_not_there_is_78(void **state) {
    struct server_options o = {.args = {"--config", "/nonexistent/anyllm.yaml"}};
    expect_failure("no file", &o, 78, "/nonexistent/anyllm.yaml", NULL);
}

static void listening_elsewhere_without_keys_is_78(void **state) {
    static const char *const elsewhere[] = {"0.0.0.0:0", "[::]:0", "10.1.2.3:0",
                                            "192.168.1.1:8787"};
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        struct server_options o = {.config = UPSTREAMS, .listen = elsewhere[i]};
        expect_failure(elsewhere[i], &o, 78, "ANYLLM_KEYS", "127.0.0.1");
    }
    struct server_options o = {.config = "listen: [\"127.0.0.1:0\", \"0.0.0.0:0\"]\n" UPSTREAMS,
                               .args = {"--check"}};
    o.listen = "0.0.0.0:0";
    expect_failure("with --check", &o, 78, "keys", NULL);
}

static void a_listen_address_that_is_none_is_78(void **state) {
    static const char *const none[] = {"8787",  "127.0.0.1",  "127.0.0.1:", "127.0.0.1:99999",
                                       ":8787", "127.0.0.1:x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct server_options o = {.config = UPSTREAMS, .listen = none[i]};
        expect_failure(none[i], &o, 78, "--listen", NULL);
    }
}

static void a_bad_ANYLLM_KEYS_is_78_and_not_repeated(void **state) {
    static const char *const bad[] = {"ANYLLM_KEYS=" CANARY_CLIENT, "ANYLLM_KEYS=:" CANARY_CLIENT,
                                      "ANYLLM_KEYS=a:b,:" CANARY_CLIENT, "ANYLLM_KEYS=a:"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct server_options o = {.config = UPSTREAMS, .env = {bad[i]}};
        expect_failure(bad[i], &o, 78, "ANYLLM_KEYS", "ID:SECRET");
    }
}

static void a_bad_variable_is_78(void **state) {
    struct server_options o = {.config = UPSTREAMS, .env = {"ANYLLM_MAX_CONNECTIONS=many"}};
    expect_failure("variable", &o, 78, "ANYLLM_MAX_CONNECTIONS", NULL);
}

/* --- 64 */

static void unknown_options_and_values_are_64(void **state) {
    static const char *const args[][2] = {{"--no-such-option", NULL},
                                          {"--no-such-option", "x"},
                                          {"--log-level", NULL},
                                          {"--log-level", "loud"},
                                          {"--log-level=loud", NULL},
                                          {"--max-connections", "0"},
                                          {"--max-body-bytes", "-5"},
                                          {"--grace", "soon"},
                                          {"-x", NULL},
                                          {"stray", NULL},
                                          {"--listen", ""},
                                          {"--keys=a:" CANARY_CLIENT, NULL},
                                          {"--keys", "a:" CANARY_CLIENT}};
    for (size_t i = 0; i < sizeof args / sizeof *args; i++) {
        struct server_options o = {.config = UPSTREAMS, .args = {args[i][0], args[i][1]}};
        expect_failure(args[i][0], &o, 64, "", NULL);
    }
}

/* --- --check */

static void check_says_that_it_is_right_and_touches_nothing(void **state) {
    char err[MAX_ERR];
    struct stat st;
    struct server_options o = {
        .config = UPSTREAMS, .args = {"--check"}, .data = keep("%s/never", scratch)};
    assert_int_equal(server_fails(&o, err), 0);
    assert_non_null(strstr(err, "is right"));
    assert_null(strstr(err, "listening"));
    assert_int_not_equal(stat(o.data, &st), 0);
}

/* --- 66: model and engine */

static void number(struct text *t, uint64_t v, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) {
        char c = (char)(v >> (8 * i));
        text_add(t, &c, 1);
    }
}

static void name(struct text *t, const char *s) {
    number(t, strlen(s), 8);
    text_puts(t, s);
}

/* A GGUF file with one pair and one tensor of 32 F32, by the format's own description. */
static struct text small_gguf(void) {
    struct text t = {0};
    text_puts(&t, "GGUF");
    number(&t, 3, 4); /* version */
    number(&t, 1, 8); /* tensors */
    number(&t, 1, 8); /* pairs */
    name(&t, "general.architecture");
    number(&t, 8, 4); /* a text */
    name(&t, "llama");
    name(&t, "token_embd.weight");
    number(&t, 1, 4);  /* dimensions */
    number(&t, 32, 8); /* of the first */
    number(&t, 0, 4);  /* F32 */
    number(&t, 0, 8);  /* offset */
    while (t.len % 32 != 0) text_fill(&t, '\0', 1);
    text_fill(&t, '\0', 128);
    return t;
}

static void expect_model_refused(const char *what, const char *path) {
    struct server_options o = {.args = {"--local-model", path}};
    expect_failure(what, &o, 66, path, NULL);
}

static void models_that_are_none_are_66(void **state) {
    struct text good = small_gguf(), bad = {0};
    expect_model_refused("missing", "/nonexistent/model.gguf");
    expect_model_refused("a folder", scratch);
    expect_model_refused("empty", file("empty.gguf", "", 0));
    expect_model_refused("a text", file("text.gguf", "no model at all, but some text\n", 31));
    expect_model_refused("HTML", file("page.gguf", "<!DOCTYPE html><title>404</title>", 33));
    text_add(&bad, "GGUF\3\0\0\0", 8);
    text_fill(&bad, '\xff', 4096);
    expect_model_refused("corrupt counts", file("counts.gguf", bad.p, bad.len));
    bad.len = 0;
    text_add(&bad, good.p, good.len);
    memset(bad.p + 24, 0xff, 8); /* the length of the first name */
    expect_model_refused("corrupt name", file("name.gguf", bad.p, bad.len));
    memcpy(bad.p, good.p, good.len);
    bad.p[4] = 77; /* version */
    expect_model_refused("another version", file("version.gguf", bad.p, bad.len));
    expect_model_refused("cut in its tensor", file("cut1.gguf", good.p, good.len - 1));
    expect_model_refused("cut in its header", file("cut2.gguf", good.p, 40));
    expect_model_refused("cut in its magic", file("cut3.gguf", good.p, 3));
    text_free(&good);
    text_free(&bad);
}

/* The model that `make demo` fetches, when it is there, cut as an aborted download leaves it. */
static void a_real_model_cut_is_66(void **state) {
    const char *home = getenv("HOME"), *cache = getenv("XDG_CACHE_HOME");
    const char *path = cache != NULL ? keep("%s/anyllm/SmolLM2-135M-Instruct.Q4_1.gguf", cache)
                                     : keep("%s/.cache/anyllm/SmolLM2-135M-Instruct.Q4_1.gguf",
                                            home != NULL ? home : "");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = malloc(4U << 20);
    ssize_t n = fd < 0 ? 0 : read(fd, bytes, 4U << 20);
    if (fd >= 0) close(fd);
    if (n <= 0) {
        free(bytes);
        print_message("skip: the model of make demo is not there\n");
        skip();
    }
    expect_model_refused("a real one, cut", file("real.gguf", bytes, (size_t)n));
    free(bytes);
}

static void a_missing_engine_is_66(void **state) {
    struct text good = small_gguf();
    const char *model = file("good.gguf", good.p, good.len),
               *plain = file("not-executable", "x", 1);
    struct server_options o = {.args = {"--local-model", model},
                               .env = {"ANYLLM_ENGINE=/nonexistent/llama-server"}};
    expect_failure("missing", &o, 66, "/nonexistent/llama-server", "engine");
    o.env[0] = keep("ANYLLM_ENGINE=%s", plain);
    expect_failure("not executable", &o, 66, plain, "engine");
    struct server_options in_file = {
        .config = keep(
            "upstreams:\n  here: { kind: local, model: %s, engine: /nonexistent/llama-server }\n",
            model)};
    expect_failure("in the file", &in_file, 66, "/nonexistent/llama-server", "engine");
    text_free(&good);
}

static void nothing_to_answer_with_is_66(void **state) {
    struct server_options o = {.config = "log_level: info\n"};
    expect_failure("nothing", &o, 66, "--local-model", "OPENROUTER_API_KEY");
}

static void a_missing_catalogue_is_66_or_78(void **state) {
    char err[MAX_ERR];
    static const char *const contents[] = {NULL, "", "[]", "{", "{\"models\":1}"};
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        const char *path = contents[i] == NULL
                               ? "/nonexistent/catalogue.json"
                               : file("catalogue.json", contents[i], strlen(contents[i]));
        struct server_options o = {.config = UPSTREAMS, .args = {"--catalogue", path}};
        int code = server_fails(&o, err);
        if (code != 66 && code != 78) fail_msg("%s: %d: %s", path, code, err);
        assert_non_null(strstr(err, path));
    }
}

/* --- 69 */

static void a_port_in_use_is_69(void **state) {
    struct server first;
    server_start_with(&first, UPSTREAMS);
    struct server_options o = {.config = UPSTREAMS, .listen = keep("127.0.0.1:%u", first.port)};
    expect_failure("in use", &o, 69, o.listen, "--listen");
    server_stop(&first);
}

static void an_address_of_no_interface_is_69(void **state) {
    struct server_options o = {.config = UPSTREAMS "keys:\n  - { id: a, secret: b }\n",
                               .listen = "203.0.113.7:8787"};
    expect_failure("not ours", &o, 69, "203.0.113.7:8787", "--listen");
}

/* --- 73 */

static void a_data_folder_that_cannot_be_is_73(void **state) {
    const char *plain = file("plain", "x", 1);
    const char *const folders[] = {plain, keep("%s/below", plain), keep("%s/below/that", plain),
                                   "/proc/anyllm", "/sys/anyllm/data"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct server_options o = {.config = UPSTREAMS, .data = folders[i]};
        expect_failure(folders[i], &o, 73, folders[i], "--data");
    }
}

static void a_data_folder_in_use_is_73(void **state) {
    struct server first;
    server_start_with(&first, UPSTREAMS);
    struct server_options o = {.config = UPSTREAMS, .data = first.data};
    expect_failure("in use", &o, 73, first.data, "in use");
    struct answer a = get(first.port, "/healthz"); /* the first one did not suffer */
    assert_int_equal(a.status, 200);
    answer_free(&a);
    server_stop(&first);
}

static void a_folder_for_the_database_is_73(void **state) {
    const char *data = keep("%s/data-with-folder", scratch);
    assert_int_equal(mkdir(data, 0700), 0);
    assert_int_equal(mkdir(keep("%s/anyllm.db", data), 0700), 0);
    struct server_options o = {.config = UPSTREAMS, .data = data};
    expect_failure("a folder", &o, 73, "anyllm.db", NULL);
}

/* The line "listening on" is a promise. */
static void the_first_submit_is_taken_however_early(void **state) {
    for (int i = 0; i < 20; i++) {
        struct server s;
        server_start_with(&s, UPSTREAMS "grace: 0\n");
        struct answer a = post_json(s.port, "/queue/fal-ai/any-llm", "{\"prompt\":\"x\"}");
        if (a.status != 200) fail_msg("start %d: %u: %s", i, a.status, a.body.p);
        answer_free(&a);
        server_stop(&s);
    }
}

/* After kill -9 nothing of the lock is left. */
static void a_data_folder_of_a_killed_server_can_be_used(void **state) {
    struct server first, second;
    const char *data = keep("%s/killed", scratch);
    struct server_options o = {.config = UPSTREAMS, .data = data};
    server_start(&first, &o);
    kill(first.pid, SIGKILL);
    waitpid(first.pid, NULL, 0);
    scratch_remove(first.dir);
    server_start(&second, &o);
    server_stop(&second);
}

/* --- Q12: databases that are not ours to write */

static const char *a_database(const char *folder) {
    struct server s;
    const char *data = keep("%s/%s", scratch, folder);
    struct server_options o = {.config = UPSTREAMS, .data = data};
    server_start(&s, &o);
    struct answer a = post_json(s.port, "/queue/fal-ai/any-llm", "{\"prompt\":\"x\"}");
    assert_int_equal(a.status, 200);
    answer_free(&a);
    server_stop(&s);
    return data;
}

static void expect_database_refused(const char *folder, long at, const char *bytes, size_t len,
                                    const char *says) {
    const char *data = a_database(folder), *path = keep("%s/anyllm.db", data);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    close(fd);
    size_t before, after;
    char *was = file_text(path, &before);
    struct server_options o = {.config = UPSTREAMS, .data = data};
    expect_failure(folder, &o, 78, path, says);
    char *is = file_text(path, &after);
    assert_int_equal(before, after);
    assert_memory_equal(was, is, before); /* not touched */
    free(was);
    free(is);
}

/* The file says that it has a log when the server has had nothing to do for a while. */
static void Q12_a_log_deleted_after_a_crash_is_78(void **state) {
    const char *data = a_database("log"), *path = keep("%s/anyllm.db", data);
    struct server s;
    struct stat was, is;
    struct server_options o = {.config = UPSTREAMS, .data = data};
    assert_int_equal(stat(path, &was), 0);
    server_start(&s, &o);
    do {
        usleep(10000);
        assert_int_equal(stat(path, &is), 0);
    } while (is.st_mtim.tv_sec == was.st_mtim.tv_sec && is.st_mtim.tv_nsec == was.st_mtim.tv_nsec);
    usleep(500000); /* the pages come one by one */
    kill(s.pid, SIGKILL);
    assert_int_equal(process_end(s.pid, 10000), -SIGKILL);
    assert_int_equal(unlink(keep("%s-wal", path)), 0);
    expect_failure("log", &o, 78, path, "restore a backup");
}

/* Offsets of SQLite's file header: 0 magic, 60 user_version, 68 application_id. */
static void Q12_a_database_of_a_newer_schema_is_78(void **state) {
    expect_database_refused("newer", 60, "\0\0\0\x63", 4, NULL);
}

static void Q12_a_corrupt_header_is_78(void **state) {
    expect_database_refused("corrupt", 0, "not a database at all, never was", 32, "restore");
}

static void Q12_another_programs_database_is_78(void **state) {
    expect_database_refused("foreign", 68, "\x0f\x05\x51\x12", 4, NULL);
}

static void Q12_a_text_as_database_is_78(void **state) {
    const char *data = keep("%s/text", scratch), *path = keep("%s/anyllm.db", data);
    struct text t = {0};
    assert_int_equal(mkdir(data, 0700), 0);
    text_fill(&t, 'x', 20000);
    file_write(path, t.p, t.len);
    struct server_options o = {.config = UPSTREAMS, .data = data};
    expect_failure("a text", &o, 78, path, NULL);
    text_free(&t);
}

static void an_unknown_store_is_78(void **state) {
    struct server_options o = {.config = UPSTREAMS, .args = {"--store", "mongodb://x/y"}};
    expect_failure("mongodb", &o, 78, "store", "sqlite:");
}

/* --- the suite */

static int start(void **state) {
    scratch_make(scratch);
    return 0;
}

static int stop(void **state) {
    scratch_remove(scratch);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest made[] = {
        cmocka_unit_test(a_config_file_that_is_not_there_is_78),
        cmocka_unit_test(listening_elsewhere_without_keys_is_78),
        cmocka_unit_test(a_listen_address_that_is_none_is_78),
        cmocka_unit_test(a_bad_ANYLLM_KEYS_is_78_and_not_repeated),
        cmocka_unit_test(a_bad_variable_is_78),
        cmocka_unit_test(unknown_options_and_values_are_64),
        cmocka_unit_test(check_says_that_it_is_right_and_touches_nothing),
        cmocka_unit_test(models_that_are_none_are_66),
        cmocka_unit_test(a_real_model_cut_is_66),
        cmocka_unit_test(a_missing_engine_is_66),
        cmocka_unit_test(nothing_to_answer_with_is_66),
        cmocka_unit_test(a_missing_catalogue_is_66_or_78),
        cmocka_unit_test(a_port_in_use_is_69),
        cmocka_unit_test(an_address_of_no_interface_is_69),
        cmocka_unit_test(a_data_folder_that_cannot_be_is_73),
        cmocka_unit_test(a_data_folder_in_use_is_73),
        cmocka_unit_test(a_folder_for_the_database_is_73),
        cmocka_unit_test(the_first_submit_is_taken_however_early),
        cmocka_unit_test(a_data_folder_of_a_killed_server_can_be_used),
        cmocka_unit_test(Q12_a_database_of_a_newer_schema_is_78),
        cmocka_unit_test(Q12_a_corrupt_header_is_78),
        cmocka_unit_test(Q12_another_programs_database_is_78),
        cmocka_unit_test(Q12_a_text_as_database_is_78),
        cmocka_unit_test(Q12_a_log_deleted_after_a_crash_is_78),
        cmocka_unit_test(an_unknown_store_is_78),
    };
    enum { NMADE = sizeof made / sizeof *made };
    static struct CMUnitTest tests[NCONFIGS + NMADE];
    for (size_t i = 0; i < NCONFIGS; i++)
        tests[i] = (struct CMUnitTest){configs[i].name, config_is_refused, NULL, NULL,
                                       (void *)(uintptr_t)&configs[i]};
    memcpy(tests + NCONFIGS, made, sizeof made);
    return suite_main(argc, argv, "bad_start", tests, NCONFIGS + NMADE, start, stop);
}
