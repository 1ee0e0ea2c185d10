#include "llm/engine_child.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The last lines of the child's output are kept for the day it crashes. */
#define TAIL_LINES 8U
#define LINE_BYTES 240U
/* A grandchild may hold the pipe open after the child's end; its output is not waited for longer than this. */
#define DRAIN_MS 300U

/*  running ──exit──▶ draining ──end of output, or DRAIN_MS──▶ closing ──both handles closed──▶ on_exit, freed  */
enum child_state { CHILD_RUNNING, CHILD_DRAINING, CHILD_CLOSING };

struct engine_child {
    struct net_loop *loop;
    void (*on_exit)(void *user, const struct engine_exit *how);
    void *user;
    enum child_state state;
    uv_process_t process;
    uv_pipe_t output;
    bool output_ended;
    unsigned open_handles;
    uint32_t term_ms;
    struct net_timer timer; /* running: KILL after TERM; draining: DRAIN_MS */
    int64_t status;
    int signal;
    unsigned lines; /* how many were read; line i is in tail[i % TAIL_LINES] */
    char tail[TAIL_LINES][LINE_BYTES];
    char complaint[LINE_BYTES]; /* the last line that names an error */
    char line[LINE_BYTES];
    size_t line_len;
};

static struct engine_child *child_of_timer(struct net_timer *t) {
    return (struct engine_child *)((char *)t - offsetof(struct engine_child, timer));
}

/* --- the child's output --- */

/* llama-server begins its lines with a clock and a level ("0.00.849.087 E "), other programs do not. */
static struct slice without_clock(struct slice s, char *level) {
    size_t i = 0;
    *level = 0;
    while (i < s.len && ((s.ptr[i] >= '0' && s.ptr[i] <= '9') || s.ptr[i] == '.')) i++;
    if (i < 4 || i + 3 > s.len || s.ptr[i] != ' ' || s.ptr[i + 2] != ' ') return s;
    *level = s.ptr[i + 1];
    return slice_trim(slice_from(s, i + 3));
}

static bool names_trouble(struct slice s, char level) {
    static const char *const words[] = {"error",  "failed", "Error", "terminate",
                                        "what()", "cannot", "unable"};
    char text[LINE_BYTES];
    if (level == 'E') return true;
    snprintf(text, sizeof text, "%.*s", SLICE_ARG(s));
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(text, words[i]) != NULL) return true;
    return false;
}

static void end_line(struct engine_child *c) {
    char level, quoted[LOG_QUOTE_BYTES];
    struct slice s = without_clock(slice_trim(slice_make(c->line, c->line_len)), &level);
    c->line_len = 0;
    if (s.len == 0) return;
    snprintf(c->tail[c->lines++ % TAIL_LINES], LINE_BYTES, "%.*s", SLICE_ARG(s));
    if (names_trouble(s, level)) snprintf(c->complaint, LINE_BYTES, "%.*s", SLICE_ARG(s));
    log_line(LOG_DEBUG, "engine_output", "pid=%d line=%s", c->process.pid, log_quote(quoted, s));
}

static void take_output(struct engine_child *c, const char *data, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (data[i] == '\n' || data[i] == '\r')
            end_line(c);
        else if (c->line_len < LINE_BYTES - 1)
            c->line[c->line_len++] = data[i];
    }
}

void engine_child_log_tail(const struct engine_child *c, int log_level) {
    char quoted[LOG_QUOTE_BYTES];
    unsigned first = c->lines > TAIL_LINES ? c->lines - TAIL_LINES : 0;
    for (unsigned i = first; i < c->lines; i++)
        log_line((enum log_level)log_level, "engine_said", "pid=%d line=%s", c->process.pid,
                 log_quote(quoted, slice_of(c->tail[i % TAIL_LINES])));
}

/* --- its end --- */

static void on_handle_closed(uv_handle_t *h) {
    struct engine_child *c = h->data;
    if (--c->open_handles > 0) return;
    const char *last = c->complaint[0] != '\0' ? c->complaint
                       : c->lines > 0          ? c->tail[(c->lines - 1) % TAIL_LINES]
                                               : "";
    struct engine_exit how = {c->status, c->signal, last};
    c->on_exit(c->user, &how);
    free(c);
}

static void close_handles(struct engine_child *c) {
    c->state = CHILD_CLOSING;
    net_timer_stop(c->loop, &c->timer);
    end_line(c);
    uv_close((uv_handle_t *)&c->output, on_handle_closed);
    uv_close((uv_handle_t *)&c->process, on_handle_closed);
}

static void on_drained(struct net_timer *t) {
    close_handles(child_of_timer(t));
}

static void on_process_exit(uv_process_t *p, int64_t status, int sig) {
    struct engine_child *c = p->data;
    c->status = status;
    c->signal = sig;
    c->state = CHILD_DRAINING;
    if (c->output_ended) {
        close_handles(c);
        return;
    }
    c->timer.fire = on_drained;
    net_timer_start(c->loop, &c->timer, DRAIN_MS);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct engine_child *c = h->data;
    *buf = uv_buf_init(c->loop->read_buf, sizeof c->loop->read_buf);
}

static void on_output(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
    struct engine_child *c = s->data;
    if (n > 0) take_output(c, buf->base, (size_t)n);
    if (n >= 0) return;
    uv_read_stop(s);
    c->output_ended = true;
    if (c->state == CHILD_DRAINING) close_handles(c);
}

/* --- start and stop --- */

static void free_unstarted(uv_handle_t *h) {
    struct engine_child *c = h->data;
    if (--c->open_handles == 0) free(c);
}

/* Standard output and error share one pipe, so that the order of lines is the child's. */
static int spawn(struct engine_child *c, const struct engine_child_options *o, int write_end) {
    uv_stdio_container_t io[3] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = write_end},
                                  {.flags = UV_INHERIT_FD, .data.fd = write_end}};
    uv_process_options_t p = {.exit_cb = on_process_exit,
                              .file = o->args[0],
                              .args = (char **)(uintptr_t)o->args,
                              .env = (char **)(uintptr_t)o->env,
                              .stdio_count = 3,
                              .stdio = io};
    return uv_spawn(&o->loop->uv, &c->process, &p);
}

struct engine_child *engine_child_start(const struct engine_child_options *o, int *err) {
    int fds[2];
    struct engine_child *c = calloc(1, sizeof *c);
    *err = UV_ENOMEM;
    if (c == NULL) return NULL;
    if (pipe2(fds, O_CLOEXEC) != 0) {
        *err = -errno;
        free(c);
        return NULL;
    }
    c->loop = o->loop;
    c->on_exit = o->on_exit;
    c->user = o->user;
    c->term_ms = o->term_ms;
    uv_pipe_init(&o->loop->uv, &c->output, 0);
    c->output.data = c->process.data = c;
    if ((*err = uv_pipe_open(&c->output, fds[0])) != 0)
        close(fds[0]);
    else if ((*err = spawn(c, o, fds[1])) == 0)
        c->open_handles = 2;
    close(fds[1]);
    if (*err == 0) {
        uv_read_start((uv_stream_t *)&c->output, on_alloc, on_output);
        return c;
    }
    c->open_handles = c->process.type == UV_PROCESS ? 2 : 1;
    bool both = c->open_handles == 2;
    uv_close((uv_handle_t *)&c->output, free_unstarted);
    if (both) uv_close((uv_handle_t *)&c->process, free_unstarted);
    return NULL;
}

int engine_child_pid(const struct engine_child *c) {
    return uv_process_get_pid(&c->process);
}

void engine_child_kill(struct engine_child *c) {
    if (c->state == CHILD_RUNNING) uv_process_kill(&c->process, SIGKILL);
}

static void on_term_passed(struct net_timer *t) {
    struct engine_child *c = child_of_timer(t);
    log_line(LOG_WARN, "engine_kill", "pid=%d reason=\"did not end on SIGTERM\"", c->process.pid);
    engine_child_kill(c);
}

void engine_child_stop(struct engine_child *c) {
    if (c->state != CHILD_RUNNING || net_timer_armed(&c->timer)) return;
    uv_process_kill(&c->process, SIGTERM);
    c->timer.fire = on_term_passed;
    net_timer_start(c->loop, &c->timer, c->term_ms);
}
