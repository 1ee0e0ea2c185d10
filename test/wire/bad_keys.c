/* docs/bad-input.md: who may call, and whose requests are whose; and a server without keys, which no web page may use. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server keyed, open_to_all; /* the second has no keys */
static struct mock mock;

#define RUN "/run/fal-ai/any-llm"
#define QUEUE "/queue/fal-ai/any-llm"
#define BODY "{\"prompt\":\"x\"}"
#define ID "00000000-0000-4000-8000-000000000000"
#define APP1 "Authorization: Key app1:" CANARY_CLIENT "\r\n"
#define APP2 "Authorization: Bearer app2:" CANARY_OTHER "\r\n"
#define ADMIN "Authorization: Key chief:chief-secret\r\n"
#define MATE "Authorization: Key mate:mate-secret\r\n" /* of app1's owner */

static void expect_status(const char *what, const struct answer *a, unsigned status) {
    if (a->status != status)
        fail_msg("%s: %u instead of %u:\n%s%s", what, a->status, status, a->head.p,
                 a->body.len > 0 ? a->body.p : "");
}

static struct answer call(unsigned port, const char *method, const char *path,
                          const char *headers) {
    struct text t = {0};
    bool body = strcmp(method, "POST") == 0;
    text_printf(&t, "%s %s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", method, path,
                strstr(headers, "Host:") == NULL ? HOST : "", headers, body ? 14 : 0,
                body ? BODY : "");
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

/* Every route that wants a key. */
static const struct {
    const char *method, *path;
} routes[] = {
    {"POST", RUN},
    {"POST", RUN "/stream"},
    {"POST", "/fal-ai/any-llm"},
    {"POST", "/fal-ai/any-llm/stream"},
    {"POST", QUEUE},
    {"POST", RUN "/no/such/path"},
    {"POST", "/run/no/such-app"},
    {"GET", QUEUE "/requests/" ID "/status"},
    {"GET", QUEUE "/requests/" ID},
    {"GET", QUEUE "/requests/" ID "/response"},
    {"PUT", QUEUE "/requests/" ID "/cancel"},
    {"GET", "/metrics"},
};
#define NROUTES (sizeof routes / sizeof *routes)

static void expect_401(const char *what, const struct answer *a, const char *says) {
    char value[32];
    expect_status(what, a, 401);
    assert_true(answer_header(a, "www-authenticate", value, sizeof value));
    assert_string_equal(value, "Key");
    if (!answer_says(a, says)) fail_msg("%s: %s", what, a->body.p);
}

static void expect_nothing_done(void) {
    struct answer a = call(keyed.port, "GET", "/metrics", APP1);
    assert_true(answer_says(&a, "\nanyllm_queue_submitted_total 0\n"));
    answer_free(&a);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

/* --- K1-K4, K6 */

static void K1_no_key_is_401(void **state) {
    mock_reset(&mock);
    for (size_t i = 0; i < NROUTES; i++) {
        struct answer a = call(keyed.port, routes[i].method, routes[i].path, "");
        expect_401(routes[i].path, &a,
                   "\"detail\":\"Authentication is required to access this application.\"");
        answer_free(&a);
    }
    expect_nothing_done();
}

static void K1_the_right_key_opens(void **state) {
    static const char *const spellings[] = {APP1,
                                            APP2,
                                            MATE,
                                            "authorization: key app1:" CANARY_CLIENT "\r\n",
                                            "AUTHORIZATION: BEARER app1:" CANARY_CLIENT "\r\n",
                                            "Authorization: Key hashed:hashed-secret\r\n"};
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        struct answer a = call(keyed.port, "POST", RUN, spellings[i]);
        expect_status("the right key", &a, 200);
        answer_free(&a);
    }
}

static void expect_invalid(const char *credential, size_t len) {
    struct text t = {0};
    text_puts(&t, "POST " RUN " HTTP/1.1\r\n" HOST "Content-Length: 14\r\nAuthorization: ");
    text_add(&t, credential, len);
    text_puts(&t, "\r\n\r\n" BODY);
    struct answer a = ask(keyed.port, t.p, t.len);
    expect_401(credential, &a, "\"detail\":\"Invalid API key\"");
    answer_free(&a);
    text_free(&t);
}

static void K2_what_is_no_key_is_401(void **state) {
    static const char *const credentials[] = {"Key",
                                              "Key ",
                                              "Key :",
                                              "Key a",
                                              "Key app1",
                                              "Key app1:",
                                              "Key :" CANARY_CLIENT,
                                              "Keyapp1:" CANARY_CLIENT,
                                              "Key: app1:" CANARY_CLIENT,
                                              "Bearer",
                                              "Bearer :",
                                              "Basic YXBwMTp4",
                                              "app1:" CANARY_CLIENT,
                                              "Key app1 " CANARY_CLIENT,
                                              "Token app1:" CANARY_CLIENT,
                                              "Key, app1:" CANARY_CLIENT,
                                              "Key app1:" CANARY_CLIENT ",",
                                              "Key \"app1:" CANARY_CLIENT "\"",
                                              "Key app1:\x80\xff",
                                              "Key \xc3\xa9:x",
                                              ":",
                                              ",",
                                              "\"",
                                              "null",
                                              "undefined",
                                              "Key undefined",
                                              "Key null"};
    for (size_t i = 0; i < sizeof credentials / sizeof *credentials; i++)
        expect_invalid(credentials[i], strlen(credentials[i]));
}

static void K2_a_key_of_10_KB_is_401(void **state) {
    struct text t = {0};
    text_puts(&t, "Key app1:");
    text_fill(&t, 'k', 10240);
    expect_invalid(t.p, t.len);
    text_free(&t);
}

/* A control byte may not stand in any header: refused before it is looked at. */
static void K2_control_bytes_open_nothing(void **state) {
    for (char c = 1; c < 0x20; c++) {
        struct text t = {0};
        if (c == '\r' || c == '\n') continue;
        text_printf(&t,
                    "POST " RUN " HTTP/1.1\r\n" HOST "Authorization: Key app1:%c" CANARY_CLIENT
                    "\r\nContent-Length: 14\r\n\r\n" BODY,
                    c);
        struct answer a = ask(keyed.port, t.p, t.len);
        assert_true(a.status == 400 || a.status == 401);
        answer_free(&a);
        text_free(&t);
    }
}

static void K3_wrong_secret_and_unknown_id_look_the_same(void **state) {
    static const char *const wrong[] = {"Key app1:wrong",
                                        "Key nobody:wrong",
                                        "Key nobody:" CANARY_CLIENT,
                                        "Key app2:" CANARY_CLIENT,
                                        "Key app1:" CANARY_OTHER,
                                        "Key app1:" CANARY_CLIENT "x",
                                        "Key APP1:" CANARY_CLIENT,
                                        "Key app1:canary-client-secret-Zk4vB8",
                                        "Key app1:canary",
                                        "Key hashed:3f0a"};
    struct text first = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct text t = {0};
        text_printf(&t, "Authorization: %s\r\n", wrong[i]);
        struct answer a = call(keyed.port, "POST", RUN, t.p);
        expect_401(wrong[i], &a, "Invalid API key");
        if (first.len == 0) text_add(&first, a.body.p, a.body.len);
        assert_int_equal(a.body.len, first.len);
        assert_memory_equal(a.body.p, first.p, first.len);
        answer_free(&a);
        text_free(&t);
    }
    text_free(&first);
}

static void K4_SQL_in_a_key_is_401(void **state) {
    static const char *const keys[] = {"Key x' OR (SELECT pg_sleep(8)) IS NOT NULL --",
                                       "Key ' OR '1'='1",
                                       "Key app1:' OR 1=1 --",
                                       "Key app1' --:x",
                                       "Key \"; DROP TABLE requests; --",
                                       "Key app1:x\\' OR 1=1;--",
                                       "Key %27%20OR%201=1"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        expect_invalid(keys[i], strlen(keys[i]));
}

static void K6_two_Authorization_headers_are_400(void **state) {
    static const char *const both[] = {APP1 APP1, APP1 APP2, APP1 "Authorization: Key a:b\r\n",
                                       "Authorization: Key a:b\r\n" APP1,
                                       APP1 "authorization:\r\n"};
    for (size_t i = 0; i < sizeof both / sizeof *both; i++)
        for (size_t port = 0; port < 2; port++) {
            struct answer a = call(port == 0 ? keyed.port : open_to_all.port, "POST", RUN, both[i]);
            expect_status("two headers", &a, 400);
            answer_free(&a);
        }
}

/* The log must not hold them either: server_stop looks for them. */
static void K6_a_key_elsewhere_opens_nothing(void **state) {
    static const struct {
        const char *path, *headers;
    } cases[] = {
        {RUN "?key=app1:" CANARY_CLIENT, ""},
        {RUN "?api_key=app1:" CANARY_CLIENT "&Authorization=Key%20app1:" CANARY_CLIENT, ""},
        {QUEUE "?fal_key=app1:" CANARY_CLIENT, ""},
        {RUN, "Cookie: Authorization=Key app1:" CANARY_CLIENT "; key=app1:" CANARY_CLIENT "\r\n"},
        {RUN, "X-Api-Key: app1:" CANARY_CLIENT "\r\nX-Fal-Key: app1:" CANARY_CLIENT
              "\r\nProxy-Authorization: Key app1:" CANARY_CLIENT "\r\n"},
    };
    mock_reset(&mock);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer a = call(keyed.port, "POST", cases[i].path, cases[i].headers);
        expect_401(cases[i].path, &a, "Authentication is required");
        answer_free(&a);
    }
    struct answer a = call(keyed.port, "POST", "/app1:secret/run/fal-ai/any-llm", "");
    assert_true(a.status == 401 || a.status == 404);
    answer_free(&a);
    expect_nothing_done();
}

/* --- keys that are made while the server runs */

#define KEY_BYTES 93U

struct made {
    char id[37], key[KEY_BYTES + 1], header[KEY_BYTES + 24];
};

static struct answer admin_post(const char *path, const char *headers, const char *body) {
    return post(keyed.port, path, headers, body, strlen(body));
}

static struct made make_key(const char *body) {
    struct made m;
    struct answer a = admin_post("/admin/keys", ADMIN, body);
    expect_status("a new key", &a, 201);
    yyjson_doc *doc = answer_json("a new key", &a);
    const char *key = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "key"));
    if (key == NULL || strlen(key) != KEY_BYTES) fail_msg("a new key: %s", a.body.p);
    memcpy(m.key, key, sizeof m.key);
    snprintf(m.id, sizeof m.id, "%.36s", m.key);
    snprintf(m.header, sizeof m.header, "Authorization: Key %s\r\n", m.key);
    yyjson_doc_free(doc);
    answer_free(&a);
    return m;
}

static unsigned revoke_key(const char *id, const char *headers) {
    char path[128];
    snprintf(path, sizeof path, "/admin/keys/%s", id);
    struct answer a = call(keyed.port, "DELETE", path, headers);
    unsigned status = a.status;
    answer_free(&a);
    return status;
}

/* As the server writes it: CRC-32 in six digits of base 62. */
static void mend_checksum(char key[KEY_BYTES + 1]) {
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < KEY_BYTES - 6; i++) {
        crc ^= (unsigned char)key[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    crc = ~crc;
    for (size_t i = KEY_BYTES; i-- > KEY_BYTES - 6; crc /= 62) key[i] = digits[crc % 62];
}

static void expect_wrong(const char *key) {
    char credential[256];
    snprintf(credential, sizeof credential, "Key %s", key);
    expect_invalid(credential, strlen(credential));
}

/* Asking is a look for a key, too. */
static unsigned long keyed_number(const char *name) {
    struct answer a = call(keyed.port, "GET", "/metrics", APP1);
    char line[128];
    expect_status("metrics", &a, 200);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    assert_non_null(at);
    unsigned long n = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return n;
}

static void K2_a_wrong_checksum_is_looked_for_nowhere(void **state) {
    struct made m = make_key("{}");
    unsigned long before, malformed;
    struct answer a = call(keyed.port, "POST", RUN, m.header);
    expect_status("as it was given out", &a, 200);
    answer_free(&a);
    before = keyed_number("anyllm_key_lookups_total");
    malformed = keyed_number("anyllm_keys_refused_total{reason=\"malformed\"}");
    for (size_t at = 0; at < KEY_BYTES; at += at == 35 ? 9 : 1) {
        char key[KEY_BYTES + 1];
        memcpy(key, m.key, sizeof key);
        key[at] = key[at] == 'x' ? 'y' : 'x';
        expect_wrong(key);
    }
    char cut[KEY_BYTES + 1];
    snprintf(cut, sizeof cut, "%.*s", (int)KEY_BYTES - 1, m.key);
    expect_wrong(cut);
    assert_int_equal(keyed_number("anyllm_key_lookups_total"), before + 2); /* for asking */
    assert_int_equal(keyed_number("anyllm_keys_refused_total{reason=\"malformed\"}"),
                     malformed + KEY_BYTES - 8 + 1);
}

static void K3_a_wrong_key_of_our_form_looks_like_any_other(void **state) {
    struct made m = make_key("{}"), other = make_key("{}");
    char key[KEY_BYTES + 1];
    memcpy(key, m.key, sizeof key);
    memcpy(key + 44, other.key + 44, KEY_BYTES - 44); /* the right id, another's secret */
    mend_checksum(key);
    unsigned long before = keyed_number("anyllm_key_lookups_total");
    expect_wrong(key);
    memcpy(key, "00000000", 8); /* an id that nobody has */
    mend_checksum(key);
    expect_wrong(key);
    assert_int_equal(keyed_number("anyllm_key_lookups_total"),
                     before + 3); /* one of them for asking */
}

static void expect_closed_everywhere(const struct made *m) {
    for (size_t i = 0; i < NROUTES; i++) {
        struct answer a = call(keyed.port, routes[i].method, routes[i].path, m->header);
        expect_401(routes[i].path, &a, "\"detail\":\"Invalid API key\"");
        answer_free(&a);
    }
}

static void K5_a_revoked_key_is_401_from_then_on(void **state) {
    struct made m = make_key("{\"alias\":\"gone soon\"}"), other = make_key("{}");
    struct answer a = call(keyed.port, "POST", RUN, m.header);
    expect_status("before", &a, 200);
    answer_free(&a);
    assert_int_equal(revoke_key(m.id, ADMIN), 200);
    expect_closed_everywhere(&m);
    a = call(keyed.port, "POST", RUN, other.header);
    expect_status("another one", &a, 200);
    answer_free(&a);
    assert_int_equal(revoke_key(m.id, ADMIN), 200); /* once more */
    assert_int_equal(revoke_key(ID, ADMIN), 404);
}

static void K5_an_expired_key_is_401_from_then_on(void **state) {
    struct made m = make_key("{\"expires_in\":1}");
    unsigned status = 200;
    for (uint64_t until = now_ms() + PATIENCE_MS; status == 200; sleep_ms(20)) {
        struct answer a = call(keyed.port, "POST", RUN, m.header);
        status = a.status;
        assert_true(now_ms() < until);
        answer_free(&a);
    }
    assert_int_equal(status, 401);
    expect_closed_everywhere(&m);
}

/* --- K9, K11 */

static const struct {
    const char *method, *path;
} admin_routes[] = {
    {"GET", "/admin/keys"},
    {"POST", "/admin/keys"},
    {"DELETE", "/admin/keys/" ID},
    {"GET", "/admin/usage"},
    {"GET", "/admin/webhooks"},
    {"POST", "/admin/webhooks/replay"},
    {"GET", "/platform/v1/keys"},
    {"POST", "/platform/v1/keys"},
    {"DELETE", "/platform/v1/keys/" ID},
    {"GET", "/platform/v1/models/usage"},
    {"GET", "/platform/v1/models/billing-events"},
    {"DELETE", "/platform/v1/models/requests/" ID "/payloads"},
    {"GET", "/platform/v1/account/billing"},
};
#define NADMIN (sizeof admin_routes / sizeof *admin_routes)

static void K9_a_users_key_on_an_operators_route_is_403(void **state) {
    struct made user = make_key("{\"scope\":\"API\"}");
    const char *const keys[] = {APP1, user.header};
    unsigned long before = keyed_number("anyllm_keys");
    for (size_t i = 0; i < NADMIN; i++) {
        struct answer a = call(keyed.port, admin_routes[i].method, admin_routes[i].path, "");
        expect_status(admin_routes[i].path, &a, 401);
        answer_free(&a);
        for (size_t k = 0; k < 2; k++) {
            a = call(keyed.port, admin_routes[i].method, admin_routes[i].path, keys[k]);
            expect_status(admin_routes[i].path, &a, 403);
            bool platform = strncmp(admin_routes[i].path, "/platform", 9) == 0;
            assert_true(
                answer_says(&a, platform ? "\"type\":\"authorization_error\"" : "\"detail\":"));
            answer_free(&a);
        }
    }
    assert_int_equal(revoke_key(user.id, user.header), 403); /* not even its own */
    assert_int_equal(keyed_number("anyllm_keys"), before);
}

static void K9_a_form_on_an_operators_route_is_403(void **state) {
    static const char *const types[] = {"application/x-www-form-urlencoded",
                                        "multipart/form-data; boundary=x", "text/plain",
                                        "Text/Plain;charset=utf-8"};
    unsigned long before = keyed_number("anyllm_keys");
    for (size_t i = 0; i < NADMIN; i++)
        for (size_t t = 0; t < 8; t++) {
            struct text headers = {0};
            if (strcmp(admin_routes[i].method, "POST") != 0) continue;
            text_printf(&headers, "%sContent-Type: %s\r\n", t < 4 ? ADMIN : APP1, types[t % 4]);
            struct answer a = call(keyed.port, "POST", admin_routes[i].path, headers.p);
            expect_status(admin_routes[i].path, &a, 403);
            answer_free(&a);
            text_free(&headers);
        }
    assert_int_equal(keyed_number("anyllm_keys"), before);
}

/* On a server without keys every caller on the machine is the operator; the first key is for the socket's owner. */
static void K9_the_first_key_is_not_made_by_a_caller(void **state) {
    static const char *const paths[] = {"/admin/keys", "/platform/v1/keys"};
    for (size_t i = 0; i < 2; i++) {
        struct answer a = post(open_to_all.port, paths[i], "", "{\"alias\":\"x\"}", 13);
        expect_status(paths[i], &a, 403);
        answer_free(&a);
    }
    struct answer a = call(open_to_all.port, "POST", RUN, "");
    expect_status("still open", &a, 200);
    answer_free(&a);
}

/* There are no budgets (K12 waits): a budget is ignored as every other member that is not known. */
static void K11_members_that_are_no_ones_are_ignored(void **state) {
    struct made m = make_key(
        "{\"alias\":\"a\",\"budget\":-1,\"user_id\":\"app2\",\"is_admin\":true,\"status\":\"x\","
        "\"key_id\":\"mine\",\"key_secret\":\"mine\",\"created_at\":0,\"revoked_at\":1}");
    struct answer a = call(keyed.port, "GET", "/admin/keys", m.header);
    expect_status("scope", &a, 403);
    answer_free(&a);
    a = call(keyed.port, "POST", RUN, m.header);
    expect_status("usable", &a, 200);
    answer_free(&a);
}

static void a_key_that_cannot_be_is_422(void **state) {
    static const char *const bodies[] = {"{\"alias\":1}",
                                         "{\"owner\":[]}",
                                         "{\"scope\":\"ROOT\"}",
                                         "{\"scope\":\"admin\"}",
                                         "{\"scope\":true}",
                                         "{\"expires_in\":0}",
                                         "{\"expires_in\":-5}",
                                         "{\"expires_in\":1e30}",
                                         "{\"expires_in\":1.5}",
                                         "{\"expires_in\":\"1d\"}",
                                         "{\"alias\":\"a\\u0000b\"}",
                                         "{\"owner\":\"a\\nb\"}",
                                         "[]",
                                         "{\"alias\":",
                                         "{\"expires_in\":18446744073709551615}"};
    unsigned long before = keyed_number("anyllm_keys");
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct answer a = admin_post("/admin/keys", ADMIN, bodies[i]);
        expect_status(bodies[i], &a, 422);
        answer_free(&a);
    }
    struct text longest = {0};
    text_puts(&longest, "{\"alias\":\"");
    text_fill(&longest, 'a', 201);
    text_puts(&longest, "\"}");
    struct answer a = admin_post("/admin/keys", ADMIN, longest.p);
    expect_status("a long label", &a, 422);
    answer_free(&a);
    text_free(&longest);
    assert_int_equal(keyed_number("anyllm_keys"), before);
}

/* --- K7, K8 */

static char *submit_as(const char *key) {
    struct answer a = call(keyed.port, "POST", QUEUE, key);
    expect_status("submit", &a, 200);
    yyjson_doc *doc = answer_json("submit", &a);
    char *id = strdup(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "request_id")));
    yyjson_doc_free(doc);
    answer_free(&a);
    return id;
}

static const struct {
    const char *method, *tail;
} of_request[] = {{"GET", "/status"}, {"GET", "/status?logs=1"}, {"GET", "/status/stream"},
                  {"GET", ""},        {"GET", "/response"},      {"PUT", "/cancel"}};

static struct answer about(const char *id, size_t i, const char *app, const char *key) {
    struct text t = {0};
    text_printf(&t, "/queue/%s/requests/%s%s", app, id, of_request[i].tail);
    struct answer a = call(keyed.port, of_request[i].method, t.p, key);
    text_free(&t);
    return a;
}

/* A foreign request is answered as an unknown one, byte for byte. */
static void expect_foreign(const char *id) {
    for (size_t i = 0; i < sizeof of_request / sizeof *of_request; i++) {
        struct answer foreign = about(id, i, "fal-ai/any-llm", APP2),
                      unknown = about(ID, i, "fal-ai/any-llm", APP2);
        expect_status(of_request[i].tail, &foreign, 404);
        expect_status(of_request[i].tail, &unknown, 404);
        assert_true(answer_says(&foreign, "\"status\":\"NOT_FOUND\""));
        assert_true(answer_says(&foreign, "Request not found"));
        assert_string_equal(foreign.body.p, unknown.body.p);
        answer_free(&foreign);
        answer_free(&unknown);
    }
}

static void K7_another_owners_request_is_404(void **state) {
    char *id = submit_as(APP1);
    expect_foreign(id);
    for (unsigned status = 202; status != 200; sleep_ms(5)) {
        struct answer a = about(id, 0, "fal-ai/any-llm", APP1);
        status = a.status;
        assert_true(status == 200 || status == 202);
        answer_free(&a);
    }
    expect_foreign(id); /* completed, too */
    struct answer a = about(id, 3, "fal-ai/any-llm", MATE);
    expect_status("the same owner's other key", &a, 200);
    answer_free(&a);
    free(id);
}

static struct text listed_by(const char *key, const char *path) {
    struct text t = {0};
    struct answer a = call(keyed.port, "GET", path, key);
    expect_status(path, &a, 200);
    text_add(&t, a.body.p, a.body.len);
    answer_free(&a);
    return t;
}

/* Lists name nothing of another owner's: neither when asked for all, nor when asked for its id. */
static void K7_another_owners_usage_is_not_listed(void **state) {
    struct made mine = make_key("{\"owner\":\"lister\"}"),
                mate = make_key("{\"owner\":\"lister\"}");
    char *id = submit_as(mine.header), path[256];
    const char *base = "/platform/v1/models/requests/by-endpoint?endpoint_id=fal-ai/any-llm";
    for (uint64_t until = now_ms() + PATIENCE_MS;; sleep_ms(20)) {
        struct text t = listed_by(mate.header, base); /* the same owner's other key sees it */
        bool there = strstr(t.p, id) != NULL;
        text_free(&t);
        if (there) break;
        assert_true(now_ms() < until);
    }
    struct text all = listed_by(APP2, base);
    assert_null(strstr(all.p, id));
    snprintf(path, sizeof path, "%s&request_id=%s", base, id);
    struct text by_id = listed_by(APP2, path);
    snprintf(path, sizeof path, "%s&request_id=" ID, base);
    struct text unknown = listed_by(APP2, path);
    assert_string_equal(by_id.p, unknown.p);
    text_free(&all);
    text_free(&by_id);
    text_free(&unknown);
    free(id);
}

/* Deliveries are the operator's to see. */
static void K7_deliveries_are_not_for_users(void **state) {
    struct answer a = call(keyed.port, "GET", "/admin/webhooks?owner=team-a", APP2);
    expect_status("list", &a, 403);
    answer_free(&a);
    a = post(keyed.port, "/admin/webhooks/replay", APP2, "{\"id\":\"" ID "\"}", 45);
    expect_status("replay", &a, 403);
    answer_free(&a);
    a = post(keyed.port, "/admin/webhooks/replay", ADMIN, "{\"id\":\"" ID "\"}", 45);
    expect_status("unknown", &a, 404);
    answer_free(&a);
}

static void K8_ids_that_are_none(void **state) {
    static const struct {
        const char *id;
        unsigned status;
    } ids[] = {
        {"------------------------------------", 404},
        {"../" ID, 404},
        {"%2e%2e%2f" ID, 404},
        {"..", 404},
        {"%00", 400},
        {"00000000-0000-4000-8000-00000000000%00", 400},
        {"x", 404},
        {"'%20OR%201=1--", 404},
        {"%27;DROP%20TABLE%20requests;--", 404},
        {"*", 404},
        {"%25", 404},
        {"0", 404},
        {"-1", 404},
        {"00000000000040008000000000000000", 404},
        {"00000000-0000-4000-8000-0000000000000", 404},
        {"null", 404},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        for (size_t route = 0; route < sizeof of_request / sizeof *of_request; route++) {
            struct answer a = about(ids[i].id, route, "fal-ai/any-llm", APP1);
            expect_status(ids[i].id, &a, ids[i].status);
            assert_false(answer_says(&a, "SQL"));
            assert_false(answer_says(&a, "sqlite"));
            answer_free(&a);
        }
}

static void K8_an_id_of_10_KB_is_414(void **state) {
    struct text t = {0};
    text_fill(&t, 'a', 10240);
    for (size_t route = 0; route < sizeof of_request / sizeof *of_request; route++) {
        struct answer a = about(t.p, route, "fal-ai/any-llm", APP1);
        expect_status("10 KB", &a, 414);
        answer_free(&a);
        t.p[6000] = '\0'; /* shorter than a request line may be */
        a = about(t.p, route, "fal-ai/any-llm", APP1);
        expect_status("6 KB", &a, 404);
        answer_free(&a);
        t.p[6000] = 'a';
    }
    text_free(&t);
}

static void K8_upper_case_and_another_app_are_404(void **state) {
    char *id = submit_as(APP1);
    static const char *const apps[] = {"fal-ai/other",    "openrouter/router", "fal-ai/any",
                                       "fal-ai/any-llmx", "other/any-llm",     "FAL-AI/any-llm"};
    for (size_t route = 0; route < sizeof of_request / sizeof *of_request; route++) {
        for (size_t i = 0; i < sizeof apps / sizeof *apps; i++) {
            struct answer a = about(id, route, apps[i], APP1);
            expect_status(apps[i], &a, 404);
            answer_free(&a);
        }
        char upper[64];
        bool letters = false;
        for (size_t i = 0; i <= strlen(id); i++) {
            upper[i] = (char)(id[i] >= 'a' && id[i] <= 'f' ? id[i] - 32 : id[i]);
            letters |= upper[i] != id[i];
        }
        struct answer a = about(upper, route, "fal-ai/any-llm", APP1);
        if (letters) expect_status("upper case", &a, 404);
        answer_free(&a);
    }
    free(id);
}

/* --- a server without keys: no web page may use it */

static const struct {
    const char *headers;
    const char *names; /* the setting that the 403 names; NULL: 200 */
} web[] = {
    {HOST, NULL},
    {"Host: 127.0.0.1:8787\r\n", NULL},
    {"Host: 127.8.9.1\r\n", NULL},
    {"Host: localhost\r\n", NULL},
    {"Host: LocalHost:1\r\n", NULL},
    {"Host: [::1]:8787\r\n", NULL},
    {"Host: fal.run\r\n", NULL},
    {"Host: queue.fal.run\r\n", NULL},
    {"Host: QUEUE.FAL.RUN:443\r\n", NULL},
    {"Host: llm.example.org\r\n", NULL}, /* allowed_hosts */
    {"Host: llm.example.org:8443\r\n", NULL},
    {"Host: evil.example\r\n", "allowed_hosts"},
    {"Host: evil.example:8787\r\n", "allowed_hosts"},
    {"Host: 127.0.0.1.evil.example\r\n", "allowed_hosts"},
    {"Host: 127.0.0.1.nip.io\r\n", "allowed_hosts"},
    {"Host: localhost.evil.example\r\n", "allowed_hosts"},
    {"Host: evil.localhost.example\r\n", "allowed_hosts"},
    {"Host: xlocalhost\r\n", "allowed_hosts"},
    {"Host: fal.run.evil.example\r\n", "allowed_hosts"},
    {"Host: evil-fal.run\r\n", "allowed_hosts"},
    {"Host: x.llm.example.org\r\n", "allowed_hosts"},
    {"Host: 10.0.0.1\r\n", "allowed_hosts"},
    {"Host: 169.254.169.254\r\n", "allowed_hosts"},
    {"Host: 0.0.0.0\r\n", "allowed_hosts"},
    {"Host: [::]\r\n", "allowed_hosts"},
    {"Host: [::ffff:6.6.6.6]\r\n", "allowed_hosts"},
    {HOST "Origin: http://localhost:3000\r\n", NULL},
    {HOST "Origin: http://127.0.0.1:5173\r\n", NULL},
    {HOST "Origin: https://localhost\r\n", NULL},
    {HOST "Origin: http://[::1]:8080\r\n", NULL},
    {HOST "Origin: https://app.example.org\r\n", NULL}, /* allowed_origins */
    {HOST "Origin: https://evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://evil.example:8787\r\n", "allowed_origins"},
    {HOST "Origin: null\r\n", "allowed_origins"},
    {HOST "Origin:\r\n", "allowed_origins"},
    {HOST "Origin: http://localhost.evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://127.0.0.1.evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://localhost@evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://localhost:3000@evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://localhost/evil.example\r\n", "allowed_origins"},
    {HOST "Origin: https://app.example.org.evil.example\r\n", "allowed_origins"},
    {HOST "Origin: http://app.example.org\r\n", "allowed_origins"},
    {HOST "Origin: https://app.example.org:444\r\n", "allowed_origins"},
    {HOST "Origin: file://\r\n", "allowed_origins"},
    {HOST "Origin: chrome-extension://abcdefgh\r\n", "allowed_origins"},
    {HOST "Origin: localhost\r\n", "allowed_origins"},
    {HOST "Origin: http://localhost\r\nOrigin: https://evil.example\r\n", "allowed_origins"},
    {HOST "Origin: https://evil.example\r\nOrigin: http://localhost\r\n", "allowed_origins"},
    {"Host: evil.example\r\nOrigin: http://evil.example\r\n", "allowed_"},
};

static void no_web_page_may_use_a_server_without_keys(void **state) {
    for (size_t i = 0; i < sizeof web / sizeof *web; i++)
        for (size_t r = 0; r < NROUTES; r++) {
            if (strstr(routes[r].path, "no/such") != NULL) continue;
            struct answer a = call(open_to_all.port, routes[r].method, routes[r].path,
                                   web[i].headers);
            if ((a.status == 403) != (web[i].names != NULL))
                fail_msg("%s %s: %u", routes[r].path, web[i].headers, a.status);
            if (a.status == 403 && !answer_says(&a, web[i].names))
                fail_msg("%s: names not %s: %s", web[i].headers, web[i].names, a.body.p);
            answer_free(&a);
        }
}

static void wait_idle(unsigned port) {
    while (metric(port, "anyllm_queue_waiting") + metric(port, "anyllm_queue_running") > 0)
        sleep_ms(5);
}

static void a_refused_page_stores_nothing_and_calls_nobody(void **state) {
    wait_idle(open_to_all.port);
    mock_reset(&mock);
    unsigned long before = metric(open_to_all.port, "anyllm_queue_submitted_total");
    for (size_t i = 0; i < sizeof web / sizeof *web; i++)
        for (size_t r = 0; r < NROUTES && web[i].names != NULL; r++) {
            struct answer a = call(open_to_all.port, routes[r].method, routes[r].path,
                                   web[i].headers);
            answer_free(&a);
        }
    assert_int_equal(metric(open_to_all.port, "anyllm_queue_submitted_total"), before);
    assert_int_equal(mock_count(&mock, "calls"), 0);
}

/* With keys the key decides: any page that has one may call. */
static void with_keys_any_page_may_ask_but_needs_the_key(void **state) {
    struct answer a = call(keyed.port, "POST", RUN,
                           "Host: evil.example\r\nOrigin: https://evil.example\r\n");
    expect_status("without", &a, 401);
    answer_free(&a);
    a = call(keyed.port, "POST", RUN,
             "Host: llm.example.org\r\nOrigin: https://app.example.org\r\n" APP1);
    expect_status("with", &a, 200);
    char exposed[512];
    assert_true(answer_header(&a, "access-control-expose-headers", exposed, sizeof exposed));
    assert_non_null(strstr(exposed, "x-fal-request-id"));
    assert_non_null(strstr(exposed, "x-fal-request-timeout-type"));
    answer_free(&a);
}

/* check_answer sees to the star and to the absence of credentials, here and on every other answer. */
static void a_preflight_is_answered_by_the_same_rule(void **state) {
    static const struct {
        unsigned status;
        const char *origin;
    } cases[] = {{204, "http://localhost:3000"},
                 {204, "https://app.example.org"},
                 {403, "https://evil.example"},
                 {403, "null"}};
    for (size_t i = 0; i < 4; i++) {
        struct text t = {0};
        char value[512];
        text_printf(
            &t,
            "OPTIONS " QUEUE " HTTP/1.1\r\n" HOST
            "Origin: %s\r\nAccess-Control-Request-Method: POST\r\n"
            "Access-Control-Request-Headers: authorization,content-type,x-fal-queue-priority\r\n\r\n",
            cases[i].origin);
        struct answer a = ask(open_to_all.port, t.p, t.len),
                      with_keys = ask(keyed.port, t.p, t.len);
        expect_status(cases[i].origin, &a, cases[i].status);
        expect_status(cases[i].origin, &with_keys, 204);
        assert_true(answer_header(&with_keys, "access-control-allow-methods", value, sizeof value));
        assert_non_null(strstr(value, "POST"));
        assert_non_null(strstr(value, "PUT"));
        assert_true(answer_header(&with_keys, "access-control-allow-headers", value, sizeof value));
        assert_non_null(strstr(value, "authorization"));
        assert_non_null(strstr(value, "x-fal-queue-priority"));
        answer_free(&a);
        answer_free(&with_keys);
        text_free(&t);
    }
}

/* --- the suite */

static int start(void **state) {
    struct text config = {0};
    mock_start(&mock);
    text_printf(
        &config,
        "upstreams:\n  up: { kind: openai, base_url: \"http://127.0.0.1:%u/ok/v1\", key: %s }\n",
        mock.port, CANARY_UPSTREAM);
    text_puts(
        &config,
        "max_wrong_keys_per_minute: 0\nallowed_hosts: [llm.example.org]\nallowed_origins: [\"https://app.example.org\"]\n");
    server_start_with(&open_to_all, config.p);
    text_puts(
        &config,
        "keys:\n"
        "  - { id: app1, secret: " CANARY_CLIENT ", owner: team-a }\n"
        "  - { id: mate, secret: mate-secret, owner: team-a }\n"
        "  - { id: app2, secret: " CANARY_OTHER " }\n"
        "  - { id: chief, secret: chief-secret, scope: ADMIN }\n"
        /* printf %s hashed:hashed-secret | sha256sum */
        "  - { id: hashed, sha256: 799291be200e5d155790914b37fdde17919c69768db7e7390a22fbe84930ac8e }\n");
    server_start_with(&keyed, config.p);
    text_free(&config);
    return 0;
}

static int stop(void **state) {
    server_stop(&keyed);
    server_stop(&open_to_all);
    mock_stop(&mock);
    return 0;
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(K1_no_key_is_401), /* before anything was submitted */
        cmocka_unit_test(K6_a_key_elsewhere_opens_nothing),
        cmocka_unit_test(K1_the_right_key_opens),
        cmocka_unit_test(K2_what_is_no_key_is_401),
        cmocka_unit_test(K2_a_key_of_10_KB_is_401),
        cmocka_unit_test(K2_control_bytes_open_nothing),
        cmocka_unit_test(K3_wrong_secret_and_unknown_id_look_the_same),
        cmocka_unit_test(K4_SQL_in_a_key_is_401),
        cmocka_unit_test(K6_two_Authorization_headers_are_400),
        cmocka_unit_test(K2_a_wrong_checksum_is_looked_for_nowhere),
        cmocka_unit_test(K3_a_wrong_key_of_our_form_looks_like_any_other),
        cmocka_unit_test(K5_a_revoked_key_is_401_from_then_on),
        cmocka_unit_test(K5_an_expired_key_is_401_from_then_on),
        cmocka_unit_test(K9_a_users_key_on_an_operators_route_is_403),
        cmocka_unit_test(K9_a_form_on_an_operators_route_is_403),
        cmocka_unit_test(K9_the_first_key_is_not_made_by_a_caller),
        cmocka_unit_test(K11_members_that_are_no_ones_are_ignored),
        cmocka_unit_test(a_key_that_cannot_be_is_422),
        cmocka_unit_test(K7_another_owners_request_is_404),
        cmocka_unit_test(K7_another_owners_usage_is_not_listed),
        cmocka_unit_test(K7_deliveries_are_not_for_users),
        cmocka_unit_test(K8_ids_that_are_none),
        cmocka_unit_test(K8_an_id_of_10_KB_is_414),
        cmocka_unit_test(K8_upper_case_and_another_app_are_404),
        cmocka_unit_test(no_web_page_may_use_a_server_without_keys),
        cmocka_unit_test(a_refused_page_stores_nothing_and_calls_nobody),
        cmocka_unit_test(with_keys_any_page_may_ask_but_needs_the_key),
        cmocka_unit_test(a_preflight_is_answered_by_the_same_rule),
    };
    return suite_main(argc, argv, "bad_keys", tests, sizeof tests / sizeof *tests, start, stop);
}
