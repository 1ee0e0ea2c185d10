/* What stands at the end of fal.c, for those who leave parts of it out. Never compiled by itself. */

#ifdef FAL_WITHOUT_REALTIME
static const char without_realtime[] = "this libfal was built without realtime connections";

enum fal_code fal_realtime_open(fal_client *client, const char *endpoint_id,
                                const struct fal_realtime_options *options, fal_realtime **realtime,
                                fal_result **result) {
    if (realtime != NULL) *realtime = NULL;
    return client_refuse(result, FAL_ERR_ARGUMENT, without_realtime);
}

enum fal_code fal_realtime_start(fal_client *client, const char *endpoint_id,
                                 const struct fal_realtime_options *options,
                                 fal_realtime **realtime) {
    if (realtime != NULL) *realtime = NULL;
    return FAL_ERR_ARGUMENT;
}

enum fal_code fal_realtime_send(fal_realtime *realtime, const char *message_json) {
    return FAL_ERR_ARGUMENT;
}

enum fal_code fal_realtime_receive(fal_realtime *realtime, int64_t timeout_ms,
                                   fal_result **result) {
    return client_refuse(result, FAL_ERR_ARGUMENT, without_realtime);
}

void fal_realtime_close(fal_realtime *realtime) {}

/* None is ever open. */
FAL_PRIVATE void client_realtimes_end(fal_client *c) {}
#endif

#ifdef FAL_WITHOUT_WEBHOOK
enum fal_webhook_verdict fal_webhook_verify(const struct fal_webhook *webhook,
                                            const struct fal_webhook_keys *keys) {
    return FAL_WEBHOOK_NO_KEY;
}
#endif
