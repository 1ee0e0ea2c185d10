/* Keys do not belong into argv: ps shows it to everybody, and the shell's history keeps it. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SECRET_BYTES 20 /* a run of so many letters and digits behind an id is no word */

/* What the user has in the environment, as that is where it belongs. */
static bool holds_own_key(const char *text) {
    static const char *const variables[] = {"FAL_KEY", "FAL_KEY_SECRET", "ANYLLM_KEY",
                                            "OPENROUTER_API_KEY"};
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const char *key = getenv(variables[i]);
        if (key != NULL && strlen(key) >= 8 && strstr(text, key) != NULL) {
            return true;
        }
    }
    return false;
}

static size_t run_of(const char *text, const char *also) {
    size_t n = 0;
    while (text[n] != '\0' && (isalnum((unsigned char)text[n]) || strchr(also, text[n]) != NULL)) {
        n++;
    }
    return n;
}

/* "key-id:key-secret", anywhere. */
static bool holds_pair(const char *text) {
    for (const char *colon = strchr(text, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
        bool id = colon > text && isalnum((unsigned char)colon[-1]);
        if (id && run_of(colon + 1, "_-") >= SECRET_BYTES) {
            return true;
        }
    }
    return false;
}

/* A header that carries nothing else. */
static bool is_secret_header(const char *line) {
    static const char *const names[] = {"authorization", "proxy-authorization", "cookie",
                                        "x-api-key", "api-key"};
    size_t len = strcspn(line, ": ");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (len == strlen(names[i]) && strncasecmp(line, names[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* "http://id:secret@host" */
static bool has_user(const char *address) {
    const char *host = strstr(address, "://");
    size_t len = host != NULL ? strcspn(host + 3, "/?#") : 0;
    return len > 0 && memchr(host + 3, '@', len) != NULL;
}

static bool is_secret(const char *option, const char *text) {
    const char *name = option != NULL ? option : "";
    if (holds_own_key(text)) {
        return true;
    }
    if (strcmp(name, "header") == 0) {
        return is_secret_header(text) || holds_pair(text + strcspn(text, ": "));
    }
    if (strcmp(name, "base") == 0) {
        return has_user(text);
    }
    return strcmp(name, "key") == 0 && holds_pair(text);
}

bool cli_refuse_secret(const char *command, const char *option, const char *text) {
    if (!is_secret(option, text)) {
        return false;
    }
    cli_usage_error(command,
                    "%s%s holds a key, and every user of this machine can read the command line: "
                    "set ANYLLM_KEY, or FAL_KEY for fal (and make a new key: this one was seen)",
                    option != NULL ? "--" : "an argument", option != NULL ? option : "");
    return true;
}
