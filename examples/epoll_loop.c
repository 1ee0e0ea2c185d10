/* Several calls at once, in a loop of one's own around epoll(7): the client says when its descriptors change.
 *
 *   cc epoll_loop.c $(pkg-config --cflags --libs fal) -o epoll_loop
 *   FAL_BASE_URL=http://127.0.0.1:8787 FAL_KEY=local ./epoll_loop */
#include <fal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 64

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

static void watch(int fd, int events, void *user) {
    int ep = *(int *)user;
    struct epoll_event e = {.data.fd = fd};
    if (events & FAL_READABLE) e.events |= EPOLLIN;
    if (events & FAL_WRITABLE) e.events |= EPOLLOUT;
    if (events == 0)
        epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(ep, EPOLL_CTL_MOD, fd, &e) != 0) /* not there yet */
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void turn(fal_client *c, int ep) {
    struct epoll_event ready[EVENTS];
    int64_t ms = fal_client_timeout_ms(c);
    int n = epoll_wait(ep, ready, EVENTS, ms < 0 ? -1 : ms < 60000 ? (int)ms : 60000);
    if (n == 0) fal_client_ready(c, -1, 0);
    for (int i = 0; i < n; i++) {
        int events = (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? FAL_READABLE : 0) |
                     (ready[i].events & (EPOLLOUT | EPOLLERR) ? FAL_WRITABLE : 0);
        fal_client_ready(c, ready[i].data.fd, events);
    }
}

int main(void) {
    fal_client *c = NULL;
    struct fal_done done = {print_answer, NULL};
    int ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0 || fal_client_new(NULL, &c) != FAL_OK) return 1;
    fal_client_on_fd(c, watch, &ep);
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        if (fal_run_start(c, "fal-ai/any-llm", inputs[i], NULL, done, NULL) != FAL_OK) return 1;
    while (fal_client_pending(c) > 0) turn(c, ep);
    fal_client_free(c);
    close(ep);
    return failed > 0;
}
