#ifndef ANYLLM_API_PLATFORM_H
#define ANYLLM_API_PLATFORM_H

#include "api/call.h"

void handle_platform_openapi(struct call *c);
void handle_platform_models(struct call *c);
void handle_platform_pricing(struct call *c);
void handle_platform_estimate(struct call *c);
void handle_platform_usage(struct call *c);
void handle_platform_analytics(struct call *c);
void handle_platform_billing_events(struct call *c);
void handle_platform_requests(struct call *c);
void handle_platform_drop_payloads(struct call *c);
void handle_platform_keys(struct call *c);
void handle_platform_key_create(struct call *c);
void handle_platform_key_delete(struct call *c);
void handle_platform_meta(struct call *c);
void handle_platform_billing(struct call *c);

#endif
