/* The wire of OpenAI's chat completions, and what OpenRouter adds: validated values to bytes. Pure. */
#ifndef ANYLLM_LLM_ADAPTER_H
#define ANYLLM_LLM_ADAPTER_H

#include "base/buf.h"
#include "llm/llm.h"

/* Appends the body of a request. `model` is the upstream's own id; `stream` asks it to stream. Nothing of the
 * caller's body is merged: what is not written here does not travel. */
bool adapter_body(struct buf *b, const struct config_upstream *up, struct slice model,
                  const struct llm_request *r, bool stream);
/* Appends header lines, each ending CRLF. False when a configured value may not stand in a header. The buffer holds
 * the key afterwards: wipe it. */
bool adapter_headers(struct buf *b, const struct config_upstream *up, const struct secret *key,
                     bool stream);
bool adapter_path(struct buf *b, const struct config_upstream *up);

#endif
