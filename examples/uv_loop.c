/* Several calls at once in a libuv loop: a uv_poll_t for each of the client's descriptors, one uv_timer_t for its time.
 *
 *   cc uv_loop.c $(pkg-config --cflags --libs fal libuv) -o uv_loop
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./uv_loop */
#include <fal.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static const char *const inputs[] = {"{\"prompt\":\"What is the capital of France?\"}",
                                     "{\"prompt\":\"What is the capital of Peru?\"}",
                                     "{\"prompt\":\"What is the capital of Laos?\"}"};
static int failed;

/* One descriptor. */
struct watched {
    uv_poll_t poll;
    int fd;
    struct watched *next;
};

static fal_client *client;
static struct watched *all;
static uv_timer_t timer;

static void on_time(uv_timer_t *t);

/* After every function of the client: its time may have changed. */
static void set_timer(void) {
    int64_t ms = fal_client_timeout_ms(client);
    if (ms < 0)
        uv_timer_stop(&timer);
    else
        uv_timer_start(&timer, on_time, (uint64_t)ms, 0);
}

static void on_time(uv_timer_t *t) {
    (void)t;
    fal_client_ready(client, -1, 0);
    set_timer();
}

static void on_poll(uv_poll_t *p, int status, int ready) {
    const struct watched *w = (const struct watched *)p;
    int events = (ready & UV_READABLE ? FAL_READABLE : 0) |
                 (ready & UV_WRITABLE ? FAL_WRITABLE : 0);
    fal_client_ready(client, w->fd, status < 0 ? FAL_READABLE | FAL_WRITABLE : events);
    set_timer();
}

static void free_watched(uv_handle_t *handle) {
    free(handle);
}

static void forget(struct watched **at) {
    struct watched *w = *at;
    *at = w->next;
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, free_watched);
}

static void watch(int fd, int events, void *user) {
    struct watched **at = &all;
    while (*at != NULL && (*at)->fd != fd) at = &(*at)->next;
    if (events == 0) {
        if (*at != NULL) forget(at);
        return;
    }
    if (*at == NULL) {
        struct watched *w = calloc(1, sizeof(*w));
        if (w == NULL || uv_poll_init(user, &w->poll, fd) != 0) abort();
        w->fd = fd;
        *at = w;
    }
    uv_poll_start(&(*at)->poll,
                  (events & FAL_READABLE ? UV_READABLE : 0) |
                      (events & FAL_WRITABLE ? UV_WRITABLE : 0),
                  on_poll);
}

static void print_answer(enum fal_code code, fal_result *result, void *user) {
    int *left = user;
    if (code == FAL_OK)
        puts(fal_result_json(result));
    else
        fprintf(stderr, "%s: %s\n", fal_strerror(code), fal_result_error(result)->message);
    failed += code != FAL_OK;
    fal_result_free(result);
    if (--*left == 0) uv_stop(uv_default_loop()); /* the loop is this program's alone */
}

int main(void) {
    uv_loop_t *loop = uv_default_loop();
    int left = sizeof(inputs) / sizeof(inputs[0]);
    struct fal_done done = {print_answer, &left};
    if (fal_client_new(NULL, &client) != FAL_OK) return 1;
    uv_timer_init(loop, &timer);
    fal_client_on_fd(client, watch, loop);
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        if (fal_run_start(client, "fal-ai/any-llm", inputs[i], NULL, done, NULL) != FAL_OK)
            return 1;
    set_timer();
    uv_run(loop, UV_RUN_DEFAULT);

    fal_client_free(client); /* forgets its descriptors: watch is called for each */
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_DEFAULT); /* lets the handles close */
    uv_loop_close(loop);
    return failed > 0;
}
