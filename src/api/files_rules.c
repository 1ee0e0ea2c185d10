#include "api/files_rules.h"

#define USER_MAX_BYTES 256U

/* --- lifetimes */

/* fal's clients send seconds; these words stand in their options. */
static const struct {
    const char *word;
    int64_t seconds;
} words[] = {
    {"never", 0},   {"immediate", 60}, {"1h", 3600},     {"1d", 86400},
    {"7d", 604800}, {"30d", 2592000},  {"1y", 31536000},
};

static const char *read_lifetime(yyjson_val *v, int64_t *ms) {
    *ms = 0;
    if (v == NULL || yyjson_is_null(v)) return NULL;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!slice_is(json_str(v), words[i].word)) continue;
        *ms = words[i].seconds * 1000;
        return NULL;
    }
    double seconds = yyjson_is_num(v) ? yyjson_get_num(v) : 0;
    if (!(seconds >= 1 && seconds <= FILE_MAX_LIFETIME_S))
        return "expiration_duration_seconds should be a number from 1 to 3153600000, null, or one of never, "
               "immediate, 1h, 1d, 7d, 30d, 1y";
    *ms = (int64_t)(seconds * 1000);
    return NULL;
}

const char *file_lifecycle_read(struct slice json, int64_t *lifetime_ms, struct buf *acl) {
    struct json_error err;
    yyjson_doc *doc = json_parse(json, &err);
    yyjson_val *root = yyjson_doc_get_root(doc), *initial = json_get(root, "initial_acl");
    const char *why = doc == NULL            ? "the object lifecycle is not JSON"
                      : !yyjson_is_obj(root) ? "the object lifecycle should be a JSON object"
                                             : NULL;
    if (why == NULL)
        why = read_lifetime(json_get(root, "expiration_duration_seconds"), lifetime_ms);
    if (why == NULL && initial != NULL && !yyjson_is_null(initial))
        why = file_acl_read(initial, acl);
    yyjson_doc_free(doc);
    return why;
}

/* --- who may read */

static const char *const decisions[] = {
    [FILE_ALLOW] = "allow", [FILE_FORBID] = "forbid", [FILE_HIDE] = "hide"};

static bool read_decision(yyjson_val *v, enum file_access *out) {
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++) {
        if (!slice_is(json_str(v), decisions[i])) continue;
        *out = (enum file_access)i;
        return true;
    }
    return false;
}

static const char *read_rule(yyjson_val *v, struct buf *acl, bool first) {
    yyjson_val *user = json_get(v, "user");
    enum file_access decision;
    if (!yyjson_is_str(user) || yyjson_get_len(user) == 0 || yyjson_get_len(user) > USER_MAX_BYTES)
        return "a rule's user should be the name of an owner";
    if (!read_decision(json_get(v, "decision"), &decision))
        return "a rule's decision should be allow, forbid or hide";
    buf_puts(acl, first ? "{\"user\":" : ",{\"user\":");
    json_add_string(acl, json_str(user), true);
    buf_printf(acl, ",\"decision\":\"%s\"}", decisions[decision]);
    return NULL;
}

static const char *read_rules(yyjson_val *rules, struct buf *acl) {
    yyjson_val *rule;
    size_t i, n;
    const char *why = NULL;
    buf_puts(acl, ",\"rules\":[");
    yyjson_arr_foreach(rules, i, n, rule) {
        if (why == NULL) why = read_rule(rule, acl, i == 0);
    }
    buf_puts(acl, "]}");
    return why;
}

const char *file_acl_read(yyjson_val *v, struct buf *acl) {
    yyjson_val *fallback = json_get(v, "default"), *rules = json_get(v, "rules");
    enum file_access access = FILE_ALLOW;
    if (!yyjson_is_obj(v)) return "the ACL should be a JSON object";
    if (fallback != NULL && !yyjson_is_null(fallback) && !read_decision(fallback, &access))
        return "the ACL's default should be allow, forbid or hide";
    if (yyjson_is_null(rules)) rules = NULL;
    if (rules != NULL && (!yyjson_is_arr(rules) || yyjson_arr_size(rules) > FILE_ACL_MAX_RULES))
        return "the ACL's rules should be a list of at most 100";
    if (access == FILE_ALLOW && yyjson_arr_size(rules) == 0) return NULL;
    size_t before = buf_len(acl);
    buf_printf(acl, "{\"default\":\"%s\"", decisions[access]);
    const char *why = read_rules(rules, acl);
    if (why == NULL && (acl->failed || buf_len(acl) - before > FILE_ACL_MAX_BYTES))
        why = "the ACL is too large";
    return why;
}

void file_acl_json(struct buf *b, struct slice acl) {
    buf_add(b, acl.len > 0 ? acl : SLICE("{\"default\":\"allow\",\"rules\":[]}"));
}

/* What cannot be read closes the file. */
enum file_access file_acl_judge(struct slice acl, struct slice user) {
    struct json_error err;
    enum file_access access = FILE_HIDE;
    yyjson_val *rule;
    size_t i, n;
    if (acl.len == 0) return FILE_ALLOW;
    yyjson_doc *doc = json_parse(acl, &err);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (doc == NULL || !read_decision(json_get(root, "default"), &access)) access = FILE_HIDE;
    yyjson_arr_foreach(json_get(root, "rules"), i, n, rule) {
        if (user.len == 0 || !slice_eq(json_str(json_get(rule, "user")), user)) continue;
        if (!read_decision(json_get(rule, "decision"), &access)) access = FILE_HIDE;
        break;
    }
    yyjson_doc_free(doc);
    return access;
}
