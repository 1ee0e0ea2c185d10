/* What fal.h promises and is being built: each goes with the file that brings it. */
#include "client/client.h"

#define NOT_YET(out)                                                     \
    do {                                                                 \
        fal_result **where_ = (out);                                     \
        fal_result *r_ = where_ != NULL ? client_result_new() : NULL;    \
        if (r_ == NULL) return FAL_ERR_ARGUMENT;                         \
        client_result_fail(r_, FAL_ERR_ARGUMENT, "%s", "not built yet"); \
        *where_ = r_;                                                    \
        return FAL_ERR_ARGUMENT;                                         \
    } while (0)

/* streams */
enum fal_code fal_queue_stream_status(fal_client *c, const char *e, const char *id,
                                      const struct fal_subscribe_options *o, fal_result **r) {
    NOT_YET(r);
}

enum fal_code fal_stream(fal_client *c, const char *e, const char *in,
                         const struct fal_stream_options *o, fal_result **r) {
    NOT_YET(r);
}

/* storage */
enum fal_code fal_storage_upload(fal_client *c, const struct fal_file *f,
                                 const struct fal_upload_options *o, fal_result **r) {
    NOT_YET(r);
}

enum fal_code fal_storage_transform_input(fal_client *c, const char *in, const struct fal_files *f,
                                          fal_result **r) {
    NOT_YET(r);
}

enum fal_code fal_token_create(fal_client *c, const char *const *apps, size_t n, int64_t s,
                               const struct fal_call_options *o, fal_result **r) {
    NOT_YET(r);
}

/* realtime */
enum fal_code fal_webhook_keys_fetch(fal_client *c, const struct fal_call_options *o,
                                     fal_result **r) {
    NOT_YET(r);
}

/* storage: until inputs.c is there */
enum fal_code client_lifecycle_json(const struct fal_lifecycle *lifecycle, char **out) {
    *out = NULL;
    return lifecycle == NULL ? FAL_OK : FAL_ERR_ARGUMENT;
}

enum fal_code client_inputs_new(fal_client *c, const struct fal_files *files, const char *input,
                                struct client_inputs **out, const char **why) {
    *out = NULL;
    *why = "files are not built yet";
    return FAL_ERR_ARGUMENT;
}

enum fal_code client_inputs_begin(struct client_inputs *in, fal_result *result,
                                  uint64_t deadline_ms,
                                  void (*done)(enum fal_code code, char *input, void *owner),
                                  void *owner) {
    return FAL_ERR_ARGUMENT;
}

void client_inputs_free(struct client_inputs *in) {
}
