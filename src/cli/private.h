/* The private server's places, and how it is started. */
#ifndef ANYLLM_CLI_PRIVATE_H
#define ANYLLM_CLI_PRIVATE_H

#include "cli/cli.h"

#include <limits.h>

#define PRIVATE_SOCKET_BYTES 108 /* sun_path */

struct private_place {
    char socket[PRIVATE_SOCKET_BYTES];
    char lock[PATH_MAX];                /* held by the command that starts it */
    char data[PATH_MAX], log[PATH_MAX]; /* "" without a home folder */
};

enum private_state {
    PRIVATE_NONE,    /* nobody listens */
    PRIVATE_LOADING, /* it listens, and cannot answer yet */
    PRIVATE_READY
};

/* Asks it how it is: an exchange, after which it stays for its whole time of idleness. */
enum private_state private_look(const char *socket_path);
/* Waits until it is ready, after starting it if nobody listens: one of several commands does, the others wait for it. 0, or an
 * exit code when it has said why not. */
int private_start(const struct cli_args *args, const struct private_place *place);

#endif
