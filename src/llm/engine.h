/* The local engine: a llama-server child that is calibrated, started, watched, restarted and stopped.
 *
 * It listens on a Unix socket in the run folder and takes a random key from a file of mode 0600 (never argv). It is
 * started through our own program's hidden subcommand `engine-exec`, which sets PR_SET_PDEATHSIG and execs, so that it
 * dies with the server even after kill -9. Loop's thread only. */
#ifndef ANYLLM_LLM_ENGINE_H
#define ANYLLM_LLM_ENGINE_H

#include "base/random.h"
#include "base/secret.h"
#include "net/loop.h"

enum engine_state {
    ENGINE_CALIBRATING, /* first start on a machine */
    ENGINE_LOADING,     /* child runs, /health not 200 yet */
    ENGINE_READY,
    ENGINE_DOWN, /* died or could not start; starts again after a backoff */
    ENGINE_STOPPED
};

struct engine_options {
    struct net_loop *loop;
    const struct random *random;
    const char *model_file; /* GGUF */
    struct slice alias; /* how its answers name the model; borrowed for life; len 0: by its file */
    /* llama-server; NULL: $PATH, then cache_dir/engine, then cache_dir/engine-src. The next of them is tried when the
     * CPU lacks instructions that the build uses (SIGILL). */
    const char *program;
    const char *cache_dir; /* findings of the calibration */
    const char *data_dir;  /* run folder, unless the socket's path would pass 107 bytes */
    const char *self;      /* our own executable, for engine-exec */
    unsigned slots;        /* --parallel */
    /* Engines that share a data_dir differ in it. 0: engine.sock, 1: engine-1.sock … */
    unsigned number;
    bool calibrate;
    /* Every change of state, also inside engine_start and engine_stop; `text` is one line for people ("loading
     * SmolLM2-135M-Instruct.Q4_1.gguf"), valid during the call. May be NULL. */
    void (*on_state)(void *user, enum engine_state state, const char *text);
    void *user;
};

struct engine;

/* Looks for program and model (a readable GGUF of version 2 or 3 with sane counts, as long as its header says); does
 * not start yet. NULL with one line in reason that says what to do (exit 66): which command fetches what is missing.
 * Strings are copied, but for the alias. */
struct engine *engine_new(const struct engine_options *o, char *reason, size_t size);
void engine_start(struct engine *e);
enum engine_state engine_get_state(const struct engine *e);
const char *engine_state_text(const struct engine *e);
unsigned engine_slots(const struct engine *e);
const char *engine_socket(const struct engine *e);       /* path, fixed for life */
const struct secret *engine_key(const struct engine *e); /* new at each start of the server */
/* Ends the child (TERM, after 2 s KILL). on_stopped exactly once, never inside engine_stop; the engine may be freed in it
 * or later. Called once. */
void engine_stop(struct engine *e, void (*on_stopped)(void *user), void *user);
void engine_free(struct engine *e); /* never started, or stopped */

/* The hidden subcommand: argv = { "engine-exec", PARENT_PID, PROGRAM, args… }. Returns an exit code only on failure. */
int engine_exec_main(int argc, char **argv);

#endif
