/* Who is let in: key, limits, and what a browser may ask for. */
#ifndef ANYLLM_API_ADMIT_H
#define ANYLLM_API_ADMIT_H

#include "api/call.h"

/* With the head: the key, then the rates of its owner. False: answered. A WebSocket is let in with a token that opens nothing, as
 * nobody (c->who.limits NULL): what fal's clients can read is a message. */
bool admit(struct call *c);
/* With the body: a direct call is counted among those at once, until admit_gone. False: answered. */
bool admit_call(struct call *c);
void admit_gone(struct call *c);
/* One input of a WebSocket counts as a request and as a call at once, until admit_gone. Nothing is answered; *wait_ms: when there
 * is room again, 0: not known. */
enum limit admit_input(struct call *c, uint64_t *wait_ms);
/* The queue lets no more of the owner's requests run than its direct calls leave room for. It forgets an owner of whom it holds
 * nothing: to be told again after a submit. */
void admit_tell_queue(const struct call *c);
/* fal's type and the text of a refusal by this limit. */
void admit_refusal(enum limit kind, const char **type, const char **detail);
/* A key was brought that opens nothing, where a route is open and looks for itself: it counts as a guess of this address. False:
 * one too many, answered 429. */
bool admit_guess(struct call *c);
/* OPTIONS, which carries no key: a browser asks before it may send one. */
void admit_preflight(struct call *c);

#endif
