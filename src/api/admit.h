/* Who is let in: key, limits, and what a browser may ask for. */
#ifndef ANYLLM_API_ADMIT_H
#define ANYLLM_API_ADMIT_H

#include "api/call.h"

/* With the head: the key, then the rates of its owner. False: answered. */
bool admit(struct call *c);
/* With the body: a direct call is counted among those at once, until admit_gone. False: answered. */
bool admit_call(struct call *c);
void admit_gone(struct call *c);
/* OPTIONS, which carries no key: a browser asks before it may send one. */
void admit_preflight(struct call *c);

#endif
