#include "store/fault_vfs.h"

#include <sqlite3.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
    unsigned maps;      /* of the wal-index's head */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t changes, failed, fail_at, syncs_left;
    int code;
    bool sticky, limited, kill;
    int64_t room, reads_at;
    uint64_t reads_left, opens_left;
    bool strange;
} plan; /* under lock */

static sqlite3_vfs vfs, *parent;

void fault_at(uint64_t k, int code, bool sticky) {
    pthread_mutex_lock(&lock);
    memset(&plan, 0, sizeof plan);
    plan.fail_at = k;
    plan.code = code;
    plan.sticky = sticky;
    pthread_mutex_unlock(&lock);
}

void fault_sync(uint64_t k) {
    fault_clear();
    pthread_mutex_lock(&lock);
    plan.syncs_left = k;
    pthread_mutex_unlock(&lock);
}

void fault_kill_at(uint64_t k) {
    fault_at(k, SQLITE_IOERR, false);
    pthread_mutex_lock(&lock);
    plan.kill = true;
    pthread_mutex_unlock(&lock);
}

void fault_room(int64_t bytes) {
    pthread_mutex_lock(&lock);
    memset(&plan, 0, sizeof plan);
    plan.limited = true;
    plan.room = bytes;
    pthread_mutex_unlock(&lock);
}

void fault_reads(int64_t at, uint64_t times, int code) {
    fault_at(0, code, false);
    pthread_mutex_lock(&lock);
    plan.reads_at = at;
    plan.reads_left = times;
    pthread_mutex_unlock(&lock);
}

void fault_opens(uint64_t times, int code) {
    fault_at(0, code, false);
    pthread_mutex_lock(&lock);
    plan.opens_left = times;
    pthread_mutex_unlock(&lock);
}

void fault_strange_index(void) {
    fault_clear();
    pthread_mutex_lock(&lock);
    plan.strange = true;
    pthread_mutex_unlock(&lock);
}

void fault_clear(void) {
    fault_at(0, SQLITE_OK, false);
}

uint64_t fault_changes(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = plan.changes;
    pthread_mutex_unlock(&lock);
    return n;
}

uint64_t fault_failed(void) {
    pthread_mutex_lock(&lock);
    uint64_t n = plan.failed;
    pthread_mutex_unlock(&lock);
    return n;
}

/* Counts one change that lets a file grow by so much. SQLITE_OK or the fault that is due. */
static int change(int64_t growth) {
    int rc = SQLITE_OK;
    pthread_mutex_lock(&lock);
    uint64_t n = ++plan.changes;
    if (plan.fail_at != 0 && (n == plan.fail_at || (plan.sticky && n > plan.fail_at)))
        rc = plan.code;
    if (plan.limited && growth > plan.room) rc = SQLITE_FULL;
    if (plan.limited && rc == SQLITE_OK) plan.room -= growth;
    if (rc != SQLITE_OK) plan.failed++;
    pthread_mutex_unlock(&lock);
    return rc;
}

/* Does not come back when this change is the one to be killed in. */
static void maybe_kill(int rc) {
    if (rc != SQLITE_OK && plan.kill) raise(SIGKILL);
}

static sqlite3_file *real(sqlite3_file *f) {
    return ((struct file *)f)->real;
}

static int on_close(sqlite3_file *f) {
    return real(f)->pMethods->xClose(real(f));
}

static int read_fault(int64_t at) {
    int rc = SQLITE_OK;
    pthread_mutex_lock(&lock);
    if (plan.reads_left > 0 && at == plan.reads_at) {
        plan.reads_left--;
        plan.failed++;
        rc = plan.code;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_read(sqlite3_file *f, void *out, int n, sqlite3_int64 at) {
    int rc = read_fault(at);
    return rc != SQLITE_OK ? rc : real(f)->pMethods->xRead(real(f), out, n, at);
}

static int on_write(sqlite3_file *f, const void *in, int n, sqlite3_int64 at) {
    sqlite3_int64 size = 0;
    real(f)->pMethods->xFileSize(real(f), &size);
    int rc = change(at + n > size ? at + n - size : 0);
    if (rc != SQLITE_OK && plan.kill && plan.fail_at % 2 == 0)
        real(f)->pMethods->xWrite(real(f), in, n / 2, at);
    maybe_kill(rc);
    return rc != SQLITE_OK ? rc : real(f)->pMethods->xWrite(real(f), in, n, at);
}

static int on_truncate(sqlite3_file *f, sqlite3_int64 size) {
    int rc = change(0);
    maybe_kill(rc);
    return rc != SQLITE_OK ? rc : real(f)->pMethods->xTruncate(real(f), size);
}

static int sync_change(void) {
    int rc = change(0);
    pthread_mutex_lock(&lock);
    if (plan.syncs_left > 0 && --plan.syncs_left == 0) {
        rc = SQLITE_IOERR_FSYNC;
        plan.failed++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_sync(sqlite3_file *f, int flags) {
    int rc = sync_change();
    maybe_kill(rc);
    return rc != SQLITE_OK ? rc : real(f)->pMethods->xSync(real(f), flags);
}

static int on_size(sqlite3_file *f, sqlite3_int64 *out) {
    return real(f)->pMethods->xFileSize(real(f), out);
}

static int on_lock(sqlite3_file *f, int level) {
    return real(f)->pMethods->xLock(real(f), level);
}

static int on_unlock(sqlite3_file *f, int level) {
    return real(f)->pMethods->xUnlock(real(f), level);
}

static int on_check(sqlite3_file *f, int *out) {
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}

static int on_control(sqlite3_file *f, int what, void *arg) {
    return real(f)->pMethods->xFileControl(real(f), what, arg);
}

static int on_sector(sqlite3_file *f) {
    return real(f)->pMethods->xSectorSize(real(f));
}

static int on_traits(sqlite3_file *f) {
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int on_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
    static uint32_t unknown[8192];
    int rc = real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
    pthread_mutex_lock(&lock);
    if (page == 0 && ++((struct file *)f)->maps > 1 && plan.strange) {
        *out = unknown;
        plan.failed++;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_shm_lock(sqlite3_file *f, int offset, int n, int flags) {
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void on_shm_barrier(sqlite3_file *f) {
    real(f)->pMethods->xShmBarrier(real(f));
}

static int on_shm_unmap(sqlite3_file *f, int also_delete) {
    return real(f)->pMethods->xShmUnmap(real(f), also_delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_check,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_traits,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int open_fault(int flags) {
    int rc = SQLITE_OK;
    pthread_mutex_lock(&lock);
    if (plan.opens_left > 0 && (flags & SQLITE_OPEN_MAIN_DB) != 0) {
        plan.opens_left--;
        plan.failed++;
        rc = plan.code;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

static int on_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out) {
    struct file *file = (struct file *)f;
    file->real = (sqlite3_file *)(file + 1);
    file->maps = 0;
    f->pMethods = NULL;
    int rc = open_fault(flags);
    if (rc != SQLITE_OK) return rc;
    rc = parent->xOpen(parent, name, file->real, flags, out);
    f->pMethods = file->real->pMethods != NULL ? &methods : NULL;
    return rc;
}

void fault_vfs_install(void) {
    if (parent != NULL) return;
    parent = sqlite3_vfs_find(NULL);
    vfs = *parent;
    vfs.zName = "fault";
    vfs.szOsFile = (int)sizeof(struct file) + parent->szOsFile;
    vfs.xOpen = on_open;
    sqlite3_vfs_register(&vfs, 1);
}
