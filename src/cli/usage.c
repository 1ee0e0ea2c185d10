/* anyllm usage: what was used and what it cost. */
#include "cli/admin.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define PATH_MAX_BYTES 8192U

static bool add_time(const struct admin_args *args, struct buf *path, const char *option,
                     const char *name, const char *value) {
    int64_t at;
    char text[24];
    if (value == NULL) {
        return true;
    }
    if (!admin_time_of(value, (int64_t)time(NULL), &at)) {
        cli_usage_error(args->command, "--%s '%s': wants 7d, 2026-11-20 or 2026-11-20T18:30",
                        option, value);
        return false;
    }
    snprintf(text, sizeof(text), "%" PRId64, at);
    admin_add_query(path, name, text);
    return true;
}

static void add_number(struct columns *t, yyjson_val *row, const char *name) {
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, yyjson_get_uint(yyjson_obj_get(row, name)));
    columns_add(t, text);
}

/* Dollars; ? where not one row knows, + where some do not. */
static void add_money(struct columns *t, yyjson_val *row, const char *name, const char *unknown) {
    char text[48];
    yyjson_val *v = yyjson_obj_get(row, name);
    bool some = yyjson_get_uint(yyjson_obj_get(row, unknown)) > 0;
    snprintf(text, sizeof(text), "%.6f%s", yyjson_get_num(v), some ? "+" : "");
    columns_add(t, yyjson_is_num(v) ? text : some ? "?" : "0.000000");
}

/* What the rows are by: the member of the JSON, and its head. */
static const struct {
    const char *by, *member, *head;
} firsts[] = {{"day", "day", "DAY"},
              {"endpoint", "endpoint", "ENDPOINT"},
              {"key", "key_id", "KEY ID"},
              {"owner", "owner", "OWNER"}};

static void print_usage(const char *by, yyjson_val *rows) {
    const char *heads[] = {"",          "CALLS",      "ERRORS", "REFUSED",
                           "TOKENS IN", "TOKENS OUT", "COST $", "CHARGE $"};
    const char *member = "";
    struct columns t;
    yyjson_val *row;
    size_t i, n;
    for (i = 0; i < sizeof(firsts) / sizeof(firsts[0]); i++) {
        if (strcmp(by, firsts[i].by) == 0) {
            member = firsts[i].member;
            heads[0] = firsts[i].head;
        }
    }
    columns_begin(&t, heads, sizeof(heads) / sizeof(heads[0]), 0xFE);
    yyjson_arr_foreach(rows, i, n, row) {
        columns_add(&t, yyjson_get_str(yyjson_obj_get(row, member)));
        add_number(&t, row, "calls");
        add_number(&t, row, "errors");
        add_number(&t, row, "user_errors");
        add_number(&t, row, "prompt_tokens");
        add_number(&t, row, "completion_tokens");
        add_money(&t, row, "cost_usd", "costs_unknown");
        add_money(&t, row, "charge_usd", "charges_unknown");
    }
    columns_print(&t, stdout);
}

static int usage(const struct admin_args *args, struct admin *a, const char *path, const char *by) {
    int code;
    yyjson_doc *answer = admin_ask(a, "GET", path, NULL, &code);
    if (answer != NULL && !admin_print_json(args, answer)) {
        print_usage(by, yyjson_obj_get(yyjson_doc_get_root(answer), "usage"));
    }
    yyjson_doc_free(answer);
    return code;
}

static bool make_path(const struct admin_args *args, const char *by, struct buf *path) {
    buf_puts(path, "/admin/usage");
    admin_add_query(path, "by", by);
    admin_add_query(path, "owner", args->owner);
    admin_add_query(path, "key", args->key);
    admin_add_query(path, "endpoint", args->endpoint);
    bool ok = add_time(args, path, "since", "from", args->since != NULL ? args->since : "30d") &&
              add_time(args, path, "until", "to", args->until);
    buf_addc(path, '\0');
    if (ok && path->failed) {
        cli_usage_error(args->command, "an option is too long");
    }
    return ok && !path->failed;
}

int cmd_usage(int argc, char **argv) {
    struct admin_args args;
    struct buf path;
    struct admin *a = NULL;
    int code;
    if (!admin_parse(argc, argv, &args, &code)) {
        return code;
    }
    const char *by = args.by != NULL ? args.by : "day";
    buf_init(&path, PATH_MAX_BYTES);
    code = CLI_USAGE;
    if (make_path(&args, by, &path) && (a = admin_open(&args, &code)) != NULL) {
        code = usage(&args, a, buf_slice(&path).ptr, by);
    }
    admin_close(a);
    buf_free(&path);
    int flushed = cli_flush(args.command);
    return code != 0 ? code : flushed;
}
