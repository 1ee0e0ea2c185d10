/* What this process does to the files below one folder, taken down in order at the door of the C library: SQLite's calls and the
 * blobs' alike, with the descriptors and syncs they really use. The functions of the C library are defined once more in
 * power_calls.c, so whoever links it is watched; outside of the folder they only pass on.
 *
 * Any one of these calls can be made to fail. Thread-safe: call and note are one step. */
#ifndef TEST_POWER_CALLS_H
#define TEST_POWER_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum call_kind {
    CALL_LINK,     /* a new file `node` is called `name` */
    CALL_UNLINK,   /* `name` is gone */
    CALL_RENAME,   /* `name`, `node`, is called `to` */
    CALL_MKDIR,    /* folder `name` */
    CALL_WRITE,    /* `bytes` at `at` */
    CALL_TRUNCATE, /* to `at` bytes */
    CALL_SYNC,     /* of a file's bytes */
    CALL_SYNC_FAILED, /* the same: what was not synced before may be lost, and no later sync brings it back */
    CALL_SYNC_FOLDER, /* of the names in `name`; "" is the watched folder */
    CALL_KINDS
};

struct call {
    enum call_kind kind;
    unsigned node; /* files have numbers: a name may get another file */
    int64_t at;
    size_t len;
    unsigned char *bytes;
    char *name, *to; /* below the watched folder */
};

/* Begins a record; the folder (absolute, without links in it) is empty. What is called *-shm is not taken down: SQLite makes its
 * content anew from the WAL when the first process opens the database, whatever stands in it. */
void record_watch(const char *folder);
void record_stop(void); /* the record stays until the next record_watch or record_free */
void record_free(void);
size_t record_count(void);
const struct call *record_get(size_t i); /* when nothing runs */

/* From now on the k-th call of these kinds (bits 1U << CALL_…, counted from 1; *-shm included) fails with `err`, and with
 * `sticky` all after it, until record_heal. A write that is to fail does its first half when `half` says so. */
struct record_fault {
    uint64_t k;
    int err;
    unsigned kinds;
    bool sticky, half;
};
void record_fail(const struct record_fault *f);
void record_heal(void);
/* Since record_fail: of these kinds; that failed; of the last that failed, its kind. */
uint64_t record_seen(void);
uint64_t record_failed(void);
enum call_kind record_failed_kind(void);

#endif
