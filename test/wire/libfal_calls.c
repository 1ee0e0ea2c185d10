/* One call of libfal, for libfal.test.mjs, which makes the same one with fal's own client and compares what is sent.
 *
 *   libfal_calls CALL BASE [PROXY [INPUT]]     prints the result's JSON; 0: FAL_OK */
#include "fal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID "fal-ai/any-llm"
#define LARGE_BYTES ((size_t)91 << 20)

static const char *input =
    "{\"prompt\":\"h\xc3\xa9llo \\\"you\\\"\",\"n\":1.5,\"deep\":{\"list\":[1,null,true]}}";
static const struct fal_acl_rule rules[] = {{"u1", FAL_ACL_ALLOW}, {"u2", FAL_ACL_HIDE}};
static const struct fal_lifecycle lifecycle = {sizeof(lifecycle), 86400, FAL_ACL_FORBID, rules, 2};
static const char *const headers[] = {"X-Fal-Store-IO: 0", "X-Own: a value"};
static const struct fal_call_options with_logs = {.size = sizeof(with_logs), .logs = true};

static enum fal_code run(fal_client *c, fal_result **r) {
    return fal_run(c, ID, input, NULL, r);
}

static enum fal_code run_nothing(fal_client *c, fal_result **r) {
    return fal_run(c, ID, NULL, NULL, r);
}

static enum fal_code run_path(fal_client *c, fal_result **r) {
    return fal_run(c, ID "/vision", input, NULL, r);
}

static enum fal_code run_legacy(fal_client *c, fal_result **r) {
    return fal_run(c, "110602490-any-llm", input, NULL, r);
}

static enum fal_code run_options(fal_client *c, fal_result **r) {
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    o.start_timeout_s = 12.5;
    o.lifecycle = &lifecycle;
    return fal_run(c, ID, input, &o, r);
}

static enum fal_code subscribe_with(fal_client *c, const char *id, bool logs, bool streaming,
                                    fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.poll_interval_ms = 1;
    o.logs = logs;
    o.streaming = streaming;
    return fal_subscribe(c, id, input, &o, r);
}

static enum fal_code subscribe(fal_client *c, fal_result **r) {
    return subscribe_with(c, ID "/vision", false, false, r);
}

static enum fal_code subscribe_logs(fal_client *c, fal_result **r) {
    return subscribe_with(c, ID, true, false, r);
}

static enum fal_code subscribe_streaming(fal_client *c, fal_result **r) {
    return subscribe_with(c, ID, true, true, r);
}

static enum fal_code subscribe_namespace(fal_client *c, fal_result **r) {
    return subscribe_with(c, "workflows/me/flow/deep", false, false, r);
}

static enum fal_code subscribe_to_status(fal_client *c, fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.poll_interval_ms = 1;
    return fal_queue_subscribe_to_status(c, ID, "r1", &o, r);
}

static enum fal_code submit(fal_client *c, fal_result **r) {
    return fal_queue_submit(c, ID, input, NULL, r);
}

static enum fal_code submit_options(fal_client *c, fal_result **r) {
    struct fal_submit_options o = FAL_SUBMIT_OPTIONS_INIT;
    o.webhook_url = "https://me.example/hook?a=b&c=d e";
    o.priority = "low";
    o.hint = "a-hint";
    o.start_timeout_s = 30;
    o.lifecycle = &lifecycle;
    o.headers = headers;
    o.header_count = 2;
    return fal_queue_submit(c, ID, input, &o, r);
}

static enum fal_code status(fal_client *c, fal_result **r) {
    return fal_queue_status(c, ID "/vision", "r1", NULL, r);
}

static enum fal_code status_logs(fal_client *c, fal_result **r) {
    return fal_queue_status(c, ID, "r1", &with_logs, r);
}

static enum fal_code result(fal_client *c, fal_result **r) {
    return fal_queue_result(c, ID "/vision", "r1", NULL, r);
}

static enum fal_code cancel(fal_client *c, fal_result **r) {
    return fal_queue_cancel(c, ID "/vision", "r1", NULL, r);
}

static enum fal_code stream_status(fal_client *c, fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    return fal_queue_stream_status(c, ID "/vision", "r1", &o, r);
}

static enum fal_code stream_status_logs(fal_client *c, fal_result **r) {
    struct fal_subscribe_options o = FAL_SUBSCRIBE_OPTIONS_INIT;
    o.logs = true;
    return fal_queue_stream_status(c, ID, "r1", &o, r);
}

static enum fal_code stream(fal_client *c, fal_result **r) {
    return fal_stream(c, ID, input, NULL, r);
}

static enum fal_code stream_named(fal_client *c, fal_result **r) {
    return fal_stream(c, ID "/stream", input, NULL, r);
}

static struct fal_file named(const char *name, const char *type, const char *data,
                             const char *pointer) {
    struct fal_file f = FAL_FILE_INIT;
    f.name = name;
    f.content_type = type;
    f.data = data;
    f.data_bytes = strlen(data);
    f.pointer = pointer;
    return f;
}

static enum fal_code upload(fal_client *c, fal_result **r) {
    struct fal_file f = named("a b.txt", "text/plain", "h\xc3\xa9llo", NULL);
    return fal_storage_upload(c, &f, NULL, r);
}

static enum fal_code upload_lifecycle(fal_client *c, fal_result **r) {
    struct fal_file f = named("x.bin", NULL, "bytes", NULL);
    struct fal_upload_options o = FAL_UPLOAD_OPTIONS_INIT;
    o.lifecycle = &lifecycle;
    return fal_storage_upload(c, &f, &o, r);
}

static enum fal_code upload_multipart(fal_client *c, fal_result **r) {
    struct fal_file f = named("large.mp4", "video/mp4", "", NULL);
    char *bytes = calloc(1, LARGE_BYTES);
    if (bytes == NULL) {
        return FAL_ERR_MEMORY;
    }
    f.data = bytes;
    f.data_bytes = LARGE_BYTES;
    enum fal_code code = fal_storage_upload(c, &f, NULL, r);
    free(bytes);
    return code;
}

static enum fal_code with_files(fal_client *c, bool queued, fal_result **r) {
    const struct fal_file list[] = {named("one.png", "image/png", "1", "/image_url"),
                                    named("two.png", "image/png", "22", "/more/list/1")};
    struct fal_files files = FAL_FILES_INIT;
    struct fal_call_options o = FAL_CALL_OPTIONS_INIT;
    struct fal_submit_options s = FAL_SUBMIT_OPTIONS_INIT;
    const char *pictures =
        "{\"prompt\":\"p\",\"image_url\":null,\"more\":{\"list\":[\"http://x/y.png\",null]}}";
    files.files = list;
    files.file_count = 2;
    o.files = s.files = &files;
    return queued ? fal_queue_submit(c, ID, pictures, &s, r) : fal_run(c, ID, pictures, &o, r);
}

static enum fal_code run_files(fal_client *c, fal_result **r) {
    return with_files(c, false, r);
}

static enum fal_code submit_files(fal_client *c, fal_result **r) {
    return with_files(c, true, r);
}

static enum fal_code token(fal_client *c, fal_result **r) {
    static const char *const apps[] = {ID};
    return fal_token_create(c, apps, 1, 0, NULL, r);
}

static enum fal_code realtime(fal_client *c, fal_result **r) {
    struct fal_realtime_options o = FAL_REALTIME_OPTIONS_INIT;
    fal_realtime *connection = NULL;
    o.max_buffering = 8;
    enum fal_code code = fal_realtime_open(c, ID, &o, &connection, r);
    if (code != FAL_OK) {
        return code;
    }
    fal_result_free(*r);
    *r = NULL;
    code = fal_realtime_send(connection, input);
    code = code != FAL_OK ? code : fal_realtime_receive(connection, 0, r);
    fal_realtime_close(connection);
    return code;
}

static const struct {
    const char *name;
    enum fal_code (*make)(fal_client *c, fal_result **r);
} calls[] = {
    {"run", run},
    {"run_nothing", run_nothing},
    {"run_path", run_path},
    {"run_legacy", run_legacy},
    {"run_options", run_options},
    {"run_files", run_files},
    {"subscribe", subscribe},
    {"subscribe_logs", subscribe_logs},
    {"subscribe_streaming", subscribe_streaming},
    {"subscribe_namespace", subscribe_namespace},
    {"subscribe_to_status", subscribe_to_status},
    {"submit", submit},
    {"submit_options", submit_options},
    {"submit_files", submit_files},
    {"status", status},
    {"status_logs", status_logs},
    {"result", result},
    {"cancel", cancel},
    {"stream", stream},
    {"stream_named", stream_named},
    {"stream_status", stream_status},
    {"stream_status_logs", stream_status_logs},
    {"upload", upload},
    {"upload_lifecycle", upload_lifecycle},
    {"upload_multipart", upload_multipart},
    {"token", token},
    {"realtime", realtime},
};

static int make_call(size_t i, const char *base, const char *proxy) {
    struct fal_options o = FAL_OPTIONS_INIT;
    fal_client *c = NULL;
    fal_result *r = NULL;
    o.base_url = base;
    o.proxy_url = proxy;
    o.credentials = "kid:ksecret";
    o.user_agent = "libfal_calls/1";
    enum fal_code code = fal_client_new(&o, &c);
    if (code == FAL_OK) {
        code = calls[i].make(c, &r);
        printf("%s\n", fal_result_json(r) != NULL ? fal_result_json(r) : "null");
        if (code != FAL_OK) {
            fprintf(stderr, "%s: %s\n", fal_strerror(code), fal_result_error(r)->message);
        }
    }
    fal_result_free(r);
    fal_client_free(c);
    return code == FAL_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 2 && i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(argv[1], calls[i].name) == 0) {
            input = argc > 4 ? argv[4] : input;
            return make_call(i, argv[2], argc > 3 && argv[3][0] != '\0' ? argv[3] : NULL);
        }
    }
    fprintf(stderr, "usage: libfal_calls CALL BASE [PROXY [INPUT]]\n");
    return 2;
}
