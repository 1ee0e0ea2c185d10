/* How the engine runs fastest on this machine: found once by trying, kept in the cache folder.
 *
 * The threads of an engine meet at hundreds of barriers per token. Whether they wait there awake or asleep, and how many
 * of them there are, decides the speed (33 or 188 tokens a second on two cores); which is best depends on the machine
 * and on how the engine was built. So each candidate runs for a moment, in turns, and the best of its rounds counts. */
#ifndef ANYLLM_LLM_CALIBRATE_H
#define ANYLLM_LLM_CALIBRATE_H

#include "base/secret.h"
#include "llm/engine_setup.h"
#include "net/loop.h"

#define CALIBRATE_MAX_CANDIDATES 6U
#define CALIBRATE_STREAMS 8U /* of the second measurement, or the slots when they are fewer */

/* --- the machine --- */

struct machine {
    unsigned cores, physical; /* that this process may use */
    char cpu[96];             /* the CPU's name, "" when it is not told */
    uint64_t free_bytes;      /* memory that can be had without swapping */
};
void machine_read(struct machine *m);
/* CPU time of the whole machine since it started, in ticks; false when it is not told. */
bool machine_cpu_time(uint64_t *idle, uint64_t *total);

/* What is used without a finding: all cores, waiting awake. */
struct engine_tuning calibrate_default(const struct machine *m);
/* Worth trying here, first the one that bears other work on the cores best. Returns how many; 1: nothing to compare. */
size_t calibrate_candidates(const struct machine *m,
                            struct engine_tuning out[CALIBRATE_MAX_CANDIDATES]);

/* --- the finding --- */

struct finding {
    struct engine_tuning tuning;
    double tokens_per_s_one, tokens_per_s_many; /* 1 stream, CALIBRATE_STREAMS */
};
struct finding_key {
    const char *cache_dir, *program, *model_file;
    unsigned slots;
    const struct machine *machine;
};
/* The finding for this engine, model (both by path, size and time of change) and CPU. False: there is none. */
bool finding_load(const struct finding_key *k, struct finding *out);
/* 0 or an errno. Readers see the old file or the whole new one. */
int finding_save(const struct finding_key *k, const struct finding *f);

/* --- finding it --- */

/* Which of the measured candidates to use: the fastest, one caller and many counting alike; but the first one unless
 * another is clearly faster. Rates of 0: not measured. n when none was. */
size_t calibrate_choose(const struct finding *measured, size_t n);

struct calibration;

struct calibrate_result {
    bool ok; /* finding holds something better than a guess */
    bool
        steady; /* rounds agreed: worth keeping. Else the machine was busy; the finding serves until the next start */
    struct finding finding;
    int signal; /* not ok: what ended the last of the engines, 0 when none was ended by a signal */
    const char *text; /* not ok: why, one line; valid during the call */
};

struct calibrate_options {
    struct net_loop *loop;
    struct engine_launch
        launch;               /* socket and tuning are not looked at; strings live until on_end */
    const char *run_dir;      /* lives until on_end */
    unsigned number;          /* keeps the sockets of several calibrations apart */
    const struct secret *key; /* lives until on_end */
    const struct machine *machine;
    uint64_t model_bytes;
    uint32_t limit_ms;   /* 0: 15 s */
    bool even_when_busy; /* for tests: compare on a machine whose cores are taken, too */
    /* Exactly once, never before calibrate_start has returned; every child has ended by then. */
    void (*on_end)(void *user, const struct calibrate_result *r);
    void *user;
};

/* NULL: nothing to compare, or not enough memory for it (then *why, static, says so); on_end will not be called. */
struct calibration *calibrate_start(const struct calibrate_options *o, const char **why);
/* Ends it early; on_end follows with ok false. */
void calibrate_stop(struct calibration *c);

#endif
