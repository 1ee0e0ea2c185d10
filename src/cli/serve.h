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
    EXIT_IO = 74,
    EXIT_CONFIG = 78
};

#define SERVE_HOST_BYTES 256

/* One line on stderr that says what is wrong and what to do. Returns `code`. */
int serve_refuse(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Before anything is opened or read. */
void serve_prepare_process(void);
/* Whether as many threads can be started as will be: libuv ends the process without a word when one of its cannot. 0, or an
 * exit code after serve_refuse. */
int serve_check_threads(void);

/* Makes the folder if it is missing, locks it, reads (or draws) the id of this node. While another server has the lock it is
 * waited for, at most so long; signals end the process meanwhile. 0, or an exit code after serve_refuse. *lock_fd holds the
 * lock until it is closed. */
int serve_open_data(const char *path, uint32_t wait_s, int *lock_fd, char node[UUID_BYTES]);

/* What serve_open_data does of it, without a word: 0 or a negative errno (-EWOULDBLOCK: another process has the lock). */
int serve_make_folders(const char *path);
int serve_lock(const char *path, int *lock_fd);

/* DATA/NAME as what bind and connect take: a long path is gone through the folder's descriptor, which is left in *dir and has
 * to stay open as long as the socket. False with errno. */
#define SERVE_SOCKET_BYTES 108
bool serve_socket_path(const char *data_dir, const char *name, int *dir,
                       char out[SERVE_SOCKET_BYTES]);
#define SERVE_ADMIN_SOCKET "admin.sock"

/* --- serve_listen.c */
struct net_server;
struct net_tls_server;

/* "unix:/path" gives "/path"; NULL for every other address. */
const char *serve_socket_of(const char *address);
/* Listens on the admin socket and all addresses, and says so. 0, or an exit code after serve_refuse. *data_fd as of
 * serve_socket_path. */
int serve_listen(const struct config *c, struct net_server *http, struct net_tls_server *tls,
                 int *data_fd);
/* False when the file of a Unix socket that is listened on was removed by somebody else: nobody can come any more. */
bool serve_sockets_there(const struct config *c);

/* --- serve_private.c: takes out of a configuration what is not for a private server. */
void serve_make_private(struct config *c);

/* Each address is one. 0, or an exit code after serve_refuse. */
int serve_check_listen(const struct config *c);
/* Only loopback addresses when there are no keys, neither in the configuration nor (`stored`) in the store. For --check, which
 * does not look into the store, serve_may_hold_keys says whether there can be any. */
int serve_check_open(const struct config *c, bool stored);
bool serve_may_hold_keys(const char *data_dir);
/* "localhost:8787" gives 127.0.0.1, "[::1]:8787" gives ::1. False for what is no address with a port. */
bool serve_split_address(const char *text, char host[SERVE_HOST_BYTES], uint16_t *port);

/* --- serve_operator.c: the small server of an operator's command where no other runs, in a process of its own that holds the
 * folder's lock. Listens on `socket_name` in the data folder, then writes one byte to ready_fd; ends with SIGTERM. Returns 0, or
 * 1 when it has said why it cannot. */
int serve_operator(const struct config *c, const char *socket_name, int ready_fd);

#endif
