/* streams [OPTION...] URL KEY BODY_FILE STREAMS: many streamed calls at once, on one thread.
 *
 *   --seconds S   measure that long, after the ramp and SETTLE_MS; a stream that ends begins again.
 *                 Without it each stream runs once and all of it is measured
 *   --ramp MS     begin the streams evenly over this time
 *   --pid PID     the CPU time of this process while measuring
 *   --count URL   the mock's /_stats: the events it wrote while measuring
 *   --rate N      read N bytes a second of each stream, through a small receive buffer
 *   --hold        say "open" when each stream has had its first event, then wait for SIGTERM
 *
 * Ends with one line of name=value. An answer that is not 200, or ends and is not complete, is an
 * error. KEY -: none. */
#include "http.h"
#include "sse.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SETTLE_MS = 500, RATE_TICKS = 100, SMALL_BUFFER = 16 << 10, MOST_FIRSTS = 1 << 20 };

struct stream {
    int fd; /* -1: not begun, or over */
    int64_t sent_ns;
    bool first_seen;
    struct sse sse;
};

static struct {
    struct http_target target, count;
    char *request;
    size_t request_len, streams;
    double seconds, rate;
    int64_t ramp_ns;
    long pid;
    bool hold;
} o;

static struct stream *streams;
static size_t begun, over, waiting_for_first;
static int epfd;
static volatile sig_atomic_t told_to_stop;

/* What is counted; `measured` says since when. */
static struct {
    bool on;
    int64_t since_ns, until_ns;
    double cpu_ms;
    long upstream;
    size_t events, bytes, done, errors, largest;
    size_t nfirsts;
} m;
static double firsts[MOST_FIRSTS];

/* ---- what is looked up at both ends of the measurement ---- */

static long upstream_events(void) {
    struct http c;
    struct http_reply r;
    if (!o.count.host[0]) return 0;
    if (!http_open(&c, &o.count) || !http_call(&c, o.count.path, NULL, NULL, NULL, &r))
        bench_die("the mock does not answer");
    char *at = strstr(r.body, "\"events\":");
    long n = at ? strtol(at + 9, NULL, 10) : 0;
    free(r.body);
    http_close(&c);
    return n;
}

static void measure_begin(void) {
    m.on = true;
    m.upstream = upstream_events();
    m.cpu_ms = process_cpu_ms(o.pid);
    m.since_ns = now_ns();
}

static void measure_end(void) {
    m.until_ns = now_ns();
    m.cpu_ms = process_cpu_ms(o.pid) - m.cpu_ms;
    m.upstream = upstream_events() - m.upstream;
    m.on = false;
}

/* ---- one stream ---- */

static void send_request(struct stream *s) {
    s->sse = (struct sse){0};
    s->first_seen = false;
    s->sent_ns = now_ns();
    if (send(s->fd, o.request, o.request_len, MSG_NOSIGNAL) != (ssize_t)o.request_len)
        bench_die("cannot send a request");
}

static void begin(struct stream *s) {
    struct http c;
    if (!http_open_small(&c, &o.target, o.rate > 0 ? SMALL_BUFFER : 0)) bench_die("cannot connect");
    s->fd = c.fd;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
    if (fcntl(s->fd, F_SETFL, O_NONBLOCK) != 0 ||
        (o.rate == 0 && epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &ev) != 0))
        bench_die("cannot watch a connection");
    send_request(s);
}

static void fail(struct stream *s, const char *why) {
    if (m.errors++ == 0)
        fprintf(stderr, "bench: a stream failed: %s (status %d after %zu events, %zu bytes)\n", why,
                s->sse.status, s->sse.events, s->sse.bytes);
    close(s->fd);
    s->fd = -1;
    over++;
    if (!s->first_seen) waiting_for_first--;
}

static void answered(struct stream *s) {
    if (m.on) m.done++;
    if (s->sse.largest_bytes > m.largest) m.largest = s->sse.largest_bytes;
    if (o.seconds > 0) {
        send_request(s);
        return;
    }
    close(s->fd);
    s->fd = -1;
    over++;
}

static void note_first(struct stream *s) {
    s->first_seen = true;
    if (waiting_for_first > 0) waiting_for_first--;
    if (m.on && s->sent_ns >= m.since_ns && m.nfirsts < MOST_FIRSTS)
        firsts[m.nfirsts++] = (double)(now_ns() - s->sent_ns) / 1e6;
}

static void take(struct stream *s, const char *p, size_t n) {
    size_t before = s->sse.events;
    size_t used = sse_feed(&s->sse, p, n);
    if (m.on) {
        m.events += s->sse.events - before;
        m.bytes += n;
    }
    if (!s->first_seen && s->sse.events > 0) note_first(s);
    if (s->sse.state == SSE_BAD || (s->sse.status && s->sse.status != 200))
        fail(s, "not a stream");
    else if (used < n || (s->sse.state == SSE_ENDED && !s->sse.whole))
        fail(s, "the answer is not whole");
    else if (s->sse.state == SSE_ENDED)
        answered(s);
}

static void read_stream(struct stream *s, size_t most) {
    static char step[256 << 10];
    ssize_t n = recv(s->fd, step, most < sizeof step ? most : sizeof step, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0)
        fail(s, "the connection ended");
    else
        take(s, step, (size_t)n);
}

/* ---- all of them ---- */

static void wait_and_read(int timeout_ms) {
    struct epoll_event got[256];
    int n = epoll_wait(epfd, got, 256, timeout_ms);
    for (int i = 0; i < n; i++) read_stream(got[i].data.ptr, SIZE_MAX);
}

/* Slow readers have no epoll: each gets its share of bytes RATE_TICKS times a second. */
static void read_slowly(int64_t start_ns) {
    static int64_t ticks;
    int64_t due = start_ns + ++ticks * (1000000000 / RATE_TICKS), now = now_ns();
    if (due > now) usleep((useconds_t)((due - now) / 1000));
    for (size_t i = 0; i < begun; i++)
        if (streams[i].fd >= 0) read_stream(&streams[i], (size_t)(o.rate / RATE_TICKS));
}

static void begin_due(int64_t start_ns) {
    while (begun < o.streams &&
           now_ns() >= start_ns + o.ramp_ns * (int64_t)begun / (int64_t)o.streams)
        begin(&streams[begun++]);
}

static bool finished(int64_t stop_ns) {
    if (told_to_stop || over == o.streams) return true;
    if (o.hold) return waiting_for_first == 0;
    return o.seconds > 0 && now_ns() >= stop_ns;
}

static void run(void) {
    int64_t start = now_ns();
    int64_t measure = start + (o.seconds > 0 ? o.ramp_ns + SETTLE_MS * INT64_C(1000000) : 0);
    int64_t stop = measure + (int64_t)(o.seconds * 1e9);
    bool measured = false;
    while (!finished(stop)) {
        if (!measured && now_ns() >= measure) {
            measure_begin();
            measured = true;
        }
        begin_due(start);
        if (o.rate > 0)
            read_slowly(start);
        else
            wait_and_read(begun < o.streams || !measured ? 1 : 20);
    }
    if (!measured) bench_die("all streams ended before the measurement began");
    measure_end();
}

static void report(void) {
    double seconds = (double)(m.until_ns - m.since_ns) / 1e9;
    printf("seconds=%.3f streams=%zu errors=%zu events=%zu upstream=%ld bytes=%zu cpu_ms=%.3f "
           "done=%zu largest=%zu ",
           seconds, o.streams - over, m.errors, m.events, m.upstream, m.bytes, m.cpu_ms, m.done,
           m.largest);
    sort_numbers(firsts, m.nfirsts);
    if (m.nfirsts > 0)
        printf("first_p50=%.3f first_p99=%.3f\n", firsts[m.nfirsts / 2],
               firsts[m.nfirsts * 99 / 100]);
    else
        puts("first_p50=- first_p99=-");
}

static void on_signal(int sig) {
    (void)sig;
    told_to_stop = 1;
}

static void hold(void) {
    printf("open %zu\n", o.streams - over);
    fflush(stdout);
    while (!told_to_stop) wait_and_read(50);
    printf("still open %zu\n", o.streams - over);
}

/* ---- options ---- */

static char *file_text(const char *path) {
    FILE *f = fopen(path, "r");
    char *text = calloc(1, 1 << 20);
    if (!f || !text || fread(text, 1, (1 << 20) - 1, f) == 0) bench_die(path);
    fclose(f);
    return text;
}

static void prepare_request(const char *key, const char *body_file) {
    char *body = file_text(body_file);
    size_t len = strlen(body), room = len + 2048;
    bool no_key = strcmp(key, "-") == 0;
    o.request = malloc(room);
    if (!o.request) bench_die("out of memory");
    int n = snprintf(
        o.request, room,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s%sContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n%s",
        o.target.path, no_key ? "" : "Authorization: ", no_key ? "" : key, no_key ? "" : "\r\n",
        len, body);
    if (n < 0 || (size_t)n >= room) bench_die("the request is too long");
    o.request_len = (size_t)n;
    free(body);
}

static bool read_options(int argc, char **argv) {
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"ramp", required_argument, NULL, 'r'},
                                            {"pid", required_argument, NULL, 'p'},
                                            {"count", required_argument, NULL, 'c'},
                                            {"rate", required_argument, NULL, 'R'},
                                            {"hold", no_argument, NULL, 'h'},
                                            {0}};
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (opt) {
        case 's': o.seconds = strtod(optarg, NULL); break;
        case 'r': o.ramp_ns = (int64_t)(strtod(optarg, NULL) * 1e6); break;
        case 'p': o.pid = strtol(optarg, NULL, 10); break;
        case 'R': o.rate = strtod(optarg, NULL); break;
        case 'h': o.hold = true; break;
        case 'c':
            if (!http_target_parse(optarg, &o.count)) return false;
            break;
        default: return false;
        }
    if (argc - optind != 4 || !http_target_parse(argv[optind], &o.target)) return false;
    prepare_request(argv[optind + 1], argv[optind + 2]);
    o.streams = strtoul(argv[optind + 3], NULL, 10);
    return o.streams > 0;
}

int main(int argc, char **argv) {
    if (!read_options(argc, argv)) return 2;
    signal(SIGTERM, on_signal);
    streams = calloc(o.streams, sizeof *streams);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!streams || epfd < 0) bench_die("out of memory");
    for (size_t i = 0; i < o.streams; i++) streams[i].fd = -1;
    waiting_for_first = o.streams;
    run();
    if (o.hold) hold();
    report();
    return 0;
}
