/* OpenAI's chat completions: POST /v1/chat/completions and the endpoints of that dialect. What is not known here travels
 * unchanged both ways; docs/openai.md lists the few members that do not. */
#ifndef ANYLLM_API_OPENAI_H
#define ANYLLM_API_OPENAI_H

#include "api/api.h"
#include "llm/llm.h"

struct call;

/* What is wrong with a body, as OpenAI's errors say it. */
struct openai_fault {
    unsigned status;
    const char *code, *param; /* static, NULL: none */
    char message[320];
};

/* Fills the model, members, stream and wants_usage of *r from the text of a body; members live in the arena. `llm` says
 * which models are known. False with *f filled. */
bool openai_read(struct slice body, const struct llm *llm, struct arena *a, struct llm_request *r,
                 struct openai_fault *f);

/* Answers an exchange of this dialect, whole or streamed as its body wishes. c->endpoint may be NULL. */
void openai_run(struct call *c);

void handle_chat(struct call *c);
void handle_models(struct call *c);
void handle_model(struct call *c);

#endif
