/* The operator's routes: a copy of the database while it is in use. */
#include "api/admin.h"
#include "api/auth.h"
#include "api/ops.h"

#include <errno.h>
#include <sys/stat.h>

#define PATH_MAX_BYTES 4096U

static void answer_made(struct call *c, const char *path) {
    struct stat st;
    char text[LOG_QUOTE_BYTES];
    struct buf *b = call_scratch(c);
    long long bytes = stat(path, &st) == 0 ? (long long)st.st_size : 0;
    log_line(LOG_INFO, "backup_made", "path=%s bytes=%lld", log_quote(text, slice_of(path)), bytes);
    buf_puts(b, "{\"path\":");
    json_add_string(b, slice_of(path), true);
    buf_printf(b, ",\"bytes\":%lld}", bytes);
    call_scratch_json(c, 200);
}

static void on_made(void *user, uint64_t exchange, const struct store_reply *r) {
    struct call *c = call_of(user, exchange);
    if (r->status != STORE_OK)
        log_line(LOG_WARN, "backup_failed", "store=\"%s\" reason=\"%s\"",
                 store_status_name(r->status), r->reason != NULL ? r->reason : "");
    if (c == NULL) return;
    if (r->status == STORE_OK)
        answer_made(c, c->own);
    else if (r->reason != NULL)
        call_error(c, r->status == STORE_UNAVAILABLE ? 503 : 409, NULL, slice_of(r->reason));
    else if (r->status == STORE_STALE)
        call_error(c, 409, NULL, SLICE("another backup is being made; wait for its end"));
    else
        admin_unavailable(c);
}

/* Taken literally, in the server's own view of the files. NULL, or why not. */
static const char *read_path(struct call *c, yyjson_val *v, char **out) {
    struct slice text = yyjson_is_str(v) ? json_str(v) : SLICE("");
    *out = NULL;
    if (text.len == 0 || text.ptr[0] != '/') return "wants an absolute path";
    if (text.len >= PATH_MAX_BYTES || memchr(text.ptr, '\0', text.len) != NULL)
        return "wants a path of at most 4,095 bytes";
    *out = arena_dup(net_arena(c->x), text);
    return *out != NULL ? NULL : "out of memory";
}

/* What the caller can mend, in words for whoever typed the path. True: the answer is given. */
static bool is_refused(struct call *c, const char *path) {
    char text[PATH_MAX_BYTES + 64];
    struct stat st;
    int folder_len = (int)(strrchr(path, '/') - path);
    snprintf(text, sizeof text, "%.*s/", folder_len, path);
    if (stat(text, &st) != 0 && (errno == ENOENT || errno == ENOTDIR))
        snprintf(text, sizeof text, "there is no folder %.*s", folder_len, path);
    else if (lstat(path, &st) == 0)
        snprintf(text, sizeof text, "%s is there already: a backup overwrites nothing", path);
    else
        return false;
    call_error(c, 422, NULL, slice_of(text));
    return true;
}

static void make(struct call *c, const char *path) {
    struct api *a = c->api;
    uint64_t ticket = a->store->backend->backup != NULL
                          ? desk_ask(a->desk, on_made, a, net_exchange_id(c->x))
                          : 0;
    c->own = (void *)(uintptr_t)path;
    if (ticket != 0)
        a->store->backend->backup(a->store, ticket, path);
    else
        admin_unavailable(c);
}

/* A key of scope ADMIN may come over the network; what files there are on this machine is for its users. */
void handle_admin_backup_make(struct call *c) {
    char *path;
    if (!slice_is(net_peer(c->x), AUTH_ADMIN_PEER)) {
        call_error(c, 403, NULL,
                   SLICE("backups are made over the admin socket only: anyllm backup FILE"));
        return;
    }
    yyjson_doc *doc = admin_body(c);
    if (doc == NULL) return;
    const char *why = read_path(c, json_get(yyjson_doc_get_root(doc), "path"), &path);
    yyjson_doc_free(doc);
    if (why != NULL)
        admin_refuse(c, "body", "path", why);
    else if (!is_refused(c, path))
        make(c, path);
}

/* How far the one under way is. */
void handle_admin_backup(struct call *c) {
    struct store_stats s = ops_store_stats(c->api);
    buf_printf(call_scratch(c), "{\"running\":%s,\"done_pages\":%llu,\"pages\":%llu,\"made\":%llu}",
               s.backup_pages > 0 ? "true" : "false", (unsigned long long)s.backup_done_pages,
               (unsigned long long)s.backup_pages, (unsigned long long)s.backups);
    call_scratch_json(c, 200);
}
