/* WebSockets to models: fal's realtime protocol, where inputs come and cumulative outputs go (realtime.c), and HTTP over
 * WebSocket, where each message is a request (realtime_http.c). docs/realtime.md has both. */
#ifndef ANYLLM_API_REALTIME_H
#define ANYLLM_API_REALTIME_H

#include "api/call.h"

void handle_realtime(struct call *c);
void handle_http_over_websocket(struct call *c);

#endif
