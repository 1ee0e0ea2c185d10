#include "api/admin.h"

void handle_admin_keys(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_admin_key_create(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_admin_key_revoke(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_admin_usage(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_admin_webhooks(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_admin_webhooks_replay(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}
