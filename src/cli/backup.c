/* anyllm backup: a copy of the database, made by the server while it works. */
#include "cli/admin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_MAX_BYTES 65536U

/* As the server would understand it, whose folder is another one. Free it. */
static char *absolute(const char *path) {
    char *folder = path[0] == '/' ? strdup("") : getcwd(NULL, 0), *whole = NULL;
    if (folder == NULL || asprintf(&whole, "%s%s%s", folder, path[0] == '/' ? "" : "/", path) < 0) {
        whole = NULL;
    }
    free(folder);
    return whole;
}

static bool make_request(const char *path, struct buf *out) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "path", path);
    char *json = yyjson_mut_write(doc, 0, NULL);
    bool ok = json != NULL && buf_puts(out, json);
    free(json);
    yyjson_mut_doc_free(doc);
    return ok;
}

/* About once a second while the server works. */
static void show_progress(struct admin *a) {
    int code;
    yyjson_doc *answer = admin_ask(a, "GET", "/admin/backup", NULL, &code);
    yyjson_val *root = yyjson_doc_get_root(answer);
    uint64_t done = yyjson_get_uint(yyjson_obj_get(root, "done_pages")),
             pages = yyjson_get_uint(yyjson_obj_get(root, "pages"));
    if (pages > 0) {
        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " pages (%" PRIu64 " %%)", done, pages,
                done * 100 / pages);
    }
    yyjson_doc_free(answer);
}

static int backup(const struct admin_args *args, struct admin *a, struct buf *body) {
    int code;
    bool progress = isatty(STDERR_FILENO);
    admin_be_patient(a, progress ? show_progress : NULL);
    yyjson_doc *answer = admin_ask(a, "POST", "/admin/backup", body, &code);
    yyjson_val *root = yyjson_doc_get_root(answer);
    if (progress) {
        fputs("\r\033[K", stderr);
    }
    if (answer != NULL && !admin_print_json(args, answer)) {
        cli_print_text(stdout, yyjson_get_str(yyjson_obj_get(root, "path")), false);
        printf(": %.1f MiB\n", (double)yyjson_get_uint(yyjson_obj_get(root, "bytes")) / 1048576);
    }
    yyjson_doc_free(answer);
    return code;
}

int cmd_backup(int argc, char **argv) {
    struct admin_args args;
    struct admin *a = NULL;
    struct buf body;
    int code;
    if (!admin_parse(argc, argv, &args, &code)) {
        return code;
    }
    char *path = absolute(args.operand);
    buf_init(&body, REQUEST_MAX_BYTES);
    if (path == NULL || !make_request(path, &body)) {
        code = cli_usage_error(args.command, path == NULL ? "%s" : "%s: not UTF-8 text",
                               path == NULL ? strerror(errno) : args.operand);
    } else if ((a = admin_open(&args, &code)) != NULL) {
        code = backup(&args, a, &body);
    }
    admin_close(a);
    buf_free(&body);
    free(path);
    int flushed = cli_flush(args.command);
    return code != 0 ? code : flushed;
}
