/* Through the queue, watched: submits, prints how the request stands, then the model's answer.
 *
 *   cc subscribe.c $(pkg-config --cflags --libs fal) -o subscribe
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./subscribe
 *
 * Without FAL_BASE_URL it asks fal itself, with the key in FAL_KEY. */
#include <fal.h>
#include <stdio.h>

static void print_update(const struct fal_status *status, void *user) {
    (void)user;
    for (size_t i = status->first_new_log; i < status->log_count; i++)
        fprintf(stderr, "%s\n", status->logs[i]->message);
}

int main(void) {
    fal_client *c = NULL;
    struct fal_options o = FAL_OPTIONS_INIT; /* credentials default to $FAL_KEY */
    if (fal_client_new(&o, &c) != FAL_OK) return 1;

    fal_result *r = NULL;
    struct fal_subscribe_options s = FAL_SUBSCRIBE_OPTIONS_INIT;
    s.logs = true;
    s.on_queue_update = print_update;
    enum fal_code code = fal_subscribe(c, "fal-ai/any-llm",
                                       "{\"prompt\":\"What is the meaning of life?\"}", &s, &r);
    if (code == FAL_OK)
        puts(fal_result_json(r));
    else
        fprintf(stderr, "%s: %s\n", fal_strerror(code), fal_result_error(r)->message);

    fal_result_free(r);
    fal_client_free(c);
    return code == FAL_OK ? 0 : 1;
}
