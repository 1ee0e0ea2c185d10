#include "api/admit.h"
#include "api/tokens.h"

#include <stdio.h>

/* --- limits */

static const struct {
    const char *type, *detail;
} refusals[LIMIT_COUNT] = {
    [LIMIT_SERVER_CALLS] = {"concurrent_requests_limit",
                            "The server has as many calls in progress as it takes; try again"},
    [LIMIT_KEY_CALLS] = {"concurrent_requests_limit",
                         "This key has as many calls in progress as it may; try again"},
    [LIMIT_REQUESTS] =
        {"rate_limit_exceeded",
         "This key has made as many requests in a minute as it may; try again later"},
    [LIMIT_POLLS] = {"rate_limit_exceeded",
                     "This key asks for the status more often than it may; try again later"},
    [LIMIT_WRONG_KEYS] = {"rate_limit_exceeded",
                          "Too many wrong keys came from this address; try again later"},
};

/* 429 is the one status that all clients repeat by themselves; a whole second is the least Retry-After can say. */
static void refuse_limit(struct call *c, enum limit kind, uint64_t wait_ms) {
    call_header_u64(c, "retry-after", wait_ms > 0 ? (wait_ms + 999) / 1000 : 1);
    if (wait_ms == 0) net_header(c->x, SLICE("x-fal-needs-retry"), SLICE("1"));
    call_error(c, 429, refusals[kind].type, slice_of(refusals[kind].detail));
}

/* What is counted: requests and calls of POST, polls of GET. What the proxy sends on to fal counts as what it looks like. */
static const struct {
    bool request, call, poll;
} counted[SERVED_KINDS] = {
    [SERVED_RUN] = {.request = true, .call = true},
    [SERVED_STREAM] = {.request = true, .call = true},
    [SERVED_OPENAI] = {.request = true, .call = true},
    [SERVED_SUBMIT] = {.request = true},
    [SERVED_STATUS] = {.poll = true},
    [SERVED_STATUS_STREAM] = {.poll = true},
    [SERVED_PROXY] = {.request = true, .call = true, .poll = true},
};

static bool is_post(const struct call *c) {
    return net_head(c->x)->method == H1_POST;
}

/* A limit of 0 costs no look at the clock. */
static bool rates_ok(struct call *c) {
    struct api *a = c->api;
    const struct config_limits *mine = c->who.limits;
    uint64_t wait = 0;
    if (counted[c->route->kind].request && is_post(c) && mine->requests_per_minute != 0) {
        wait = limits_request(a->limits, c->who.account, mine->requests_per_minute,
                              clock_mono_ms(a->clock));
        if (wait > 0) refuse_limit(c, LIMIT_REQUESTS, wait);
    } else if (counted[c->route->kind].poll && !is_post(c) && mine->status_polls_per_second != 0) {
        wait = limits_poll(a->limits, c->who.account, mine->status_polls_per_second,
                           clock_mono_ms(a->clock));
        if (wait > 0) refuse_limit(c, LIMIT_POLLS, wait);
    }
    return wait == 0;
}

/* All that is in progress of the owner, from the claim to the end on disk. */
static size_t queued_calls(const struct call *c) {
    if (c->who.limits->concurrent_calls == 0 || c->api->queue == NULL) return 0;
    return queue_owner_running(c->api->queue, identity_owner(&c->who));
}

void admit_tell_queue(const struct call *c) {
    const struct api *a = c->api;
    if (c->who.limits->concurrent_calls != 0 && a->queue != NULL)
        queue_owner_calls(a->queue, identity_owner(&c->who),
                          limits_calls(a->limits, c->who.account));
}

static enum limit call_begin(struct call *c) {
    enum limit over = limits_call_begin(c->api->limits, c->who.account,
                                        c->who.limits->concurrent_calls, queued_calls(c));
    c->counted = over == LIMIT_NONE;
    if (c->counted) admit_tell_queue(c);
    return over;
}

bool admit_call(struct call *c) {
    if (!counted[c->route->kind].call || !is_post(c)) return true;
    enum limit over = call_begin(c);
    if (over != LIMIT_NONE) refuse_limit(c, over, 0);
    return c->counted;
}

enum limit admit_input(struct call *c, uint64_t *wait_ms) {
    const struct config_limits *mine = c->who.limits;
    *wait_ms = 0;
    if (mine->requests_per_minute != 0)
        *wait_ms = limits_request(c->api->limits, c->who.account, mine->requests_per_minute,
                                  clock_mono_ms(c->api->clock));
    return *wait_ms > 0 ? LIMIT_REQUESTS : call_begin(c);
}

void admit_refusal(enum limit kind, const char **type, const char **detail) {
    *type = refusals[kind].type;
    *detail = refusals[kind].detail;
}

void admit_gone(struct call *c) {
    if (!c->counted) return;
    limits_call_end(c->api->limits, c->who.account);
    c->counted = false;
    admit_tell_queue(c);
}

/* --- keys */

static void refuse_host(struct call *c, bool origin) {
    char text[512];
    const struct h1_head *h = net_head(c->x);
    struct slice what = origin ? h1_get(h, SLICE("origin"), NULL) : h->host;
    int n = snprintf(
        text, sizeof text,
        "%s \"%.*s\" may not call a server without keys; name it in %s, or configure keys",
        origin ? "Origin" : "Host", (int)(what.len < 200 ? what.len : 200), what.ptr,
        origin ? "allowed_origins" : "allowed_hosts");
    call_error(c, 403, NULL, slice_make(text, (size_t)n));
}

static void refuse_missing(struct call *c) {
    net_header(c->x, SLICE("www-authenticate"), SLICE("Key"));
    if (c->proxied)
        call_json(c, 401, SLICE("\"Unauthorized\""));
    else
        call_error(c, 401, NULL, SLICE("Authentication is required to access this application."));
}

/* The right key opens from the same address at any time. */
bool admit_guess(struct call *c) {
    unsigned char address[LIMITS_ADDRESS_BYTES];
    limits_address(reach_peer(c->x), address);
    uint64_t wait = limits_wrong_key(c->api->limits, address, clock_mono_ms(c->api->clock));
    if (wait > 0) refuse_limit(c, LIMIT_WRONG_KEYS, wait);
    return wait == 0;
}

static void refuse_wrong(struct call *c, struct slice why) {
    if (!admit_guess(c)) return;
    net_header(c->x, SLICE("www-authenticate"), SLICE("Key"));
    call_error(c, 401, NULL, why);
}

/* What stands in a query can be sent by any link; where a token opens, it is the browser's way, which knows no headers. */
static bool brings_token(struct call *c, struct slice *token) {
    if ((c->route->flags & ROUTE_TOKEN) == 0 ||
        h1_get(net_head(c->x), SLICE("authorization"), NULL).ptr != NULL)
        return false;
    *token = h1_query(c->at.query, SLICE("fal_jwt_token"), NULL);
    return token->ptr != NULL;
}

/* fal's clients cannot read the answer to a handshake: a WebSocket is told in its first message, and let in as nobody. */
static bool token_ok(struct call *c, struct slice token) {
    const char *why = token_identity(c, token, &c->who);
    if (why == NULL) return true;
    c->who = (struct identity){0};
    if ((c->route->flags & ROUTE_UPGRADE) != 0) return admit_guess(c);
    refuse_wrong(c, slice_of(why));
    return false;
}

static bool key_ok(struct call *c) {
    struct slice token;
    if (brings_token(c, &token)) return token_ok(c, token);
    switch (auth_check(c->api->keys, c->x, &c->who)) {
    case AUTH_OK: return true;
    case AUTH_HOST: refuse_host(c, false); return false;
    case AUTH_ORIGIN: refuse_host(c, true); return false;
    case AUTH_REPEATED:
        call_error(c, 400, "bad_request", SLICE("repeated Authorization"));
        return false;
    case AUTH_MISSING:
        if (c->proxied && (c->route->flags & ROUTE_ADMIN) == 0 && auth_guest(c->api->keys, &c->who))
            return true;
        refuse_missing(c);
        return false;
    case AUTH_INVALID: break;
    }
    refuse_wrong(c, SLICE("Invalid API key"));
    return false;
}

/* --- scopes */

/* What a page of somebody else's can have a browser send without asking first. */
static bool is_form(const struct call *c) {
    static const char *const types[] = {"application/x-www-form-urlencoded", "multipart/form-data",
                                        "text/plain"};
    struct slice rest, type = h1_get(net_head(c->x), SLICE("content-type"), NULL);
    type = slice_trim(slice_cut(type, ';', &rest));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (slice_eq_nocase(type, slice_of(types[i]))) return true;
    return false;
}

static bool scope_ok(struct call *c) {
    if ((c->route->flags & ROUTE_ADMIN) == 0) return true;
    if (c->who.scope != SCOPE_ADMIN) {
        call_error(c, 403, NULL, SLICE("This key may not do that: it wants one of scope ADMIN"));
        return false;
    }
    if (is_form(c)) {
        call_error(c, 403, NULL, SLICE("The operator's calls are JSON, no form is taken"));
        return false;
    }
    return true;
}

bool admit(struct call *c) {
    return key_ok(c) && (c->who.limits == NULL || (scope_ok(c) && rates_ok(c)));
}

/* The star stands for every header but Authorization, so OpenAI's x-stainless-* need no names here; browsers that do not
 * know it read the rest. */
void admit_preflight(struct call *c) {
    struct identity who;
    enum auth_verdict v = keyring_is_open(c->api->keys) ? auth_check(c->api->keys, c->x, &who)
                                                        : AUTH_OK;
    if (v == AUTH_HOST || v == AUTH_ORIGIN) {
        refuse_host(c, v == AUTH_ORIGIN);
        return;
    }
    net_header(c->x, SLICE("access-control-allow-methods"),
               SLICE("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    net_header(
        c->x, SLICE("access-control-allow-headers"),
        SLICE(
            "*, authorization, content-type, accept, cache-control, idempotency-key, x-fal-queue-priority, "
            "x-fal-runner-hint, x-fal-request-timeout, x-fal-object-lifecycle, "
            "x-fal-object-lifecycle-preference, x-fal-store-io, x-fal-no-retry, x-fal-retry-config, x-fal-tags, "
            "x-fal-target-url, x-fal-client-proxy, x-fal-file-name, x-fal-user-id, x-fal-user-agent, "
            "x-fal-cdn-token, x-app-fal-disable-fallback, x-app-fal-can-disable-filter"));
    net_header(c->x, SLICE("access-control-max-age"), SLICE("86400"));
    call_headers(c);
    net_reply(c->x, 204, SLICE(""), SLICE(""));
}
