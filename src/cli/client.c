/* The way to the server: its address, and which key may go there. */
#include "base/loopback.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

bool cli_is_set(const char *name) {
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static bool has_fal_key(void) {
    return cli_is_set("FAL_KEY") || (cli_is_set("FAL_KEY_ID") && cli_is_set("FAL_KEY_SECRET"));
}

#define UNIX "unix:"

static bool is_unix(const char *base) {
    return strncmp(base, UNIX, strlen(UNIX)) == 0 && base[strlen(UNIX)] != '\0';
}

static bool is_loopback(const char *base) {
    return strncmp(base, UNIX, strlen(UNIX)) == 0 || loopback_is_url(slice_of(base));
}

/* The user's key for fal goes to fal, or where the user said FAL_… is: never to a server named by
 * --base alone. NULL lets libfal take FAL_KEY. A loopback server without keys takes any credentials
 * but wants some. */
static const char *credentials(const struct cli_args *args) {
    if (strcmp(args->base, FAL_BASE_FAL) == 0) {
        return NULL;
    }
    if (cli_is_set("ANYLLM_KEY")) {
        return getenv("ANYLLM_KEY");
    }
    if (args->base_from_fal && has_fal_key()) {
        return NULL;
    }
    return is_loopback(args->base) ? "local" : "";
}

const char *cli_unix_socket(const struct cli_args *args) {
    return is_unix(args->base) ? args->base + strlen(UNIX) : NULL;
}

bool cli_is_loopback(const struct cli_args *args) {
    return is_loopback(args->base);
}

bool cli_authorization(const struct cli_args *args, char *line, size_t room) {
    const char *key = credentials(args);
    int n;
    if (key != NULL || cli_is_set("FAL_KEY")) {
        n = snprintf(line, room, "Authorization: Key %s", key != NULL ? key : getenv("FAL_KEY"));
    } else {
        n = snprintf(line, room, "Authorization: Key %s:%s", getenv("FAL_KEY_ID"),
                     getenv("FAL_KEY_SECRET"));
    }
    return (key == NULL || key[0] != '\0') && n > 0 && (size_t)n < room;
}

fal_client *cli_client(struct cli_args *args, int *code) {
    fal_client *client = NULL;
    struct fal_options o = FAL_OPTIONS_INIT;
    if (!cli_reach(args, code)) {
        return NULL;
    }
    if (strcmp(args->base, FAL_BASE_FAL) == 0 && !has_fal_key()) {
        *code = cli_usage_error(args->command, "fal wants a key: set FAL_KEY");
        return NULL;
    }
    o.credentials = credentials(args);
    o.unix_socket = cli_unix_socket(args);
    o.base_url = o.unix_socket != NULL ? "http://localhost" : args->base;
    o.user_agent = "anyllm/" ANYLLM_VERSION;
    o.no_connect_retry = true;
    enum fal_code rc = fal_client_new(&o, &client);
    if (rc == FAL_ERR_ARGUMENT) {
        *code = cli_usage_error(
            args->command, "'%s' is no address of a server (http://HOST:PORT, unix:PATH, or fal)",
            args->base);
    } else if (rc != FAL_OK) {
        cli_usage_error(args->command, "%s", fal_strerror(rc));
        *code = CLI_FAILED;
    }
    return client;
}
