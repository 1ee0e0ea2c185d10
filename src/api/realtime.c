#include "api/realtime.h"

void handle_realtime(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}

void handle_http_over_websocket(struct call *c) {
    call_error(c, 501, NULL, SLICE("not yet"));
}
