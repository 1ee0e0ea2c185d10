/* The mock held against its own table, over real sockets: mock_selftest PATH-OF-MOCKLLM.
 * No cmocka, so that it runs wherever the mock builds. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum end { OPEN, CLOSED, RESET, TIMED_OUT };

struct reply {
    char *data;
    size_t len;
    enum end end;
};

static unsigned port;
static int tests, failed; /* tests are what TAP counts; each holds several checks */
static bool bad;          /* a check of the test at hand failed */

static void check(bool ok, const char *name, const char *what) {
    bad |= !ok;
    if (!ok) fprintf(stderr, "# %s: %s\n", name, what);
}

static void end_test(const char *name) {
    printf("%s %d - mock %s\n", bad ? "not ok" : "ok", ++tests, name);
    failed += bad;
    bad = false;
}

static int dial(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval patience = {.tv_usec = 300000}; /* only where nothing more may come */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

static const char health[] = "GET /health HTTP/1.1\r\nHost: mock\r\n\r\n";
static const char healthy[] = "{\"status\":\"ok\"}\n";

/* In one write, with what is to be pipelined behind it. */
static void post(int fd, const char *path, bool stream, const char *prompt, const char *behind) {
    char body[512], text[2048];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"m\",\"stream\":%s,\"stream_options\":{\"include_usage\":true},"
                     "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
                     stream ? "true" : "false", prompt);
    n = snprintf(text, sizeof text,
                 "POST %s/v1/chat/completions HTTP/1.1\r\nHost: mock\r\n"
                 "Authorization: Bearer sk-canary\r\nContent-Length: %d\r\n\r\n%s%s",
                 path, n, body, behind);
    if (write(fd, text, (size_t)n) != n) perror("write");
}

/* Reads until needle has come (NULL: until the end), the peer ends, or nothing comes. */
static struct reply read_until(int fd, const char *needle) {
    struct reply r = {.data = calloc(1, 1 << 20), .end = OPEN};
    while (r.len < (1 << 20) - 1) {
        if (needle && r.len && memmem(r.data, r.len, needle, strlen(needle))) return r;
        ssize_t n = read(fd, r.data + r.len, (1 << 20) - 1 - r.len);
        if (n <= 0) {
            r.end = n == 0 ? CLOSED : errno == ECONNRESET ? RESET : TIMED_OUT;
            return r;
        }
        r.len += (size_t)n;
    }
    return r;
}

static bool has(const struct reply *r, const char *text) {
    return memmem(r->data, r->len, text, strlen(text)) != NULL;
}

/* One row per prefix: what must and must not be in the raw answer, and how it ends: OPEN = a
 * second request on the same connection is answered, TIMED_OUT = nothing comes and nothing ends. */
static const struct {
    const char *path;
    bool stream;
    const char *has, *has_too, *lacks;
    enum end end;
} rows[] = {
    {"", false, "\"content\":\"nonce:n1 meaning", "\"total_tokens\"", "cost", OPEN},
    {"/ok", true, "data: [DONE]\n\n\r\n0\r\n\r\n", "\"usage\":{", NULL, OPEN},
    {"/tokens/2", true, "\"content\":\" meaning\"", "finish_reason\":\"stop\"", "\" of\"", OPEN},
    {"/cost", false, "\"cost\":0.000123", "200 OK", NULL, OPEN},
    {"/status/429/retry-after/7", false, "429 Too Many", "Retry-After: 7\r\n", "choices", OPEN},
    {"/status/429/retry-after/Wed,%2021%20Oct%202099%2007:28:00%20GMT", false, "429",
     "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT\r\n", NULL, OPEN},
    {"/status/429/error-code/insufficient_quota", true, "\"code\":\"insufficient_quota\"", "429",
     NULL, OPEN},
    {"/cut/20", false, "HTTP/1.1 200 OK\r\nCon", NULL, "Cont", CLOSED},
    {"/reset/20", false, NULL, NULL, "Cont", RESET},
    {"/cut/e0", true, "\r\n\r\n", NULL, "data:", CLOSED},
    {"/cut/e2", true, "nonce:n1", NULL, "meaning", CLOSED},
    {"/stall/20", false, "HTTP/1.1 200 OK\r\nCon", NULL, "Cont", TIMED_OUT},
    {"/stall/e1", true, "assistant", NULL, "nonce", TIMED_OUT},
    {"/silent", false, NULL, NULL, "HTTP", TIMED_OUT},
    {"/html", true, "<html>", "text/html", NULL, OPEN},
    {"/empty", false, "Content-Length: 0\r\n\r\n", NULL, "choices", OPEN},
    {"/null", true, "Content-Length: 4\r\n\r\nnull", NULL, "choices", OPEN},
    {"/no-choices", false, "chat.completion", NULL, "choices", OPEN},
    {"/choices-empty", false, "\"choices\":[]", NULL, "content\":", OPEN},
    {"/error-in-stream/429", true, "\"finish_reason\":\"error\"", "\"error\":{\"code\":429",
     "[DONE]", OPEN},
    {"/error-in-stream", false, "200 OK", "{\"error\":{", "choices", OPEN},
    {"/no-done", true, "\"stop\"", "0\r\n\r\n", "[DONE]", OPEN},
    {"/no-finish", true, "[DONE]", NULL, "\"stop\"", OPEN},
    {"/no-blank", true, "data: [DONE]\n\r\n0\r\n", NULL, "data: [DONE]\n\n", OPEN},
    {"/cr-only", true, "]}\r\r\r\n", NULL, NULL, OPEN},
    {"/crlf", true, "data: [DONE]\r\n\r\n", NULL, NULL, OPEN},
    {"/bom", true,
     "\r\n\xEF\xBB\xBF"
     "data: {",
     NULL, NULL, OPEN},
    {"/comments/3", true, ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n: OPENROUTER",
     "[DONE]", NULL, OPEN},
    {"/bigline/5000", true, "xxxxxxxxxxxxxxxx", "[DONE]", "meaning", OPEN},
    {"/wide/12/tokens/2", true, "\"content\":\" meaningmean\"", "[DONE]", NULL, OPEN},
    {"/data-lines/10", true, "data: {\ndata: \ndata: ", "[DONE]", NULL, OPEN},
    {"/sse-fields", true, "event: error\nretry: 0\nid: a", "[DONE]", NULL, OPEN},
    {"/onebyte/tokens/3", true, "nonce:n1", "[DONE]", NULL, OPEN},
    {"/close-after", false, "nonce:n1", NULL, "Connection: close", CLOSED},
    {"/conn-close", false, "Connection: close", NULL, NULL, CLOSED},
    {"/keepalive/5/100", false, "Keep-Alive: timeout=5, max=100\r\n", NULL, "Connection: close",
     OPEN},
    {"/keepalive/5/1", false, "Keep-Alive: timeout=5, max=1\r\n", "Connection: close", NULL,
     CLOSED},
    {"/two-responses", false, "}HTTP/1.1 200 OK", "nobody asked", NULL, OPEN},
    {"/surplus", true, "0\r\n\r\nsurplus bytes", NULL, NULL, OPEN},
    {"/flood-1xx", false, "103 Early Hints\r\n\r\nHTTP/1.1 103", "nonce:n1", NULL, OPEN},
    {"/redirect", false, "307", "Location: /ok/v1/chat/completions\r\n", "choices", OPEN},
    {"/status/302", false, "302 Found", "Location: ", NULL, OPEN},
    {"/echo-auth", false, "401", "provided: Bearer sk-canary", NULL, OPEN},
    {"/badutf8", true, "\"\xFF\"", "\"\xC3(\"", NULL, OPEN},
    {"/surrogate-split", true, "smile \\ud83d\\ude00 ", "\xF0\x9F\x98\x80", NULL, OPEN},
    {"/lone-surrogate", true, "\"smile \\ud83d\"", "\"\\ude00 end\"", NULL, OPEN},
    {"/length-finish", false, "\"finish_reason\":\"length\"", NULL, "stop", OPEN},
    {"/finish/content_filter", true, "\"finish_reason\":\"content_filter\"", NULL, "stop", OPEN},
    {"/usage/negative", false, "\"prompt_tokens\":-5", NULL, NULL, OPEN},
    {"/usage/missing", true, "[DONE]", NULL, "usage", OPEN},
    {"/longer-cl", false, "nonce:n1", NULL, "Connection: close", CLOSED},
    {"/shorter-cl", false, "fp_mock\"}", NULL, NULL, OPEN},
    {"/chunked/10", false, "\r\n\r\na\r\n{\"id\":\"cha\r\na\r\n", NULL, NULL, OPEN},
    {"/eof", true, "HTTP/1.0 200", "data: [DONE]\n\n", "chunked", CLOSED},
    {"/gzip", false, "Content-Encoding: gzip", "\x1f\x8b\x08", NULL, OPEN},
    {"/encoding/br", false, "Content-Encoding: br\r\n", "nonce:n1", NULL, OPEN},
    {"/headers-big/20000", false, "X-Big-4: b", "nonce:n1", NULL, OPEN},
    {"/header/X-Thing/a%20b/header/Y/2", false, "X-Thing: a b\r\nY: 2\r\n", NULL, NULL, OPEN},
    {"/reasoning", true, "\"reasoning\":\"First", "nonce:n1", NULL, OPEN},
    {"/delay/30/cut/20", false, "HTTP/1.1 200 OK\r\nCon", NULL, "Cont", CLOSED},
    {"/sse-interval/5/tokens/3", true, "nonce:n1", "[DONE]", NULL, OPEN},
    {"/openrouter/usage/absurd", true, ": OPENROUTER PROCESSING\n\n", "\"cost\":0.0005595", NULL,
     OPEN},
    {"/openrouter/tokens/2", false, "X-Generation-Id: gen-mock-", "\"cached_tokens\":3", "chatcmpl",
     OPEN},
    {"/openrouter/status/503", false, "Retry-After: 2", "\"error_type\":\"provider_overloaded\"",
     "choices", OPEN},
    {"/openrouter/error-in-stream", true, "\"finish_reason\":\"error\"}],\"error\":{\"code\":502",
     "provider_name", "[DONE]", OPEN},
    {"/whole", true, "chat.completion\"", "Content-Length", "event-stream", OPEN},
    {"/streams", false, "event-stream", "[DONE]", NULL, OPEN},
    {"/mute", false, "\"content\":\"\"", NULL, "nonce", OPEN},
    {"/no-such", false, "404", "no such prefix /no-such", NULL, OPEN},
    {"/delay/soon", false, "404", "wrong argument of /delay", NULL, OPEN},
};

static void test_rows(void) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = dial();
        post(fd, rows[i].path, rows[i].stream, "hi nonce:n1.", health);
        struct reply r = read_until(fd, healthy);
        check(!rows[i].has || has(&r, rows[i].has), rows[i].path, rows[i].has);
        check(!rows[i].has_too || has(&r, rows[i].has_too), rows[i].path, rows[i].has_too);
        check(!rows[i].lacks || !has(&r, rows[i].lacks), rows[i].path, "has what it must not have");
        check(r.end == rows[i].end, rows[i].path, "ends in another way");
        end_test(*rows[i].path ? rows[i].path : "without a prefix");
        free(r.data);
        close(fd);
    }
}

static struct reply get(const char *method, const char *target) {
    char head[128];
    int fd = dial(),
        n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: m\r\n\r\n", method, target);
    if (write(fd, head, (size_t)n) != n) perror("write");
    struct reply r = read_until(fd, "}\n");
    close(fd);
    return r;
}

static void stats_say(const char *name, const char *text) {
    struct reply r = get("GET", "/_stats");
    check(has(&r, text), name, text);
    if (!has(&r, text)) fprintf(stderr, "%.*s\n", (int)r.len, r.data);
    free(r.data);
}

static struct reply ask(int fd, const char *path, const char *prompt, const char *until) {
    post(fd, path, false, prompt, "");
    return read_until(fd, until);
}

static void expect(int fd, const char *path, const char *prompt, const char *until) {
    struct reply r = ask(fd, path, prompt, until);
    check(has(&r, until), path, until);
    free(r.data);
}

static void test_state(void) {
    struct reply r = get("POST", "/_reset");
    free(r.data);
    int fd = dial();
    expect(fd, "/flaky/2", "p1", "503");
    expect(fd, "/flaky/2", "p1", "503");
    expect(fd, "/flaky/2", "p1", "200 OK");
    close(fd);
    fd = dial();
    expect(fd, "/flaky/1/status/429", "p1", "429");
    close(fd);
    fd = dial();
    expect(fd, "/count", "p1", "call 5 of this prompt");
    expect(fd, "/close-reused", "p2", "");
    close(fd);
    stats_say("counts", "{\"calls\":6,\"open\":0,");
    stats_say("prompts", "\"p1\":5");
    stats_say("paths", "\"/flaky/2\":3");
    stats_say("headers", "\"authorization\":\"Bearer sk-canary\"");
    stats_say("body", "\\\"content\\\":\\\"p2\\\"");
    fd = dial();
    expect(fd, "/close-reused", "p3", "fp_mock");
    r = ask(fd, "/close-reused", "p3", "never");
    check(r.len == 0 && r.end == CLOSED, "/close-reused", "answers a reused connection");
    free(r.data);
    close(fd);
}

static void test_aborts_are_seen(void) {
    static const char *const paths[] = {"/silent", "/delay/5000", "/stall/20",
                                        "/tokens/9/sse-interval/5000"};
    struct reply r = get("POST", "/_reset");
    free(r.data);
    for (size_t i = 0; i < 4; i++) {
        int fd = dial();
        post(fd, paths[i], true, "x", "");
        r = read_until(fd, i < 2 ? NULL : "HTTP");
        free(r.data);
        stats_say("one call open", "\"open\":1,");
        close(fd);
    }
    usleep(20000);
    stats_say("aborted", "\"aborted\":4");
    stats_say("none open", "\"open\":0,\"open_max\":1,");
}

static void test_pipelining_and_chunked_requests(void) {
    static const char two[] =
        "GET /v1/models HTTP/1.1\r\n\r\nPOST /ok/v1/chat/completions HTTP/1.1\r\n"
        "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"messages\":[{\"r\r\n"
        "2b\r\nole\":\"user\",\"content\":[{\"text\":\"nonce:zz\"}]\r\n3\r\n}]}\r\n0\r\n\r\n";
    int fd = dial();
    if (write(fd, two, sizeof two - 1) < 0) perror("write");
    struct reply r = read_until(fd, "fp_mock");
    check(has(&r, "mock-small") && has(&r, "nonce:zz"), "pipelining", "both answers");
    free(r.data);
    close(fd);
}

int main(int argc, char **argv) {
    int out[2];
    if (argc < 2 || pipe(out) != 0) return 2;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execl(argv[1], argv[1], "--port", "0", "--die-with-parent", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (!f || fscanf(f, "listening on %u", &port) != 1) return 1;
    test_rows();
    test_state();
    end_test("counts what arrives");
    test_aborts_are_seen();
    end_test("sees callers leave");
    test_pipelining_and_chunked_requests();
    end_test("reads pipelined and chunked requests");
    kill(pid, SIGTERM);
    int status = 0;
    waitpid(pid, &status, 0);
    check(status == 0, "SIGTERM", "ends with 0");
    end_test("ends at SIGTERM");
    printf("1..%d\n", tests);
    return failed ? 1 : 0;
}
