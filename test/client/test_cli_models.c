/* anyllm models: an anyllm server's ids, fal's endpoints; and which key goes there. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define IDS                                                         \
    {.status = 200,                                                 \
     .body =                                                        \
         "{\"object\":\"list\",\"data\":[{\"id\":\"openai/gpt-x\"," \
         "\"object\":\"model\"},{\"id\":\"a/1\"},{\"id\":\"a/2\"},{\"id\":\"meta/Llama-1\"}]}"}

static char *const no_environment[] = {NULL};

static char *base_of(struct script *s) {
    return (char *)(uintptr_t)script_base(s);
}

static void models_prints_a_servers_ids(void **state) {
    (void)state;
    struct script *s = SCRIPT(IDS, IDS, IDS, IDS);
    struct program p;
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--base", base_of(s));
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "openai/gpt-x\na/1\na/2\nmeta/Llama-1\n");
    assert_true(script_asked(s, 0, "GET /v1/models HTTP/1.1"));
    assert_true(script_has_header(s, 0, "Authorization: Key local"));
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--base", base_of(s), "llama META");
    assert_string_equal(p.out, "meta/Llama-1\n");
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--json", "--base", base_of(s), "gpt");
    assert_string_equal(p.out, "{\"object\":\"list\",\"data\":[{\"id\":\"openai/gpt-x\","
                               "\"object\":\"model\"}]}\n");
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--base", base_of(s), "nothing");
    assert_string_equal(p.out, "");
    expect_in(p.err, "no model fits");
    script_stop(s);
}

static void models_goes_through_a_unix_socket_and_keeps_fals_key(void **state) {
    (void)state;
    const struct script_step steps[] = {IDS};
    char path[] = "/tmp/anyllm-socket-XXXXXX", base[64], key[] = "FAL_KEY=fal:secret";
    struct program p;
    close(mkstemp(path));
    unlink(path);
    struct script *s = script_start_unix(path, steps, 1);
    snprintf(base, sizeof(base), "unix:%s", path);
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(key), ARGV("models", "--base", base, "gpt"));
    program_end(&p);
    assert_string_equal(p.out, "openai/gpt-x\n");
    assert_true(script_has_header(s, 0, "Authorization: Key local"));
    script_stop(s);
    unlink(path);
}

/* What only looks like this machine is reached as any other host is, and gets no credentials made up for it. */
static void models_knows_loopback_by_more_than_its_beginning(void **state) {
    (void)state;
    static const char *const far[] = {"http://127.evil.example", "http://localhost.evil.example",
                                      "http://127.0.0.1.evil.example"};
    struct script *s = SCRIPT(IDS, IDS, IDS, IDS);
    struct program p;
    char proxy[80], base[80], line[128], nowhere[] = "http_proxy=http://127.0.0.1:1";
    snprintf(proxy, sizeof(proxy), "http_proxy=%s", script_base(s));
    for (size_t i = 0; i < 3; i++) {
        snprintf(base, sizeof(base), "%s", far[i]);
        program_begin(&p, ANYLLM_BINARY, "", -1, ENV(proxy), ARGV("models", "--base", base));
        program_end(&p);
        assert_string_equal(p.err, "");
        snprintf(line, sizeof(line), "GET %s/v1/models HTTP/1.1", far[i]);
        assert_true(script_asked(s, i, line));
        assert_null(strcasestr(script_request(s, i), "Authorization:"));
    }
    snprintf(base, sizeof(base), "http://LocalHost%s", strrchr(script_base(s), ':'));
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(nowhere), ARGV("models", "--base", base));
    program_end(&p);
    assert_string_equal(p.err, "");
    assert_true(script_has_header(s, 3, "Authorization: Key local"));
    script_stop(s);
}

static void models_of_fal_are_asked_page_by_page_with_fals_key(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 200,
         .body = "{\"models\":[{\"endpoint_id\":\"fal-ai/a\",\"metadata\":{\"category\":\"llm\","
                 "\"display_name\":\"A \\u001b[2J\"}}],\"next_cursor\":\"c/2\",\"has_more\":true}"},
        {.status = 200,
         .body = "{\"models\":[{\"endpoint_id\":\"fal-ai/bb\"}],\"next_cursor\":null,"
                 "\"has_more\":false}"});
    struct program p;
    char key[] = "FAL_KEY=fal:secret", own[] = "ANYLLM_KEY=own:secret", platform[128];
    snprintf(platform, sizeof(platform), "FAL_PLATFORM_URL=%s", script_base(s));
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(key, own, platform),
                  ARGV("models", "--base", "fal", "a b"));
    program_end(&p);
    assert_string_equal(p.err, "");
    assert_int_equal(p.code, 0);
    assert_string_equal(p.out, "ENDPOINT   CATEGORY  NAME\n"
                               "fal-ai/a   llm       A ?[2J\n"
                               "fal-ai/bb  -         -\n");
    assert_true(script_asked(s, 0, "GET /models?limit=100&status=active&q=a%20b HTTP/1.1"));
    assert_true(
        script_asked(s, 1, "GET /models?limit=100&status=active&q=a%20b&cursor=c%2F2 HTTP/1.1"));
    assert_true(script_has_header(s, 0, "Authorization: Key fal:secret"));
    script_stop(s);
}

static void models_without_fals_key_says_so(void **state) {
    (void)state;
    struct program p;
    char own[] = "ANYLLM_KEY=own:secret";
    program_begin(&p, ANYLLM_BINARY, "", -1, ENV(own), ARGV("models", "--base", "fal"));
    program_end(&p);
    assert_int_equal(p.code, 2);
    expect_in(p.err, "set FAL_KEY");
}

static void models_tells_a_servers_refusal(void **state) {
    (void)state;
    struct script *s = SCRIPT(
        {.status = 401, .body = "{\"error\":{\"message\":\"no such key\",\"type\":\"x\"}}"},
        {.status = 200, .body = "nonsense"}, {.hang = true});
    struct program p;
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--base", base_of(s));
    assert_int_equal(p.code, 1);
    assert_string_equal(p.err,
                        "anyllm models: no such key (HTTP 401); set ANYLLM_KEY to a key of that "
                        "server\n");
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--base", base_of(s));
    assert_int_equal(p.code, 3);
    PROGRAM_RUN(&p, ANYLLM_BINARY, no_environment, "models", "--timeout", "0.1", "--base",
                base_of(s));
    assert_int_equal(p.code, 4);
    script_stop(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_prints_a_servers_ids),
        cmocka_unit_test(models_goes_through_a_unix_socket_and_keeps_fals_key),
        cmocka_unit_test(models_knows_loopback_by_more_than_its_beginning),
        cmocka_unit_test(models_of_fal_are_asked_page_by_page_with_fals_key),
        cmocka_unit_test(models_without_fals_key_says_so),
        cmocka_unit_test(models_tells_a_servers_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
