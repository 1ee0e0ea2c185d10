/* The YAML file, read through libfyaml: unknown keys and wrong types are errors with line and column. */
#include "base/config_reader.h"

#include "base/buf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES (1U << 20)

const char *config_where(const struct reader *r, struct fy_node *n) {
    static char text[512];
    struct fy_token *t = n != NULL ? fy_node_get_scalar_token(n) : NULL;
    const struct fy_mark *m = t != NULL ? fy_token_start_mark(t) : NULL;
    if (m == NULL && n != NULL && fy_node_get_type(n) != FYNT_SCALAR) {
        void *it = NULL;
        if (fy_node_is_mapping(n)) {
            struct fy_node_pair *p = fy_node_mapping_iterate(n, &it);
            if (p != NULL) return config_where(r, fy_node_pair_key(p));
        } else {
            struct fy_node *item = fy_node_sequence_iterate(n, &it);
            if (item != NULL) return config_where(r, item);
        }
    }
    if (m == NULL)
        snprintf(text, sizeof text, "%s", r->path);
    else
        snprintf(text, sizeof text, "%s:%d:%d", r->path, m->line + 1, m->column + 1);
    return text;
}

struct slice config_scalar(struct fy_node *n) {
    size_t len = 0;
    const char *p = fy_node_get_scalar(n, &len);
    return p != NULL ? slice_make(p, len) : SLICE("");
}

static bool is_name(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (!isalnum((unsigned char)s.ptr[i]) && s.ptr[i] != '_') return false;
    return s.len > 0;
}

/* The NAME of the next $(NAME) in s, *before what stands in front of it, *after what follows. False: there is none. */
static bool next_name(struct slice s, struct slice *before, struct slice *name,
                      struct slice *after) {
    for (size_t i = 0; i + 2 < s.len; i++) {
        if (s.ptr[i] != '$' || s.ptr[i + 1] != '(') continue;
        *name = slice_cut(slice_from(s, i + 2), ')', after);
        *before = slice_make(s.ptr, i);
        if (after->ptr != NULL && is_name(*name)) return true;
    }
    return false;
}

/* ${NAME} in any value is the environment's; a name that is not set is an error, not an empty key. YAML does not
 * allow braces in an unquoted value of { key: value }, where keys are mostly written, so protect() has made them
 * parentheses, which it does allow, before the text was parsed. */
static bool expand(struct reader *r, struct fy_node *n, struct slice *out) {
    struct slice s = config_scalar(n), before, name, after;
    struct buf b;
    *out = s;
    r->replaced = next_name(s, &before, &name, &after);
    if (!r->replaced) return true;
    buf_init(&b, FILE_MAX_BYTES);
    for (; next_name(s, &before, &name, &after); s = after) {
        char *variable = arena_dup(&r->l->config->arena, name);
        const char *value = variable != NULL ? getenv(variable) : NULL;
        if (value == NULL) {
            buf_free(&b);
            return config_fail(r->l, 78, config_where(r, n), "the environment has no variable %.*s",
                               SLICE_ARG(name));
        }
        buf_add(&b, before);
        buf_puts(&b, value);
    }
    buf_add(&b, s);
    *out = b.failed ? SLICE_NONE : arena_copy(&r->l->config->arena, buf_slice(&b));
    secret_wipe(b.base, b.cap);
    buf_free(&b);
    return out->ptr != NULL || config_fail(r->l, 71, r->path, "out of memory");
}

bool config_want_scalar(struct reader *r, struct fy_node *n, const char *name, struct slice *out) {
    if (n == NULL || !fy_node_is_scalar(n) || fy_node_is_alias(n) || fy_node_is_null(n))
        return config_fail(r->l, 78, config_where(r, n), "%s wants one value", name);
    return expand(r, n, out);
}

/* Wiped by wipe_secret when it has been used. */
bool config_want_secret(struct reader *r, struct fy_node *n, const char *name, struct slice *out) {
    if (!config_want_scalar(r, n, name, out)) return false;
    if (!r->exposed || r->replaced || out->len == 0) return true;
    return config_fail(r->l, 78, config_where(r, n),
                       "everybody can read this file and the %s in it; chmod o-r it, or write "
                       "${NAME} and set that variable",
                       name);
}

/* Of the copy in the arena; the file's own text is wiped when all is read. */
void config_wipe_secret(bool replaced, struct slice s) {
    if (replaced) secret_wipe((char *)(uintptr_t)s.ptr, s.len);
}

static bool set_secret(struct reader *r, const struct field *f, void *target, struct fy_node *n) {
    struct slice v;
    if (!config_want_secret(r, n, f->name, &v)) return false;
    bool ok = config_set(r->l, f, target, v, true, config_where(r, n));
    config_wipe_secret(r->replaced, v);
    return ok;
}

bool config_set_node(struct reader *r, const struct field *f, void *target, struct fy_node *n) {
    struct slice v;
    bool list = f->type == FIELD_TEXTS || f->type == FIELD_SLICES, first = true;
    if (f->type == FIELD_SECRET) return set_secret(r, f, target, n);
    if (!list || fy_node_is_scalar(n))
        return config_want_scalar(r, n, f->name, &v) &&
               config_set(r->l, f, target, v, true, config_where(r, n));
    if (!fy_node_is_sequence(n))
        return config_fail(r->l, 78, config_where(r, n), "%s wants a list", f->name);
    void *it = NULL;
    for (struct fy_node *item; (item = fy_node_sequence_iterate(n, &it)) != NULL; first = false)
        if (!config_want_scalar(r, item, f->name, &v) ||
            !config_set(r->l, f, target, v, first, config_where(r, item)))
            return false;
    return true;
}

const struct field *config_find(const struct field *fields, size_t n, struct slice name,
                                unsigned use) {
    for (size_t i = 0; i < n; i++)
        if ((fields[i].use & use) != 0 && slice_is(name, fields[i].name)) return &fields[i];
    return NULL;
}

bool config_unknown(struct reader *r, struct fy_node *key, const char *section) {
    struct slice k = config_scalar(key);
    return config_fail(r->l, 78, config_where(r, key),
                       "unknown key \"%.*s\"%s%s; docs/configuration.md lists all of them",
                       SLICE_ARG(k), section[0] != '\0' ? " in " : "", section);
}

static bool read_pair(struct reader *r, struct fy_node *key, struct fy_node *value) {
    struct slice name = config_scalar(key);
    bool known;
    if (slice_is(name, "routes")) return true; /* last: they name upstreams */
    bool ok = config_read_section(r, name, value, &known);
    if (known) return ok;
    const struct field *f = config_find(config_fields, config_nfields, name, USE_FILE);
    return f != NULL ? config_set_node(r, f, r->l->config, value) : config_unknown(r, key, "");
}

static bool read_root(struct reader *r, struct fy_node *root) {
    if (root == NULL || fy_node_is_null(root)) return true; /* an empty file changes nothing */
    if (!fy_node_is_mapping(root))
        return config_fail(r->l, 78, config_where(r, root),
                           "wants keys and values, like log_level: info");
    void *it = NULL;
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(root, &it)) != NULL;)
        if (!read_pair(r, fy_node_pair_key(p), fy_node_pair_value(p))) return false;
    struct fy_node *routes = fy_node_mapping_lookup_by_string(root, "routes", (size_t)-1);
    return routes == NULL || config_read_routes(r, routes);
}

static bool syntax_error(struct reader *r, struct fy_diag *diag) {
    void *it = NULL;
    struct fy_diag_error *e = fy_diag_errors_iterate(diag, &it);
    char at[512];
    if (e == NULL) return true; /* nothing but white space and comments */
    snprintf(at, sizeof at, "%s:%d:%d", r->path, e->line, e->column);
    return config_fail(r->l, 78, at, "%s", e->msg);
}

static bool read_text(struct reader *r, struct slice text) {
    struct fy_diag_cfg dcfg;
    fy_diag_cfg_default(&dcfg);
    dcfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&dcfg);
    if (diag == NULL) return config_fail(r->l, 71, r->path, "out of memory");
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = diag};
    struct fy_document *doc = fy_document_build_from_string(&cfg, text.ptr, text.len);
    bool ok = doc != NULL ? read_root(r, fy_document_root(doc)) : syntax_error(r, diag);
    fy_document_destroy(doc);
    fy_diag_destroy(diag);
    return ok;
}

/* Columns stay as they are: one character for one. */
static void protect(char *text, size_t len) {
    for (size_t i = 0; i + 2 < len; i++) {
        if (text[i] != '$' || text[i + 1] != '{') continue;
        ptrdiff_t end = slice_find(slice_make(text + i + 2, len - i - 2), '}');
        if (end < 0 || !is_name(slice_make(text + i + 2, (size_t)end))) continue;
        text[i + 1] = '(';
        text[i + 2 + (size_t)end] = ')';
    }
}

bool config_read_file(struct config_loader *l, const char *path) {
    struct reader r = {.l = l, .path = path};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold us */
    if (fd < 0 || fstat(fd, &st) != 0) {
        int e = errno;
        if (fd >= 0) close(fd);
        return config_fail(l, 78, path, "cannot be read: %s", strerror(e));
    }
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)FILE_MAX_BYTES) {
        close(fd);
        return config_fail(l, 78, path, "is not a file of at most 1 MiB");
    }
    r.exposed = (st.st_mode & S_IROTH) != 0;
    char *text = calloc(1, (size_t)st.st_size + 1);
    ssize_t n = text != NULL ? read(fd, text, (size_t)st.st_size) : -1;
    close(fd);
    if (n > 0) protect(text, (size_t)n);
    bool ok = n < 0 ? config_fail(l, 78, path, "cannot be read")
                    : read_text(&r, slice_make(text, (size_t)n));
    if (text != NULL) secret_wipe(text, (size_t)st.st_size);
    free(text);
    return ok;
}
