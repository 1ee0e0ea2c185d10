/* anyllm webhooks: how deliveries stand, and dead ones tried again. */
#include "cli/admin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 8192U

static const char *text_of(yyjson_val *object, const char *name) {
    return yyjson_get_str(yyjson_obj_get(object, name));
}

/* ---- list ---- */

static void add_number(struct columns *t, yyjson_val *v) {
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, yyjson_get_uint(v));
    columns_add(t, yyjson_is_uint(v) ? text : NULL);
}

static void print_list(yyjson_val *root) {
    static const char *const heads[] = {"REQUEST ID", "STATE", "TRIES", "STATUS", "NEXT TRY",
                                        "ENDED",      "OWNER", "URL",   "ERROR"};
    struct columns t;
    yyjson_val *w, *next = yyjson_obj_get(root, "next");
    size_t i, n;
    columns_begin(&t, heads, sizeof(heads) / sizeof(heads[0]), 12);
    yyjson_arr_foreach(yyjson_obj_get(root, "webhooks"), i, n, w) {
        columns_add(&t, text_of(w, "request_id"));
        columns_add(&t, text_of(w, "state"));
        add_number(&t, yyjson_obj_get(w, "attempts"));
        add_number(&t, yyjson_obj_get(w, "last_status"));
        columns_add_cut(&t, text_of(w, "due_at"), 19);
        columns_add_cut(&t, text_of(w, "ended_at"), 19);
        columns_add(&t, text_of(w, "owner"));
        columns_add(&t, text_of(w, "url"));
        columns_add(&t, text_of(w, "last_error"));
    }
    columns_print(&t, stdout);
    if (yyjson_is_uint(next)) {
        fflush(stdout);
        fprintf(stderr, "There are older ones: --after %" PRIu64 "\n", yyjson_get_uint(next));
    }
}

static int list(const struct admin_args *args, struct admin *a) {
    struct buf path;
    int code = CLI_USAGE;
    yyjson_doc *answer = NULL;
    buf_init(&path, PATH_MAX_BYTES);
    buf_puts(&path, "/admin/webhooks");
    admin_add_query(&path, "state", args->state);
    admin_add_query(&path, "owner", args->owner);
    admin_add_query(&path, "after", args->after);
    admin_add_query(&path, "limit", args->limit);
    if (buf_addc(&path, '\0')) {
        answer = admin_ask(a, "GET", buf_slice(&path).ptr, NULL, &code);
    } else {
        cli_usage_error(args->command, "an option is too long");
    }
    if (answer != NULL && !admin_print_json(args, answer)) {
        print_list(yyjson_doc_get_root(answer));
    }
    yyjson_doc_free(answer);
    buf_free(&path);
    return code;
}

/* ---- replay ---- */

static bool make_request(const struct admin_args *args, struct buf *out) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    if (args->all) {
        yyjson_mut_obj_add_bool(doc, root, "all", true);
    } else {
        yyjson_mut_obj_add_str(doc, root, "id", args->operand);
    }
    if (args->owner != NULL) {
        yyjson_mut_obj_add_str(doc, root, "owner", args->owner);
    }
    char *json = yyjson_mut_write(doc, 0, NULL);
    bool ok = json != NULL && buf_puts(out, json);
    free(json);
    yyjson_mut_doc_free(doc);
    return ok;
}

static int replay(const struct admin_args *args, struct admin *a) {
    struct buf body;
    int code = CLI_USAGE;
    yyjson_doc *answer = NULL;
    buf_init(&body, PATH_MAX_BYTES);
    if (make_request(args, &body)) {
        answer = admin_ask(a, "POST", "/admin/webhooks/replay", &body, &code);
    } else {
        cli_usage_error(args->command, "an option is too long or not UTF-8 text");
    }
    if (answer != NULL && !admin_print_json(args, answer)) {
        uint64_t n = yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(answer), "replayed"));
        printf("%" PRIu64 " to be tried again\n", n);
    }
    yyjson_doc_free(answer);
    buf_free(&body);
    return code;
}

int cmd_webhooks(int argc, char **argv) {
    struct admin_args args;
    int code;
    if (!admin_parse(argc, argv, &args, &code)) {
        return code;
    }
    struct admin *a = admin_open(&args, &code);
    if (a != NULL) {
        code = args.action == ADMIN_WEBHOOKS_LIST ? list(&args, a) : replay(&args, a);
    }
    admin_close(a);
    int flushed = cli_flush(args.command);
    return code != 0 ? code : flushed;
}
