/* A scripted OpenAI-compatible upstream for tests and for the benchmark.
 *
 * What it does is chosen by the path before /v1 (mock_script.c holds the table; --help prints it).
 * One thread, epoll, nothing of src/: it has its own tolerant HTTP reader and JSON walker, so that
 * a bug of the product's codecs cannot hide behind the same bug here. Out of memory ends the
 * process: this is a test tool. Everything a peer can make grow has a maximum. */
#ifndef MOCK_H
#define MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MOCK_MAX_REQUEST_BYTES = 64 << 20, /* twice the gateway's max_body_bytes, head included */
    MOCK_MAX_WHOLE_WORDS = 1000000,    /* /tokens/N when the answer is not streamed */
    MOCK_MAX_EARLY = 100000,           /* /1xx/N */
    MOCK_MAX_FILL = 64 << 20,          /* /bigline/N, /headers-big/N */
    MOCK_KEPT_BODY_BYTES = 64 << 10,   /* last_body in /_stats */
    MOCK_KEPT_HEAD_BYTES = 16 << 10,   /* last_headers in /_stats */
    MOCK_TABLE_ROWS = 65536,           /* different prompts counted */
    MOCK_TABLE_KEY_BYTES = 512         /* of a prompt; longer ones are counted by their beginning */
};

/* ---- bytes (mock_util.c) ---- */

struct span {
    const char *p;
    size_t len;
};

struct buf {
    char *data;
    size_t len, cap;
};

void mock_die(const char *why) __attribute__((noreturn));
void buf_add(struct buf *b, const void *data, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_fill(struct buf *b, char c, size_t n);
/* Quicker than buf_fmt, for what every answer holds. */
void buf_num(struct buf *b, uint64_t n);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s as the inside of a JSON string: quotes, backslashes and controls escaped. */
void buf_json(struct buf *b, struct span s);
void buf_drop(struct buf *b, size_t n);
/* Gives memory back after an unusually large use. */
void buf_trim(struct buf *b);
void buf_free(struct buf *b);

bool span_is(struct span s, const char *literal);
bool span_is_nocase(struct span s, const char *literal);
struct span span_trim(struct span s);

/* ---- JSON, just enough to look at a request (mock_json.c) ---- */

/* The raw text of obj[key]; false when obj is not an object or has no such key. */
bool json_get(struct span obj, const char *key, struct span *out);
/* Walks an array: *cursor starts as the array's text; each call yields the next element. */
bool json_next(struct span *cursor, struct span *element);
/* Appends a JSON string's text, unescaped. False when raw is not a string. */
bool json_text(struct span raw, struct buf *out);

/* ---- HTTP requests (mock_http.c) ---- */

/* Where the reading of one request stands. All zero = start of a request. */
struct reader {
    size_t head_len; /* 0 until the blank line was seen */
    size_t need;     /* body bytes by Content-Length */
    size_t pos;      /* chunked: offset of the next chunk-size line */
    bool chunked, done;
    struct buf body; /* chunked: the decoded body */
};

/* Spans point into the input buffer or the reader; they live until http_consume. */
struct request {
    struct span method, target, headers, body, authorization;
    bool close, expect_continue;
};

enum http_result { HTTP_MORE, HTTP_REQUEST, HTTP_BAD };

enum http_result http_read(struct reader *r, const struct buf *in, struct request *out);
/* Ends the request that http_read gave: drops its bytes, readies the reader for the next. */
void http_consume(struct reader *r, struct buf *in);
void http_reader_free(struct reader *r);
/* Walks header lines: *cursor starts as request.headers. */
bool http_next_header(struct span *cursor, struct span *name, struct span *value);

/* ---- scripts (mock_script.c) ---- */

/* "after N bytes of the response" or, written eN, "after N events of the stream". */
struct point {
    bool set, events;
    size_t n;
};

struct script {
    /* when */
    long delay_ms, interval_ms;
    bool silent;
    long flaky;
    /* what instead of an answer */
    long status;
    char error_code[64];
    bool html, empty, null_body, no_choices, choices_empty, echo_auth, redirect;
    /* what in the answer */
    long tokens, wide, bigline, bom, comments, data_lines;
    char finish[32], usage[16];
    bool cost, count, reasoning, badutf8, surrogates, lone_surrogate;
    long error_in_stream;
    bool no_done, no_finish, no_blank, cr_only, crlf, sse_fields;
    bool openrouter, whole, streams, mute;
    /* how on the wire */
    char retry_after[64], retry_after_ms[32], encoding[32], extra_headers[512];
    long headers_big, early, chunked;
    bool onebyte, longer_cl, shorter_cl, surplus, two_responses, gzip, http10;
    struct point cut, reset, stall;
    /* what becomes of the connection */
    bool close_after, close_reused, conn_close;
    long keepalive[2]; /* seconds, calls; 0 = not said */

    char prefix[192]; /* as written, for calls_by_path */
};

/* Splits "/delay/100/cut/50/v1/chat/completions" into the script and "/chat/completions".
 * False with a sentence in why when a prefix is unknown or its argument is wrong. */
bool script_parse(struct span target, struct script *s, struct span *rest, char *why, size_t len);
/* For /flaky: drops the faults, keeps what only shapes a good answer. */
void script_recover(struct script *s);
bool script_is_faulty(const struct script *s);
void script_print_table(void);

/* ---- answers (mock_answer.c) ---- */

enum stage {
    STAGE_ROLE,
    STAGE_WORDS,
    STAGE_ERROR,
    STAGE_FINISH,
    STAGE_USAGE,
    STAGE_DONE,
    STAGE_TRAILER,
    STAGE_END
};

/* One call being answered. The script decides, the rest is where it stands. */
struct call {
    struct script script;
    bool chat, stream, include_usage;
    bool close; /* the connection ends with this answer, and the answer says so */
    bool drop;  /* it ends, and nothing said so */
    char model[128], nonce[128];
    char authorization[512];
    size_t prompt_bytes;
    uint64_t id, prompt_calls;
    enum stage stage;
    size_t words, next_word;
    size_t events; /* produced so far */
};

/* The head and, when the answer is not streamed, all of it. */
void answer_begin(struct call *c, struct span rest, struct buf *out);
/* Streams: appends the next event. False when there is nothing left to append. */
bool answer_more(struct call *c, struct buf *out);

/* Between mock_answer.c and mock_stream.c. */
bool answer_add_word(const struct call *c, size_t i, struct buf *out);
void answer_add_usage(const struct call *c, struct buf *out);
bool answer_usage_missing(const struct call *c);
const char *answer_finish_reason(const struct call *c);
void answer_begin_object(const struct call *c, const char *object, struct buf *out);
void answer_begin_head(struct call *c, long status, const char *type, struct buf *out);
void answer_add_chunk(struct buf *out, const char *p, size_t n);
void answer_add_trailer(const struct script *s, struct buf *out);
void answer_stream_head(struct call *c, struct buf *out);

/* ---- OpenRouter's dialect (mock_openrouter.c) ---- */

void openrouter_add_head(const struct call *c, long status, struct buf *out);
void openrouter_begin_object(const struct call *c, struct buf *out);
void openrouter_add_comments(const struct call *c, const char *eol, struct buf *out);
void openrouter_add_usage(const struct call *c, struct buf *out);
void openrouter_add_error(const struct call *c, long status, const char *message, struct buf *out);

/* ---- what tests look at (mock_stats.c) ---- */

struct stats {
    uint64_t calls, aborted, accepted, events, other;
    uint64_t open, open_max; /* calls being answered */
    uint64_t connections;
};

extern struct stats stats;

/* Remembers a call; returns how often this prompt was seen, this time included (0 = table full). */
uint64_t stats_call(const struct request *r, struct span path, struct span prompt);
/* Counts a prompt on a prefix, for /flaky. Same return. */
uint64_t stats_flaky(struct span prefix_and_prompt);
void stats_print(struct buf *json);
void stats_reset(void);

/* ---- connections (mock_loop.c) ---- */

/* Adopts a listening socket. */
void loop_listen(int fd);
/* Runs until SIGTERM or SIGINT. */
void loop_run(void);

#endif
