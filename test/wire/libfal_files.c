/* libfal's uploads, files of inputs and tokens with the real server, whose upstream is the mock. */
#include "fal.h"
#include "files_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID "fal-ai/any-llm"
#define MIB ((size_t)1 << 20)
#define LARGE (11 * MIB + 12345)
/* The first bytes of a PNG, and in base64. */
#define PNG "\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
#define PNG_BASE64 "iVBORw0KGgoAAAANSUhEUg=="

static struct server server;
static struct mock mock;
static char *large; /* LARGE bytes that are nowhere alike */

static fal_client *client(const char *key) {
    char base[64];
    fal_client *c = NULL;
    struct fal_options o = FAL_OPTIONS_INIT;
    snprintf(base, sizeof base, "http://127.0.0.1:%u", server.port);
    o.base_url = base;
    o.credentials = key;
    o.retry_base_ms = 50;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

struct watched {
    uint64_t sent, total;
    bool fell;
};

static void watch(uint64_t sent_bytes, uint64_t total_bytes, void *user) {
    struct watched *w = user;
    w->fell = w->fell || sent_bytes < w->sent || sent_bytes > total_bytes;
    w->sent = sent_bytes;
    w->total = total_bytes;
}

/* The path of an address of this server. */
static void path_of(const char *url, char out[512]) {
    char base[64];
    int n = snprintf(base, sizeof base, "http://127.0.0.1:%u", server.port);
    assert_non_null(url);
    assert_memory_equal(url, base, (size_t)n);
    snprintf(out, 512, "%s", url + n);
}

/* Uploads it as ann; where it is read. */
static void upload(const struct fal_file *f, struct fal_upload_options *o, char path[512]) {
    struct watched w = {0};
    fal_client *c = client("ann:" CANARY_CLIENT);
    fal_result *r = NULL;
    o->on_progress = watch;
    o->user = &w;
    if (fal_storage_upload(c, f, o, &r) != FAL_OK) fail_msg("%s", fal_result_error(r)->message);
    path_of(fal_result_string(r, "/url"), path);
    assert_false(w.fell);
    assert_int_equal(w.sent, w.total);
    fal_result_free(r);
    fal_client_free(c);
}

static struct fal_file memory(const char *name, const char *data, size_t len) {
    struct fal_file f = FAL_FILE_INIT;
    f.name = name;
    f.data = data;
    f.data_bytes = len;
    return f;
}

/* ---- Uploads ---- */

static void what_is_uploaded_is_what_is_read(void **state) {
    static const size_t sizes[] = {0, 1, 70000};
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        struct fal_file f = memory("a.txt", large, sizes[i]);
        struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
        upload(&f, &o, path);
        expect_file(server.port, path, "", large, sizes[i]);
    }
}

static void parts_become_one_file(void **state) {
    static const int parallel[] = {1, 4, 16};
    char name[] = "/tmp/libfal-files-XXXXXX", path[512];
    int fd = mkstemp(name);
    assert_int_equal(write(fd, large, LARGE), (ssize_t)LARGE);
    close(fd);
    for (size_t i = 0; i < 3; i++) {
        struct fal_file f = FAL_FILE_INIT;
        struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
        f.path = name;
        o.multipart_bytes = MIB;
        o.part_bytes = MIB;
        o.parallel_parts = parallel[i];
        upload(&f, &o, path);
        expect_file(server.port, path, "", large, LARGE);
    }
    unlink(name);
}

struct tap {
    size_t at, end;
};

static int64_t drip(void *buffer, size_t room, void *user) {
    struct tap *t = user;
    size_t n = t->end - t->at < 40001 ? t->end - t->at : 40001;
    n = n < room ? n : room;
    memcpy(buffer, large + t->at, n);
    t->at += n;
    return (int64_t)n;
}

static void a_callback_of_any_length_becomes_one_file(void **state) {
    static const size_t sizes[] = {0, 5, MIB, 3 * MIB + 7};
    for (size_t i = 0; i < 4; i++) {
        char path[512];
        struct tap t = {0, sizes[i]};
        struct fal_file f = FAL_FILE_INIT;
        struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
        f.read = drip;
        f.user = &t;
        o.part_bytes = MIB;
        upload(&f, &o, path);
        expect_file(server.port, path, "", large, sizes[i]);
    }
}

static void a_lifecycle_is_kept(void **state) {
    char path[512];
    const struct fal_acl_rule rules[] = {{"ben", FAL_ACL_ALLOW}};
    struct fal_lifecycle l = FAL_LIFECYCLE_INIT;
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    struct fal_file f = memory("a.txt", "secret", 6);
    o.lifecycle = &l;
    l.acl = FAL_ACL_FORBID;
    upload(&f, &o, path);
    expect("nobody", get(server.port, path), 403, NULL);
    expect("ben", send_request(server.port, "GET", path, BEN, "", 0), 403, NULL);
    expect_file(server.port, path, ANN, "secret", 6);
    l.rules = rules;
    l.rule_count = 1;
    o.multipart_bytes = o.part_bytes = 3;
    upload(&f, &o, path);
    expect("nobody", get(server.port, path), 403, NULL);
    expect_file(server.port, path, BEN, "secret", 6);
    l = (struct fal_lifecycle)FAL_LIFECYCLE_INIT;
    l.expires_in_s = 1;
    upload(&f, &o, path);
    unsigned status = 200;
    for (uint64_t until = now_ms() + PATIENCE_MS; status != 404 && now_ms() < until;) {
        sleep_ms(100);
        struct answer a = get(server.port, path);
        status = a.status;
        answer_free(&a);
    }
    assert_int_equal(status, 404);
}

static void what_the_server_refuses_is_said(void **state) {
    fal_client *c = client("ann:wrong");
    fal_result *r = NULL;
    struct fal_file f = memory("a.txt", large, 10);
    assert_int_equal(fal_storage_upload(c, &f, NULL, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_http_status(r), 401);
    fal_result_free(r);
    fal_client_free(c);
    c = client("ann:" CANARY_CLIENT);
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    f = memory("a.bin", large, LARGE);
    for (int i = 0; i < 2; i++) { /* at once, and in parts of which some were taken */
        char *more = malloc(2 * LARGE);
        assert_non_null(more);
        memcpy(more, large, LARGE);
        memcpy(more + LARGE, large, LARGE);
        f.data = more;
        f.data_bytes = 2 * LARGE;
        o.multipart_bytes = i == 0 ? 100 * MIB : MIB;
        o.part_bytes = MIB;
        assert_int_equal(fal_storage_upload(c, &f, &o, &r), FAL_ERR_HTTP);
        assert_int_equal(fal_result_http_status(r), 413);
        assert_true(fal_result_error(r)->message[0] != '\0');
        fal_result_free(r);
        free(more);
    }
    fal_client_free(c);
}

/* ---- Inputs ---- */

static void expect_seen_by_the_model(const char *base64) {
    yyjson_doc *doc = mock_stats(&mock);
    const char *body = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "last_body"));
    assert_non_null(body);
    if (strstr(body, base64) == NULL) fail_msg("%s", body);
    yyjson_doc_free(doc);
}

static void a_file_of_an_input_reaches_the_model(void **state) {
    fal_client *c = client("ann:" CANARY_CLIENT);
    fal_result *r = NULL;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    struct fal_files files = FAL_FILES_INIT;
    struct fal_file f = memory("cat.png", PNG, sizeof PNG - 1);
    f.pointer = "/image_urls/-";
    files.files = &f;
    files.file_count = 1;
    o.files = &files;
    if (fal_run(c, ID "/vision",
                "{\"prompt\":\"what is it?\",\"model\":\"test/a\",\"image_urls\":[]}", &o,
                &r) != FAL_OK)
        fail_msg("%s", fal_result_error(r)->message);
    assert_non_null(fal_result_string(r, "/output"));
    fal_result_free(r);
    expect_seen_by_the_model(PNG_BASE64);
    fal_client_free(c);
}

static void a_file_url_of_a_submit_reaches_the_model(void **state) {
    char name[] = "/tmp/libfal-files-XXXXXX.png", input[256];
    int fd = mkstemps(name, 4);
    fal_client *c = client("ann:" CANARY_CLIENT);
    fal_result *r = NULL;
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    struct fal_files files = FAL_FILES_INIT;
    assert_int_equal(write(fd, PNG, sizeof PNG - 1), (ssize_t)sizeof PNG - 1);
    close(fd);
    mock_reset(&mock);
    snprintf(input, sizeof input,
             "{\"prompt\":\"x\",\"model\":\"test/a\",\"image_url\":\"file://%s\"}", name);
    files.file_urls = true;
    o.files = &files;
    if (fal_subscribe(c, ID "/vision", input, &o, &r) != FAL_OK)
        fail_msg("%s", fal_result_error(r)->message);
    fal_result_free(r);
    expect_seen_by_the_model(PNG_BASE64);
    unlink(name);
    fal_client_free(c);
}

/* ---- Tokens ---- */

static unsigned stream_with(const char *app, const char *token) {
    static const char body[] = "{\"prompt\":\"x\",\"model\":\"test/a\"}";
    struct text path = {0};
    text_printf(&path, "/run/%s/stream?fal_jwt_token=%s", app, token);
    struct answer a = post(server.port, path.p, JSON, body, sizeof body - 1);
    unsigned status = a.status;
    answer_free(&a);
    text_free(&path);
    return status;
}

static void a_token_opens_its_app_alone(void **state) {
    fal_client *c = client("ann:" CANARY_CLIENT);
    fal_result *r = NULL;
    const char *const apps[] = {"fal-ai/any-llm"};
    if (fal_token_create(c, apps, 1, 60, NULL, &r) != FAL_OK)
        fail_msg("%s", fal_result_error(r)->message);
    const char *token = fal_result_string(r, "/token");
    assert_non_null(token);
    assert_int_equal(stream_with("fal-ai/any-llm", token), 200);
    assert_int_not_equal(stream_with("openrouter/router", token), 200);
    fal_result_free(r);
    fal_client_free(c);
    c = client("");
    assert_int_equal(fal_token_create(c, apps, 1, 60, NULL, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_http_status(r), 401);
    fal_result_free(r);
    fal_client_free(c);
}

/* ---- The suite ---- */

static int start(void **state) {
    struct text config = {0};
    uint32_t x = 12345;
    mock_start(&mock);
    text_printf(&config,
                "keys:\n"
                "  - { id: ann, secret: %s, owner: ann }\n"
                "  - { id: ben, secret: %s, owner: ben }\n"
                "upstreams:\n"
                "  m: { kind: openai, base_url: \"http://127.0.0.1:%u/v1\", key: %s }\n"
                "routes:\n"
                "  - { model: \"test/a\", to: [m] }\n"
                "max_file_bytes: 12MiB\nmin_free_bytes: 0\n",
                CANARY_CLIENT, CANARY_OTHER, mock.port, CANARY_UPSTREAM);
    server_start_with(&server, config.p);
    text_free(&config);
    large = malloc(LARGE);
    for (size_t i = 0; large != NULL && i < LARGE; i++) {
        x = x * 1664525 + 1013904223;
        large[i] = (char)(x >> 24);
    }
    return large != NULL ? 0 : -1;
}

static int stop(void **state) {
    free(large);
    server_stop(&server);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_uploaded_is_what_is_read),
        cmocka_unit_test(parts_become_one_file),
        cmocka_unit_test(a_callback_of_any_length_becomes_one_file),
        cmocka_unit_test(a_lifecycle_is_kept),
        cmocka_unit_test(what_the_server_refuses_is_said),
        cmocka_unit_test(a_file_of_an_input_reaches_the_model),
        cmocka_unit_test(a_file_url_of_a_submit_reaches_the_model),
        cmocka_unit_test(a_token_opens_its_app_alone),
    };
    return suite_main(argc, argv, "libfal_files", tests, sizeof tests / sizeof *tests, start, stop);
}
