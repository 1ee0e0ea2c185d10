/* libfal's realtime connections and webhooks with the real server: tokens, keys, text, msgpack, TLS, a unix socket, its end. */
#include "calls.h"
#include "fal.h"
#include "net/certs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define APP "fal-ai/any-llm"
#define KEY "app1:" CANARY_CLIENT
#define WAIT_MS 20000
#define ASK "{\"prompt\":\"nonce:ws hello\"}"

static struct server server;
static struct mock mock;
static const char *example_webhooks, *example_realtime;
static char config[2048], scratch[MAX_PATH], ca_path[MAX_PATH + 16], base[64], tls_base[64],
    socket_path[MAX_PATH + 16];

/* --- the server */

/* What its log says behind `mark`. */
static unsigned port_behind(const struct server *s, const char *mark) {
    for (uint64_t end = now_ms() + PATIENCE_MS; now_ms() < end; sleep_ms(10)) {
        char *log = file_text(s->err, NULL), *at = strstr(log, mark);
        unsigned port = at != NULL ? (unsigned)strtoul(at + strlen(mark), NULL, 10) : 0;
        free(log);
        if (port != 0) return port;
    }
    fail_msg("the log does not say %s", mark);
    return 0;
}

static void make_certificates(char cert_path[MAX_PATH + 16], char key_path[MAX_PATH + 16]) {
    struct cert ca = cert_make("test authority", NULL, NULL, -1, 30),
                leaf = cert_make("127.0.0.1", "IP:127.0.0.1", &ca, -1, 30);
    snprintf(ca_path, sizeof ca_path, "%s/ca.pem", scratch);
    snprintf(cert_path, MAX_PATH + 16, "%s/cert.pem", scratch);
    snprintf(key_path, MAX_PATH + 16, "%s/key.pem", scratch);
    cert_write(&ca, ca_path);
    cert_write(&leaf, cert_path);
    cert_write_key(&leaf, key_path, 0600);
    cert_free(&leaf);
    cert_free(&ca);
}

static int setup(void **state) {
    char cert_path[MAX_PATH + 16], key_path[MAX_PATH + 16], listen[MAX_PATH + 32];
    unsetenv("SSL_CERT_FILE");
    mock_start(&mock);
    scratch_make(scratch);
    make_certificates(cert_path, key_path);
    snprintf(socket_path, sizeof socket_path, "%s/s.sock", scratch);
    snprintf(listen, sizeof listen, "unix:%s", socket_path);
    snprintf(config, sizeof config,
             "upstreams:\n"
             "  ok: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: " CANARY_UPSTREAM
             " }\n"
             "  wide: { kind: openai, base_url: \"http://127.0.0.1:%u/tokens/300/wide/4096/v1\" }\n"
             "routes: [{ model: test/wide, to: [wide] }, { model: '*', to: [ok] }]\n"
             "listen_tls: 127.0.0.1:0\ntls_cert: %s\ntls_key: %s\n"
             "webhook_allow: [127.0.0.0/8]\n"
             "keys:\n  - { id: app1, secret: " CANARY_CLIENT " }\n",
             mock.port, mock.port, cert_path, key_path);
    server_start(&server,
                 &(const struct server_options){.config = config, .args = {"--listen", listen}});
    snprintf(base, sizeof base, "http://127.0.0.1:%u", server.port);
    snprintf(tls_base, sizeof tls_base, "https://127.0.0.1:%u",
             port_behind(&server, "listening on https://127.0.0.1:"));
    return 0;
}

static int teardown(void **state) {
    server_stop(&server);
    mock_stop(&mock);
    scratch_remove(scratch);
    return 0;
}

static fal_client *client_of(const char *url, const char *key) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = url;
    o.credentials = key;
    o.ca_file = ca_path;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    return c;
}

/* --- talking */

static fal_realtime *open_it(fal_client *c, const struct fal_realtime_options *o) {
    fal_realtime *rt = NULL;
    fal_result *r = NULL;
    if (fal_realtime_open(c, APP, o, &rt, &r) != FAL_OK)
        fail_msg("not open: %s", fal_result_error(r)->message);
    fal_result_free(r);
    return rt;
}

/* Sends, and reads outputs up to the last; how long it is. */
static size_t talk(fal_realtime *rt, const char *json) {
    size_t len = 0;
    assert_int_equal(fal_realtime_send(rt, json), FAL_OK);
    for (bool partial = true; partial;) {
        fal_result *r = NULL;
        if (fal_realtime_receive(rt, WAIT_MS, &r) != FAL_OK)
            fail_msg("no output: %s", fal_result_error(r)->message);
        const char *output = fal_result_string(r, "/output");
        assert_non_null(output);
        assert_true(strlen(output) >= len); /* cumulative */
        len = strlen(output);
        partial = strstr(fal_result_json(r), "\"partial\":true") != NULL;
        fal_result_free(r);
    }
    assert_true(len > 0);
    return len;
}

static void talks(const char *url, const struct fal_realtime_options *o) {
    fal_client *c = client_of(url, KEY);
    fal_realtime *rt = open_it(c, o);
    for (int i = 0; i < 3; i++) talk(rt, ASK);
    fal_realtime_close(rt);
    fal_client_free(c);
}

static void libfal_talks_by_token_and_key_in_msgpack_and_text(void **state) {
    for (int i = 0; i < 4; i++) {
        struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
        o.use_key = (i & 1) != 0;
        o.text = (i & 2) != 0;
        o.max_buffering = i;
        talks(base, &o);
        talks(tls_base, &o);
    }
}

static void libfal_talks_with_a_token_of_its_own(void **state) {
    fal_client *c = client_of(base, KEY);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    fal_result *r = NULL;
    assert_int_equal(fal_token_create(c, (const char *const[]){APP}, 1, 60, NULL, &r), FAL_OK);
    fal_client *keyless = client_of(base, "");
    o.token = fal_result_string(r, "/token");
    fal_realtime *rt = open_it(keyless, &o);
    talk(rt, ASK);
    fal_realtime_close(rt);
    fal_client_free(keyless);
    fal_client_free(c);
    fal_result_free(r);
}

/* Many frames at once: TLS holds bytes that the descriptor does not show. */
static void libfal_reads_floods_through_tls(void **state) {
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    fal_client *c = client_of(tls_base, KEY);
    for (int i = 0; i < 2; i++) {
        o.text = i == 1;
        fal_realtime *rt = open_it(c, &o);
        size_t len = talk(rt, "{\"prompt\":\"x\",\"model\":\"test/wide\"}");
        assert_true(len >= (size_t)300 * 4096);
        fal_realtime_close(rt);
    }
    fal_client_free(c);
}

static void libfal_talks_through_a_unix_socket(void **state) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    o.base_url = "http://localhost";
    o.credentials = KEY;
    o.unix_socket = socket_path;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    fal_realtime *rt = open_it(c, NULL);
    talk(rt, ASK);
    fal_realtime_close(rt);
    fal_client_free(c);
}

/* --- refusals */

static void expect_refused(fal_client *c, const struct fal_realtime_options *o, enum fal_code code,
                           int status) {
    fal_realtime *rt = NULL;
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_open(c, APP, o, &rt, &r), code);
    assert_int_equal(fal_result_error(r)->http_status, status);
    assert_true(fal_result_error(r)->message[0] != '\0');
    assert_null(rt);
    fal_result_free(r);
    fal_client_free(c);
}

static void libfal_says_why_it_is_not_let_in(void **state) {
    struct fal_realtime_options key = FAL_REALTIME_OPTIONS_INIT;
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    key.use_key = true;
    expect_refused(client_of(base, "app1:wrong"), NULL, FAL_ERR_HTTP, 401);
    expect_refused(client_of(base, "app1:wrong"), &key, FAL_ERR_HTTP, 401);
    expect_refused(client_of(tls_base, "app1:wrong"), &key, FAL_ERR_HTTP, 401);
    o.base_url = tls_base; /* and trusts the system's authorities alone */
    o.max_retries = -1;
    assert_int_equal(fal_client_new(&o, &c), FAL_OK);
    expect_refused(c, &key, FAL_ERR_CONNECT, 0);
}

static void libfal_is_told_that_a_token_opens_nothing(void **state) {
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    fal_client *c = client_of(base, KEY);
    fal_result *r = NULL;
    assert_int_equal(fal_token_create(c, (const char *const[]){"fal-ai/other"}, 1, 60, NULL, &r),
                     FAL_OK);
    o.token = fal_result_string(r, "/token");
    fal_realtime *rt = open_it(c, &o);
    fal_result_free(r);
    assert_int_equal(fal_realtime_receive(rt, WAIT_MS, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_error(r)->http_status, 401);
    assert_string_equal(fal_result_error(r)->message, "Unauthorized");
    fal_result_free(r);
    fal_realtime_close(rt);
    fal_client_free(c);
}

static void libfal_reads_the_faults_of_an_input(void **state) {
    fal_client *c = client_of(base, KEY);
    fal_realtime *rt = open_it(c, NULL);
    fal_result *r = NULL;
    assert_int_equal(fal_realtime_send(rt, "{\"prompt\":7}"), FAL_OK);
    assert_int_equal(fal_realtime_receive(rt, WAIT_MS, &r), FAL_ERR_HTTP);
    assert_int_equal(fal_result_error(r)->http_status, 422);
    assert_string_equal(fal_result_error(r)->error_type, "VALIDATION_ERROR");
    assert_non_null(strstr(fal_result_error(r)->message, "prompt"));
    fal_result_free(r);
    talk(rt, ASK);
    fal_realtime_close(rt);
    fal_client_free(c);
}

/* --- ends */

static void note_close(const struct fal_error *error, int close_code, void *user) {
    int *seen = user;
    seen[0]++;
    seen[1] = close_code;
    seen[2] = (int)error->code;
}

static void libfal_is_told_that_the_server_ends(void **state) {
    struct server s;
    char text[64];
    int seen[3] = {0};
    char *plain = strstr(config, "listen_tls: "), own[sizeof config];
    snprintf(own, sizeof own, "%.*s%s", (int)(plain - config), config, strstr(config, "keys:"));
    server_start_with(&s, own);
    snprintf(text, sizeof text, "http://127.0.0.1:%u", s.port);
    fal_client *c = client_of(text, KEY);
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    o.on_close = note_close;
    o.user = seen;
    fal_realtime *rt = open_it(c, &o);
    talk(rt, ASK);
    server_stop(&s);
    while (fal_client_pending(c) > 0) assert_int_equal(fal_client_wait(c, WAIT_MS), FAL_OK);
    assert_int_equal(seen[0], 1);
    assert_int_equal(seen[1], 1001);
    assert_int_equal(seen[2], FAL_OK);
    fal_realtime_close(rt);
    fal_client_free(c);
}

/* --- the examples */

static void realtime_example_prints_answers(void **state) {
    char command[1024], line[4096];
    snprintf(command, sizeof command, "FAL_BASE_URL=%s FAL_KEY=%s %s", base, KEY, example_realtime);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    for (int i = 0; i < 2; i++) {
        assert_non_null(fgets(line, sizeof line, out));
        assert_true(strlen(line) > 5);
    }
    assert_int_equal(pclose(out), 0);
}

static pid_t start_receiver(FILE **out) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 1);
        setenv("FAL_BASE_URL", base, 1);
        execl(example_webhooks, "verify", "0", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *out = fdopen(ends[0], "r");
    assert_non_null(*out);
    return pid;
}

/* A delivery of the server, then the same bytes by somebody else. */
static void webhook_example_tells_the_servers_from_others(void **state) {
    char line[8192], body[256];
    unsigned port = 0;
    FILE *out;
    pid_t pid = start_receiver(&out);
    assert_non_null(fgets(line, sizeof line, out));
    assert_int_equal(sscanf(line, "listening on 127.0.0.1:%u", &port), 1);
    snprintf(body, sizeof body, "http://127.0.0.1:%u/hook", port);
    fal_client *c = client_of(base, KEY);
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    fal_result *r = NULL;
    o.webhook_url = body;
    assert_int_equal(fal_queue_submit(c, APP, ASK, &o, &r), FAL_OK);
    assert_non_null(fgets(line, sizeof line, out));
    assert_memory_equal(line, "valid: {\"error\": null, ", 23);
    assert_non_null(strstr(line, fal_result_request_id(r)));
    fal_result_free(r);
    fal_client_free(c);
    struct peer other = peer_open(port);
    peer_puts(&other, "POST /hook HTTP/1.1\r\nContent-Length: 2\r\nX-Fal-Webhook-Request-Id: r\r\n"
                      "X-Fal-Webhook-User-Id: u\r\nX-Fal-Webhook-Timestamp: 1795436254\r\n\r\n{}");
    peer_listen(&other, PATIENCE_MS);
    assert_non_null(strstr(other.in.p, "HTTP/1.1 401 "));
    peer_close(&other);
    assert_non_null(fgets(line, sizeof line, out));
    assert_string_equal(line, "unsigned: \n");
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    fclose(out);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libfal_talks_by_token_and_key_in_msgpack_and_text),
        cmocka_unit_test(libfal_talks_with_a_token_of_its_own),
        cmocka_unit_test(libfal_reads_floods_through_tls),
        cmocka_unit_test(libfal_talks_through_a_unix_socket),
        cmocka_unit_test(libfal_says_why_it_is_not_let_in),
        cmocka_unit_test(libfal_is_told_that_a_token_opens_nothing),
        cmocka_unit_test(libfal_reads_the_faults_of_an_input),
        cmocka_unit_test(libfal_is_told_that_the_server_ends),
        cmocka_unit_test(realtime_example_prints_answers),
        cmocka_unit_test(webhook_example_tells_the_servers_from_others),
    };
    if (argc != 5) return 2;
    example_realtime = argv[3];
    example_webhooks = argv[4];
    return suite_main(3, argv, "libfal_realtime", tests, sizeof tests / sizeof *tests, setup,
                      teardown);
}
