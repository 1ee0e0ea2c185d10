#include "llm/calibrate.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* First line of `file` that begins with `key`, its part after the colon; false when there is none. */
static bool read_field(const char *file, const char *key, char *out, size_t size) {
    char line[512];
    bool found = false;
    FILE *f = fopen(file, "re");
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL) continue;
        struct slice v = slice_of(colon + 1);
        while (v.len > 0 && v.ptr[v.len - 1] == '\n') v.len--;
        v = slice_trim(v);
        snprintf(out, size, "%.*s", SLICE_ARG(v));
        found = true;
    }
    if (f != NULL) fclose(f);
    return found;
}

static uint64_t free_bytes(void) {
    char text[64];
    uint64_t kib;
    struct slice rest;
    if (!read_field("/proc/meminfo", "MemAvailable", text, sizeof text)) return 0;
    return slice_to_u64(slice_cut(slice_of(text), ' ', &rest), &kib) && kib < UINT64_MAX / 1024
               ? kib * 1024
               : 0;
}

/* A container's share of CPU time, in cores rounded up; UINT_MAX when it is not limited. */
static unsigned quota_cores(void) {
    char path[PATH_MAX], group[512];
    unsigned long long quota, period;
    if (!read_field("/proc/self/cgroup", "0::", group, sizeof group)) return UINT_MAX;
    const char *name = strchr(group, ':') != NULL ? strchr(group, ':') + 1 : group;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", name);
    FILE *f = fopen(path, "re");
    if (f == NULL) f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f == NULL) return UINT_MAX;
    int n = fscanf(f, "%15llu %15llu", &quota, &period);
    fclose(f);
    if (n != 2 || period == 0) return UINT_MAX;
    unsigned long long cores = (quota + period - 1) / period;
    return cores == 0 ? 1 : cores > 4096 ? 4096 : (unsigned)cores;
}

/* Of the threads of one core only the first counts. */
static bool is_first_of_core(unsigned cpu) {
    char path[128];
    unsigned first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    if (f == NULL) return true;
    if (fscanf(f, "%9u", &first) != 1) first = cpu;
    fclose(f);
    return first == cpu;
}

bool machine_cpu_time(uint64_t *idle, uint64_t *total) {
    unsigned long long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL) return false;
    int n = fscanf(f, "cpu %20llu %20llu %20llu %20llu %20llu %20llu %20llu %20llu", &t[0], &t[1],
                   &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);
    fclose(f);
    *idle = t[3] + t[4];
    *total = 0;
    for (size_t i = 0; i < 8; i++) *total += t[i];
    return n >= 5;
}

void machine_read(struct machine *m) {
    cpu_set_t set;
    unsigned limit = quota_cores();
    *m = (struct machine){.free_bytes = free_bytes()};
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (unsigned i = 0; i < CPU_SETSIZE; i++) {
            if (!CPU_ISSET(i, &set)) continue;
            m->cores++;
            if (is_first_of_core(i)) m->physical++;
        }
    }
    if (m->cores > limit) m->cores = limit;
    if (m->cores == 0) m->cores = 1;
    if (m->physical > m->cores || m->physical == 0) m->physical = m->cores;
    if (!read_field("/proc/cpuinfo", "model name", m->cpu, sizeof m->cpu))
        read_field("/proc/cpuinfo", "CPU part", m->cpu, sizeof m->cpu);
}

/* 0.1 ms: longer than the threads of a small model wait for each other when each has a core; where sleeping is dear
 * (virtual machines) it is 5 times as fast. Where others want the cores too, the turns are lost at each of some hundred
 * barriers per token: with 1 ms of them an engine of 100 tokens/s made 4, with 20 us it made 30. So the short one is
 * taken where it is as good, and the long one where nothing is known. */
#define SPIN_LONG 10000U
#define SPIN_SHORT 2000U

struct engine_tuning calibrate_default(const struct machine *m) {
    return (struct engine_tuning){m->cores, m->cores, m->cores > 1 ? SPIN_LONG : 0};
}

static size_t add(struct engine_tuning *out, size_t n, unsigned threads, unsigned batch,
                  unsigned spin) {
    if (n == CALIBRATE_MAX_CANDIDATES || threads == 0) return n;
    for (size_t i = 0; i < n; i++)
        if (out[i].threads == threads && out[i].batch_threads == batch && out[i].spin == spin)
            return n;
    out[n] = (struct engine_tuning){threads, batch, spin};
    return n + 1;
}

/* Small models are faster on a part of a large machine: half of it or eight cores are tried. */
size_t calibrate_candidates(const struct machine *m,
                            struct engine_tuning out[CALIBRATE_MAX_CANDIDATES]) {
    if (m->cores == 1) {
        out[0] = calibrate_default(m);
        return 1;
    }
    size_t n = add(out, 0, m->cores, m->cores, SPIN_SHORT);
    n = add(out, n, m->cores, m->cores, SPIN_LONG);
    n = add(out, n, 1, m->cores, 0);
    n = add(out, n, m->cores, m->cores, 0);
    n = add(out, n, m->physical, m->physical, SPIN_LONG);
    if (m->physical >= 8)
        n = add(out, n, m->physical > 16 ? 8 : m->physical / 2, m->physical, SPIN_LONG);
    return n;
}
