/* What the engine needs on the machine before it can run: its program, a run folder for its socket, its key file, its
 * arguments and environment. Blocking file work, small, done at the start of the server and of a child. */
#ifndef ANYLLM_LLM_ENGINE_SETUP_H
#define ANYLLM_LLM_ENGINE_SETUP_H

#include "base/secret.h"

#include <limits.h>

#define ENGINE_MAX_PROGRAMS 3U
/* Longest path the kernel takes for a Unix socket: sun_path holds 108 bytes with the NUL. */
#define ENGINE_SOCKET_BYTES 107U

/* How the engine is started; what a calibration finds out. */
struct engine_tuning {
    unsigned threads, batch_threads;
    /* How long threads wait for each other awake, in libgomp's turns of about 10 ns: OMP_WAIT_POLICY=active with
     * GOMP_SPINCOUNT. 0: as the library likes. */
    unsigned spin;
};

/* Programs that could be the engine, best first: `given` alone when it is not NULL; else `llama-server` on search_path
 * ($PATH), cache_dir/engine, cache_dir/engine-src. Each out[i] is from malloc. 0 with one line in reason. */
size_t engine_find_programs(const char *given, const char *search_path, const char *cache_dir,
                            char *out[ENGINE_MAX_PROGRAMS], char *reason, size_t size);

/* The run folder: data_dir, or, where the path of `socket_name` in it would pass ENGINE_SOCKET_BYTES, a folder of ours of mode 0700
 * under runtime_dir ($XDG_RUNTIME_DIR, may be NULL) or temp_dir, which is made. False with one line in reason. */
bool engine_choose_run_dir(const char *data_dir, const char *socket_name, const char *runtime_dir,
                           const char *temp_dir, char out[PATH_MAX], char *reason, size_t size);

/* 64 hexadecimal digits in a new file of mode 0600; an older one is replaced. 0 or an errno. */
int engine_write_key(const char *file, const struct secret *key);

struct engine_launch {
    const char *self, *program, *model_file, *socket, *key_file;
    struct slice alias; /* how answers name the model; len 0: by its file */
    int parent_pid;
    unsigned slots;
    uint64_t model_context_tokens; /* 0: unknown */
    struct engine_tuning tuning;
};

/* Both are NULL-terminated, from malloc, freed with engine_free_list; NULL: out of memory. */
char **engine_build_args(const struct engine_launch *l);
/* Of the variables in `from` those the engine has a use for, and ours. No secret of the server is among them. */
char **engine_build_env(const struct engine_launch *l, char *const *from);
void engine_free_list(char **list);

#endif
