/* The operator's commands (keys, usage, webhooks, queue, backup): options, and the way to the operator's routes. They speak HTTP to
 * DATA/admin.sock. Where no server runs they take the folder's lock and start a small one of their own for the time of the
 * command, with the store and the operator's routes alone: nobody else ever opens a live database. */
#ifndef ANYLLM_CLI_ADMIN_H
#define ANYLLM_CLI_ADMIN_H

#include "base/buf.h"
#include "base/config.h"
#include "cli/cli.h"

#include <yyjson.h>

enum admin_action {
    ADMIN_KEYS_CREATE = 1,
    ADMIN_KEYS_LIST = 2,
    ADMIN_KEYS_REVOKE = 4,
    ADMIN_USAGE = 8,
    ADMIN_WEBHOOKS_LIST = 16,
    ADMIN_WEBHOOKS_REPLAY = 32,
    ADMIN_QUEUE = 64,
    ADMIN_BACKUP = 128
};

struct admin_args {
    const char *command;
    enum admin_action action;
    const char *data, *config; /* NULL when not given, as all of these */
    const char *alias, *owner, *scope, *expires, *since, *until, *key, *endpoint, *by, *state,
        *after, *limit;
    bool json, all, once;
    const char *operand; /* an id, a file */
};

/* Reads action, options and operand. False: said why, *code is the exit code. */
bool admin_parse(int argc, char **argv, struct admin_args *args, int *code);

/* "90s", "15m", "12h", "30d", "2w" into seconds, more than 0. */
bool admin_duration(const char *text, int64_t *seconds);
/* "2026-11-20", "2026-11-20T18:30[:00][Z]" (UTC), or a duration before now_s. */
bool admin_time_of(const char *text, int64_t now_s, int64_t *unix_s);

/* --- admin_call.c */
struct admin; /* a connection to the operator's routes */

/* NULL: said why, *code is the exit code. */
struct admin *admin_open(const struct admin_args *args, int *code);
void admin_close(struct admin *a); /* NULL is fine */
/* What goes wrong from then on is said there, not on standard error. Borrowed until it is told another one. */
void admin_speak_to(struct admin *a, FILE *words);
/* A server answers; else this command has the folder to itself, and nobody can start one. */
bool admin_has_server(const struct admin *a);
/* The next admin_ask may take as long as it wants. `tick` (may be NULL) is called about every second meanwhile, and may ask. */
void admin_be_patient(struct admin *a, void (*tick)(struct admin *a));
/* Asks and prints what refuses it. The answer (yyjson_doc_free), or NULL and *code. `body` is JSON, or NULL; it is wiped with
 * what came back: both may hold a key. */
yyjson_doc *admin_ask(struct admin *a, const char *method, const char *path, struct buf *body,
                      int *code);
/* Appends ?name=value or &name=value, escaped; nothing when value is NULL. */
void admin_add_query(struct buf *path, const char *name, const char *value);

/* With --json: prints the answer as it is and returns true. */
bool admin_print_json(const struct admin_args *args, const yyjson_doc *answer);

/* --- columns.c: columns for people */
#define COLUMNS_MAX 12
struct columns {
    size_t columns, cells; /* cells: all, row by row; the first row is the head */
    unsigned right;        /* bit of each column that is aligned to the right */
    struct buf text;       /* NUL-terminated cells one after the other */
};
void columns_begin(struct columns *t, const char *const *heads, size_t n, unsigned right);
void columns_add(struct columns *t,
                 const char *text); /* control characters become '?'; NULL or empty: - */
/* The first `n` bytes: "2026-11-23T12:00:00.000000Z" is more than a reader wants. */
void columns_add_cut(struct columns *t, const char *text, size_t n);
void columns_print(struct columns *t, FILE *out); /* and frees it */

#endif
