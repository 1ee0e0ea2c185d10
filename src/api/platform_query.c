#include "api/platform_query.h"

#include <stdio.h>

/* --- endpoints */

const struct endpoint *platform_endpoint(const struct api *a, struct slice id) {
    struct slice rest;
    const struct endpoint *e = endpoint_resolve(id, a->config->aliases, a->config->naliases, &rest);
    return e != NULL && rest.len == 0 ? e : NULL;
}

/* --- cursors: three numbers, in hexadecimal; whatever they are, a page follows from them */

#define CURSOR_BYTES 48U

static bool read_hex(struct slice s, int64_t *out) {
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *out = (int64_t)v;
    return true;
}

static bool read_cursor(struct slice s, struct cursor *out) {
    return s.len == CURSOR_BYTES && read_hex(slice_make(s.ptr, 16), &out->from_ms) &&
           read_hex(slice_make(s.ptr + 16, 16), &out->to_ms) &&
           read_hex(slice_make(s.ptr + 32, 16), &out->at);
}

void platform_add_page(struct buf *b, const struct cursor *next) {
    if (next != NULL)
        buf_printf(b, ",\"next_cursor\":\"%016llx%016llx%016llx\",\"has_more\":true",
                   (unsigned long long)next->from_ms, (unsigned long long)next->to_ms,
                   (unsigned long long)next->at);
    else
        buf_puts(b, ",\"next_cursor\":null,\"has_more\":false");
}

/* --- reading */

bool platform_refuse(struct call *c, unsigned status, const char *fmt, ...) {
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    call_error(c, status, NULL, slice_of(text));
    return false;
}

static int short_len(struct slice s) {
    return (int)(s.len < 100 ? s.len : 100);
}

static bool is_list(const struct param *p) {
    return p->kind == PARAM_CHOICES || p->kind == PARAM_ENDPOINTS;
}

static bool add_choice(struct call *c, const struct param *p, struct slice text,
                       struct param_value *v) {
    for (unsigned i = 0; p->values[i] != NULL; i++) {
        if (!slice_is(text, p->values[i])) continue;
        v->choices |= 1U << i;
        return true;
    }
    return platform_refuse(c, 400, "%s: \"%.*s\" is none of the values it takes", p->name,
                           short_len(text), text.ptr);
}

static bool add_endpoint(struct call *c, struct slice text) {
    if (platform_endpoint(c->api, text) != NULL) return true;
    return platform_refuse(c, 404, "Endpoint \"%.*s\" not found", short_len(text), text.ptr);
}

static size_t characters(struct slice s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
    return n;
}

static bool read_value(struct call *c, const struct param *p, struct slice text,
                       struct param_value *v) {
    uint64_t n;
    switch (p->kind) {
    case PARAM_TEXT:
        return characters(text) <= PLATFORM_MAX_TEXT ||
               platform_refuse(c, 400, "%s: longer than %u characters", p->name, PLATFORM_MAX_TEXT);
    case PARAM_INTEGER:
        if (!slice_to_range(text, p->min, p->max, &n))
            return platform_refuse(c, 400, "%s: wants a whole number from %u to %u", p->name,
                                   p->min, p->max);
        v->number = (int64_t)n;
        return true;
    case PARAM_TIME:
        return platform_time(text, &v->number) ||
               platform_refuse(c, 400, "%s: wants a time such as 2026-11-23T12:00:00Z", p->name);
    case PARAM_ZONE:
        return platform_zone(text, &v->number) ||
               platform_refuse(c, 400, "%s: wants UTC or an offset from it such as +02:00",
                               p->name);
    case PARAM_CHOICE:
    case PARAM_CHOICES: return add_choice(c, p, text, v);
    case PARAM_ENDPOINT:
    case PARAM_ENDPOINTS: return add_endpoint(c, text);
    case PARAM_CURSOR:
        return read_cursor(text, &v->cursor) ||
               platform_refuse(c, 400, "%s: is none that this server gave", p->name);
    }
    return false;
}

static bool add_one(struct call *c, const struct param *p, struct slice text,
                    struct param_value *v) {
    size_t most = is_list(p) ? PLATFORM_MAX_IDS : 1;
    if (v->n == most)
        return platform_refuse(c, 400, most == 1 ? "%s: given twice" : "%s: more than 50", p->name);
    if (v->texts == NULL) v->texts = arena_alloc(net_arena(c->x), most * sizeof *v->texts);
    if (v->texts == NULL) return platform_refuse(c, 503, "out of memory");
    v->texts[v->n++] = text;
    return read_value(c, p, text, v);
}

static bool add_values(struct call *c, const struct param *p, struct slice text,
                       struct param_value *v) {
    if (!is_list(p)) return add_one(c, p, text, v);
    for (struct slice rest = text; rest.ptr != NULL;)
        if (!add_one(c, p, slice_cut(rest, ',', &rest), v)) return false;
    return true;
}

/* One name=value; what is not in the table does not count. */
static bool read_pair(struct call *c, const struct params *p, struct slice pair,
                      struct param_value *out) {
    struct slice raw, name = slice_cut(pair, '=', &raw);
    size_t i = 0, len = 0;
    while (i < p->n && !slice_is(name, p->rows[i].name)) i++;
    if (i == p->n) return true;
    char *text = arena_alloc(net_arena(c->x), raw.len + 1);
    if (text == NULL) return platform_refuse(c, 503, "out of memory");
    if (raw.len > 0 && !h1_unescape(raw, true, text, &len))
        return platform_refuse(c, 400, "%s: invalid percent-encoding", p->rows[i].name);
    return add_values(c, &p->rows[i], slice_make(text, len), &out[i]);
}

struct param_value *platform_read(struct call *c, const struct params *p) {
    struct param_value *out = arena_zalloc(net_arena(c->x), (p->n + 1) * sizeof *out);
    if (out == NULL) {
        platform_refuse(c, 503, "out of memory");
        return NULL;
    }
    for (struct slice rest = c->at.query; rest.ptr != NULL && rest.len > 0;)
        if (!read_pair(c, p, slice_cut(rest, '&', &rest), out)) return NULL;
    for (size_t i = 0; i < p->n; i++)
        if (p->rows[i].required && out[i].n == 0) {
            platform_refuse(c, 400, "%s: is required", p->rows[i].name);
            return NULL;
        }
    return out;
}

/* --- the store */

void platform_unavailable(struct call *c) {
    net_header(c->x, SLICE("retry-after"), SLICE("1"));
    call_error(c, 503, NULL, SLICE("storage unavailable; try again"));
}

static void answered(void *user, uint64_t exchange, const struct store_reply *r) {
    struct call *c = call_of(user, exchange);
    if (c == NULL) return;
    if (r->status == STORE_UNAVAILABLE || r->status == STORE_MEMORY)
        platform_unavailable(c);
    else
        ((const struct platform_state *)c->own)->done(c, r);
}

void *platform_alloc(struct call *c, size_t bytes) {
    void *p = arena_zalloc(net_arena(c->x), bytes);
    if (p == NULL) platform_refuse(c, 503, "out of memory");
    return p;
}

uint64_t platform_ask(struct call *c, struct platform_state *s, platform_done *done) {
    uint64_t ticket = desk_ask(c->api->desk, answered, c->api, net_exchange_id(c->x));
    s->done = done;
    c->own = s;
    if (ticket == 0) platform_unavailable(c);
    return ticket;
}

/* --- as OpenAPI has them */

static void add_values_json(struct buf *b, const struct param *p) {
    buf_puts(b, "{\"type\":\"string\",\"enum\":[");
    for (size_t i = 0; p->values[i] != NULL; i++)
        buf_printf(b, "%s\"%s\"", i > 0 ? "," : "", p->values[i]);
    buf_puts(b, "]}");
}

static void add_list(struct buf *b) {
    buf_printf(b,
               "{\"type\":\"array\",\"minItems\":1,\"maxItems\":%u,\"items\":", PLATFORM_MAX_IDS);
}

static void add_endpoints_json(struct buf *b, const struct config *cfg) {
    buf_puts(b, "{\"type\":\"string\",\"enum\":[");
    for (size_t i = 0; i < endpoint_count() + cfg->naliases; i++) {
        if (i > 0) buf_addc(b, ',');
        json_add_string(b,
                        i < endpoint_count() ? slice_of(endpoint_at(i)->id)
                                             : cfg->aliases[i - endpoint_count()].name,
                        true);
    }
    buf_puts(b, "]}");
}

static void add_schema(struct buf *b, const struct config *cfg, const struct param *p) {
    switch (p->kind) {
    case PARAM_TEXT:
        buf_printf(b, "{\"type\":\"string\",\"maxLength\":%u}", PLATFORM_MAX_TEXT);
        return;
    case PARAM_INTEGER:
        buf_printf(b, "{\"type\":\"integer\",\"minimum\":%u,\"maximum\":%u}", p->min, p->max);
        return;
    case PARAM_TIME: buf_puts(b, "{\"type\":\"string\",\"format\":\"date-time\"}"); return;
    case PARAM_ZONE:
        buf_puts(b, "{\"type\":\"string\",\"pattern\":"
                    "\"^(UTC|GMT|Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])$\"}");
        return;
    case PARAM_CHOICE: add_values_json(b, p); return;
    case PARAM_CHOICES:
        add_list(b);
        add_values_json(b, p);
        buf_addc(b, '}');
        return;
    case PARAM_ENDPOINT: add_endpoints_json(b, cfg); return;
    case PARAM_ENDPOINTS:
        add_list(b);
        add_endpoints_json(b, cfg);
        buf_addc(b, '}');
        return;
    case PARAM_CURSOR:
        buf_printf(b, "{\"type\":\"string\",\"pattern\":\"^[0-9a-f]{%u}$\"}", CURSOR_BYTES);
        return;
    }
}

void platform_params_json(struct buf *b, const struct config *cfg, const struct params *p) {
    buf_addc(b, '[');
    for (size_t i = 0; i < p->n; i++) {
        const struct param *row = &p->rows[i];
        buf_printf(b, "%s{\"name\":\"%s\",\"in\":\"query\",\"required\":%s,\"description\":",
                   i > 0 ? "," : "", row->name, row->required ? "true" : "false");
        json_add_string(b, slice_of(row->description), true);
        buf_puts(b, ",\"schema\":");
        add_schema(b, cfg, row);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}
