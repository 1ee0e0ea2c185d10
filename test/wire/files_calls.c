#include "files_calls.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void files_config(struct text *config, const char *more) {
    text_printf(config,
                "keys:\n"
                "  - { id: ann, secret: %s, owner: ann, scope: ADMIN }\n"
                "  - { id: ben, secret: %s, owner: ben }\n"
                "upstreams:\n"
                "  none: { kind: openai, base_url: \"http://127.0.0.1:9/v1\", key: %s }\n%s",
                CANARY_CLIENT, CANARY_OTHER, CANARY_UPSTREAM, more);
}

void files_start(struct server *s, const char *more) {
    struct text config = {0};
    files_config(&config, more);
    server_start_with(s, config.p);
    text_free(&config);
}

struct answer send_request(unsigned port, const char *method, const char *path, const char *headers,
                           const char *body, size_t len) {
    struct text t = {0};
    struct peer p = peer_open(port);
    text_printf(&t, "%s %s HTTP/1.1\r\n" HOST "%sContent-Length: %zu\r\n\r\n", method, path,
                headers, len);
    text_add(&t, body, len);
    peer_send(&p, t.p, t.len);
    bool head = strcmp(method, "HEAD") == 0;
    if ((head ? peer_answer_to_head(&p) : peer_answer(&p)) == NULL)
        fail_msg("no answer to %s %s", method, path);
    struct answer a = p.answer;
    p.answer = (struct answer){0};
    peer_close(&p);
    text_free(&t);
    return a;
}

struct answer send_chunked(unsigned port, const char *method, const char *path, const char *headers,
                           const char *body, size_t len) {
    struct text t = {0};
    size_t half = len / 2;
    text_printf(&t, "%s %s HTTP/1.1\r\n" HOST "%sTransfer-Encoding: chunked\r\n\r\n", method, path,
                headers);
    for (size_t i = 0; i < 2; i++) {
        size_t n = i == 0 ? half : len - half;
        if (n == 0) continue;
        text_printf(&t, "%zx\r\n", n);
        text_add(&t, body + (i == 0 ? 0 : half), n);
        text_puts(&t, "\r\n");
    }
    text_puts(&t, "0\r\n\r\n");
    struct answer a = ask(port, t.p, t.len);
    text_free(&t);
    return a;
}

void expect(const char *what, struct answer a, unsigned status, const char *says) {
    expect_status(what, &a, status);
    expect_says(what, &a, says);
    answer_free(&a);
}

void answer_text(const struct answer *a, const char *name, char *out, size_t size) {
    expect_status(name, a, 200);
    yyjson_doc *doc = answer_json(name, a);
    const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), name));
    if (text == NULL || strlen(text) >= size) fail_msg("no %s: %s", name, a->body.p);
    memcpy(out, text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 1);
    yyjson_doc_free(doc);
}

void answer_path(const struct answer *a, const char *name, char out[512]) {
    static const char base[] = "http://127.0.0.1";
    char url[512];
    answer_text(a, name, url, sizeof url);
    if (strncmp(url, base, sizeof base - 1) != 0) fail_msg("%s is %s", name, url);
    snprintf(out, 512, "%s", url + sizeof base - 1);
}

static struct begun begin(unsigned port, const char *key, const char *path, const char *type,
                          long size) {
    char body[256], headers[256];
    struct begun b;
    if (size >= 0)
        snprintf(body, sizeof body,
                 "{\"content_type\":\"%s\",\"file_name\":\"a b.txt\",\"file_size\":%ld}", type,
                 size);
    else
        snprintf(body, sizeof body, "{\"content_type\":\"%s\",\"file_name\":\"a b.txt\"}", type);
    snprintf(headers, sizeof headers, "%s" JSON, key);
    struct answer a = post(port, path, headers, body, strlen(body));
    answer_path(&a, "upload_url", b.upload);
    answer_path(&a, "file_url", b.file);
    answer_free(&a);
    return b;
}

struct begun begin_upload(unsigned port, const char *key, const char *type, long size) {
    return begin(port, key, "/rest/storage/upload/initiate?storage_type=fal-cdn-v3", type, size);
}

struct begun begin_parts(unsigned port, const char *key) {
    return begin(port, key, "/rest/storage/upload/initiate-multipart", "text/plain", -1);
}

void post_file(unsigned port, const char *headers, const char *body, size_t len, char path[512]) {
    struct answer a = post(port, UPLOAD, headers, body, len);
    answer_path(&a, "access_url", path);
    answer_free(&a);
}

void expect_file(unsigned port, const char *path, const char *headers, const char *body,
                 size_t len) {
    struct answer a = send_request(port, "GET", path, headers, "", 0);
    expect_status(path, &a, 200);
    assert_int_equal(a.body.len, len);
    if (len > 0) assert_memory_equal(a.body.p, body, len);
    answer_free(&a);
}

unsigned long file_metric(unsigned port, const char *name) {
    struct answer a = send_request(port, "GET", "/metrics", ANN, "", 0);
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(a.body.p, line);
    if (at == NULL) fail_msg("no metric %s", name);
    unsigned long v = strtoul(at + strlen(line), NULL, 10);
    answer_free(&a);
    return v;
}

void blob_path(const struct server *s, const char *file_path, char out[512]) {
    const char *id = strrchr(file_path, '/') + 1;
    snprintf(out, 512, "%s/files/%.2s/%.32s", s->data, id, id);
}

static size_t counted;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *at) {
    counted += type == FTW_F;
    return 0;
}

size_t blobs_count(const struct server *s) {
    char path[512];
    snprintf(path, sizeof path, "%s/files", s->data);
    counted = 0;
    nftw(path, count_one, 16, FTW_PHYS);
    return counted;
}

void expect_blobs(const struct server *s, size_t n) {
    for (uint64_t end = now_ms() + PATIENCE_MS; blobs_count(s) != n; sleep_ms(5))
        if (now_ms() >= end) fail_msg("%zu blobs instead of %zu", blobs_count(s), n);
}
