/* What reached the mock, for tests to read at GET /_stats:
 *
 *   calls            chat completions whose request was read
 *   open, open_max   being answered now (a silent or stalled one stays open), and the most at once
 *   aborted          calls whose peer closed before the last byte was handed to the kernel
 *   events           of streams, produced
 *   other            requests that were no chat completion (/_stats and /_reset are never counted)
 *   accepted, connections   connections taken since the start or reset, and open now (this one too)
 *   last_path, last_headers, last_body   of the last call; names in lower case
 *   calls_by_prompt  by the text of the last user message; calls_by_path by the prefix
 *
 * The tables hold a fixed number of rows; what does not fit is counted in uncounted. */
#include "mock.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct stats stats;

struct row {
    char *key;
    size_t len;
    uint64_t calls;
};

struct table {
    struct row rows[2 * MOCK_TABLE_ROWS];
    size_t used;
};

static struct table prompts, paths, flaky;
static struct buf last_path, last_headers, last_body;
static uint64_t uncounted;

static uint64_t hash(const char *p, size_t n) {
    uint64_t h = 14695981039346656037u ^ n, word;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (; n > 0; p++, n--) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h ^ (h >> 32);
}

static uint64_t table_count(struct table *t, struct span key) {
    if (key.len > MOCK_TABLE_KEY_BYTES) key.len = MOCK_TABLE_KEY_BYTES;
    size_t slots = 2 * MOCK_TABLE_ROWS;
    for (size_t i = hash(key.p, key.len) % slots;; i = (i + 1) % slots) {
        struct row *r = &t->rows[i];
        if (r->key && r->len == key.len && memcmp(r->key, key.p, key.len) == 0) return ++r->calls;
        if (r->key) continue;
        if (t->used == MOCK_TABLE_ROWS) {
            uncounted++;
            return 0;
        }
        r->key = malloc(key.len + 1);
        if (!r->key) mock_die("out of memory");
        if (key.len) memcpy(r->key, key.p, key.len);
        r->len = key.len;
        t->used++;
        return r->calls = 1;
    }
}

static void table_clear(struct table *t) {
    for (size_t i = 0; i < 2 * MOCK_TABLE_ROWS; i++) free(t->rows[i].key);
    *t = (struct table){0};
}

static void table_print(const struct table *t, struct buf *out) {
    const char *comma = "";
    buf_str(out, "{");
    for (size_t i = 0; i < 2 * MOCK_TABLE_ROWS; i++) {
        const struct row *r = &t->rows[i];
        if (!r->key) continue;
        buf_fmt(out, "%s\"", comma);
        buf_json(out, (struct span){r->key, r->len});
        buf_fmt(out, "\":%llu", (unsigned long long)r->calls);
        comma = ",";
    }
    buf_str(out, "}");
}

static void keep(struct buf *b, struct span s, size_t max) {
    b->len = 0;
    buf_add(b, s.p, s.len < max ? s.len : max);
}

uint64_t stats_call(const struct request *r, struct span path, struct span prompt) {
    stats.calls++;
    keep(&last_path, r->target, MOCK_TABLE_KEY_BYTES);
    keep(&last_headers, r->headers, MOCK_KEPT_HEAD_BYTES);
    keep(&last_body, r->body, MOCK_KEPT_BODY_BYTES);
    table_count(&paths, path);
    return table_count(&prompts, prompt);
}

uint64_t stats_flaky(struct span key) {
    return table_count(&flaky, key);
}

static bool same_name(struct span a, struct span b) {
    char text[256];
    if (a.len != b.len || a.len >= sizeof text) return false;
    memcpy(text, a.p, a.len);
    text[a.len] = 0;
    return span_is_nocase(b, text);
}

static void print_name(struct span name, struct buf *out) {
    for (size_t i = 0; i < name.len; i++) {
        char c = (char)tolower((unsigned char)name.p[i]);
        buf_json(out, (struct span){&c, 1});
    }
}

/* One member per name, at its first appearance; later values are joined to it. */
static void print_headers(struct span headers, struct buf *out) {
    struct span cursor = headers, name, value, name2, value2;
    const char *comma = "";
    while (http_next_header(&cursor, &name, &value)) {
        bool first = true;
        for (struct span c = headers; first && http_next_header(&c, &name2, &value2);) {
            if (name2.p == name.p) break;
            first = !same_name(name, name2);
        }
        if (!first) continue;
        buf_fmt(out, "%s\"", comma);
        print_name(name, out);
        buf_str(out, "\":\"");
        buf_json(out, value);
        for (struct span c = cursor; http_next_header(&c, &name2, &value2);)
            if (same_name(name, name2)) {
                buf_str(out, ", ");
                buf_json(out, value2);
            }
        buf_str(out, "\"");
        comma = ",";
    }
}

static void print_counter(const char *name, uint64_t value, struct buf *out) {
    buf_fmt(out, "\"%s\":%llu,", name, (unsigned long long)value);
}

void stats_print(struct buf *out) {
    buf_str(out, "{");
    print_counter("calls", stats.calls, out);
    print_counter("open", stats.open, out);
    print_counter("open_max", stats.open_max, out);
    print_counter("aborted", stats.aborted, out);
    print_counter("events", stats.events, out);
    print_counter("other", stats.other, out);
    print_counter("accepted", stats.accepted, out);
    print_counter("connections", stats.connections, out);
    print_counter("uncounted", uncounted, out);
    buf_str(out, "\"last_path\":\"");
    buf_json(out, (struct span){last_path.data, last_path.len});
    buf_str(out, "\",\"last_headers\":{");
    print_headers((struct span){last_headers.data, last_headers.len}, out);
    buf_str(out, "},\"last_body\":\"");
    buf_json(out, (struct span){last_body.data, last_body.len});
    buf_str(out, "\",\"calls_by_prompt\":");
    table_print(&prompts, out);
    buf_str(out, ",\"calls_by_path\":");
    table_print(&paths, out);
    buf_str(out, "}\n");
}

void stats_reset(void) {
    stats = (struct stats){
        .open = stats.open, .open_max = stats.open, .connections = stats.connections};
    uncounted = 0;
    last_path.len = last_headers.len = last_body.len = 0;
    table_clear(&prompts);
    table_clear(&paths);
    table_clear(&flaky);
}
