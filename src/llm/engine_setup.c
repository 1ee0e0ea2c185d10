#include "llm/engine_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Tokens of context per slot. A slot's share of the memory is reserved whether it is used or not. */
#define SLOT_CONTEXT_TOKENS 2048U
/* Prompts the engine keeps in memory for later; its own default is 8 GiB. */
#define PROMPT_CACHE_MIB "256"

/* --- the program --- */

static bool is_program(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static void add_program(char *out[ENGINE_MAX_PROGRAMS], size_t *n, const char *folder,
                        const char *name) {
    char path[PATH_MAX], real[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof path || !is_program(path) || *n == ENGINE_MAX_PROGRAMS)
        return;
    if (realpath(path, real) == NULL) return;
    for (size_t i = 0; i < *n; i++)
        if (strcmp(out[i], real) == 0) return;
    if ((out[*n] = strdup(real)) != NULL) ++*n;
}

static void add_from_search_path(char *out[ENGINE_MAX_PROGRAMS], size_t *n, const char *search_path,
                                 const char *name) {
    struct slice rest = slice_of(search_path), folder;
    for (size_t had = *n; rest.len > 0 && *n == had;) {
        char path[PATH_MAX];
        folder = slice_cut(rest, ':', &rest);
        if (folder.len == 0 || folder.len >= sizeof path) continue;
        snprintf(path, sizeof path, "%.*s", SLICE_ARG(folder));
        add_program(out, n, path, name);
    }
}

size_t engine_find_programs(const char *given, const char *search_path, const char *cache_dir,
                            char *out[ENGINE_MAX_PROGRAMS], char *reason, size_t size) {
    static const char *const folders[] = {"engine", "engine-src"};
    size_t n = 0;
    if (given != NULL) {
        if (strchr(given, '/') == NULL)
            add_from_search_path(out, &n, search_path, given);
        else
            add_program(out, &n, given[0] == '/' ? "" : ".", given);
        if (n == 0)
            snprintf(
                reason, size,
                "engine %s is not a program; name a llama-server with `engine:`, or leave it out",
                given);
        return n;
    }
    add_from_search_path(out, &n, search_path, "llama-server");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char folder[PATH_MAX];
        int len = snprintf(folder, sizeof folder, "%s/%s", cache_dir, folders[i]);
        if (len > 0 && (size_t)len < sizeof folder) add_program(out, &n, folder, "llama-server");
    }
    if (n == 0)
        snprintf(
            reason, size,
            "no engine: llama-server is neither on PATH nor in %s; run scripts/fetch-engine.sh or `make engine-from-source`",
            cache_dir);
    return n;
}

/* --- the run folder --- */

static bool fits_socket(const char *dir, const char *name) {
    return strlen(dir) + 1 + strlen(name) <= ENGINE_SOCKET_BYTES;
}

/* Ours and closed to others: whoever can put a socket there could answer in the engine's place. */
static bool make_private(const char *dir) {
    struct stat st;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) return false;
    return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           (st.st_mode & 077) == 0;
}

/* The same data folder finds the same run folder again, and two servers never share one. */
static bool name_run_dir(const char *parent, const char *data_dir, char out[PATH_MAX]) {
    char real[PATH_MAX];
    unsigned char h[SECRET_HASH_BYTES];
    if (!secret_sha256(slice_of(realpath(data_dir, real) != NULL ? real : data_dir), h))
        return false;
    int n = snprintf(out, PATH_MAX, "%s/anyllm-%u-%02x%02x%02x%02x%02x%02x", parent,
                     (unsigned)geteuid(), h[0], h[1], h[2], h[3], h[4], h[5]);
    return n > 0 && n < PATH_MAX;
}

bool engine_choose_run_dir(const char *data_dir, const char *socket_name, const char *runtime_dir,
                           const char *temp_dir, char out[PATH_MAX], char *reason, size_t size) {
    const char *parents[] = {runtime_dir, temp_dir};
    if (fits_socket(data_dir, socket_name)) {
        snprintf(out, PATH_MAX, "%s", data_dir);
        return true;
    }
    for (size_t i = 0; i < sizeof parents / sizeof *parents; i++) {
        if (parents[i] == NULL || parents[i][0] != '/') continue;
        if (name_run_dir(parents[i], data_dir, out) && fits_socket(out, socket_name) &&
            make_private(out))
            return true;
    }
    snprintf(
        reason, size,
        "the path of the data folder is too long for the engine's socket and neither $XDG_RUNTIME_DIR nor %s takes "
        "a private folder; give a shorter --data",
        temp_dir);
    return false;
}

int engine_write_key(const char *file, const struct secret *key) {
    struct slice s = secret_reveal(key);
    if (unlink(file) != 0 && errno != ENOENT) return errno;
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), err = 0;
    if (fd < 0) return errno;
    errno = EIO; /* for a short write */
    if (fchmod(fd, 0600) != 0 || write(fd, s.ptr, s.len) != (ssize_t)s.len) err = errno;
    if (close(fd) != 0 && err == 0) err = errno;
    if (err != 0) unlink(file);
    return err;
}

/* --- arguments and environment --- */

#define LIST_MAX 64U

struct list {
    char **items; /* LIST_MAX and a NULL */
    size_t n;
    bool failed;
};

static void list_init(struct list *l) {
    *l = (struct list){.items = calloc(LIST_MAX + 1, sizeof(char *))};
    l->failed = l->items == NULL;
}

__attribute__((format(printf, 2, 3))) static void list_add(struct list *l, const char *fmt, ...) {
    va_list ap;
    if (l->failed || l->n == LIST_MAX) {
        l->failed = true;
        return;
    }
    va_start(ap, fmt);
    if (vasprintf(&l->items[l->n], fmt, ap) < 0) l->items[l->n] = NULL;
    va_end(ap);
    l->failed = l->items[l->n++] == NULL;
}

static char **list_take(struct list *l) {
    if (!l->failed) return l->items;
    engine_free_list(l->items);
    return NULL;
}

void engine_free_list(char **list) {
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) free(list[i]);
    free(list);
}

static uint64_t context_tokens(const struct engine_launch *l) {
    uint64_t per_slot = SLOT_CONTEXT_TOKENS;
    if (l->model_context_tokens > 0 && l->model_context_tokens < per_slot)
        per_slot = l->model_context_tokens;
    return per_slot * l->slots;
}

/* Only options that every llama-server of the last years knows: it ends at one it does not. The newer ones go through
 * the environment, where an unknown name is harmless. */
char **engine_build_args(const struct engine_launch *l) {
    struct list a;
    list_init(&a);
    list_add(&a, "%s", l->self);
    list_add(&a, "engine-exec");
    list_add(&a, "%d", l->parent_pid);
    list_add(&a, "%s", l->program);
    list_add(&a, "--model");
    list_add(&a, "%s", l->model_file);
    list_add(&a, "--host");
    list_add(&a, "%s", l->socket);
    list_add(&a, "--api-key-file");
    list_add(&a, "%s", l->key_file);
    list_add(&a, "--parallel");
    list_add(&a, "%u", l->slots);
    list_add(&a, "--ctx-size");
    list_add(&a, "%llu", (unsigned long long)context_tokens(l));
    list_add(&a, "--threads");
    list_add(&a, "%u", l->tuning.threads);
    list_add(&a, "--threads-batch");
    list_add(&a, "%u", l->tuning.batch_threads);
    return list_take(&a);
}

/* What may come through from our own environment, by the beginning of the name: how to find programs and libraries, and
 * which GPU or cores to use. Everything else stays outside, above all FAL_…, OPENROUTER_… and ANYLLM_…. */
static const char *const passed[] = {
    "PATH=", "HOME=", "TMPDIR=", "LANG=", "LC_ALL=", "LD_LIBRARY_PATH=", "OMP_", "GOMP_", "KMP_",
    "GGML_", "CUDA_", "HIP_",    "ROCR_", "VK_",
};

static bool may_pass(const char *variable, unsigned spin) {
    if (spin > 0 && (slice_starts(slice_of(variable), SLICE("OMP_WAIT_POLICY=")) ||
                     slice_starts(slice_of(variable), SLICE("GOMP_SPINCOUNT="))))
        return false;
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (slice_starts(slice_of(variable), slice_of(passed[i]))) return true;
    return false;
}

char **engine_build_env(const struct engine_launch *l, char *const *from) {
    struct list e;
    list_init(&e);
    if (l->tuning.spin > 0) {
        list_add(&e, "OMP_WAIT_POLICY=active");
        list_add(&e, "GOMP_SPINCOUNT=%u", l->tuning.spin);
    }
    if (l->alias.len > 0) list_add(&e, "LLAMA_ARG_ALIAS=%.*s", SLICE_ARG(l->alias));
    list_add(&e, "LLAMA_ARG_UI=0");
    list_add(&e, "LLAMA_ARG_NO_WEBUI=1"); /* the same for older ones */
    list_add(&e, "LLAMA_ARG_OFFLINE=1");
    list_add(&e, "LLAMA_ARG_ENDPOINT_SLOTS=0"); /* shows prompts */
    list_add(&e, "LLAMA_ARG_LOG_VERBOSITY=2");  /* warnings and errors */
    list_add(&e, "LLAMA_ARG_CACHE_RAM=" PROMPT_CACHE_MIB);
    /* Each kept connection holds one of its HTTP threads: those of the slots, the pool's idle ones, /health. */
    list_add(&e, "LLAMA_ARG_THREADS_HTTP=%u", 2 * l->slots + 4);
    for (size_t i = 0; from != NULL && from[i] != NULL && e.n + 1 < LIST_MAX; i++)
        if (may_pass(from[i], l->tuning.spin)) list_add(&e, "%s", from[i]);
    return list_take(&e);
}
