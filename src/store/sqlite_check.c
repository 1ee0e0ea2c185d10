/* Whether the server before this one ended well, and a look at the whole file when it did not.
 *
 *   meta 'unclean': the file's number (st_ino) with the first transaction of a process: it has a log, FILE-wal
 *                   0 with the last one of an orderly close
 *                   1 instead when the look was not finished or found damage
 *
 * So a note costs no sync of its own. It is written back soon (sqlite_checkpoint): a file that says that it has a log and has
 * none has lost what only the log held. A copy of it has another number, and a log is not missed. The check reads on a thread and a connection of its own while the server works:
 * it may take minutes. What two looks find, or what SQLite finds while it reads or writes, is for good: no new request is
 * taken, all else goes on as SQLite lets it. A look that lacks memory or cannot read says nothing of the file. */
#include "store/sqlite_cells.h"

#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_EVERY 1000 /* steps of SQLite's machine between two questions whether to end */
#define LOOKS 5U      /* until one was finished: a shortage is over or the next start looks again */
#define BELIEVED 2U   /* looks that found damage */
#define PAUSE_MS 250U /* after the first look, twice as long after each further one */

int sqlite_mark(struct sqlite_store *s, int64_t unclean) {
    struct binder b = start(s, ST_MARK);
    put_int(&b, unclean);
    return run(&b);
}

static int ends_early(void *store) {
    return ((struct sqlite_store *)store)->ending;
}

static void note_state(struct sqlite_store *s, int state) {
    uv_mutex_lock(&s->stats_lock);
    s->stats.check = state;
    uv_mutex_unlock(&s->stats_lock);
}

bool sqlite_is_damage(int rc) {
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

void sqlite_found_damage(struct sqlite_store *s, const char *what) {
    if (atomic_exchange(&s->damaged, true)) return;
    struct op *news = s->damage_news;
    news->in.health.damaged = true;
    snprintf(news->in.health.reason, HEALTH_REASON_BYTES, "damaged: %s", what);
    note_state(s, STORE_DAMAGED);
    s->damage_news = NULL;
    sqlite_hand_back(s, news);
}

/* For sqlite_end_check: the look through one tree of the file does not ask ends_early. */
static void note_connection(struct sqlite_store *s, sqlite3 *db) {
    uv_mutex_lock(&s->stats_lock);
    s->checking = db;
    uv_mutex_unlock(&s->stats_lock);
}

/* The check has rows of text for what it could not get, too: out of memory, or a disk that did not read. */
static bool could_not_read(const char *text) {
    static const char code[] = "unable to get the page. error code=";
    const char *at = strstr(text, code);
    if (at != NULL) return !sqlite_is_damage((int)strtol(at + sizeof code - 1, NULL, 10));
    return strstr(text, "failed to get page ") != NULL;
}

/* `rc` of the step, `text` its row or NULL. */
static int judge(int rc, const char *text) {
    if (text == NULL) return sqlite_is_damage(rc) ? STORE_DAMAGED : STORE_UNCHECKED;
    if (strcmp(text, "ok") == 0) return STORE_SOUND;
    return could_not_read(text) ? STORE_UNCHECKED : STORE_DAMAGED;
}

/* What it says of the file; `found`: what is damaged, or why nothing can be said. */
static int look(struct sqlite_store *s, char found[HEALTH_REASON_BYTES]) {
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int rc = sqlite_open_aside(s, &db);
    note_connection(s, db);
    if (rc == SQLITE_OK) sqlite3_progress_handler(db, LOOK_EVERY, ends_early, s);
    if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check(1)", -1, &st, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(st);
    const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    int state = judge(rc, text);
    if (text == NULL) text = db != NULL ? sqlite3_errmsg(db) : "out of memory";
    if (strncmp(text, "*** ", 4) == 0 && strchr(text, '\n') != NULL) /* in which database */
        text = strchr(text, '\n') + 1;
    snprintf(found, HEALTH_REASON_BYTES, "%.*s", (int)strcspn(text, "\n"), text);
    note_connection(s, NULL);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return state;
}

static void rest(struct sqlite_store *s, unsigned ms) {
    for (unsigned i = 0; i < ms && !s->ending; i += 5) usleep(5000);
}

/* A fault of memory may look like damage once: only what is found again is believed. */
static int look_again(struct sqlite_store *s, char found[HEALTH_REASON_BYTES]) {
    unsigned damaged = 0;
    for (unsigned n = 0; n < LOOKS && !s->ending; n++) {
        int state = look(s, found);
        if (s->ending) break; /* it may have been interrupted */
        if (state == STORE_SOUND) return state;
        if (state == STORE_DAMAGED && ++damaged == BELIEVED) return state;
        if (n + 1 < LOOKS) rest(s, PAUSE_MS << n);
    }
    return STORE_UNCHECKED;
}

static void check_all(void *arg) {
    struct sqlite_store *s = arg;
    char found[HEALTH_REASON_BYTES] = "", quoted[LOG_QUOTE_BYTES];
    uint64_t began = uv_hrtime();
    setpriority(PRIO_PROCESS, (id_t)gettid(), 10); /* of this thread alone, on Linux */
    int state = look_again(s, found);
    unsigned long long ms = (uv_hrtime() - began) / 1000000;
    if (state == STORE_DAMAGED)
        sqlite_found_damage(s, found);
    else if (!s->damaged)
        note_state(s, state);
    if (state == STORE_SOUND)
        log_line(LOG_INFO, "database_checked", "result=sound ms=%llu", ms);
    else if (state == STORE_UNCHECKED && !s->ending)
        log_line(LOG_WARN, "database_not_checked", "reason=%s", log_quote(quoted, slice_of(found)));
    s->check.busy = false;
}

/* An interrupt that comes between two statements is lost. */
void sqlite_end_check(struct sqlite_store *s) {
    while (s->check.busy) {
        uv_mutex_lock(&s->stats_lock);
        if (s->checking != NULL) sqlite3_interrupt(s->checking);
        uv_mutex_unlock(&s->stats_lock);
        usleep(1000);
    }
    sqlite_join_aside(&s->check);
}

int sqlite_begin_check(struct sqlite_store *s) {
    note_state(s, STORE_CHECKING);
    if (sqlite_start_aside(&s->check, check_all, s) == 0) return 0;
    note_state(s, STORE_UNCHECKED);
    return -1;
}
