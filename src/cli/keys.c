/* anyllm keys: makes, lists and revokes the keys that a server keeps in its store. */
#include "cli/admin.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_MAX_BYTES 65536U

static const char *text_of(yyjson_val *object, const char *name) {
    const char *text = yyjson_get_str(yyjson_obj_get(object, name));
    return text != NULL ? text : "";
}

/* ---- create ---- */

static void add_member(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *name,
                       const char *value) {
    if (value != NULL) {
        yyjson_mut_obj_add_str(doc, root, name, value);
    }
}

/* False: an option is not UTF-8. */
static bool make_request(const struct admin_args *args, int64_t expires_s, struct buf *out) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    add_member(doc, root, "alias", args->alias);
    add_member(doc, root, "owner", args->owner);
    add_member(doc, root, "scope", args->scope);
    if (args->expires != NULL) {
        yyjson_mut_obj_add_sint(doc, root, "expires_in", expires_s);
    }
    char *json = yyjson_mut_write(doc, 0, NULL);
    bool ok = json != NULL && buf_puts(out, json);
    free(json);
    yyjson_mut_doc_free(doc);
    return ok;
}

/* The key alone on stdout, so that a script can keep it; what people want to know beside it. */
static void print_created(yyjson_val *key) {
    const char *expires = text_of(key, "expires_at");
    puts(text_of(key, "key"));
    fflush(stdout);
    fprintf(stderr, "Made key %s of owner ", text_of(key, "key_id"));
    cli_print_text(stderr, text_of(key, "owner"), false);
    fprintf(stderr, ", scope %s, ", text_of(key, "scope"));
    fprintf(stderr, expires[0] != '\0' ? "until %.19sZ.\n" : "for good.\n", expires);
    fputs(
        "The line above is the key. It is shown this once: the server keeps only its hash. Use it as\n"
        "FAL_KEY for fal's clients, as ANYLLM_KEY for anyllm, or in a header:\n"
        "Authorization: Key ID:SECRET\n",
        stderr);
    if (yyjson_is_true(yyjson_obj_get(key, "first"))) {
        fputs("This is the server's first key: from now on it serves nobody without one.\n",
              stderr);
    }
}

static int create(const struct admin_args *args, struct admin *a) {
    struct buf body;
    int64_t expires_s = 0;
    int code;
    if (args->expires != NULL && !admin_duration(args->expires, &expires_s)) {
        return cli_usage_error(args->command, "--expires '%s': wants a time such as 12h or 30d",
                               args->expires);
    }
    buf_init(&body, REQUEST_MAX_BYTES);
    if (!make_request(args, expires_s, &body)) {
        buf_free(&body);
        return cli_usage_error(args->command, "an option is too long or not UTF-8 text");
    }
    yyjson_doc *answer = admin_ask(a, "POST", "/admin/keys", &body, &code);
    buf_free(&body);
    if (answer != NULL && !admin_print_json(args, answer)) {
        print_created(yyjson_doc_get_root(answer));
    }
    yyjson_doc_free(answer);
    return code;
}

/* ---- list ---- */

static void print_list(const struct admin_args *args, yyjson_val *keys) {
    static const char *const heads[] = {"KEY ID", "ALIAS",   "OWNER",   "SCOPE",
                                        "STATE",  "CREATED", "EXPIRES", "SOURCE"};
    struct columns t;
    yyjson_val *key;
    size_t i, n;
    columns_begin(&t, heads, sizeof(heads) / sizeof(heads[0]), 0);
    yyjson_arr_foreach(keys, i, n, key) {
        if (!args->all && strcmp(text_of(key, "state"), "revoked") == 0) {
            continue;
        }
        columns_add(&t, text_of(key, "key_id"));
        columns_add(&t, text_of(key, "alias"));
        columns_add(&t, text_of(key, "owner"));
        columns_add(&t, text_of(key, "scope"));
        columns_add(&t, text_of(key, "state"));
        columns_add_cut(&t, text_of(key, "created_at"), 16);
        columns_add_cut(&t, text_of(key, "expires_at"), 16);
        columns_add(&t, text_of(key, "source"));
    }
    columns_print(&t, stdout);
}

static int list(const struct admin_args *args, struct admin *a) {
    int code;
    yyjson_doc *answer = admin_ask(a, "GET", "/admin/keys", NULL, &code);
    if (answer != NULL && !admin_print_json(args, answer)) {
        print_list(args, yyjson_obj_get(yyjson_doc_get_root(answer), "keys"));
    }
    yyjson_doc_free(answer);
    return code;
}

/* ---- revoke ---- */

static int revoke(const struct admin_args *args, struct admin *a) {
    static const char letters[] =
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_.";
    char path[512];
    int code, n = snprintf(path, sizeof(path), "/admin/keys/%s", args->operand);
    if (strspn(args->operand, letters) != strlen(args->operand) || n >= (int)sizeof(path)) {
        return cli_usage_error(args->command,
                               "that is no id of a key: anyllm keys list shows them");
    }
    yyjson_doc *answer = admin_ask(a, "DELETE", path, NULL, &code);
    if (answer != NULL && !admin_print_json(args, answer)) {
        printf("revoked %s\n", args->operand);
    }
    yyjson_doc_free(answer);
    return code;
}

int cmd_keys(int argc, char **argv) {
    struct admin_args args;
    int code;
    if (!admin_parse(argc, argv, &args, &code)) {
        return code;
    }
    struct admin *a = admin_open(&args, &code);
    if (a != NULL) {
        code = args.action == ADMIN_KEYS_CREATE ? create(&args, a)
               : args.action == ADMIN_KEYS_LIST ? list(&args, a)
                                                : revoke(&args, a);
    }
    admin_close(a);
    int flushed = cli_flush(args.command);
    return code != 0 ? code : flushed;
}
