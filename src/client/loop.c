/* Descriptors, timers, and whose turn it is.
 *
 * One list of descriptors for both ways of waiting: the caller's loop gets it from fal_client_fds, a blocking call polls it
 * itself; what is ready goes through the same functions then. libcurl's descriptors come from its socket callback, its timer
 * is one of ours.
 *
 *   turn:   poll, `ready` for each descriptor, settle
 *   settle: timers that are due, exchanges that are over, calls to begin and to end; again while one leads to the other */
#include "client/client.h"

#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define IDLE_EASIES \
    64 /* handles kept for the next exchanges: as many as may end and begin in one turn */
#define SOCKETS_PER_EXCHANGE 5 /* libcurl's own MAX_SOCKSPEREASYHANDLE */
#define SETTLE_ROUNDS 16       /* then the descriptors are looked at again */

struct ready {
    int fd, events;
};

struct client_loop {
    struct pollfd *fds;
    struct client_watch **watches; /* of fds[i]; NULL: libcurl's */
    struct ready *ready;
    size_t count, cap, ready_count;
    struct client_timer *timers; /* by due_ms */
    struct client_timer curl_timer;
    fal_client *client;
    bool curl_failed;
    CURL *easies[IDLE_EASIES];
    size_t easy_count;
    struct client_watch wake;
    void (*on_fd)(int fd, int events, void *user);
    void *on_fd_user;
};

/* ---- Timers ---- */

uint64_t client_now_ms(const fal_client *c) {
    return clock_mono_ms(c->clock);
}

static void timer_insert(struct client_timer **at, struct client_timer *timer) {
    while (*at != NULL && (*at)->due_ms <= timer->due_ms) {
        at = &(*at)->next;
    }
    timer->next = *at;
    timer->link = at;
    if (timer->next != NULL) {
        timer->next->link = &timer->next;
    }
    *at = timer;
}

void client_timer_set(fal_client *c, struct client_timer *timer, uint64_t due_ms) {
    client_timer_off(timer);
    timer->due_ms = due_ms;
    timer_insert(&c->loop->timers, timer);
}

void client_timer_off(struct client_timer *timer) {
    if (timer->link == NULL) {
        return;
    }
    *timer->link = timer->next;
    if (timer->next != NULL) {
        timer->next->link = timer->link;
    }
    timer->link = NULL;
    timer->next = NULL;
}

static bool timers_due(const fal_client *c) {
    return c->loop->timers != NULL && c->loop->timers->due_ms <= client_now_ms(c);
}

/* Those that are due leave the list first: one that is set again while it fires waits for the next round. */
static bool timers_fire(fal_client *c) {
    if (!timers_due(c)) {
        return false;
    }
    uint64_t now = client_now_ms(c);
    struct client_timer *due = c->loop->timers, *last = due;
    while (last->next != NULL && last->next->due_ms <= now) {
        last = last->next;
    }
    c->loop->timers = last->next;
    if (last->next != NULL) {
        last->next->link = &c->loop->timers;
    }
    last->next = NULL;
    due->link = &due; /* whoever is taken off meanwhile mends this list */
    while (due != NULL) {
        struct client_timer *timer = due;
        client_timer_off(timer);
        timer->fire(timer);
    }
    return true;
}

/* ---- Descriptors ---- */

static ptrdiff_t find(const struct client_loop *l, int fd) {
    for (size_t i = 0; i < l->count; i++) {
        if (l->fds[i].fd == fd) {
            return (ptrdiff_t)i;
        }
    }
    return -1;
}

static long port_of(int fd, bool peer) {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof(at);
    if ((peer ? getpeername(fd, &at.any, &len) : getsockname(fd, &at.any, &len)) != 0) {
        return -1;
    }
    return at.any.sa_family == AF_INET    ? ntohs(at.v4.sin_port)
           : at.any.sa_family == AF_INET6 ? ntohs(at.v6.sin6_port)
                                          : -1;
}

uint64_t client_loop_unsent(const fal_client *c, long our_port, long their_port) {
    uint64_t sum = 0;
    for (size_t i = 0; i < c->loop->count; i++) {
        int fd = c->loop->fds[i].fd, n = 0;
        if (port_of(fd, false) == our_port && port_of(fd, true) == their_port &&
            ioctl(fd, SIOCOUTQ, &n) == 0) {
            sum += (uint64_t)n;
        }
    }
    return sum;
}

static int to_poll(int events) {
    return ((events & FAL_READABLE) != 0 ? POLLIN : 0) |
           ((events & FAL_WRITABLE) != 0 ? POLLOUT : 0);
}

/* Whoever waits for one direction must also hear of the end. */
static int from_poll(int revents) {
    int end = POLLERR | POLLHUP | POLLNVAL;
    return ((revents & (POLLIN | end)) != 0 ? FAL_READABLE : 0) |
           ((revents & (POLLOUT | POLLERR | POLLNVAL)) != 0 ? FAL_WRITABLE : 0);
}

static int events_of(const struct client_loop *l, size_t i) {
    return ((l->fds[i].events & POLLIN) != 0 ? FAL_READABLE : 0) |
           ((l->fds[i].events & POLLOUT) != 0 ? FAL_WRITABLE : 0);
}

static bool room_for(struct client_loop *l, size_t wanted) {
    if (wanted <= l->cap) {
        return true;
    }
    size_t cap = l->cap * 2 > wanted ? l->cap * 2 : wanted;
    struct pollfd *fds = realloc(l->fds, cap * sizeof(*fds));
    l->fds = fds != NULL ? fds : l->fds;
    struct client_watch **watches = realloc(l->watches, cap * sizeof(struct client_watch *));
    l->watches = watches != NULL ? watches : l->watches;
    struct ready *ready = realloc(l->ready, cap * sizeof(*ready));
    l->ready = ready != NULL ? ready : l->ready;
    if (fds == NULL || watches == NULL || ready == NULL) {
        return false;
    }
    l->cap = cap;
    return true;
}

static void tell(const struct client_loop *l, int fd, int events) {
    if (l->on_fd != NULL) {
        l->on_fd(fd, events, l->on_fd_user);
    }
}

static bool add_fd(struct client_loop *l, int fd, int events, struct client_watch *watch) {
    if (!room_for(l, l->count + 1)) {
        return false;
    }
    l->fds[l->count] = (struct pollfd){fd, (short)to_poll(events), 0};
    l->watches[l->count++] = watch;
    tell(l, fd, events);
    return true;
}

static void remove_fd(struct client_loop *l, size_t i) {
    int fd = l->fds[i].fd;
    l->count--;
    l->fds[i] = l->fds[l->count];
    l->watches[i] = l->watches[l->count];
    tell(l, fd, 0);
}

static void change_fd(struct client_loop *l, size_t i, int events) {
    if (l->fds[i].events != (short)to_poll(events)) {
        l->fds[i].events = (short)to_poll(events);
        tell(l, l->fds[i].fd, events);
    }
}

bool client_watch_set(fal_client *c, struct client_watch *watch, int fd, int events) {
    ptrdiff_t at = watch->on ? find(c->loop, watch->fd) : -1;
    if (at >= 0) {
        watch->events = events;
        change_fd(c->loop, (size_t)at, events);
        return true;
    }
    watch->fd = fd;
    watch->events = events;
    watch->on = add_fd(c->loop, fd, events, watch);
    return watch->on;
}

void client_watch_off(fal_client *c, struct client_watch *watch) {
    ptrdiff_t at = watch->on ? find(c->loop, watch->fd) : -1;
    if (at >= 0) {
        remove_fd(c->loop, (size_t)at);
    }
    watch->on = false;
}

/* ---- libcurl ---- */

static int curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user) {
    struct client_loop *l = user;
    ptrdiff_t at = find(l, fd);
    (void)easy;
    (void)socket_user;
    if (what == CURL_POLL_REMOVE) {
        if (at >= 0) {
            remove_fd(l, (size_t)at);
        }
        return 0;
    }
    int events = ((what & CURL_POLL_IN) != 0 ? FAL_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? FAL_WRITABLE : 0);
    if (at >= 0) {
        change_fd(l, (size_t)at, events);
        return 0;
    }
    return add_fd(l, fd, events, NULL) ? 0 : -1;
}

static int curl_timer(CURLM *multi, long timeout_ms, void *user) {
    struct client_loop *l = user;
    (void)multi;
    if (timeout_ms < 0) {
        client_timer_off(&l->curl_timer);
    } else {
        uint64_t now = timeout_ms > 0 ? client_now_ms(l->client) : 0;
        client_timer_set(l->client, &l->curl_timer, now + (uint64_t)timeout_ms);
    }
    return 0;
}

static void curl_act(struct client_loop *l, curl_socket_t fd, int events) {
    int running = 0;
    if (l->client->multi == NULL) {
        return;
    }
    int bits = ((events & FAL_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
               ((events & FAL_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
    CURLMcode rc = curl_multi_socket_action(l->client->multi, fd, bits, &running);
    if (rc != CURLM_OK) {
        l->curl_failed = true;
        client_exchanges_fail(l->client,
                              rc == CURLM_OUT_OF_MEMORY ? FAL_ERR_MEMORY : FAL_ERR_TRANSPORT,
                              curl_multi_strerror(rc));
    }
}

static void curl_due(struct client_timer *timer) {
    struct client_loop *l =
        (struct client_loop *)(void *)((char *)timer - offsetof(struct client_loop, curl_timer));
    curl_act(l, CURL_SOCKET_TIMEOUT, 0);
}

CURL *client_loop_easy(fal_client *c) {
    struct client_loop *l = c->loop;
    return l->easy_count > 0 ? l->easies[--l->easy_count] : client_easy_new(c);
}

void client_loop_give_easy(fal_client *c, CURL *easy) {
    struct client_loop *l = c->loop;
    if (easy == NULL || l->easy_count == IDLE_EASIES) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL); /* the rest is set anew before it is read */
    l->easies[l->easy_count++] = easy;
}

static bool make_multi(fal_client *c) {
    CURLM *m = curl_multi_init();
    if (m == NULL) {
        return false;
    }
    CURLMcode rc = curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, curl_socket);
    rc = rc ? rc : curl_multi_setopt(m, CURLMOPT_SOCKETDATA, c->loop);
    rc = rc ? rc : curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, curl_timer);
    rc = rc ? rc : curl_multi_setopt(m, CURLMOPT_TIMERDATA, c->loop);
    rc = rc ? rc : curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, c->max_connections);
    if (rc != CURLM_OK) {
        curl_multi_cleanup(m);
        return false;
    }
    c->multi = m;
    return true;
}

void client_loop_renew(fal_client *c) {
    curl_multi_cleanup(c->multi);
    c->multi = NULL;
    client_timer_off(&c->loop->curl_timer);
    for (size_t i = c->loop->count; i > 0; i--) { /* what it did not take back for want of memory */
        if (c->loop->watches[i - 1] == NULL) {
            remove_fd(c->loop, i - 1);
        }
    }
}

bool client_loop_reserve(fal_client *c) {
    if (c->multi == NULL && !make_multi(c)) {
        return false;
    }
    return room_for(c->loop, c->loop->count + (c->exchange_count + 1) * SOCKETS_PER_EXCHANGE);
}

/* ---- Waking ---- */

struct client_wake *client_wake_new(void) {
    struct client_wake *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return NULL;
    }
    w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->fd < 0) {
        free(w);
        return NULL;
    }
    atomic_init(&w->refs, 1);
    atomic_init(&w->calls, false);
    return w;
}

void client_wake_unref(struct client_wake *w) {
    if (w != NULL && atomic_fetch_sub(&w->refs, 1) == 1) {
        close(w->fd);
        free(w);
    }
}

void client_wake_up(struct client_wake *w) {
    /* Full means that it is awake already. */
    (void)!write(w->fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void woken(struct client_watch *watch, int events) {
    uint64_t count;
    (void)events;
    (void)!read(watch->fd, &count, sizeof(count));
}

/* ---- Turns ---- */

bool client_enter(fal_client *c) {
    return !atomic_exchange(&c->busy, true);
}

void client_leave(fal_client *c) {
    atomic_store(&c->busy, false);
}

static bool work_is_left(const fal_client *c) {
    return client_calls_waiting(c) || timers_due(c);
}

static void settle(fal_client *c) {
    for (int i = 0; i < SETTLE_ROUNDS; i++) {
        bool more = timers_fire(c);
        client_exchanges_finish(c);
        more = client_calls_settle(c) || more;
        if (!more) {
            return;
        }
    }
}

static void ready(struct client_loop *l, int fd, int events) {
    ptrdiff_t at = find(l, fd);
    if (at < 0) { /* gone since, by another's callback */
        return;
    }
    if (l->watches[at] != NULL) {
        l->watches[at]->ready(l->watches[at], events);
    } else {
        curl_act(l, fd, events);
    }
}

/* The list changes under what is called: what was ready is noted first. */
static void serve_ready(struct client_loop *l) {
    l->ready_count = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (l->fds[i].revents != 0) {
            l->ready[l->ready_count++] = (struct ready){l->fds[i].fd, l->fds[i].revents};
        }
    }
    for (size_t i = 0; i < l->ready_count; i++) {
        ready(l, l->ready[i].fd, from_poll(l->ready[i].events));
    }
}

static enum fal_code outcome(struct client_loop *l) {
    bool failed = l->curl_failed;
    l->curl_failed = false;
    return failed ? FAL_ERR_MEMORY : FAL_OK;
}

static int poll_ms(const fal_client *c, int64_t timeout_ms) {
    int64_t own = fal_client_timeout_ms(c);
    int64_t ms = own < 0 || (timeout_ms >= 0 && timeout_ms < own) ? timeout_ms : own;
    return ms < 0 ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
}

enum fal_code client_loop_turn(fal_client *c, int64_t timeout_ms) {
    struct client_loop *l = c->loop;
    if (work_is_left(c)) { /* what was begun since the last turn goes out before the wait */
        settle(c);
        timeout_ms = 0; /* it may be what was waited for */
    }
    int n = poll(l->fds, (nfds_t)l->count, poll_ms(c, timeout_ms));
    if (n > 0) {
        serve_ready(l);
    }
    settle(c);
    return outcome(l);
}

/* ---- The client in a loop ---- */

size_t fal_client_fds(const fal_client *client, struct fal_fd *fds, size_t room) {
    const struct client_loop *l = client->loop;
    for (size_t i = 0; i < l->count && i < room; i++) {
        fds[i] = (struct fal_fd){l->fds[i].fd, events_of(l, i)};
    }
    return l->count;
}

void fal_client_on_fd(fal_client *client, void (*changed)(int fd, int events, void *user),
                      void *user) {
    struct client_loop *l = client->loop;
    l->on_fd = changed;
    l->on_fd_user = user;
    for (size_t i = 0; i < l->count; i++) {
        tell(l, l->fds[i].fd, events_of(l, i));
    }
}

int64_t fal_client_timeout_ms(const fal_client *client) {
    const struct client_timer *first = client->loop->timers;
    if (client_calls_waiting(client)) {
        return 0;
    }
    if (first == NULL) {
        return -1;
    }
    uint64_t now = client_now_ms(client);
    uint64_t left = first->due_ms > now ? first->due_ms - now : 0;
    return left < INT64_MAX ? (int64_t)left : INT64_MAX;
}

enum fal_code fal_client_ready(fal_client *client, int fd, int events) {
    if (!client_enter(client)) {
        return FAL_ERR_BUSY;
    }
    if (fd >= 0) {
        ready(client->loop, fd, events);
    }
    settle(client);
    enum fal_code code = outcome(client->loop);
    client_leave(client);
    return code;
}

/* ---- Life ---- */

enum fal_code client_loop_new(fal_client *c) {
    struct client_loop *l = c->loop = calloc(1, sizeof(*l));
    if (l == NULL) {
        return FAL_ERR_MEMORY;
    }
    l->client = c;
    l->curl_timer.fire = curl_due;
    l->wake.ready = woken;
    c->wake = client_wake_new();
    bool ok = c->wake != NULL && make_multi(c) &&
              client_watch_set(c, &l->wake, c->wake->fd, FAL_READABLE);
    return ok ? FAL_OK : FAL_ERR_MEMORY;
}

void client_loop_free(fal_client *c) {
    struct client_loop *l = c->loop;
    if (l == NULL) {
        return;
    }
    while (l->easy_count > 0) {
        curl_easy_cleanup(l->easies[--l->easy_count]);
    }
    client_loop_renew(c);
    client_watch_off(c, &l->wake);
    client_wake_unref(c->wake);
    free(l->fds);
    free(l->watches);
    free(l->ready);
    free(l);
    c->loop = NULL;
}
