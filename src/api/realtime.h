#ifndef ANYLLM_API_REALTIME_H
#define ANYLLM_API_REALTIME_H

#include "api/call.h"

void handle_realtime(struct call *c);
void handle_http_over_websocket(struct call *c);

#endif
