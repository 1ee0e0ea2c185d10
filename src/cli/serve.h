/* Private to `serve`: what has to be right before its rooms can be built. */
#ifndef ANYLLM_CLI_SERVE_H
#define ANYLLM_CLI_SERVE_H

#include "base/config.h"
#include "base/random.h"

enum serve_exit {
    EXIT_USAGE = 64,
    EXIT_MODEL = 66,
    EXIT_PORT = 69,
    EXIT_SYSTEM = 71,
    EXIT_DATA = 73,
    EXIT_CONFIG = 78
};

#define SERVE_HOST_BYTES 256

/* One line on stderr that says what is wrong and what to do. Returns `code`. */
int serve_refuse(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Before anything is opened or read. */
void serve_prepare_process(void);

/* Makes the folder if it is missing, locks it, reads (or draws) the id of this node. 0, or an exit code after
 * serve_refuse. *lock_fd holds the lock until it is closed. */
int serve_open_data(const char *path, int *lock_fd, char node[UUID_BYTES]);

/* Each address is one, and only loopback ones when there are no keys. 0, or an exit code after serve_refuse. */
int serve_check_listen(const struct config *c);
/* "localhost:8787" gives 127.0.0.1, "[::1]:8787" gives ::1. False for what is no address with a port. */
bool serve_split_address(const char *text, char host[SERVE_HOST_BYTES], uint16_t *port);

#endif
