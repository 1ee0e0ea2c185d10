/* Configuration: where each value comes from, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define assert_slice(s, text) assert_true(slice_is((s), (text)))

static char dir[64], file[96];
static struct config_error err;
static bool help;

/* Nothing of the user's own environment takes part. */
static int setup(void **state) {
    extern char **environ;
    static char *none[] = {NULL};
    snprintf(dir, sizeof dir, "/tmp/anyllm-config-XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    snprintf(file, sizeof file, "%s/anyllm.yaml", dir);
    environ = none;
    setenv("HOME", dir, 1);
    return 0;
}

static int teardown(void **state) {
    unlink(file);
    return rmdir(dir);
}

static void write_file(const char *text, mode_t mode) {
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(file, mode), 0);
}

/* `text` NULL: no file is named. Up to four flags. */
static struct config *load(const char *text, const char *a, const char *b, const char *c,
                           const char *d) {
    const char *argv[] = {"serve", "--config", file, a, b, c, d, NULL};
    const char **from = argv;
    int n = 3;
    if (text != NULL) {
        write_file(text, 0600);
    } else {
        from = argv + 2;
        argv[2] = "serve";
        n = 1;
    }
    while (n < 8 && from[n] != NULL) n++;
    return config_load(n, (char **)(uintptr_t)from, &help, &err);
}

static struct config *accepted(const char *text, const char *a, const char *b) {
    struct config *c = load(text, a, b, NULL, NULL);
    if (c == NULL) fail_msg("refused: %s", err.text);
    return c;
}

static void refused(const char *text, const char *a, const char *b, int code, const char *part) {
    struct config *c = load(text, a, b, NULL, NULL);
    if (c != NULL) fail_msg("accepted: %s %s", text != NULL ? text : "", a != NULL ? a : "");
    assert_int_equal(err.exit_code, code);
    if (strstr(err.text, part) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, part);
}

#define UP "upstreams: { up: { kind: openai, base_url: \"http://h/v1\" } }\n"

/* --- precedence */

static void config_flags_win_over_environment_over_file(void **state) {
    const char *text = "log_level: error\nlisten: [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    struct config *c = accepted(text, NULL, NULL);
    assert_int_equal(c->log_level, LOG_ERROR);
    assert_int_equal(c->nlisten, 2);
    config_free(c);
    setenv("ANYLLM_LOG_LEVEL", "warn", 1);
    setenv("ANYLLM_LISTEN", "127.0.0.1:3, [::1]:4", 1);
    c = accepted(text, NULL, NULL);
    assert_int_equal(c->log_level, LOG_WARN);
    assert_int_equal(c->nlisten, 2);
    assert_string_equal(c->listen[1], "[::1]:4");
    config_free(c);
    c = accepted(text, "--log-level=debug", "--listen=127.0.0.1:5");
    assert_int_equal(c->log_level, LOG_DEBUG);
    assert_int_equal(c->nlisten, 1);
    assert_string_equal(c->listen[0], "127.0.0.1:5");
    config_free(c);
}

static void config_of_two_files_named_reads_the_last(void **state) {
    struct config *c = load("log_level: warn\n", "--config", "/nowhere", "--config", file);
    assert_non_null(c);
    assert_int_equal(c->log_level, LOG_WARN);
    config_free(c);
}

static void config_switches_go_both_ways(void **state) {
    struct config *c = accepted("calibrate: false\n", "--calibrate", NULL);
    assert_true(c->calibrate);
    config_free(c);
    c = accepted("calibrate: true\n", "--no-calibrate", NULL);
    assert_false(c->calibrate);
    config_free(c);
    c = accepted("", "--calibrate=no", NULL);
    assert_false(c->calibrate);
    config_free(c);
    refused("", "--no-calibrate=true", NULL, 64, "takes no value");
}

/* A variable set to nothing is what an empty field of a service manager's form gives. */
static void config_takes_an_empty_variable_for_none(void **state) {
    static const char *const names[] = {
        "ANYLLM_LISTEN",        "ANYLLM_DATA",      "ANYLLM_PUBLIC_URL", "ANYLLM_LOG_LEVEL",
        "ANYLLM_ALLOWED_HOSTS", "ANYLLM_CATALOGUE", "ANYLLM_CONFIG",     "OPENROUTER_API_KEY",
        "ANYLLM_ENGINE",        "ANYLLM_GRACE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) setenv(names[i], "", 1);
    struct config *c = accepted(NULL, NULL, NULL);
    assert_string_equal(c->listen[0], "127.0.0.1:8787");
    assert_null(c->public_url);
    assert_null(c->catalogue_file);
    assert_int_equal(c->nallowed_hosts, 0);
    assert_int_equal(c->nupstreams, 0);
    config_free(c);
}

/* Whoever sets it wants keys: without any the server would let everybody in. */
static void config_refuses_empty_keys(void **state) {
    setenv("ANYLLM_KEYS", "", 1);
    refused(NULL, NULL, NULL, 78, "ANYLLM_KEYS");
    setenv("ANYLLM_KEYS", ",", 1);
    refused(NULL, NULL, NULL, 78, "ANYLLM_KEYS");
    setenv("ANYLLM_KEYS", "a:b,", 1);
    refused(NULL, NULL, NULL, 78, "ANYLLM_KEYS");
    setenv("ANYLLM_KEYS", "a:b, c:d:e", 1);
    struct config *c = accepted(NULL, NULL, NULL);
    assert_int_equal(c->nkeys, 2);
    assert_slice(c->keys[1].id, "c");
    config_free(c);
    unsetenv("ANYLLM_KEYS");
    refused("keys: []\n", NULL, NULL, 78, "keys");
}

static void config_refuses_empty_values(void **state) {
    refused("", "--data", "", 64, "--data: data wants a value");
    refused("", "--listen=", NULL, 64, "listen wants a value");
    refused("allowed_hosts: [a, \"\"]\n", NULL, NULL, 78, ":1:21: allowed_hosts wants a value");
    refused("catalogue: \"\"\n", NULL, NULL, 78, "catalogue wants a value");
}

static void config_of_the_flag_wins_over_the_upstreams_model(void **state) {
    const char *text = "local_model: /c.gguf\n"
                       "upstreams:\n"
                       "  a: { kind: local, model: /a.gguf }\n"
                       "  b: { kind: local }\n";
    struct config *c = accepted(text, NULL, NULL);
    assert_string_equal(c->upstreams[0].model_file, "/a.gguf");
    assert_string_equal(c->upstreams[1].model_file, "/c.gguf");
    config_free(c);
    c = accepted(text, "--local-model", "/f.gguf");
    assert_string_equal(c->upstreams[0].model_file, "/f.gguf");
    assert_slice(c->upstreams[0].alias, "local/f");
    config_free(c);
}

static void config_refuses_a_local_upstream_without_a_model(void **state) {
    refused("upstreams: { l: { kind: local } }\n", NULL, NULL, 66, "l has no model");
}

static void config_of_the_environment_wins_over_the_upstreams_engine(void **state) {
    const char *text = "upstreams: { a: { kind: local, model: /a.gguf, engine: /file } }\n";
    setenv("ANYLLM_ENGINE", "/environment", 1);
    struct config *c = accepted(text, NULL, NULL);
    assert_string_equal(c->upstreams[0].engine, "/environment");
    config_free(c);
}

/* /tmp belongs to everybody: an engine or a database from there would too. */
static void config_without_home_is_never_below_tmp(void **state) {
    unsetenv("HOME");
    struct config *c = load(NULL, NULL, NULL, NULL, NULL);
    if (c == NULL) {
        assert_int_equal(err.exit_code, 78);
        return;
    }
    assert_false(slice_starts(slice_of(c->data_dir), SLICE("/tmp")));
    assert_false(slice_starts(slice_of(c->cache_dir), SLICE("/tmp")));
    config_free(c);
}

/* --- values that go into URLs, headers, labels */

static void config_public_url_is_a_url_without_its_last_slash(void **state) {
    struct config *c = accepted("public_url: https://llm.example.org/base/\n", NULL, NULL);
    assert_string_equal(c->public_url, "https://llm.example.org/base");
    config_free(c);
    static const char *const bad[] = {"llm.example.org", "ftp://x",     "https://",
                                      "https://a\\\"b",  "https://a b", "https://a?b",
                                      "https://u@a",     "/x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[96];
        snprintf(text, sizeof text, "public_url: \"%s\"\n", bad[i]);
        refused(text, NULL, NULL, 78, "public_url wants");
    }
}

static void config_base_url_has_nothing_a_request_line_cannot_hold(void **state) {
    static const char *const bad[] = {
        "http://h/a b", "http://h/a\\nb", "http://h /v1",  "http://h/v1#x",  "http://h/v1?x",
        "http:///v1",   "http://h:0/v1",  "http://h:x/v1", "http://[::1/v1", "h/v1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[160];
        snprintf(text, sizeof text, "upstreams: { up: { kind: openai, base_url: \"%s\" } }\n",
                 bad[i]);
        refused(text, NULL, NULL, 78, "base_url wants");
    }
    struct config *c = accepted(
        "upstreams: { up: { kind: openai, base_url: \"https://[::1]:8443/v1//\" } }\n", NULL, NULL);
    assert_string_equal(c->upstreams[0].host, "::1");
    assert_int_equal(c->upstreams[0].port, 8443);
    assert_slice(c->upstreams[0].base_path, "/v1");
    config_free(c);
}

static void config_names_can_stand_in_headers_and_labels(void **state) {
    static const char *const bad[] = {"a b", "a\\nb", "a\\0b", "a\\\"b", "\xc3\xa9", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[160];
        snprintf(text, sizeof text,
                 "upstreams: { \"%s\": { kind: openai, base_url: \"http://h\" } }\n", bad[i]);
        refused(text, NULL, NULL, 78, "name");
        snprintf(text, sizeof text,
                 "upstreams: { l: { kind: local, model: /m.gguf, alias: \"%s\" } }\n", bad[i]);
        refused(text, NULL, NULL, 78, "alias wants");
        snprintf(text, sizeof text, "keys: [{ id: \"%s\", secret: x }]\n", bad[i]);
        refused(text, NULL, NULL, 78, "id");
    }
}

static void config_alias_of_any_file_name_can_stand_in_a_header(void **state) {
    struct config *c = accepted("upstreams: { l: { kind: local, model: \"/a/My M\xc3\xb6"
                                "del\\n.Q4_1.gguf\" } }\n",
                                NULL, NULL);
    assert_slice(c->upstreams[0].alias, "local/my-m--del-");
    config_free(c);
}

/* --- secrets */

static void config_refuses_a_secret_that_everybody_can_read(void **state) {
    static const char *const texts[] = {
        UP "keys:\n  - { id: a, secret: plain }\n",
        "upstreams: { up: { kind: openai, base_url: \"http://h\",\n  key: plain } }\n"};
    const char *argv[] = {"serve", "--config", file};
    for (size_t i = 0; i < 2; i++) {
        write_file(texts[i], 0644);
        assert_null(config_load(3, (char **)(uintptr_t)argv, &help, &err));
        assert_int_equal(err.exit_code, 78);
        assert_non_null(strstr(err.text, "chmod"));
        assert_non_null(strstr(err.text, i == 0 ? "yaml:3:" : "yaml:2:"));
        assert_null(strstr(err.text, "plain"));
        write_file(texts[i], 0640);
        struct config *c = config_load(3, (char **)(uintptr_t)argv, &help, &err);
        assert_non_null(c);
        config_free(c);
    }
    setenv("S", "from the environment", 1);
    write_file("keys: [{ id: a, secret: ${S} }, { id: b, sha256: "
               "0000000000000000000000000000000000000000000000000000000000000000 }]\n",
               0644);
    struct config *c = config_load(3, (char **)(uintptr_t)argv, &help, &err);
    assert_non_null(c);
    config_free(c);
}

static void config_replaces_names_of_variables_and_nothing_else(void **state) {
    setenv("NAME", "value", 1);
    struct config *c = accepted(
        "public_url: http://${NAME}/${NAME}\n"
        "upstreams: { up: { kind: openai, base_url: \"http://h\", key: \"a$(b!c$(${NAME}$\" } }\n",
        NULL, NULL);
    assert_string_equal(c->public_url, "http://value/value");
    assert_slice(secret_reveal(&c->upstreams[0].key), "a$(b!c$(value$");
    config_free(c);
    refused("public_url: http://${MISSING}/\n", NULL, NULL, 78,
            ":1:13: the environment has no variable MISSING");
}

static void config_refuses_what_is_no_file(void **state) {
    const char *argv[] = {"serve", "--config", file};
    assert_int_equal(mkfifo(file, 0600), 0);
    alarm(20); /* nobody writes into it */
    assert_null(config_load(3, (char **)(uintptr_t)argv, &help, &err));
    alarm(0);
    assert_int_equal(err.exit_code, 78);
}

/* --- messages */

#define KEYS "keys: [{ id: app, secret: s, concurrent_calls: 3 }, { id: web, secret: t }]\n"

static void config_of_a_key_wins_over_the_servers_limits(void **state) {
    struct config *c = accepted(UP KEYS "max_requests_per_minute_per_key: 60\n", NULL, NULL);
    assert_int_equal(c->keys[0].limits.concurrent_calls, 3);
    assert_int_equal(c->keys[0].limits.requests_per_minute, 60);
    assert_int_equal(c->keys[1].limits.concurrent_calls, 1024);
    assert_int_equal(c->keys[1].limits.status_polls_per_second, 500);
    assert_int_equal(c->keys[1].limits.queue_length, 0);
    config_free(c);
    refused(UP "keys: [{ id: app, secret: s, budget: 1 }]", NULL, NULL, 78, "unknown key");
}

static void config_refuses_one_id_of_two_owners(void **state) {
    config_free(
        accepted(UP "keys: [{ id: app, secret: old }, { id: app, secret: new }]\n", NULL, NULL));
    config_free(accepted(UP "keys: [{ id: app, secret: old, owner: team }, "
                            "{ id: app, secret: new, owner: team }]\n",
                         NULL, NULL));
    refused(UP "keys: [{ id: app, secret: old, owner: team }, { id: x, secret: y }, "
               "{ id: app, secret: new }]\n",
            NULL, NULL, 78, "key app has two owners, team and app");
    setenv("ANYLLM_KEYS", "x:z,app:new", 1);
    refused(UP "keys: [{ id: app, secret: old, owner: team }, { id: x, secret: y }]\n", NULL, NULL,
            78, "key app has two owners");
    unsetenv("ANYLLM_KEYS");
}

static void config_maps_hosts_and_endpoints(void **state) {
    struct config *c = accepted(UP "virtual_hosts: { llm.example.org: run, \"jobs.*\": queue }\n"
                                   "endpoint_aliases: { workflows/me/chat: fal-ai/any-llm }\n",
                                NULL, NULL);
    assert_int_equal(c->nvirtual_hosts, 2);
    assert_slice(c->virtual_hosts[1].name, "jobs.*");
    assert_int_equal(c->virtual_hosts[1].surface, SURFACE_QUEUE);
    assert_int_equal(c->naliases, 1);
    assert_slice(c->aliases[0].endpoint, "fal-ai/any-llm");
    config_free(c);
    refused(UP "virtual_hosts: { a.org: runs }", NULL, NULL, 78, "run, queue, rest, cdn");
    refused(UP "virtual_hosts: { \"a.org:80\": run }", NULL, NULL, 78, "without port");
    refused(UP "virtual_hosts: [a]", NULL, NULL, 78, "NAME: VALUE");
    refused(UP "endpoint_aliases: { chat: fal-ai/any-llm }", NULL, NULL, 78, "OWNER/ALIAS");
}

static void config_of_the_proxy_names_a_key_that_is_there(void **state) {
    struct config *c = accepted(UP KEYS "proxy: { key: web, endpoints: [fal-ai/**] }", NULL, NULL);
    assert_slice(c->proxy.key, "web");
    assert_int_equal(c->proxy.nendpoints, 1);
    config_free(c);
    refused(UP KEYS "proxy: { key: nobody }", NULL, NULL, 78, "no key has the id nobody");
    refused(UP "proxy: { forward: true }", NULL, NULL, 78, "FAL_KEY");
    refused(UP "proxy: { forward: true, fal_key: x, forward_to: fal.run }", NULL, NULL, 78,
            "forward_to");
    setenv("FAL_KEY", "a:b", 1);
    c = accepted(UP "proxy: { forward: true }", NULL, NULL);
    assert_true(secret_is_set(&c->proxy.fal_key));
    config_free(c);
    unsetenv("FAL_KEY");
}

static void config_of_tls_wants_certificate_and_key(void **state) {
    refused(UP "listen_tls: 127.0.0.1:0\ntls_cert: /c.pem\n", NULL, NULL, 78,
            "tls_cert and tls_key");
    struct config *c = accepted(UP "tls_cert: /c.pem\ntls_key: /k.pem\n", "--listen-tls=[::1]:0",
                                NULL);
    assert_int_equal(c->nlisten, 0);
    assert_int_equal(c->nlisten_tls, 1);
    config_free(c);
}

static void config_says_where_and_which_bounds(void **state) {
    refused("retention: { age: 5s }\n", NULL, NULL, 78,
            "age wants a duration such as 30, 90s or 30d of at least 60");
    refused("grace: 2d\n", NULL, NULL, 78,
            ":1:8: grace wants a duration such as 30, 90s or 30d from 0 to 86400");
    refused("max_connections: many\n", NULL, NULL, 78,
            ":1:18: max_connections wants a whole number from 1 to 1000000");
    refused("wat: 1\n", NULL, NULL, 78, ":1:1: unknown key \"wat\"");
    refused("listen: [a\n", NULL, NULL, 78, "anyllm.yaml:");
    refused("log_level: info\nlog_level: warn\n", NULL, NULL, 78, "anyllm.yaml:2");
    refused(NULL, "--wat", NULL, 64, "unknown option");
    refused(NULL, "--config", "/nowhere", 78, "/nowhere: cannot be read");
    refused(UP "routes: [{ model: a*b, to: up }]\n", NULL, NULL, 78, "prefix that ends in *");
    refused(UP "routes: [{ model: a, to: other }]\n", NULL, NULL, 78, "no upstream is named other");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(config_flags_win_over_environment_over_file),
        TEST(config_of_two_files_named_reads_the_last),
        TEST(config_switches_go_both_ways),
        TEST(config_takes_an_empty_variable_for_none),
        TEST(config_refuses_empty_keys),
        TEST(config_refuses_empty_values),
        TEST(config_of_the_flag_wins_over_the_upstreams_model),
        TEST(config_refuses_a_local_upstream_without_a_model),
        TEST(config_of_the_environment_wins_over_the_upstreams_engine),
        TEST(config_without_home_is_never_below_tmp),
        TEST(config_public_url_is_a_url_without_its_last_slash),
        TEST(config_base_url_has_nothing_a_request_line_cannot_hold),
        TEST(config_names_can_stand_in_headers_and_labels),
        TEST(config_alias_of_any_file_name_can_stand_in_a_header),
        TEST(config_refuses_a_secret_that_everybody_can_read),
        TEST(config_replaces_names_of_variables_and_nothing_else),
        TEST(config_refuses_what_is_no_file),
        TEST(config_says_where_and_which_bounds),
        TEST(config_of_a_key_wins_over_the_servers_limits),
        TEST(config_refuses_one_id_of_two_owners),
        TEST(config_maps_hosts_and_endpoints),
        TEST(config_of_the_proxy_names_a_key_that_is_there),
        TEST(config_of_tls_wants_certificate_and_key),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
