/* The platform API's OpenAPI document: a frame with the parameters of each call from the tables that read them. */
#include "api/platform_inner.h"

/* Of embed.sh. */
extern const unsigned char platform_template[];
extern const size_t platform_template_len;

static const struct params *const tables[] = {
    &models_params,         &pricing_params,  &usage_params, &analytics_params,
    &billing_events_params, &requests_params, &keys_params,  &billing_params};

/* Where the platform's paths begin, as the caller reached us. */
static void add_server(struct call *c, struct buf *b) {
    struct reach platform = c->at;
    struct buf base;
    buf_init(&base, 8192);
    platform.surface = SURFACE_PLATFORM;
    platform.prefix = SLICE("/platform");
    reach_base(&base, c->api->config, &platform);
    output_add_escaped(b, buf_slice(&base));
    buf_free(&base);
}

/* Puts what the word at the beginning of `frame` stands for; returns its length, 0: it is none. */
static size_t put_word(struct call *c, struct buf *b, struct slice frame) {
    if (slice_starts(frame, SLICE("@server@"))) {
        add_server(c, b);
        return sizeof "@server@" - 1;
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (slice_starts(frame, slice_of(tables[i]->name))) {
            platform_params_json(b, c->api->config, tables[i]);
            return strlen(tables[i]->name);
        }
    return 0;
}

void handle_platform_openapi(struct call *c) {
    struct slice frame = slice_make((const char *)platform_template, platform_template_len);
    struct buf *b = call_scratch(c);
    while (frame.len > 0) {
        ptrdiff_t at = slice_find(frame, '@');
        size_t plain = at < 0 ? frame.len : (size_t)at, word;
        buf_add(b, slice_make(frame.ptr, plain));
        frame = slice_from(frame, plain);
        if (frame.len == 0) break;
        word = put_word(c, b, frame);
        if (word == 0) buf_addc(b, '@');
        frame = slice_from(frame, word > 0 ? word : 1);
    }
    call_scratch_json(c, 200);
}
