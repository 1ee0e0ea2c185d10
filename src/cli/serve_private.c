/* What makes `serve` the private server of the client commands (see private.c). */
#include "cli/serve.h"

#include <errno.h>
#include <unistd.h>

static bool is_relative(const char *path) {
    return path != NULL && path[0] != '/';
}

/* Nobody's folder is held by a server that he does not see; unless a file is looked for from there. */
static void leave_folder(const struct config *c) {
    bool stays = is_relative(c->local_model) || is_relative(c->catalogue_file);
    for (size_t i = 0; i < c->nupstreams && !stays; i++) {
        const struct config_upstream *u = &c->upstreams[i];
        stays = is_relative(u->model_file) || is_relative(u->engine) || is_relative(u->ca_file);
    }
    if (!stays && chdir("/") != 0) log_line(LOG_WARN, "chdir", "errno=%d", errno);
}

/* One user's own server, which nobody else can reach: the configuration of `serve` says who answers, and not who may ask or
 * from where. */
void serve_make_private(struct config *c) {
    c->nkeys = 0;
    c->nlisten_tls = 0;
    c->public_url = NULL;
    leave_folder(c);
}
