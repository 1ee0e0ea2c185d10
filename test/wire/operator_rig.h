/* A data folder, a server on it, and the operator's commands as people run them. */
#ifndef ANYLLM_TEST_WIRE_OPERATOR_RIG_H
#define ANYLLM_TEST_WIRE_OPERATOR_RIG_H

#include "calls.h"
#include "client/program.h"

/* Of the test that runs: its server, its folder, in which are data/ and the configuration. */
extern struct server server;
extern char folder[MAX_PATH], data[MAX_PATH + 8], file[MAX_PATH + 16];
extern char config[1024]; /* of the suite: its text */

/* Set-up and teardown of each test. */
int begin(void **state);
int end(void **state);
void serve(void);
void kill_server(void); /* SIGKILL */

/* Starts it in the test's folder; its standard output goes to `out`, or into p->out when that is negative. */
void command_to(struct program *p, int out, char *const *argv);
void command(struct program *p, char *const *argv);
#define COMMAND(p, ...) (command((p), ARGV(__VA_ARGS__, "--config", file)), program_end(p))
/* program_end for one that might go on for ever. */
void program_ends(struct program *p);
void expect_code(const struct program *p, int code);

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

#endif
