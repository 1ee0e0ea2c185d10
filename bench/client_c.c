/* client_c CALLS CONNECTIONS: so many direct calls through libfal to $FAL_BASE_URL, so many at once over one client.
 * Says "answered" when the first answer is there; at the end "per_second= cpu_us= rss_kb=" of all of them, the start left
 * out. client.mjs and client.py do the same with fal's own clients. */
#include <fal.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define INPUT "{\"model\":\"openai/gpt-4o-mini\",\"prompt\":\"What is the meaning of life?\"}"

static fal_client *client;
static long left, failed;

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void start_one(void);

static void answered(enum fal_code code, fal_result *result, void *user) {
    (void)user;
    failed += code != FAL_OK || fal_result_string(result, "/output") == NULL;
    fal_result_free(result);
    if (left > 0) start_one();
}

static void start_one(void) {
    struct fal_done done = {answered, NULL};
    left--;
    if (fal_run_start(client, "fal-ai/any-llm", INPUT, NULL, done, NULL) != FAL_OK) exit(1);
}

static void first(void) {
    fal_result *result = NULL;
    if (fal_run(client, "fal-ai/any-llm", INPUT, NULL, &result) != FAL_OK) {
        fprintf(stderr, "%s\n", fal_result_error(result)->message);
        exit(1);
    }
    fal_result_free(result);
    puts("answered");
    fflush(stdout);
}

static void print_figures(long calls, double seconds, double cpu) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("per_second=%.0f cpu_us=%.1f rss_kb=%ld failed=%ld\n", (double)calls / seconds,
           cpu / (double)calls * 1e6, u.ru_maxrss, failed);
}

int main(int argc, char **argv) {
    long calls = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    long at_once = argc > 2 ? strtol(argv[2], NULL, 10) : 1;
    if (fal_client_new(NULL, &client) != FAL_OK) return 1;
    first();
    if (calls > 0) {
        double began = now_s(), cpu = cpu_s();
        left = calls;
        for (long i = 0; i < at_once && left > 0; i++) start_one();
        while (fal_client_pending(client) > 0)
            if (fal_client_wait(client, -1) != FAL_OK) return 1;
        print_figures(calls, now_s() - began, cpu_s() - cpu);
    }
    fal_client_free(client);
    return failed != 0;
}
