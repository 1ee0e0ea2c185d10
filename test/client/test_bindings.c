/* libfal from other languages: each demonstration of examples/ does the same against the same script, and prints the same. */
#include "client/program.h"
#include "client/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define EVENT_STREAM "Content-Type: text/event-stream\r\n"

static const struct script_step script[] = {
    {.status = 200, .body = "{\"output\":\"Paris\"}"},
    {.status = 200, .body = "{\"status\":\"IN_QUEUE\",\"request_id\":\"r1\"}"},
    {.status = 202, .body = "{\"status\":\"IN_PROGRESS\",\"logs\":[{\"message\":\"loading\"}]}"},
    {.status = 200, .body = "{\"status\":\"COMPLETED\",\"logs\":[{\"message\":\"loading\"}]}"},
    {.status = 200, .body = "{\"output\":\"42\"}"},
    {.status = 200,
     .headers = EVENT_STREAM,
     .body = "data: {\"output\":\"Hel\"}\n\ndata: {\"output\":\"Hello\"}\n\n"},
    {.status = 422,
     .body =
         "{\"detail\":[{\"loc\":[\"body\",\"model\"],\"msg\":\"unknown\",\"type\":\"one_of\"}]}"},
};

static const char expected[] = "run: Paris\n"
                               "id: r1\n"
                               "state: IN_PROGRESS\n"
                               "log: loading\n"
                               "state: COMPLETED\n"
                               "subscribe: 42\n"
                               "stream: Hel\n"
                               "stream: Hello\n"
                               "error: 422 one_of body.model: unknown\n";

static void expect_the_same(const char *path, char *file) {
    struct script *s = script_start(script, sizeof(script) / sizeof(script[0]));
    struct program p;
    char base[80], key[] = "FAL_KEY=kid:ksecret";
    char cdef[] = "FAL_CDEF=" FAL_CDEF, library[] = "FAL_LIBRARY=" FAL_LIBRARY;
    char bytecode[] = "PYTHONDONTWRITEBYTECODE=1";
    snprintf(base, sizeof(base), "FAL_BASE_URL=%s", script_base(s));
    program_begin(&p, path, "", -1, ENV(base, key, cdef, library, bytecode), ARGV(file));
    program_end(&p);
    assert_string_equal(p.err, "");
    assert_string_equal(p.out, expected);
    assert_int_equal(p.code, 0);
    assert_true(script_asked(s, 5, "POST /run/fal-ai/any-llm/stream HTTP/1.1"));
    for (size_t i = 0; i < script_count(s); i++) {
        assert_true(script_has_header(s, i, "Authorization: Key kid:ksecret"));
    }
    script_stop(s);
}

static void cpp_demo_does_what_it_shows(void **state) {
    (void)state;
    if (DEMO_CPP[0] == '\0') {
        print_message("skip: no C++ compiler\n");
        skip();
    }
    expect_the_same(DEMO_CPP, NULL);
}

#ifndef SANITIZED /* a library that is cannot be loaded into a program that is not */

static void lua_demo_does_what_it_shows(void **state) {
    (void)state;
    char file[] = EXAMPLES "/lua/demo.lua";
    if (access("/usr/bin/luajit", X_OK) != 0) {
        print_message("skip: luajit is not installed\n");
        skip();
    }
    expect_the_same("/usr/bin/luajit", file);
}

static void python_demo_does_what_it_shows(void **state) {
    (void)state;
    char file[] = EXAMPLES "/python/demo.py";
    static const char *const pythons[] = {VENV "/bin/python", "/usr/bin/python3"};
    for (size_t i = 0; i < 2; i++) {
        struct program p;
        if (access(pythons[i], X_OK) != 0) {
            continue;
        }
        PROGRAM_RUN(&p, pythons[i], ENV(NULL), "-c", "import cffi");
        if (p.code == 0) {
            expect_the_same(pythons[i], file);
            return;
        }
    }
    print_message("skip: no Python with cffi\n");
    skip();
}

#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpp_demo_does_what_it_shows),
#ifndef SANITIZED
        cmocka_unit_test(lua_demo_does_what_it_shows),
        cmocka_unit_test(python_demo_does_what_it_shows),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
