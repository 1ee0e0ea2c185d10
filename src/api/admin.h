/* The operator's routes, over the admin socket or with a key of scope ADMIN: JSON, everybody's things, times as ISO 8601 in
 * UTC. What the commands keys, usage, webhooks, queue and backup speak (docs/keys-and-usage.md, docs/operations.md). */
#ifndef ANYLLM_API_ADMIN_H
#define ANYLLM_API_ADMIN_H

#include "api/call.h"

void handle_admin_keys(struct call *c);
void handle_admin_key_create(struct call *c);
void handle_admin_key_revoke(struct call *c);
void handle_admin_usage(struct call *c);
void handle_admin_webhooks(struct call *c);
void handle_admin_webhooks_replay(struct call *c);
void handle_admin_queue(struct call *c);
void handle_admin_backup(struct call *c);
void handle_admin_backup_make(struct call *c);

/* --- shared by admin*.c */
/* The parameter, decoded; empty when absent. False: given twice or badly encoded, answered. */
bool admin_query(struct call *c, const char *name, struct slice *out);
bool admin_query_u64(struct call *c, const char *name, uint64_t max, uint64_t *out);
/* 422, naming a member of the body ("body") or a parameter ("query"). */
void admin_refuse(struct call *c, const char *where, const char *name, const char *why);
/* The body's JSON object (free it); NULL: answered. */
yyjson_doc *admin_body(struct call *c);
/* ,"NAME":"…" or null when at_ms is 0 */
void admin_time(struct buf *b, const char *name, int64_t at_ms);
/* ,"NAME":"…" */
void admin_text(struct buf *b, const char *name, struct slice text);
/* The store could not be asked or could not answer: 503. */
void admin_unavailable(struct call *c);

#endif
