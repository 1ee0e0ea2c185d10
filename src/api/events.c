#include "api/events.h"

static void ping(struct net_timer *t) {
    struct events *e = (struct events *)(void *)((char *)t - offsetof(struct events, ping));
    events_write(e, SLICE(": ping\n\n"));
}

void events_start(struct events *e, struct call *c) {
    e->call = c;
    e->ping.fire = ping;
    net_timer_start(c->api->loop, &e->ping, EVENTS_PING_MS);
}

void events_open(struct events *e) {
    if (e->begun) return;
    e->begun = true;
    call_headers(e->call);
    net_header(e->call->x, SLICE("cache-control"), SLICE("no-store"));
    net_header(e->call->x, SLICE("x-accel-buffering"), SLICE("no"));
    net_stream_begin(e->call->x, 200, SLICE("text/event-stream"));
}

void events_write(struct events *e, struct slice bytes) {
    events_open(e);
    e->blocked = !net_stream_write(e->call->x, bytes);
    net_timer_start(e->call->api->loop, &e->ping, EVENTS_PING_MS);
}

void events_stop(struct events *e) {
    net_timer_stop(e->call->api->loop, &e->ping);
}

void events_end(struct events *e) {
    events_stop(e);
    events_open(e);
    net_stream_end(e->call->x);
}

void events_abort(struct events *e) {
    events_stop(e);
    net_stream_abort(e->call->x);
}
