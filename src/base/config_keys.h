/* Private to the configuration: the table of keys, and setting one field from text. */
#ifndef ANYLLM_BASE_CONFIG_KEYS_H
#define ANYLLM_BASE_CONFIG_KEYS_H

#include "base/config.h"

enum field_type {
    FIELD_TEXT,     /* const char * */
    FIELD_PATH,     /* const char *, "~/" expanded */
    FIELD_URL,      /* const char *, without its last slash */
    FIELD_SLICE,    /* struct slice, may be empty */
    FIELD_ID,       /* struct slice that can stand in a header, a label and a log line */
    FIELD_SECRET,   /* struct secret */
    FIELD_UNSIGNED, /* unsigned */
    FIELD_U32,
    FIELD_U64,
    FIELD_SIZE,    /* size_t */
    FIELD_BYTES,   /* size_t or uint64_t, with KiB, MiB, GiB */
    FIELD_SECONDS, /* uint64_t, with s, m, h, d */
    FIELD_SECONDS32,
    FIELD_MS,    /* uint32_t of milliseconds, with ms, s, m, h; a bare number is milliseconds */
    FIELD_MICRO, /* int64_t, in millionths; "0.001" is 1,000 */
    FIELD_BOOL,
    FIELD_LEVEL,
    FIELD_TEXTS, /* const char ** and the count before it */
    FIELD_SLICES /* struct slice * and the count */
};

enum field_use { USE_FLAG = 1, USE_ENV = 2, USE_FILE = 4, USE_ALL = 7 };

struct field {
    const char *name; /* in the file's spelling: log_level */
    enum field_type type;
    unsigned use;
    size_t offset, count_offset;
    uint64_t min, max;
    const char *fallback; /* default as text for the help; set by config_defaults */
    const char *arg;      /* what follows the flag in the help; NULL for a switch */
    const char *help;
};

extern const struct field config_fields[];
extern const size_t config_nfields;
extern const struct field upstream_fields[];
extern const size_t upstream_nfields;

struct config_loader {
    struct config *config;
    struct config_error *err;
    bool failed;
    const char *file_model; /* local_model as the file has it: what stands elsewhere wins over it */
};

/* Records the first fault ("WHERE: text") with its exit code; always false. */
bool config_fail(struct config_loader *l, int exit_code, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The home folder, from the environment or the user database; NULL when there is none. */
const char *config_home(struct config_loader *l);
/* Visible ASCII without quotes and backslashes, not empty, at most 256 bytes. */
bool config_id_ok(struct slice s);
/* An address of a web server; *without_slash gets it without slashes at its end. */
bool config_url_ok(struct slice text, struct slice *without_slash);
/* Sets the field in *target. `first`: of this source (lists begin anew). */
bool config_set(struct config_loader *l, const struct field *f, void *target, struct slice value,
                bool first, const char *where);
/* Adds "id:secret" to the keys; `list`: several, comma separated. */
bool config_add_key(struct config_loader *l, const struct config_key *key);
bool config_add_key_text(struct config_loader *l, struct slice id_secret, const char *where);
bool config_add_upstream(struct config_loader *l, const struct config_upstream *u);
/* scheme://host[:port]/path into the upstream. */
bool config_set_base_url(struct config_loader *l, struct config_upstream *u, struct slice url,
                         const char *where);
void config_upstream_defaults(struct config_upstream *u);
/* Reads the file into l->config. */
bool config_read_file(struct config_loader *l, const char *path);

#endif
