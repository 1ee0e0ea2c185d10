#include "tap.h"

#include "llm/fault.h"

/* What stands in the error object; both NULL: there is none. */

static const struct {
    const char *rule;
    unsigned status;
    const char *code, *type;
    enum llm_fault want;
} classes[] = {
    {"U3", 401, NULL, NULL, LLM_CREDENTIALS},
    {"U3", 403, NULL, NULL, LLM_CREDENTIALS},
    {"U3", 401, "invalid_api_key", "invalid_request_error", LLM_CREDENTIALS},
    {"U4", 400, NULL, NULL, LLM_REFUSED},
    {"U4", 422, NULL, NULL, LLM_REFUSED},
    {"U4", 413, NULL, NULL, LLM_REFUSED},
    {"U4", 400, "context_length_exceeded", "invalid_request_error", LLM_REFUSED},
    {"U5", 404, NULL, NULL, LLM_UNKNOWN_MODEL},
    {"U5", 400, "model_not_found", "invalid_request_error", LLM_UNKNOWN_MODEL},
    {"U6", 429, NULL, NULL, LLM_RATE_LIMITED},
    {"U6", 429, "rate_limit_exceeded", "requests", LLM_RATE_LIMITED},
    {"U7", 429, "insufficient_quota", "insufficient_quota", LLM_QUOTA},
    {"U7", 429, "429", "insufficient_quota", LLM_QUOTA},
    {"U7", 402, NULL, NULL, LLM_QUOTA},
    {"U8", 500, NULL, NULL, LLM_UPSTREAM_ERROR},
    {"U8", 502, NULL, NULL, LLM_UPSTREAM_ERROR},
    {"U8", 599, NULL, NULL, LLM_UPSTREAM_ERROR},
    {"U9", 503, NULL, NULL, LLM_UPSTREAM_OVERLOADED},
    {"U9", 504, NULL, NULL, LLM_UPSTREAM_OVERLOADED},
    {"U9", 524, NULL, NULL, LLM_UPSTREAM_OVERLOADED},
    {"U9", 529, NULL, NULL, LLM_UPSTREAM_OVERLOADED},
    {"U9", 503, "503", "unavailable_error", LLM_UPSTREAM_OVERLOADED},
    {"U12", 204, NULL, NULL, LLM_BAD_ANSWER},
    {"U20", 301, NULL, NULL, LLM_BAD_ANSWER},
    {"U20", 307, NULL, NULL, LLM_BAD_ANSWER},
    {"U14", 200, NULL, NULL, LLM_UPSTREAM_ERROR},
    {"U14", 200, "502", "", LLM_UPSTREAM_ERROR},
    {"U14", 200, "503", "", LLM_UPSTREAM_OVERLOADED},
    {"U14", 200, "429", "", LLM_RATE_LIMITED},
    {"U14", 200, "400", "", LLM_REFUSED},
    {"U14", 200, "7", "", LLM_UPSTREAM_ERROR},
    {"U14", 200, "server_error", "", LLM_UPSTREAM_ERROR},
    {"U14", 200, "", "overloaded_error", LLM_UPSTREAM_OVERLOADED},
    {"media", 404, "404", "", LLM_UNKNOWN_MODEL},
    {"policy", 400, "content_policy_violation", "", LLM_CONTENT_POLICY},
};

static void upstream_errors_are_classified(void **state) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        struct upstream_error e = {.code = slice_of(classes[i].code),
                                   .type = slice_of(classes[i].type)};
        enum llm_fault f = fault_of_error(classes[i].status, classes[i].code != NULL ? &e : NULL);
        if (f != classes[i].want)
            print_error("row %zu (%s): %s\n", i, classes[i].rule, fault_name(f));
        assert_int_equal(f, classes[i].want);
    }
    struct upstream_error moderated = {.code = SLICE("403"), .flagged = true};
    assert_int_equal(fault_of_error(403, &moderated), LLM_CONTENT_POLICY);
    struct upstream_error no_model = {.code = SLICE("400"),
                                      .message = SLICE("x/y is not a valid model ID")};
    assert_int_equal(fault_of_error(400, &no_model), LLM_UNKNOWN_MODEL);
}

/* What OpenRouter and llama-server say of media their model cannot take. */
static void media_the_model_cannot_take_is_no_failure_of_the_upstream(void **state) {
    static const struct {
        unsigned status;
        const char *message;
    } rows[] = {
        {404, "No endpoints found that support image input"},
        {404, "No endpoints found that support input audio"},
        {500, "image input is not supported - hint: if this is unexpected, you may need to provide "
              "the mmproj"},
        {400, "unsupported content[].type"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct upstream_error e = {.message = slice_of(rows[i].message)};
        assert_int_equal(fault_of_error(rows[i].status, &e), LLM_UNSUPPORTED);
    }
    assert_true(fault_fails_over(LLM_UNSUPPORTED));
    assert_false(fault_blames_upstream(LLM_UNSUPPORTED));
    assert_true(llm_fault_info(LLM_UNSUPPORTED)->model_error);
}

/* x-fal-retry-config counts server errors, timeouts and connection errors apart. */
static void retryable_faults_count_as_the_failure_they_are(void **state) {
    static const struct {
        enum llm_fault fault;
        enum llm_failure want;
    } rows[] = {
        {LLM_UPSTREAM_ERROR, LLM_FAILURE_SERVER_ERROR},
        {LLM_UPSTREAM_OVERLOADED, LLM_FAILURE_SERVER_ERROR},
        {LLM_TIMEOUT, LLM_FAILURE_TIMEOUT},
        {LLM_CONNECT, LLM_FAILURE_CONNECTION},
        {LLM_CONNECT_TIMEOUT, LLM_FAILURE_CONNECTION},
        {LLM_CUT, LLM_FAILURE_CONNECTION},
        {LLM_ENGINE, LLM_FAILURE_CONNECTION},
        {LLM_BUSY, LLM_FAILURE_OTHER},
        {LLM_RATE_LIMITED, LLM_FAILURE_OTHER},
        {LLM_REFUSED, LLM_FAILURE_OTHER},
        {LLM_CREDENTIALS, LLM_FAILURE_OTHER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(llm_fault_info(rows[i].fault)->failure, rows[i].want);
}

static void code_for_the_caller_is_openais(void **state) {
    static const struct {
        const char *code, *type, *want;
    } rows[] = {
        {"context_length_exceeded", "invalid_request_error", "context_length_exceeded"},
        {"400", "exceed_context_size_error", "context_length_exceeded"}, /* llama-server */
        {"400", "context_length_exceeded", "context_length_exceeded"},   /* OpenRouter */
        {"400", "invalid_request_error", ""},
        {"unsupported_parameter", "", "unsupported_parameter"},
        {"", "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct upstream_error e = {.code = slice_of(rows[i].code), .type = slice_of(rows[i].type)};
        expect_text(fault_code(&e), rows[i].want);
    }
}

static void transport_faults_are_classified(void **state) {
    static const enum llm_fault want[] = {
        [NET_OK] = LLM_OK,
        [NET_DNS] = LLM_CONNECT,
        [NET_FORBIDDEN] = LLM_CONNECT, /* no upstream has such a rule */
        [NET_REFUSED] = LLM_CONNECT,
        [NET_CONNECT_TIMEOUT] = LLM_CONNECT_TIMEOUT,
        [NET_TLS] = LLM_TLS,
        [NET_FIRST_BYTE_TIMEOUT] = LLM_TIMEOUT,
        [NET_IDLE_TIMEOUT] = LLM_TIMEOUT,
        [NET_TOTAL_TIMEOUT] = LLM_TIMEOUT,
        [NET_CUT] = LLM_CUT,
        [NET_PROTOCOL] = LLM_BAD_ANSWER,
        [NET_CANCELLED] = LLM_CUT,
        [NET_MEMORY] = LLM_MEMORY,
    };
    for (int f = NET_OK; f <= NET_MEMORY; f++)
        assert_int_equal(fault_of_net((enum net_fault)f), want[f]);
}

/* docs/bad-input.md: what the caller gets and whether the queue tries again. */
static const struct {
    enum llm_fault fault;
    unsigned status, attempts;
    const char *type;
} answers[] = {
    {LLM_BUSY, 429, 10, "concurrent_requests_limit"},
    {LLM_NO_ROUTE, 422, 1, NULL},
    {LLM_CONNECT, 503, 10, "runner_connection_refused"},
    {LLM_CONNECT_TIMEOUT, 503, 10, "runner_connection_timeout"},
    {LLM_TLS, 502, 1, NULL},
    {LLM_CREDENTIALS, 502, 1, NULL},
    {LLM_REFUSED, 422, 1, NULL},
    {LLM_UNKNOWN_MODEL, 502, 1, NULL},
    {LLM_UNSUPPORTED, 422, 1, "feature_not_supported"},
    {LLM_RATE_LIMITED, 429, 10, NULL},
    {LLM_QUOTA, 502, 1, NULL},
    {LLM_UPSTREAM_ERROR, 502, 4, NULL},
    {LLM_UPSTREAM_OVERLOADED, 503, 10, NULL},
    {LLM_TIMEOUT, 504, 4, "request_timeout"},
    {LLM_BAD_ANSWER, 502, 1, NULL},
    {LLM_CUT, 502, 4, "runner_incomplete_response"},
    {LLM_CONTENT_POLICY, 422, 1, "content_policy_violation"},
    {LLM_FILE, 422, 1, "file_download_error"},
    {LLM_FILE_TOO_LARGE, 413, 1, "file_too_large"},
};

static void each_fault_has_the_answer_of_the_table(void **state) {
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct llm_fault_info *info = llm_fault_info(answers[i].fault);
        assert_int_equal(info->http_status, answers[i].status);
        assert_int_equal(info->max_attempts, answers[i].attempts);
        assert_int_equal(info->retryable, answers[i].attempts > 1);
        assert_int_equal(info->model_error, answers[i].status == 422 || answers[i].status == 413);
        if (answers[i].type != NULL) assert_string_equal(info->error_type, answers[i].type);
    }
    assert_non_null(llm_fault_info((enum llm_fault)1000));
}

static void the_callers_own_mistakes_do_not_fail_over(void **state) {
    static const enum llm_fault own[] = {LLM_REFUSED, LLM_CONTENT_POLICY, LLM_NO_ROUTE, LLM_BUSY,
                                         LLM_MEMORY};
    static const enum llm_fault theirs[] = {LLM_RATE_LIMITED,
                                            LLM_QUOTA,
                                            LLM_CREDENTIALS,
                                            LLM_UNKNOWN_MODEL,
                                            LLM_UPSTREAM_ERROR,
                                            LLM_UPSTREAM_OVERLOADED,
                                            LLM_CONNECT,
                                            LLM_CONNECT_TIMEOUT,
                                            LLM_TLS,
                                            LLM_TIMEOUT,
                                            LLM_CUT,
                                            LLM_BAD_ANSWER,
                                            LLM_ENGINE};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) assert_false(fault_fails_over(own[i]));
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        assert_true(fault_fails_over(theirs[i]));
}

#define WALL_MS 784111777000 /* Sun, 06 Nov 1994 08:49:37 GMT */

static const struct {
    const char *name, *value;
    int64_t want;
} waits[] = {
    {"retry-after", "7", 7000},
    {"Retry-After", "0", 0},
    {"retry-after", "1.5", 2000},
    {"retry-after", "1000000000", 300000},
    {"retry-after", "99999999999999999999999", 300000},
    {"retry-after", "-1", -1},
    {"retry-after", "soon", -1},
    {"retry-after", "", -1},
    {"retry-after", "7 s", -1},
    {"retry-after", ".", -1},
    {"retry-after", "Sun, 06 Nov 1994 08:49:44 GMT", 7000},
    {"retry-after", "Sun, 06 Nov 1994 08:49:30 GMT", 0},
    {"retry-after", "Sun, 06 Nov 2094 08:49:30 GMT", 300000},
    {"retry-after", "Sun, 06 Nox 1994 08:49:44 GMT", -1},
    {"retry-after", "Sunday, 06-Nov-94 08:49:37 GMT", -1},
    {"retry-after-ms", "250", 250},
    {"retry-after-ms", "junk", -1},
    {"x-other", "7", -1},
};

static void u6_retry_after_is_read_in_every_form(void **state) {
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct h1_head head = {.nheaders = 1};
        head.headers[0] = (struct h1_header){slice_of(waits[i].name), slice_of(waits[i].value)};
        int64_t got = fault_retry_after(&head, WALL_MS);
        if (got != waits[i].want)
            print_error("%s: %s gave %lld\n", waits[i].name, waits[i].value, (long long)got);
        assert_int_equal(got, waits[i].want);
    }
    struct h1_head both = {.nheaders = 2};
    both.headers[0] = (struct h1_header){SLICE("retry-after"), SLICE("7")};
    both.headers[1] = (struct h1_header){SLICE("retry-after-ms"), SLICE("100")};
    assert_int_equal(fault_retry_after(&both, WALL_MS), 100);
}

static const struct {
    const char *text, *want;
} scrubs[] = {
    {"plain words, unharmed: 3.14 and 1.2.3", "plain words, unharmed: 3.14 and 1.2.3"},
    {"bad key CANARY-77 given", "bad key [key] given"},
    {"xCANARY-77x", "x[key]x"},
    {"Authorization: Bearer abc.def-123, sorry", "Authorization: [key], sorry"},
    {"Incorrect API key: sk-proj-abc***xyz.", "Incorrect API key: [key]"},
    {"task-forces and sk-ill", "task-forces and sk-ill"},
    {"see https://10.0.0.7:8000/v1/x?key=1 for more", "see [address] for more"},
    {"(http://lab.example)", "([address])"},
    {"dial tcp 10.0.0.7:8000: refused", "dial tcp [address]: refused"},
    {"from 10.0.0.7.", "from [address]."},
    {"dial [fe80::1]:80 failed", "dial [address] failed"},
    {"host LAB.example:8000 is down", "host [address] is down"},
    {"lab.examples differ", "lab.examples differ"},
    {"on localhost:11434", "on [address]"},
    {"line\r\nbreak\tand \x01", "line  break and  "},
    {"caf\xc3\xa9 \xff", "caf\xc3\xa9 ?"},
};

static void u26_keys_and_addresses_are_scrubbed(void **state) {
    struct fault_secrets secrets = {SLICE("CANARY-77"), SLICE("lab.example")};
    for (size_t i = 0; i < sizeof scrubs / sizeof *scrubs; i++) {
        struct buf out;
        buf_init(&out, 4096);
        fault_scrub(&out, slice_of(scrubs[i].text), &secrets);
        expect_text(buf_slice(&out), scrubs[i].want);
        buf_free(&out);
    }
}

static void scrubbed_text_is_at_most_500_bytes_of_utf8(void **state) {
    struct buf in, out;
    buf_init(&in, 4096);
    buf_init(&out, 4096);
    buf_addc(&in, 'x');
    for (int i = 0; i < 400; i++) buf_puts(&in, "\xc3\xa9");
    fault_scrub(&out, buf_slice(&in), &(struct fault_secrets){SLICE_NONE, SLICE_NONE});
    assert_int_equal(buf_len(&out), 499);
    buf_free(&in);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upstream_errors_are_classified),
        cmocka_unit_test(media_the_model_cannot_take_is_no_failure_of_the_upstream),
        cmocka_unit_test(retryable_faults_count_as_the_failure_they_are),
        cmocka_unit_test(code_for_the_caller_is_openais),
        cmocka_unit_test(transport_faults_are_classified),
        cmocka_unit_test(each_fault_has_the_answer_of_the_table),
        cmocka_unit_test(the_callers_own_mistakes_do_not_fail_over),
        cmocka_unit_test(u6_retry_after_is_read_in_every_form),
        cmocka_unit_test(u26_keys_and_addresses_are_scrubbed),
        cmocka_unit_test(scrubbed_text_is_at_most_500_bytes_of_utf8),
    };
    return cmocka_run_group_tests_name("llm/fault", tests, NULL, NULL);
}
