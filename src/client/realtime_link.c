#include "client/realtime.h"

/* --- until it stands */

static struct client_link_socket *socket_of(struct client_link *l, int fd) {
    for (size_t i = 0; i < LINK_SOCKETS; i++)
        if (l->sockets[i].link != NULL && l->sockets[i].watch.fd == fd) return &l->sockets[i];
    return NULL;
}

static void forget(struct client_link_socket *s) {
    if (s->link == NULL) return;
    client_watch_off(s->link->client, &s->watch);
    s->link = NULL;
}

static void settle(struct client_link *l, CURLcode rc) {
    curl_socket_t fd = CURL_SOCKET_BAD;
    l->settled = true;
    client_timer_off(&l->timer);
    for (size_t i = 0; i < LINK_SOCKETS; i++) forget(&l->sockets[i]);
    if (rc == CURLE_OK) rc = curl_easy_getinfo(l->easy, CURLINFO_ACTIVESOCKET, &fd);
    if (rc == CURLE_OK && fd == CURL_SOCKET_BAD) rc = CURLE_COULDNT_CONNECT;
    if (rc == CURLE_OK && !client_watch_set(l->client, &l->watch, fd, FAL_READABLE))
        rc = CURLE_OUT_OF_MEMORY;
    l->connected(l, rc);
}

static void drive(struct client_link *l, curl_socket_t fd, int flags) {
    int running, left;
    CURLMcode mc = curl_multi_socket_action(l->multi, fd, flags, &running);
    CURLMsg *m = mc == CURLM_OK ? curl_multi_info_read(l->multi, &left) : NULL;
    if (mc != CURLM_OK)
        settle(l, CURLE_OUT_OF_MEMORY);
    else if (m != NULL && m->msg == CURLMSG_DONE)
        settle(l, m->data.result);
}

static void is_ready(struct client_watch *watch, int events) {
    struct client_link_socket *s = (struct client_link_socket *)(void *)watch;
    int flags = ((events & FAL_READABLE) != 0 ? CURL_CSELECT_IN : 0) |
                ((events & FAL_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0);
    drive(s->link, watch->fd, flags);
}

static void is_due(struct client_timer *timer) {
    drive((struct client_link *)(void *)((char *)timer - offsetof(struct client_link, timer)),
          CURL_SOCKET_TIMEOUT, 0);
}

/* For libcurl: what it waits for. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *unused) {
    struct client_link *l = user;
    struct client_link_socket *s = socket_of(l, fd);
    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) forget(s);
        return 0;
    }
    for (size_t i = 0; s == NULL && i < LINK_SOCKETS; i++)
        if (l->sockets[i].link == NULL) s = &l->sockets[i];
    if (l->settled || s == NULL) return l->settled ? 0 : -1;
    int events = ((what & CURL_POLL_IN) != 0 ? FAL_READABLE : 0) |
                 ((what & CURL_POLL_OUT) != 0 ? FAL_WRITABLE : 0);
    s->watch.ready = is_ready;
    if (!client_watch_set(l->client, &s->watch, fd, events)) return -1;
    s->link = l;
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *user) {
    struct client_link *l = user;
    if (timeout_ms < 0 || l->settled)
        client_timer_off(&l->timer);
    else
        client_timer_set(l->client, &l->timer, client_now_ms(l->client) + (uint64_t)timeout_ms);
    return 0;
}

static void has_news(struct client_watch *watch, int events) {
    struct client_link *l = (struct client_link *)(void *)((char *)watch -
                                                           offsetof(struct client_link, watch));
    l->ready(l);
}

static CURLcode set_up(struct client_link *l, const char *url) {
    CURL *e = l->easy;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_ERRORBUFFER, l->error);
    rc = rc ? rc : client_set_way(e, l->client, url);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_HTTPPROXYTUNNEL, 1L);
    rc = rc ? rc : curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    return rc;
}

enum fal_code client_link_open(struct client_link *l, fal_client *c, const char *url,
                               void (*connected)(struct client_link *link, CURLcode rc),
                               void (*ready)(struct client_link *link)) {
    *l = (struct client_link){.client = c, .connected = connected, .ready = ready};
    l->timer.fire = is_due;
    l->watch.ready = has_news;
    l->multi = curl_multi_init();
    l->easy = curl_easy_init();
    if (l->multi == NULL || l->easy == NULL || set_up(l, url) != CURLE_OK) return FAL_ERR_MEMORY;
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(l->multi, CURLMOPT_SOCKETDATA, l);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(l->multi, CURLMOPT_TIMERDATA, l);
    return curl_multi_add_handle(l->multi, l->easy) == CURLM_OK ? FAL_OK : FAL_ERR_MEMORY;
}

void client_link_close(struct client_link *l) {
    if (l->client == NULL) return;
    l->settled = true;
    client_timer_off(&l->timer);
    for (size_t i = 0; i < LINK_SOCKETS; i++) forget(&l->sockets[i]);
    client_watch_off(l->client, &l->watch);
    if (l->multi != NULL && l->easy != NULL) curl_multi_remove_handle(l->multi, l->easy);
    curl_easy_cleanup(l->easy);
    curl_multi_cleanup(l->multi);
    l->client = NULL;
}

/* --- once it stands */

CURLcode client_link_receive(struct client_link *l, char *out, size_t room, size_t *n) {
    *n = 0;
    return curl_easy_recv(l->easy, out, room, n);
}

bool client_link_send(struct client_link *l,
                      size_t (*take)(struct client_link *l, char *out, size_t room), bool reading) {
    CURLcode rc = CURLE_OK;
    while (rc == CURLE_OK) {
        size_t n = 0;
        if (l->out_at == l->out_end) {
            l->out_at = 0;
            l->out_end = take(l, l->out, sizeof l->out);
            if (l->out_end == 0) break;
        }
        rc = curl_easy_send(l->easy, l->out + l->out_at, l->out_end - l->out_at, &n);
        l->out_at += n;
    }
    if (rc != CURLE_OK && rc != CURLE_AGAIN) return false;
    int events = (reading ? FAL_READABLE : 0) | (rc == CURLE_AGAIN ? FAL_WRITABLE : 0);
    return client_watch_set(l->client, &l->watch, l->watch.fd, events);
}
