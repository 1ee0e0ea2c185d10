#include "store/store.h"

#include "store/sqlite.h"

#include <stdio.h>

const char *store_status_name(enum store_status s) {
    static const char *const names[] = {"ok",        "stale",       "known",
                                        "not found", "unavailable", "out of memory"};
    return (size_t)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

static struct store *open_sqlite(const struct store_options *o, const char *file,
                                 enum store_fault *fault, char *reason, size_t size) {
    char path[4096];
    int n = file[0] == '/' ? snprintf(path, sizeof path, "%s", file)
                           : snprintf(path, sizeof path, "%s/%s", o->dir, file);
    if (file[0] == '\0' || n < 0 || (size_t)n >= sizeof path) {
        *fault = STORE_FAULT_URL;
        snprintf(reason, size, "store: sqlite: needs a file name shorter than %zu bytes",
                 sizeof path);
        return NULL;
    }
    return sqlite_store_open(o, path, fault, reason, size);
}

struct store *store_open(const struct store_options *o, char *reason, size_t size) {
    enum store_fault unused;
    enum store_fault *fault = o->fault != NULL ? o->fault : &unused;
    *fault = STORE_FAULT_NONE;
    if (strncmp(o->url, "sqlite:", 7) == 0) return open_sqlite(o, o->url + 7, fault, reason, size);
    *fault = STORE_FAULT_URL;
    snprintf(reason, size, "store: only sqlite:FILE is known, as in store: sqlite:anyllm.db");
    return NULL;
}
