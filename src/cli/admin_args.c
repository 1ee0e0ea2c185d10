/* Actions and options of the operator's commands. */
#include "cli/admin.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEYS (ADMIN_KEYS_CREATE | ADMIN_KEYS_LIST | ADMIN_KEYS_REVOKE)
#define WEBHOOKS (ADMIN_WEBHOOKS_LIST | ADMIN_WEBHOOKS_REPLAY)
#define EVERY (KEYS | ADMIN_USAGE | WEBHOOKS | ADMIN_QUEUE | ADMIN_BACKUP)

static const struct {
    enum admin_action bit;
    const char *command, *action; /* action NULL: the command has no others */
    const char *operand;          /* NULL: takes none */
} actions[] = {{ADMIN_KEYS_CREATE, "keys", "create", NULL},
               {ADMIN_KEYS_LIST, "keys", "list", NULL},
               {ADMIN_KEYS_REVOKE, "keys", "revoke", "KEY-ID"},
               {ADMIN_USAGE, "usage", NULL, NULL},
               {ADMIN_WEBHOOKS_LIST, "webhooks", "list", NULL},
               {ADMIN_WEBHOOKS_REPLAY, "webhooks", "replay", "REQUEST-ID"},
               {ADMIN_QUEUE, "queue", NULL, NULL},
               {ADMIN_BACKUP, "backup", NULL, "FILE"}};
#define ACTION_COUNT (sizeof(actions) / sizeof(actions[0]))

#define AT(member) offsetof(struct admin_args, member)

static const struct row {
    const char *name;
    const char *value; /* NULL: takes none */
    unsigned actions;
    size_t at;
    const char *help;
    bool closed; /* the value is one of those that stand there */
} options[] = {
    {"alias", "TEXT", ADMIN_KEYS_CREATE, AT(alias), "create: a label for people"},
    {"scope", "API|ADMIN", ADMIN_KEYS_CREATE, AT(scope),
     "create: what it opens (default API); ADMIN also the operator's routes", true},
    {"expires", "30d", ADMIN_KEYS_CREATE, AT(expires),
     "create: until when, as 90s, 15m, 12h, 30d or 2w from now (default: never)"},
    {"owner", "NAME", ADMIN_KEYS_CREATE | ADMIN_USAGE | WEBHOOKS, AT(owner),
     "whose requests, files and usage: of a new key (default local), or to choose by"},
    {"since", "7d|DATE", ADMIN_USAGE, AT(since),
     "from when, as 12h, 7d, 2026-11-20 or 2026-11-20T18:30, in UTC (default 30d)"},
    {"until", "DATE", ADMIN_USAGE, AT(until),
     "until when, this moment not included (default: now)"},
    {"key", "KEY-ID", ADMIN_USAGE, AT(key), "of this key only"},
    {"endpoint", "ID", ADMIN_USAGE, AT(endpoint), "of this endpoint only"},
    {"by", "day|endpoint|key|owner", ADMIN_USAGE, AT(by), "one line for each (default day)", true},
    {"state", "dead|waiting|delivered|gone", ADMIN_WEBHOOKS_LIST, AT(state),
     "list: those in this state only", true},
    {"limit", "N", ADMIN_WEBHOOKS_LIST | ADMIN_QUEUE, AT(limit),
     "at most so many lines, up to 1000 (default 100; on a terminal as many as fit)"},
    {"once", NULL, ADMIN_QUEUE, AT(once), "print the table once, on a terminal too"},
    {"after", "N", ADMIN_WEBHOOKS_LIST, AT(after), "list: go on where the last list ended"},
    {"all", NULL, ADMIN_KEYS_LIST | ADMIN_WEBHOOKS_REPLAY, AT(all),
     "list: revoked keys too; replay: all dead ones"},
    {"data", "DIR", EVERY, AT(data), "the server's data folder (default: as anyllm serve)"},
    {"config", "FILE", EVERY, AT(config), "the server's configuration (default: as anyllm serve)"},
    {"json", NULL, EVERY, AT(json), "print the server's JSON"},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

static unsigned bits_of(const char *command) {
    unsigned bits = 0;
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        bits |= strcmp(actions[i].command, command) == 0 ? (unsigned)actions[i].bit : 0U;
    }
    return bits;
}

bool admin_option(const char *command, size_t i, struct cli_option *out) {
    unsigned bits = bits_of(command);
    for (const struct row *r = options; r < options + OPTION_COUNT; r++) {
        if ((r->actions & bits) != 0 && i-- == 0) {
            *out = (struct cli_option){
                .value = r->value, .help = r->help, .words = r->closed ? r->value : NULL};
            snprintf(out->name, sizeof(out->name), "%s", r->name);
            return true;
        }
    }
    return false;
}

/* ---- Reading ---- */

/* Which were given, as bits; false: said why. */
static bool read_options(int argc, char **argv, struct admin_args *args, unsigned *given) {
    struct option longs[OPTION_COUNT + 1] = {0};
    unsigned bits = bits_of(args->command);
    size_t n = 0;
    int i;
    for (size_t o = 0; o < OPTION_COUNT; o++) {
        if ((options[o].actions & bits) != 0) {
            int has = options[o].value != NULL ? required_argument : no_argument;
            longs[n++] = (struct option){options[o].name, has, NULL, (int)o + 1};
        }
    }
    opterr = 0;
    optind = 1;
    while ((i = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
        if (i == ':' || i == '?') {
            cli_usage_error(args->command,
                            i == ':' ? "%s needs a value"
                                     : "there is no option '%s'; --help lists them",
                            argv[optind - 1]);
            return false;
        }
        if (optarg != NULL && cli_refuse_secret(args->command, options[i - 1].name, optarg)) {
            return false;
        }
        char *place = (char *)args + options[i - 1].at;
        if (options[i - 1].value != NULL) {
            *(const char **)(void *)place = optarg;
        } else {
            *(bool *)(void *)place = true;
        }
        *given |= 1U << (i - 1);
    }
    return true;
}

static int find_action(const char *command, const char *name) {
    for (size_t i = 0; i < ACTION_COUNT; i++) {
        if (strcmp(actions[i].command, command) == 0 &&
            (actions[i].action == NULL || (name != NULL && strcmp(actions[i].action, name) == 0))) {
            return (int)i;
        }
    }
    return -1;
}

static bool fits(const struct admin_args *args, const char *action, unsigned given) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((given >> i & 1) != 0 && (options[i].actions & (unsigned)args->action) == 0) {
            cli_usage_error(args->command, "%s takes no --%s", action, options[i].name);
            return false;
        }
    }
    return true;
}

#define LIMIT_MAX 1000U /* as the routes have it */

static bool makes_sense(const struct admin_args *args) {
    uint64_t n;
    if (args->limit != NULL && !slice_to_range(slice_of(args->limit), 1, LIMIT_MAX, &n)) {
        cli_usage_error(args->command, "--limit %s: wants a whole number from 1 to %u", args->limit,
                        LIMIT_MAX);
        return false;
    }
    if (args->action == ADMIN_BACKUP && args->operand[0] == '\0') {
        cli_usage_error(args->command, "the name of the FILE is empty");
        return false;
    }
    return true;
}

bool admin_parse(int argc, char **argv, struct admin_args *args, int *code) {
    unsigned given = 0;
    *args = (struct admin_args){.command = argv[0]};
    *code = CLI_USAGE;
    if (!read_options(argc, argv, args, &given)) {
        return false;
    }
    int i = find_action(args->command, argv[optind]);
    if (i < 0) {
        cli_usage(args->command);
        return false;
    }
    optind += actions[i].action != NULL;
    args->action = actions[i].bit;
    if (!fits(args, actions[i].action != NULL ? actions[i].action : args->command, given)) {
        return false;
    }
    args->operand = argv[optind]; /* NULL at the end */
    bool wanted = actions[i].operand != NULL && !args->all;
    if ((args->operand != NULL) != wanted || argc - optind > 1) {
        cli_usage(args->command);
        return false;
    }
    return makes_sense(args);
}

/* ---- Times ---- */

bool admin_duration(const char *text, int64_t *seconds) {
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    struct slice s = slice_of(text);
    uint64_t n;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && s.len > 1; i++) {
        if (s.ptr[s.len - 1] == units[i].unit &&
            slice_to_range(slice_make(s.ptr, s.len - 1), 1, 3000000000U, &n)) {
            *seconds = (int64_t)n * units[i].seconds;
            return true;
        }
    }
    return false;
}

bool admin_time_of(const char *text, int64_t now_s, int64_t *unix_s) {
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S",
                                        "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"};
    int64_t ago;
    if (admin_duration(text, &ago)) {
        *unix_s = now_s > ago ? now_s - ago : 0;
        return true;
    }
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm t = {0};
        const char *end = strptime(text, forms[i], &t);
        if (end != NULL && *end == '\0' && strlen(text) >= 10) {
            *unix_s = (int64_t)timegm(&t);
            return *unix_s >= 0;
        }
    }
    return false;
}
