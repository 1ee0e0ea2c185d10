#include "tap.h"

#include "llm/adapter.h"

static const struct config_upstream plain = {.kind = UPSTREAM_OPENAI, .base_path = S("/v1")};
static const struct config_upstream lab = {
    .kind = UPSTREAM_OPENAI, .base_path = S("/v1"), .default_max_tokens = 1024};
static const struct config_upstream router = {.kind = UPSTREAM_OPENROUTER,
                                              .base_path = S("/api/v1"),
                                              .default_max_tokens = 1024,
                                              .http_referer = S("https://app.example"),
                                              .x_title = S("anyllm")};
static const struct config_upstream local = {.kind = UPSTREAM_LOCAL, .default_max_tokens = 1024};

static const struct slice cat[] = {S("https://x.example/cat.png"), S("data:image/png;base64,AA==")};

static const struct slice sounds[] = {S("data:audio/mpeg;base64,SUQz"),
                                      S("https://x.example/a.mp3"),
                                      S("data:audio/x-wav;codecs=1;base64,UklG"),
                                      S("data:Audio/MP4;base64,AAAA"),
                                      S("data:audio/ogg;base64,T2dn"),
                                      S("data:audio/wav,plain")};
static const struct slice film[] = {S("https://x.example/a.mp4"), S("data:video/mp4;base64,AA==")};

#define OPENAI_MEMBERS "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"top_p\":0.50"

static const struct {
    const struct config_upstream *up;
    bool stream;
    struct llm_request request;
    const char *want;
} bodies[] = {
    {&plain,
     false,
     {.prompt = S("Hi")},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}"},
    {&lab,
     false,
     {.prompt = S("Hi")},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1024}"},
    {&lab,
     true,
     {.prompt = S("Hi"), .has_max_tokens = true, .max_tokens = 7},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":7,\"stream\":true,"
     "\"stream_options\":{\"include_usage\":true}}"},
    {&local,
     false,
     {.prompt = S("a\"b\\\n\x01\xc3\xa9\xff"), .system_prompt = S("Be \"brief\"")},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"system\",\"content\":\"Be \\\"brief\\\"\"},"
     "{\"role\":\"user\",\"content\":\"a\\\"b\\\\\\n\\u0001\xc3\xa9\xef\xbf\xbd\"}],\"max_tokens\":1024}"},
    {&plain,
     false,
     {.prompt = S("Hi"), .has_temperature = true, .temperature = 0.7},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":0.7}"},
    {&plain,
     false,
     {.prompt = S("Hi"), .has_temperature = true, .temperature = 0},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":0}"},
    {&plain,
     false,
     {.prompt = S("Hi"), .has_temperature = true, .temperature = 1.0000000000000002},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
     "\"temperature\":1.0000000000000002}"},
    {&plain,
     false,
     {.prompt = S("What?"), .nimages = 2, .images = cat},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What?\"},"
     "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x.example/cat.png\"}},"
     "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AA==\"}}]}]}"},
    {&plain,
     false,
     {.prompt = S("Hi"),
      .reasoning = true,
      .priority = LLM_PRIORITY_LATENCY,
      .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}"},
    {&router,
     false,
     {.prompt = S("Hi"), .priority = LLM_PRIORITY_LATENCY},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1024,"
     "\"provider\":{\"sort\":\"latency\"},\"reasoning\":{\"exclude\":true},\"usage\":{\"include\":true}}"},
    {&router,
     true,
     {.prompt = S("Hi"),
      .reasoning = true,
      .keeps_nothing = true,
      .priority = LLM_PRIORITY_THROUGHPUT},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1024,"
     "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
     "\"provider\":{\"sort\":\"throughput\",\"data_collection\":\"deny\"},\"reasoning\":{\"enabled\":true},"
     "\"usage\":{\"include\":true}}"},
    {&router,
     false,
     {.prompt = S("Hi")},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1024,"
     "\"reasoning\":{\"exclude\":true},\"usage\":{\"include\":true}}"},
    {&router,
     false,
     {.prompt = S("Hi"), .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"max_tokens\":1024,"
     "\"provider\":{\"data_collection\":\"deny\"},\"reasoning\":{\"exclude\":true},"
     "\"usage\":{\"include\":true}}"},
    {&plain,
     false,
     {.prompt = S("What?"), .naudios = 6, .audios = sounds, .nvideos = 2, .videos = film},
     "{\"model\":\"m/1\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What?\"},"
     "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"SUQz\",\"format\":\"mp3\"}},"
     "{\"type\":\"audio_url\",\"audio_url\":{\"url\":\"https://x.example/a.mp3\"}},"
     "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"UklG\",\"format\":\"wav\"}},"
     "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\",\"format\":\"m4a\"}},"
     "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"T2dn\",\"format\":\"ogg\"}},"
     "{\"type\":\"audio_url\",\"audio_url\":{\"url\":\"data:audio/wav,plain\"}},"
     "{\"type\":\"video_url\",\"video_url\":{\"url\":\"https://x.example/a.mp4\"}},"
     "{\"type\":\"video_url\",\"video_url\":{\"url\":\"data:video/mp4;base64,AA==\"}}]}]}"},
    /* members travel as they are, and nothing is added */
    {&lab,
     false,
     {.members = S(OPENAI_MEMBERS), .prompt = S("not this"), .reasoning = true},
     "{\"model\":\"m/1\"," OPENAI_MEMBERS "}"},
    {&router,
     true,
     {.members = S(OPENAI_MEMBERS ",\"provider\": {\"only\":[\"a\"]}")},
     "{\"model\":\"m/1\"," OPENAI_MEMBERS
     ",\"provider\": {\"only\":[\"a\"]},\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
    {&plain,
     true,
     {.members = S("\"messages\":[]"), .stream_options = S("\"include_obfuscation\":false")},
     "{\"model\":\"m/1\",\"messages\":[],\"stream\":true,"
     "\"stream_options\":{\"include_obfuscation\":false,\"include_usage\":true}}"},
    {&local, false, {.members = S(OPENAI_MEMBERS)}, "{\"model\":\"m/1\"," OPENAI_MEMBERS "}"},
    /* what may be kept is not for the caller to say */
    {&router,
     false,
     {.members = S(OPENAI_MEMBERS), .keeps_nothing = true},
     "{\"model\":\"m/1\"," OPENAI_MEMBERS ",\"provider\":{\"data_collection\":\"deny\"}}"},
    {&router,
     false,
     {.members = S("\"provider\":{\"data_collection\":\"allow\", \"order\" : [\"a\"],\"zdr\":true},"
                   "\"messages\":[]"),
      .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[],"
     "\"provider\":{\"order\" : [\"a\"],\"zdr\":true,\"data_collection\":\"deny\"}}"},
    {&router,
     false,
     {.members = S("\"messages\":[],\"pro\\u0076ider\":{\"data\\u005fcollection\":\"allow\"}"),
      .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[],\"provider\":{\"data_collection\":\"deny\"}}"},
    {&router,
     false,
     {.members = S("\"provider\":[\"allow\"],\"messages\":[]"), .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[],\"provider\":{\"data_collection\":\"deny\"}}"},
    {&plain,
     false,
     {.members = S("\"messages\":[],\"provider\":{\"a\":1}"), .keeps_nothing = true},
     "{\"model\":\"m/1\",\"messages\":[],\"provider\":{\"a\":1}}"},
};

static const struct route_step step = {.upstream_id = S("m/1")};

/* OpenAI's newer models refuse max_tokens; OpenRouter translates it. */
static void newer_models_of_openai_get_max_completion_tokens(void **state) {
    static const struct catalogue_model newer = {.max_completion_tokens = true};
    static const struct route_step to_newer = {.upstream_id = S("o3"), .entry = &newer};
    static const struct {
        const struct config_upstream *up;
        const struct route_step *step;
        bool renamed;
    } rows[] = {{&lab, &to_newer, true}, {&lab, &step, false}, {&router, &to_newer, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b;
        buf_init(&b, 65536);
        adapter_body(&b, rows[i].up, rows[i].step, &(struct llm_request){.prompt = SLICE("Hi")},
                     false);
        struct slice body = buf_slice(&b);
        assert_int_equal(memmem(body.ptr, body.len, "\"max_completion_tokens\":1024", 28) != NULL,
                         rows[i].renamed);
        assert_int_equal(memmem(body.ptr, body.len, "\"max_tokens\":1024", 17) != NULL,
                         !rows[i].renamed);
        buf_free(&b);
    }
}

static void bodies_are_built_from_validated_values_only(void **state) {
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct buf b;
        buf_init(&b, 65536);
        assert_true(adapter_body(&b, bodies[i].up, &step, &bodies[i].request, bodies[i].stream));
        expect_text(buf_slice(&b), bodies[i].want);
        buf_free(&b);
    }
}

static void openrouter_takes_audio_as_base64_only(void **state) {
    struct llm_request r = {.naudios = 1, .audios = sounds};
    assert_null(adapter_refuses(&router, &r));
    r.audios = &sounds[1];
    assert_non_null(adapter_refuses(&router, &r));
    assert_null(adapter_refuses(&plain, &r));
    assert_null(adapter_refuses(&local, &r)); /* the engine says so itself */
    r.audios = &sounds[5];
    assert_non_null(adapter_refuses(&router, &r));
}

static void body_over_the_maximum_is_a_failure(void **state) {
    struct buf b;
    buf_init(&b, 32);
    assert_false(
        adapter_body(&b, &plain, &step, &(struct llm_request){.prompt = SLICE("Hi")}, false));
    buf_free(&b);
}

static void expect_headers(const struct config_upstream *up, const char *key, bool stream,
                           const char *want) {
    struct buf b;
    struct secret s = {0};
    buf_init(&b, 4096);
    if (key != NULL) assert_true(secret_set(&s, slice_of(key)));
    assert_int_equal(adapter_headers(&b, up, &s, stream), want != NULL);
    if (want != NULL) expect_text(buf_slice(&b), want);
    secret_free(&s);
    buf_free(&b);
}

static void headers_carry_the_key_of_this_upstream_only(void **state) {
    expect_headers(&lab, NULL, false,
                   "Content-Type: application/json\r\nAccept: application/json\r\n"
                   "User-Agent: anyllm/" ANYLLM_VERSION "\r\n");
    expect_headers(&router, "k-1", true,
                   "Content-Type: application/json\r\nAccept: text/event-stream\r\n"
                   "User-Agent: anyllm/" ANYLLM_VERSION "\r\nHTTP-Referer: https://app.example\r\n"
                   "X-Title: anyllm\r\nAuthorization: Bearer k-1\r\n");
}

static void header_with_a_line_break_is_refused(void **state) {
    struct config_upstream up = router;
    up.x_title = SLICE("a\r\nX-Evil: 1");
    expect_headers(&up, NULL, false, NULL);
    expect_headers(&router, "k\r\nX-Evil: 1", false, NULL);
}

static void path_follows_the_base_url(void **state) {
    static const struct {
        const struct config_upstream *up;
        const char *want;
    } paths[] = {{&lab, "/v1/chat/completions"},
                 {&router, "/api/v1/chat/completions"},
                 {&local, "/v1/chat/completions"}};
    for (size_t i = 0; i < 3; i++) {
        struct buf b;
        buf_init(&b, 256);
        assert_true(adapter_path(&b, paths[i].up));
        expect_text(buf_slice(&b), paths[i].want);
        buf_free(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_built_from_validated_values_only),
        cmocka_unit_test(newer_models_of_openai_get_max_completion_tokens),
        cmocka_unit_test(openrouter_takes_audio_as_base64_only),
        cmocka_unit_test(body_over_the_maximum_is_a_failure),
        cmocka_unit_test(headers_carry_the_key_of_this_upstream_only),
        cmocka_unit_test(header_with_a_line_break_is_refused),
        cmocka_unit_test(path_follows_the_base_url),
    };
    return cmocka_run_group_tests_name("llm/adapter", tests, NULL, NULL);
}
