/* Connections. One epoll loop, one heap of timers.
 *
 *   READING  --request complete--> DELAYED (script.delay_ms) | STALLED (silent) | SENDING
 *   DELAYED  --timer------------->  SENDING
 *   SENDING  --event sent, interval_ms--> PAUSED;  --point reached--> closed | STALLED
 *            --answer sent------->  READING | closed
 *   PAUSED   --timer------------->  SENDING
 *   STALLED  waits for its peer to close
 *   any      --peer closes------->  closed (while a call is open: aborted)
 *
 * A peer that half-closes counts as gone. A connection never moves in memory; only its own event or
 * its own timer frees it, so the other pointers of one epoll_wait stay good. */
#include "mock.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { READING, DELAYED, SENDING, PAUSED, STALLED };

enum { SEND_AHEAD = 64 << 10, READ_STEP = 64 << 10, TURNS = 16 };

struct conn {
    int fd;
    bool listener, writable_wanted;
    enum state state;
    struct buf in, out;
    struct reader reader;
    struct call call;
    size_t sent; /* bytes of this response handed to the kernel */
    uint64_t requests;
    int64_t due_ms;
    size_t timer; /* place in the heap + 1; 0 = none */
};

static int epfd = -1;
static struct conn **heap;
static size_t heap_len, heap_cap;

/* ---- timers: a binary heap by due_ms ---- */

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void heap_put(size_t i, struct conn *c) {
    heap[i] = c;
    c->timer = i + 1;
}

static void heap_settle(size_t i, struct conn *c) {
    for (; i > 0 && heap[(i - 1) / 2]->due_ms > c->due_ms; i = (i - 1) / 2)
        heap_put(i, heap[(i - 1) / 2]);
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid + 1 < heap_len && heap[kid + 1]->due_ms < heap[kid]->due_ms) kid++;
        if (kid >= heap_len || heap[kid]->due_ms >= c->due_ms) break;
        heap_put(i, heap[kid]);
        i = kid;
    }
    heap_put(i, c);
}

static void timer_stop(struct conn *c) {
    if (!c->timer) return;
    size_t i = c->timer - 1;
    struct conn *last = heap[--heap_len];
    c->timer = 0;
    if (last != c) heap_settle(i, last);
}

static void timer_start(struct conn *c, int64_t in_ms) {
    timer_stop(c);
    if (heap_len == heap_cap) {
        heap_cap = heap_cap ? 2 * heap_cap : 256;
        heap = realloc(heap, heap_cap * sizeof *heap);
        if (!heap) mock_die("out of memory");
    }
    c->due_ms = now_ms() + in_ms;
    heap_settle(heap_len++, c);
}

/* ---- connections ---- */

static void watch(struct conn *c, bool writable) {
    if (c->writable_wanted == writable) return;
    struct epoll_event ev = {.events = EPOLLIN | (writable ? (uint32_t)EPOLLOUT : 0),
                             .data.ptr = c};
    epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &ev);
    c->writable_wanted = writable;
}

static void conn_close(struct conn *c, bool reset) {
    if (c->state != READING) stats.open--;
    stats.connections--;
    timer_stop(c);
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(c->fd);
    buf_free(&c->in);
    buf_free(&c->out);
    http_reader_free(&c->reader);
    free(c);
}

static void peer_gone(struct conn *c) {
    if (c->state != READING) stats.aborted++;
    conn_close(c, false);
}

/* ---- sending ---- */

enum step { GOES_ON, WAITS, CLOSED };

/* How many of the bytes at hand the script lets out. */
static size_t allowed(const struct conn *c) {
    size_t n = c->out.len;
    const struct script *s = &c->call.script;
    const struct point *points[] = {&s->cut, &s->reset, &s->stall};
    for (int i = 0; i < 3; i++)
        if (points[i]->set && !points[i]->events && points[i]->n - c->sent < n)
            n = points[i]->n - c->sent;
    return s->onebyte && n > 1 ? 1 : n;
}

static bool reached(const struct conn *c, const struct point *p) {
    if (!p->set) return false;
    return p->events ? c->out.len == 0 && c->call.events >= p->n : c->sent >= p->n;
}

static enum step at_points(struct conn *c) {
    const struct script *s = &c->call.script;
    if (reached(c, &s->cut) || reached(c, &s->reset)) {
        conn_close(c, reached(c, &s->reset));
        return CLOSED;
    }
    if (!reached(c, &s->stall)) return GOES_ON;
    c->state = STALLED;
    watch(c, false);
    return WAITS;
}

static enum step send_some(struct conn *c) {
    ssize_t n = send(c->fd, c->out.data, allowed(c), MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        watch(c, true);
        return WAITS;
    }
    if (n < 0) {
        peer_gone(c);
        return CLOSED;
    }
    c->sent += (size_t)n;
    buf_drop(&c->out, (size_t)n);
    if (c->call.script.onebyte && c->out.len > 0) {
        watch(c, true); /* let the byte go alone, and others have their turn */
        return WAITS;
    }
    return GOES_ON;
}

static bool events_end_here(const struct conn *c) {
    const struct script *s = &c->call.script;
    return (s->cut.events && c->call.events >= s->cut.n) ||
           (s->reset.events && c->call.events >= s->reset.n) ||
           (s->stall.events && c->call.events >= s->stall.n);
}

/* A pause may follow: what leaves next leaves alone. The role and the first text come together, and
 * the end of the body, which is no event, comes with the last event. */
static bool pause_follows(const struct conn *c) {
    const struct call *k = &c->call;
    if (!k->script.interval_ms && !k->script.onebyte) return false;
    return k->stage != STAGE_TRAILER && (k->stage != STAGE_WORDS || k->next_word > 0);
}

static void refill(struct conn *c) {
    while (c->out.len < SEND_AHEAD && !events_end_here(c) && answer_more(&c->call, &c->out))
        if (pause_follows(c)) break;
}

static enum step answered(struct conn *c) {
    timer_stop(c);
    buf_trim(&c->out);
    watch(c, false);
    if (c->call.close || c->call.drop) {
        conn_close(c, false);
        return CLOSED;
    }
    stats.open--;
    c->state = READING;
    if (c->call.script.keepalive[0]) timer_start(c, c->call.script.keepalive[0] * 1000);
    return GOES_ON;
}

/* SENDING: until the socket is full, a pause is due, or the answer has ended. */
static enum step send_answer(struct conn *c) {
    for (int turn = 0;; turn++) {
        while (c->out.len > 0) {
            enum step at = at_points(c);
            at = at == GOES_ON ? send_some(c) : at;
            if (at != GOES_ON) return at;
        }
        enum step at = at_points(c);
        if (at != GOES_ON) return at;
        if (c->call.stage == STAGE_END) return answered(c);
        bool first = c->call.events == 0;
        if (!first && c->call.script.interval_ms && c->state == SENDING) {
            c->state = PAUSED;
            watch(c, false);
            timer_start(c, c->call.script.interval_ms);
            return WAITS;
        }
        c->state = SENDING;
        refill(c);
        if (turn == TURNS) {
            watch(c, true); /* an endless stream to a fast reader: let others go on */
            return WAITS;
        }
    }
}

/* ---- requests ---- */

static void find_nonce(struct call *c, const struct buf *prompt) {
    const char *at = prompt->len ? memmem(prompt->data, prompt->len, "nonce:", 6) : NULL;
    if (!at) return;
    size_t left = prompt->len - (size_t)(at - prompt->data), n = 6;
    while (n < left && n + 1 < sizeof c->nonce &&
           (isalnum((unsigned char)at[n]) || at[n] == '-' || at[n] == '_'))
        n++;
    memcpy(c->nonce, at, n);
}

/* The text of one message: a string, or the text parts of an array. */
static void message_text(struct span message, struct buf *out) {
    struct span content, part, text;
    out->len = 0;
    if (!json_get(message, "content", &content) || json_text(content, out)) return;
    while (json_next(&content, &part))
        if (json_get(part, "text", &text)) json_text(text, out);
}

static void last_user_text(struct span body, struct buf *out) {
    struct span messages, message, role, user = {0};
    if (!json_get(body, "messages", &messages)) return;
    while (json_next(&messages, &message))
        if (json_get(message, "role", &role) && span_is(role, "\"user\"")) user = message;
    if (user.len) message_text(user, out);
}

static void copy_text(char *to, size_t size, struct span from) {
    size_t n = from.len < size ? from.len : size - 1;
    if (n) memcpy(to, from.p, n);
    to[n] = 0;
}

static void be_flaky(struct call *c, struct span path, const struct buf *prompt) {
    struct buf key = {0};
    buf_add(&key, path.p, path.len);
    buf_str(&key, " ");
    buf_add(&key, prompt->data, prompt->len);
    uint64_t nth = stats_flaky((struct span){key.data, key.len});
    buf_free(&key);
    if (nth > (uint64_t)c->script.flaky)
        script_recover(&c->script);
    else if (!script_is_faulty(&c->script))
        c->script.status = 503;
}

/* Reads what the answer depends on. */
static void look_at(struct call *c, const struct request *r) {
    static struct buf text, prompt;
    struct span v, usage;
    text.len = prompt.len = 0;
    if (json_get(r->body, "model", &v)) json_text(v, &text);
    copy_text(c->model, sizeof c->model, (struct span){text.data, text.len});
    c->stream = json_get(r->body, "stream", &v) && span_is(v, "true");
    c->include_usage = json_get(r->body, "stream_options", &v) &&
                       json_get(v, "include_usage", &usage) && span_is(usage, "true");
    copy_text(c->authorization, sizeof c->authorization, r->authorization);
    last_user_text(r->body, &prompt);
    find_nonce(c, &prompt);
    c->prompt_bytes = prompt.len;
    c->id = stats.calls;
    struct span path = {c->script.prefix, strlen(c->script.prefix)};
    c->prompt_calls = stats_call(r, path, (struct span){prompt.data, prompt.len});
    if (c->script.flaky) be_flaky(c, path, &prompt);
}

static void plain_answer(struct conn *c, const char *status, const struct buf *body) {
    buf_fmt(&c->out, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
            status, body->len);
    buf_add(&c->out, body->data, body->len);
}

/* /_stats, /_reset, /health and what no script covers. */
static void own_answer(struct conn *c, const struct request *r, const char *why) {
    struct buf body = {0};
    const char *status = "200 OK";
    if (span_is(r->target, "/_stats")) {
        stats_print(&body);
    } else if (span_is(r->target, "/_reset")) {
        stats_reset();
        buf_str(&body, "{}\n");
    } else if (span_is(r->target, "/health")) {
        buf_str(&body, "{\"status\":\"ok\"}\n");
    } else {
        stats.other++;
        status = "404 Not Found";
        buf_fmt(&body, "{\"error\":{\"message\":\"mockllm: %s\",\"code\":404}}\n", why);
    }
    plain_answer(c, status, &body);
    buf_free(&body);
    c->call.stage = STAGE_END;
    c->state = SENDING;
}

static void set_state_for_call(struct conn *c) {
    const struct script *s = &c->call.script;
    stats.open++;
    if (stats.open > stats.open_max) stats.open_max = stats.open;
    c->state = s->silent ? STALLED : s->delay_ms ? DELAYED : SENDING;
    if (c->state == DELAYED) timer_start(c, s->delay_ms);
}

/* A request is whole: decides the answer. False when the connection was closed instead. */
static bool take_request(struct conn *c, const struct request *r) {
    struct span rest = {0};
    char why[160];
    timer_stop(c);
    c->call = (struct call){.close = r->close};
    c->sent = 0;
    c->requests++;
    if (!script_parse(r->target, &c->call.script, &rest, why, sizeof why)) {
        c->call.script = (struct script){0};
        own_answer(c, r, why);
        stats.open++; /* answered() takes it back */
        return true;
    }
    const struct script *s = &c->call.script;
    c->call.chat = span_is(rest, "/chat/completions");
    if (c->call.chat)
        look_at(&c->call, r);
    else
        stats.other++;
    if (s->close_reused && c->requests > 1) {
        conn_close(c, false);
        return false;
    }
    c->call.close |= s->conn_close || (s->keepalive[1] && c->requests >= (uint64_t)s->keepalive[1]);
    answer_begin(&c->call, rest, &c->out);
    set_state_for_call(c);
    return true;
}

/* READING: takes requests from the buffer as long as answers leave at once. */
static void read_requests(struct conn *c) {
    while (c->state == READING && c->in.len > 0) {
        struct request r;
        bool began = c->reader.head_len > 0;
        enum http_result res = http_read(&c->reader, &c->in, &r);
        if (res == HTTP_BAD) {
            conn_close(c, false);
            return;
        }
        if (res == HTTP_MORE) {
            if (!began && r.expect_continue && c->reader.head_len)
                (void)!send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
            return;
        }
        if (!take_request(c, &r)) return;
        http_consume(&c->reader, &c->in);
        if (c->state == SENDING && send_answer(c) == CLOSED) return;
    }
}

static void on_readable(struct conn *c) {
    static char step[READ_STEP];
    ssize_t n = recv(c->fd, step, sizeof step, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || c->in.len + (size_t)n > MOCK_MAX_REQUEST_BYTES) {
        peer_gone(c);
        return;
    }
    buf_add(&c->in, step, (size_t)n);
    read_requests(c);
}

static void resume(struct conn *c) {
    if (send_answer(c) == GOES_ON) read_requests(c);
}

static void on_timer(struct conn *c) {
    if (c->state == READING) {
        conn_close(c, false); /* keepalive/T: idle for too long */
        return;
    }
    if (c->state == DELAYED) c->state = SENDING;
    resume(c);
}

static void on_accept(struct conn *l) {
    int one = 1;
    for (int i = 0; i < 64; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        if (!c) mock_die("out of memory");
        c->fd = fd;
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) != 0) mock_die("cannot watch a connection");
        stats.accepted++;
        stats.connections++;
    }
}

static void need_epoll(void) {
    if (epfd < 0 && (epfd = epoll_create1(EPOLL_CLOEXEC)) < 0) mock_die("no epoll");
}

void loop_listen(int fd) {
    need_epoll();
    static struct conn listeners[2];
    static size_t used;
    if (used == 2) mock_die("too many listeners");
    struct conn *l = &listeners[used++];
    l->fd = fd;
    l->listener = true;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) != 0) mock_die("cannot watch the listener");
}

static int next_timeout_ms(void) {
    if (heap_len == 0) return -1;
    int64_t left = heap[0]->due_ms - now_ms();
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void run_timers(void) {
    if (heap_len == 0) return;
    int64_t now = now_ms();
    while (heap_len > 0 && heap[0]->due_ms <= now) {
        struct conn *c = heap[0];
        timer_stop(c);
        on_timer(c);
    }
}

static void on_event(struct conn *c, uint32_t events) {
    if (c->listener)
        on_accept(c);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(c); /* level-triggered: a writable socket is reported again */
    else
        resume(c);
}

void loop_run(void) {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int sig = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
    need_epoll();
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, got[256];
    epoll_ctl(epfd, EPOLL_CTL_ADD, sig, &ev);
    for (;;) {
        int n = epoll_wait(epfd, got, 256, next_timeout_ms());
        for (int i = 0; i < n; i++) {
            if (!got[i].data.ptr) return;
            on_event(got[i].data.ptr, got[i].events);
        }
        run_timers();
    }
}
