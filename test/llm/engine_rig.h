/* A loop, a folder and an engine for tests. The program under test starts itself as `engine-exec`, as anyllm does. */
#ifndef ANYLLM_TEST_LLM_ENGINE_RIG_H
#define ANYLLM_TEST_LLM_ENGINE_RIG_H

#include "llm/engine_inner.h"

#include <stdio.h>

#define RIG_PATIENCE_MS 60000U /* a test that waits longer has failed */
#define RIG_STATES 64U

struct rig {
    struct net_loop loop;
    struct engine *engine;
    char dir[64], self[4096], model[4096], program[4096], text[512], reason[512];
    enum engine_state states[RIG_STATES]; /* in the order they came */
    size_t nstates, nready, ndown;
    size_t want_ready, want_down; /* the loop stops at so many; 0: not */
    bool stopped;
    struct net_timer patience;
};

/* True when the run was `engine-exec` or another part of the rig; then *code is main's. */
bool rig_is_helper(int argc, char **argv, int *code);

struct rig *rig_new(
    void); /* a fresh folder; `model` is a tiny GGUF in it, `program` the fake engine */
void rig_free(struct rig *r);
void rig_script(struct rig *r, const char *words); /* what the fake does at its next starts */
/* Quick times unless `times` is given. Fails the test when the engine cannot be made. */
void rig_make(struct rig *r, bool calibrate, const struct engine_times *times);
/* Turns the loop until the engine was READY (DOWN) so many times since rig_make. False: patience ran out. */
bool rig_until_ready(struct rig *r, size_t times);
bool rig_until_down(struct rig *r, size_t times);
void rig_turn(struct rig *r, uint32_t ms);
bool rig_stop(struct rig *r); /* engine_stop and its end; frees the engine */

size_t rig_starts(struct rig *r); /* how often the fake was started */
int rig_started_pid(struct rig *r, size_t i);
bool rig_gone(int pid);                                /* waits for it, up to the patience */
const char *rig_path(struct rig *r, const char *name); /* of a few calls only */

#endif
