/* The wire of OpenAI's chat completions, and what OpenRouter adds: validated values to bytes. Pure. */
#ifndef ANYLLM_LLM_ADAPTER_H
#define ANYLLM_LLM_ADAPTER_H

#include "base/buf.h"
#include "llm/llm.h"
#include "llm/route.h"

/* Appends the body of a request. `step` gives the upstream's own id of the model; `stream` asks it to stream. Nothing of the
 * caller's body is merged: what is not written here does not travel. Only OpenAI's dialect (members) travels as it is,
 * but for OpenRouter's provider.data_collection, which is `deny` wherever keeps_nothing asks for it. */
bool adapter_body(struct buf *b, const struct config_upstream *up, const struct route_step *step,
                  const struct llm_request *r, bool stream);
/* Why upstreams of this kind cannot take the request's media: a sentence for the caller. NULL: they can, or it is for
 * the upstream to say. OpenRouter documents audio as base64 only. */
const char *adapter_refuses(const struct config_upstream *up, const struct llm_request *r);
/* Appends header lines, each ending CRLF. False when a configured value may not stand in a header. The buffer holds
 * the key afterwards: wipe it. */
bool adapter_headers(struct buf *b, const struct config_upstream *up, const struct secret *key,
                     bool stream);
bool adapter_path(struct buf *b, const struct config_upstream *up);

#endif
