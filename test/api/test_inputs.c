/* Files that are inputs, with stand-ins for the files, the blobs, the models and the client: which media are looked at, what
 * travels, what is refused, and leaving at every stage. Through sockets: test/wire/bad_inputs.c. */
#include "api/files.h"
#include "api/inputs_inner.h"
#include "net/address.h"
#include "net/client.h"
#include "store/blobs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define OURS "http://h/cdn/files/b/"

/* --- the rooms behind it */

static bool can_fetch, can_fetch_sound;

bool llm_can_fetch(const struct llm *m, struct slice model, bool sound) {
    return sound ? can_fetch_sound : can_fetch;
}

bool files_own_url(const struct api *a, const struct reach *at, struct slice url,
                   struct slice *id) {
    if (!slice_starts(url, SLICE(OURS))) return false;
    *id = slice_from(url, sizeof OURS - 1);
    return true;
}

bool files_url_signed(const struct api *a, struct slice url) {
    return false;
}

bool files_sign_url(struct api *a, const struct reach *at, struct slice id, uint64_t for_s,
                    struct buf *out) {
    return buf_printf(out, "signed:%.*s", SLICE_ARG(id));
}

/* The one question that waits. */
static struct {
    void (*found)(void *user, uint64_t arg, const struct store_file *f, bool ok);
    void (*read)(void *user, enum blob_status s, char *text, size_t len);
    void *user;
    char id[64], prefix[64];
    size_t max;
} asked;

bool files_find(struct api *a, struct slice id, struct slice owner, bool is_signed,
                void (*done)(void *user, uint64_t arg, const struct store_file *f, bool ok),
                void *user, uint64_t arg) {
    assert_null(asked.user);
    asked.found = done;
    asked.user = user;
    snprintf(asked.id, sizeof asked.id, "%.*s", SLICE_ARG(id));
    return true;
}

void blob_read_base64(struct blobs *b, const char *id, size_t max, struct slice prefix,
                      void (*done)(void *user, enum blob_status s, char *text, size_t len),
                      void *user) {
    assert_null(asked.user);
    asked.read = done;
    asked.user = user;
    asked.max = max;
    snprintf(asked.prefix, sizeof asked.prefix, "%.*s", SLICE_ARG(prefix));
}

static void answer_find(const char *type, uint64_t bytes, bool there, bool ok) {
    struct store_file f = {.id = "f1", .content_type = slice_of(type), .bytes = bytes};
    void *user = asked.user;
    assert_non_null(user);
    asked.user = NULL;
    asked.found(user, 0, there ? &f : NULL, ok);
}

static void answer_read(enum blob_status s, const char *base64) {
    char *text = NULL;
    size_t size = 256;
    void *user = asked.user;
    assert_non_null(user);
    asked.user = NULL;
    if (s == BLOB_OK) {
        text = malloc(size);
        snprintf(text, size, "%s%s", asked.prefix, base64);
    }
    asked.read(user, s, text, text != NULL ? strlen(text) : 0);
}

/* --- the client: one call at a time */

static struct {
    const struct net_call_hooks *hooks;
    void *user;
    char path[64], host[64];
    unsigned cancelled, origins;
    bool (*allow)(void *user, const struct sockaddr *address);
    void *allow_user;
} called;

struct net_origin *net_origin_new(struct net_loop *l, const struct net_origin_options *o) {
    snprintf(called.host, sizeof called.host, "%s:%u", o->host, o->port);
    called.allow = o->allow;
    called.allow_user = o->allow_user;
    called.origins++;
    return (struct net_origin *)&called;
}

void net_origin_free(struct net_origin *o) {
    if (o != NULL) called.origins--;
}

struct net_call *net_call_start(struct net_origin *o, const struct net_call_options *opt) {
    called.hooks = opt->hooks;
    called.user = opt->user;
    snprintf(called.path, sizeof called.path, "%.*s", SLICE_ARG(opt->path));
    assert_true(opt->deadlines.total_ms <= INPUTS_FETCH_MS);
    return (struct net_call *)&called;
}

void net_call_cancel(struct net_call *c) {
    called.cancelled++;
    called.user = NULL;
}

const char *net_fault_name(enum net_fault f) {
    return "fault";
}

struct net_tls *net_tls_new(const char *ca_file) {
    return (struct net_tls *)&called;
}

void net_tls_free(struct net_tls *t) {
}

static void head(unsigned status, const char *type, const char *length) {
    static struct h1_head h;
    h = (struct h1_head){.status = status, .nheaders = length != NULL ? 2 : 1};
    h.headers[0] = (struct h1_header){.name = SLICE("content-type"), .value = slice_of(type)};
    h.headers[1] = (struct h1_header){.name = SLICE("content-length"), .value = slice_of(length)};
    called.hooks->on_head((struct net_call *)&called, &h, called.user);
}

static void body(const char *bytes, size_t len) {
    called.hooks->on_body((struct net_call *)&called, slice_make(bytes, len), called.user);
}

static void end(enum net_fault fault) {
    const struct net_call_end e = {.fault = fault};
    void *user = called.user;
    called.user = NULL;
    called.hooks->on_end((struct net_call *)&called, &e, user);
}

/* --- one request */

struct world {
    struct net_loop loop;
    struct config config;
    struct api api;
    struct llm_request r;
    struct inputs *inputs;
    unsigned done;
    bool failed, free_in_done;
    enum llm_fault fault;
    char code[64], param[64], message[192];
};

static int setup(void **state) {
    struct world *w = calloc(1, sizeof *w);
    char reason[64];
    memset(&asked, 0, sizeof asked);
    memset(&called, 0, sizeof called);
    can_fetch = can_fetch_sound = true;
    if (net_loop_init(&w->loop) != 0) return -1;
    w->config.max_input_file_bytes = 1000;
    w->api.loop = &w->loop;
    w->api.config = &w->config;
    w->r.request_id = "rid";
    *state = w;
    return inputs_open(&w->api, reason, sizeof reason) ? 0 : -1;
}

static int teardown(void **state) {
    struct world *w = *state;
    inputs_free(w->inputs);
    assert_int_equal(inputs_running(&w->api), 0);
    assert_int_equal(w->api.inputs->held_bytes, 0);
    assert_int_equal(called.origins, 0);
    inputs_close_part(&w->api);
    net_loop_close(&w->loop);
    free(w);
    return 0;
}

static void done(void *user, const struct llm_error *err) {
    struct world *w = user;
    w->done++;
    w->failed = err != NULL;
    if (err != NULL) {
        w->fault = err->fault;
        snprintf(w->code, sizeof w->code, "%.*s", SLICE_ARG(err->code));
        snprintf(w->param, sizeof w->param, "%.*s", SLICE_ARG(err->param));
        snprintf(w->message, sizeof w->message, "%.*s", SLICE_ARG(err->message));
    }
    if (!w->free_in_done) return;
    inputs_free(w->inputs);
    w->inputs = NULL;
}

static void begin(struct world *w) {
    const struct inputs_asker asker = {.owner = SLICE("alice")};
    assert_true(inputs_needed(&w->api, &w->r));
    w->inputs = inputs_start(&w->api, &asker, &w->r, done, w);
    assert_non_null(w->inputs);
    assert_int_equal(w->done, 0);
    assert_int_equal(inputs_running(&w->api), 1);
    net_loop_run(&w->loop);
}

static void with_images(struct world *w, const struct slice *urls, size_t n) {
    w->r.images = urls;
    w->r.nimages = n;
}

static const struct slice ours[] = {{OURS "f1", sizeof OURS + 1}};
static const struct slice theirs[] = {{"http://a.example/x.png?y=1", 26}};

static void expect_fault(struct world *w, enum llm_fault fault, const char *code) {
    net_loop_run(&w->loop);
    assert_int_equal(w->done, 1);
    assert_true(w->failed);
    assert_int_equal(w->fault, fault);
    assert_string_equal(w->code, code);
    assert_false(inputs_pending(w->inputs));
}

static void expect_image(struct world *w, const char *url) {
    net_loop_run(&w->loop);
    assert_int_equal(w->done, 1);
    assert_false(w->failed);
    assert_int_equal(w->r.images[0].len, strlen(url));
    assert_memory_equal(w->r.images[0].ptr, url, strlen(url));
}

/* --- which */

static void nothing_to_do_without_addresses(void **state) {
    struct world *w = *state;
    static const struct slice data[] = {{"data:image/png;base64,AAAA", 26}};
    assert_false(inputs_needed(&w->api, &w->r));
    with_images(w, data, 1);
    assert_false(inputs_needed(&w->api, &w->r));
    with_images(w, theirs, 1);
    assert_false(inputs_needed(&w->api, &w->r));
    can_fetch = false;
    assert_true(inputs_needed(&w->api, &w->r));
    with_images(w, ours, 1);
    can_fetch = true;
    assert_true(inputs_needed(&w->api, &w->r));
}

static void sound_is_asked_for_apart(void **state) {
    struct world *w = *state;
    can_fetch_sound = false;
    with_images(w, theirs, 1);
    assert_false(inputs_needed(&w->api, &w->r));
    w->r.nimages = 0;
    w->r.audios = theirs;
    w->r.naudios = 1;
    assert_true(inputs_needed(&w->api, &w->r));
}

static void data_uri_over_the_limit_is_413(void **state) {
    struct world *w = *state;
    char text[2000] = "data:image/png;base64,";
    const struct slice fits = {text, 22 + 1332}, over = {text, 22 + 1340};
    with_images(w, &fits, 1);
    memset(text + 22, 'A', 1400);
    assert_false(inputs_needed(&w->api, &w->r));
    with_images(w, &over, 1);
    begin(w);
    expect_fault(w, LLM_FILE_TOO_LARGE, "");
}

/* --- files of ours */

static void file_of_ours_becomes_a_data_uri(void **state) {
    struct world *w = *state;
    with_images(w, ours, 1);
    begin(w);
    assert_string_equal(asked.id, "f1");
    answer_find("image/png; x=1", 30, true, true);
    assert_int_equal(w->done, 0);
    assert_int_equal(asked.max, 30);
    assert_true(w->api.inputs->held_bytes >= 40);
    answer_read(BLOB_OK, "AAAA");
    expect_image(w, "data:image/png;base64,AAAA");
}

static void file_of_ours_is_refused_as_it_should(void **state) {
    static const struct {
        const char *type;
        uint64_t bytes;
        bool there, ok;
        int read; /* -1: it does not come so far */
        enum llm_fault fault;
        const char *code;
    } cases[] = {
        {"image/png", 30, false, true, -1, LLM_FILE, ""},
        {"image/png", 30, false, false, -1, LLM_MEMORY, ""},
        {"text/html", 30, true, true, -1, LLM_FILE, "unsupported_image_format"},
        {"image", 30, true, true, -1, LLM_FILE, "unsupported_image_format"},
        {"image/p\"ng", 30, true, true, -1, LLM_FILE, "unsupported_image_format"},
        {"", 30, true, true, -1, LLM_FILE, "unsupported_image_format"},
        {"image/png", 1001, true, true, -1, LLM_FILE_TOO_LARGE, ""},
        {"image/png", 1000, true, true, BLOB_NOT_FOUND, LLM_FILE, ""},
        {"image/png", 1000, true, true, BLOB_FULL, LLM_FILE_TOO_LARGE, ""},
        {"image/png", 1000, true, true, BLOB_IO, LLM_MEMORY, ""},
        {"image/png", 1000, true, true, BLOB_MEMORY, LLM_MEMORY, ""},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        with_images(w, ours, 1);
        w->done = 0;
        begin(w);
        answer_find(cases[i].type, cases[i].bytes, cases[i].there, cases[i].ok);
        if (cases[i].read >= 0) answer_read((enum blob_status)cases[i].read, "");
        expect_fault(w, cases[i].fault, cases[i].code);
        assert_ptr_equal(w->r.images, ours);
        inputs_free(w->inputs);
        w->inputs = NULL;
    }
}

static void public_url_gives_a_signed_address(void **state) {
    static const struct {
        const char *url;
        bool is_public;
    } cases[] = {{"https://files.example", true}, {"http://localhost:8787", false},
                 {"http://127.0.0.1:80", false},  {"http://10.1.2.3", false},
                 {"https://[::1]:8443", false},   {"https://files.example:8443/x", true}};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w->config.public_url = (char *)(uintptr_t)cases[i].url;
        with_images(w, ours, 1);
        w->done = 0;
        begin(w);
        answer_find("image/png", 5000 * cases[i].is_public, true, true);
        if (!cases[i].is_public) answer_read(BLOB_OK, "AAAA");
        expect_image(w, cases[i].is_public ? "signed:f1" : "data:image/png;base64,AAAA");
        inputs_free(w->inputs);
        w->inputs = NULL;
    }
    can_fetch = false;
    with_images(w, ours, 1);
    w->config.public_url = (char *)(uintptr_t)cases[0].url;
    w->done = 0;
    begin(w);
    answer_find("image/png", 5, true, true);
    answer_read(BLOB_OK, "AAAA");
    expect_image(w, "data:image/png;base64,AAAA");
}

/* What all requests hold is given back with each; what one asks for beyond its limit is refused. */
static void what_is_held_has_limits(void **state) {
    struct world *w = *state;
    w->config.max_input_file_bytes = 1U << 30;
    with_images(w, ours, 1);
    begin(w);
    answer_find("image/png", INPUTS_MAX_BYTES, true, true);
    expect_fault(w, LLM_FILE_TOO_LARGE, "");
    assert_non_null(strstr(w->message, "together"));
    inputs_free(w->inputs);
    w->api.inputs->held_bytes = INPUTS_MAX_HELD_BYTES - 100;
    w->done = 0;
    begin(w);
    answer_find("image/png", 100, true, true);
    expect_fault(w, LLM_MEMORY, "");
    inputs_free(w->inputs);
    w->done = 0;
    begin(w);
    answer_find("image/png", 60, true, true);
    answer_read(BLOB_OK, "AAAA");
    expect_image(w, "data:image/png;base64,AAAA");
    inputs_free(w->inputs);
    w->inputs = NULL;
    assert_int_equal(w->api.inputs->held_bytes, INPUTS_MAX_HELD_BYTES - 100);
    w->api.inputs->held_bytes = 0;
}

static void kinds_do_not_change_places(void **state) {
    struct world *w = *state;
    static const struct slice sound = {"data:audio/wav;base64,AAAA", 26};
    with_images(w, ours, 1);
    w->r.naudios = w->r.nvideos = 1;
    w->r.audios = &sound;
    w->r.videos = theirs;
    begin(w);
    answer_find("image/png", 9, true, true);
    answer_read(BLOB_OK, "CCCC");
    expect_image(w, "data:image/png;base64,CCCC");
    assert_true(slice_eq(w->r.audios[0], sound));
    assert_true(slice_eq(w->r.videos[0], theirs[0]));
}

/* --- leaving */

static void leaves_at_every_stage(void **state) {
    struct world *w = *state;
    for (int stage = 0; stage < 4; stage++) {
        can_fetch = false;
        with_images(w, stage == 3 ? theirs : ours, 1);
        const struct inputs_asker asker = {.owner = SLICE("alice")};
        w->inputs = inputs_start(&w->api, &asker, &w->r, done, w);
        if (stage > 0) net_loop_run(&w->loop);
        if (stage == 2) answer_find("image/png", 9, true, true);
        inputs_free(w->inputs);
        w->inputs = NULL;
        net_loop_run(&w->loop);
        assert_int_equal(inputs_running(&w->api), 0);
        if (stage == 1) answer_find("image/png", 9, true, true);
        if (stage == 2) answer_read(BLOB_OK, "AAAA");
        if (stage == 3) assert_int_equal(called.cancelled, 1);
        assert_int_equal(w->done, 0);
        assert_null(asked.user);
        assert_int_equal(w->api.inputs->held_bytes, 0);
    }
}

static void may_be_freed_in_done(void **state) {
    struct world *w = *state;
    w->free_in_done = true;
    with_images(w, ours, 1);
    begin(w);
    answer_find("image/png", 9, false, true);
    assert_int_equal(w->done, 1);
    with_images(w, ours, 1);
    w->done = 0;
    begin(w);
    answer_find("image/png", 9, true, true);
    answer_read(BLOB_OK, "AAAA");
    assert_int_equal(w->done, 1);
}

/* --- fetching */

static void fetched_bytes_are_encoded_however_they_come(void **state) {
    static const char bytes[] = "0123456789";
    static const char *const want[] = {
        "",         "MA==",         "MDE=",         "MDEy",         "MDEyMw==",        "MDEyMzQ=",
        "MDEyMzQ1", "MDEyMzQ1Ng==", "MDEyMzQ1Njc=", "MDEyMzQ1Njc4", "MDEyMzQ1Njc4OQ=="};
    struct world *w = *state;
    can_fetch = false;
    for (size_t len = 0; len <= 10; len++) {
        for (size_t piece = 1; piece <= 11; piece++) {
            char url[64];
            with_images(w, theirs, 1);
            w->done = 0;
            begin(w);
            assert_string_equal(called.host, "a.example:80");
            assert_string_equal(called.path, "/x.png?y=1");
            head(200, "image/png", NULL);
            for (size_t at = 0; at < len; at += piece)
                body(bytes + at, len - at < piece ? len - at : piece);
            end(NET_OK);
            snprintf(url, sizeof url, "data:image/png;base64,%s", want[len]);
            expect_image(w, url);
            inputs_free(w->inputs);
            w->inputs = NULL;
        }
    }
}

static void fetch_is_refused_as_it_should(void **state) {
    static const char zeros[1001];
    static const struct {
        unsigned status; /* 0: none came */
        const char *type, *length;
        size_t bytes;
        enum net_fault end;
        enum llm_fault fault;
        const char *code;
    } cases[] = {
        {0, NULL, NULL, 0, NET_DNS, LLM_FILE, ""},
        {0, NULL, NULL, 0, NET_FORBIDDEN, LLM_FILE, ""},
        {0, NULL, NULL, 0, NET_TOTAL_TIMEOUT, LLM_FILE, ""},
        {200, "image/png", NULL, 5, NET_CUT, LLM_FILE, ""},
        {302, "image/png", NULL, 5, NET_OK, LLM_FILE, ""},
        {206, "image/png", NULL, 5, NET_OK, LLM_FILE, ""},
        {200, "text/html", NULL, 5, NET_OK, LLM_FILE, "unsupported_image_format"},
        {200, "image/png", "1001", 0, NET_OK, LLM_FILE_TOO_LARGE, ""},
        {200, "image/png", NULL, 1001, NET_OK, LLM_FILE_TOO_LARGE, ""},
    };
    struct world *w = *state;
    can_fetch = false;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int early = 0; early < 2; early++) { /* refused before the call ends, or after */
            if (early && (cases[i].status == 0 || cases[i].end == NET_CUT)) continue;
            with_images(w, theirs, 1);
            w->done = 0;
            begin(w);
            if (cases[i].status != 0) head(cases[i].status, cases[i].type, cases[i].length);
            if (cases[i].bytes > 0) body(zeros, cases[i].bytes);
            if (!early) end(cases[i].end);
            expect_fault(w, cases[i].fault, cases[i].code);
            assert_null(called.user);
            inputs_free(w->inputs);
            w->inputs = NULL;
        }
    }
}

static void address_that_may_not_be_called_is_refused_at_once(void **state) {
    static const char *const urls[] = {"http://127.0.0.1/x", "http://u:p@a.example/x",
                                       "http://a.example:22/x", "http://localhost/x",
                                       "http://a.example/x#y"};
    struct world *w = *state;
    can_fetch = false;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const struct slice url = slice_of(urls[i]);
        with_images(w, &url, 1);
        w->done = 0;
        begin(w);
        expect_fault(w, LLM_FILE, "");
        assert_null(called.hooks);
        inputs_free(w->inputs);
        w->inputs = NULL;
    }
}

static bool may_connect(const char *address) {
    union net_sockaddr sa = {0};
    socklen_t len;
    assert_true(net_sockaddr_parse(address, 80, &sa, &len));
    return called.allow(called.allow_user, &sa.any);
}

/* A name may stand for any address: the connected one is looked at. */
static void address_that_is_connected_is_looked_at(void **state) {
    static const char *const allowed[] = {"10.1.0.0/16"};
    struct world *w = *state;
    w->config.webhook_allow = allowed;
    w->config.nwebhook_allow = 1;
    can_fetch = false;
    with_images(w, theirs, 1);
    begin(w);
    assert_non_null(called.allow);
    assert_true(may_connect("8.8.8.8"));
    assert_true(may_connect("10.1.2.3"));
    assert_false(may_connect("10.2.2.3"));
    assert_false(may_connect("127.0.0.1"));
    assert_false(may_connect("::1"));
    assert_false(may_connect("::ffff:169.254.169.254"));
    end(NET_FORBIDDEN);
    expect_fault(w, LLM_FILE, "");
}

/* --- OpenAI's parts */

static void parts_are_found_where_they_stand(void **state) {
    static const struct {
        const char *messages;
        bool addresses;
        size_t longest;
    } cases[] = {
        {"[{\"content\":\"http://a.example\"}]", false, 0},
        {"[{\"content\":[{\"type\":\"text\",\"text\":\"http://a.example\"}]}]", false, 0},
        {"[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"http://a\"}}]}]", true,
         0},
        {"[{\"content\":[{\"type\":\"image_url\",\"image_url\":\"https://a\"}]}]", true, 0},
        {"[{\"content\":[{\"type\":\"video_url\",\"video_url\":{\"url\":\"data:1234\"}}]}]", false,
         9},
        {"[{\"content\":[{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\"}}]}]", false,
         4},
        {"[{\"content\":[{\"type\":\"file\",\"file\":{\"file_data\":\"http://a\"}}]}]", true, 0},
        {"[{\"content\":[{\"type\":\"file\",\"file\":{\"file_id\":\"http://a\"}}]}]", false, 0},
        {"[{\"content\":[{\"type\":\"image_url\"}]}]", false, 0},
        {"[{\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":7}}]}]", false, 0},
        {"[{\"content\":[7,null,[]]},7,null,{}]", false, 0},
        {"[]", false, 0},
        {"{}", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct llm_request r = {0};
        yyjson_doc *doc = yyjson_read(cases[i].messages, strlen(cases[i].messages), 0);
        assert_non_null(doc);
        parts_look(yyjson_doc_get_root(doc), &r);
        assert_int_equal(r.has_addresses, cases[i].addresses);
        assert_int_equal(r.longest_data, cases[i].longest);
        yyjson_doc_free(doc);
    }
}

static void members_are_rewritten_at_the_place_alone(void **state) {
    struct world *w = *state;
    w->r.members = SLICE(
        "\"seed\":1.50,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"" OURS
        "f1\"},{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"" OURS
        "f1\",\"format\":\"wav\"}}]}],\"top_p\":1e-1");
    w->r.has_addresses = true;
    begin(w);
    answer_find("image/png", 3, true, true);
    answer_read(BLOB_OK, "AAAA");
    answer_find("audio/wav", 3, true, true);
    assert_string_equal(asked.prefix, "");
    answer_read(BLOB_OK, "BBBB");
    assert_int_equal(w->done, 1);
    assert_false(w->failed);
    char *got = slice_dup(w->r.members);
    assert_string_equal(
        got,
        "\"seed\":1.50,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"data:image/"
        "png;base64,AAAA\"},{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"BBBB\",\"format\":\"wav\"}}]}],\"top_p\":"
        "1e-1");
    free(got);
}

static void part_that_is_refused_is_named(void **state) {
    struct world *w = *state;
    w->r.members = SLICE(
        "\"messages\":[{\"role\":\"system\",\"content\":\"x\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\"},{},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" OURS "f1\"}}]}]");
    w->r.has_addresses = true;
    begin(w);
    answer_find("text/html", 3, true, true);
    expect_fault(w, LLM_FILE, "unsupported_image_format");
    assert_string_equal(w->param, "messages.1.content.2");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(nothing_to_do_without_addresses),
        T(sound_is_asked_for_apart),
        T(data_uri_over_the_limit_is_413),
        T(file_of_ours_becomes_a_data_uri),
        T(file_of_ours_is_refused_as_it_should),
        T(public_url_gives_a_signed_address),
        T(what_is_held_has_limits),
        T(kinds_do_not_change_places),
        T(leaves_at_every_stage),
        T(may_be_freed_in_done),
        T(fetched_bytes_are_encoded_however_they_come),
        T(fetch_is_refused_as_it_should),
        T(address_that_may_not_be_called_is_refused_at_once),
        T(address_that_is_connected_is_looked_at),
        T(parts_are_found_where_they_stand),
        T(members_are_rewritten_at_the_place_alone),
        T(part_that_is_refused_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
