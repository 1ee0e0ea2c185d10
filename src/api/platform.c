#include "api/platform.h"

void handle_platform_openapi(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_models(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_pricing(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_estimate(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_usage(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_analytics(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_billing_events(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_requests(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_drop_payloads(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_keys(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_key_create(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_key_delete(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_meta(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_platform_billing(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}
