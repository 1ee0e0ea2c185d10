/* The malloc of the program `anyllm-failing`: all that the program and its libraries ask for, but libuv, which ends the process
 * when the table of what it watches cannot grow, and the dynamic loader, goes through here. ANYLLM_FAIL_AT names a file that the test and the
 * program share: see failing_malloc.h. Under AddressSanitizer its own malloc stands behind. */
#include "failing_malloc.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
void *__interceptor_malloc(size_t bytes);
void *__interceptor_calloc(size_t n, size_t bytes);
void *__interceptor_realloc(void *p, size_t bytes);
#define REAL(name) __interceptor_##name
#else
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
#define REAL(name) __libc_##name
#endif

static struct failing *shared;
static uintptr_t spared[8][2]; /* where libuv's code lies */
static size_t nspared;

static int find_libuv(struct dl_phdr_info *info, size_t size, void *user) {
    if (strstr(info->dlpi_name, "libuv") == NULL) return 0;
    for (int i = 0; i < info->dlpi_phnum && nspared < 8; i++) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        spared[nspared][0] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        spared[nspared][1] = spared[nspared][0] + info->dlpi_phdr[i].p_memsz;
        nspared++;
    }
    return 0;
}

__attribute__((constructor)) static void open_shared(void) {
    const char *path = getenv("ANYLLM_FAIL_AT");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    dl_iterate_phdr(find_libuv, NULL);
    void *p = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p != MAP_FAILED) shared = p;
}

static bool is_spared(const void *caller) {
    for (size_t i = 0; i < nspared; i++)
        if ((uintptr_t)caller >= spared[i][0] && (uintptr_t)caller < spared[i][1]) return true;
    return false;
}

static bool fails(const void *caller) {
    struct failing *f = shared;
    if (f == NULL || is_spared(caller)) return false;
    uint64_t n = atomic_fetch_add(&f->count, 1) + 1, at = atomic_load(&f->fail_at);
    if (at == 0 || n < at || n >= at + atomic_load(&f->in_row)) return false;
    atomic_fetch_add(&f->failed, 1);
    errno = ENOMEM;
    return true;
}

#define CALLER __builtin_return_address(0)

__attribute__((visibility("default"))) void *malloc(size_t bytes) {
    return fails(CALLER) ? NULL : REAL(malloc)(bytes);
}

__attribute__((visibility("default"))) void *calloc(size_t n, size_t bytes) {
    return fails(CALLER) ? NULL : REAL(calloc)(n, bytes);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t bytes) {
    return fails(CALLER) ? NULL : REAL(realloc)(p, bytes);
}

/* The sanitizer looks for leaks at the end, which it cannot in a process that is not dumpable. */
__attribute__((visibility("default"))) int prctl(int option, ...) {
    (void)option;
    return 0;
}
