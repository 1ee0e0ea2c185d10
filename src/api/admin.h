#ifndef ANYLLM_API_ADMIN_H
#define ANYLLM_API_ADMIN_H

#include "api/call.h"

void handle_admin_keys(struct call *c);
void handle_admin_key_create(struct call *c);
void handle_admin_key_revoke(struct call *c);
void handle_admin_usage(struct call *c);
void handle_admin_webhooks(struct call *c);
void handle_admin_webhooks_replay(struct call *c);

#endif
