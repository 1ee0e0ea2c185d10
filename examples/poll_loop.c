/* Several calls at once, in a loop of one's own around poll(2).
 *
 *   cc poll_loop.c $(pkg-config --cflags --libs fal) -o poll_loop
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./poll_loop */
#include <fal.h>
#include <poll.h>
#include <stdio.h>

#define FDS 64

static const char *const inputs[] = {"{\"prompt\":\"What is the capital of France?\"}",
                                     "{\"prompt\":\"What is the capital of Peru?\"}",
                                     "{\"prompt\":\"What is the capital of Laos?\"}"};
static int failed;

static void print_answer(enum fal_code code, fal_result *result, void *user) {
    (void)user;
    if (code == FAL_OK)
        puts(fal_result_json(result));
    else
        fprintf(stderr, "%s: %s\n", fal_strerror(code), fal_result_error(result)->message);
    failed += code != FAL_OK;
    fal_result_free(result);
}

/* Waits for the client's descriptors; one's own would stand beside them in `fds`. */
static void turn(fal_client *c) {
    struct fal_fd wanted[FDS];
    struct pollfd fds[FDS];
    size_t n = fal_client_fds(c, wanted, FDS); /* more than FDS: wait for the first ones */
    for (size_t i = 0; i < n && i < FDS; i++) {
        fds[i].fd = wanted[i].fd;
        fds[i].events = (short)((wanted[i].events & FAL_READABLE ? POLLIN : 0) |
                                (wanted[i].events & FAL_WRITABLE ? POLLOUT : 0));
    }
    int64_t ms = fal_client_timeout_ms(c);
    int ready = poll(fds, (nfds_t)(n < FDS ? n : FDS), ms < 0 ? -1 : ms < 60000 ? (int)ms : 60000);
    if (ready == 0) fal_client_ready(c, -1, 0);
    for (size_t i = 0; ready > 0 && i < n && i < FDS; i++) {
        int events = (fds[i].revents & (POLLIN | POLLERR | POLLHUP) ? FAL_READABLE : 0) |
                     (fds[i].revents & (POLLOUT | POLLERR) ? FAL_WRITABLE : 0);
        if (events != 0) fal_client_ready(c, fds[i].fd, events);
    }
}

int main(void) {
    fal_client *c = NULL;
    struct fal_done done = {print_answer, NULL};
    if (fal_client_new(NULL, &c) != FAL_OK) return 1;
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        if (fal_run_start(c, "fal-ai/any-llm", inputs[i], NULL, done, NULL) != FAL_OK) return 1;
    while (fal_client_pending(c) > 0) turn(c);
    fal_client_free(c);
    return failed > 0;
}
