/* How long a file is kept and who may read it, as the wire has it. Pure. */
#include "base/json.h"
#include "client/client.h"

/* Printable ASCII; a header line of more is refused by many a server. */
#define LIFECYCLE_BYTES 6144U

static const char *decision_word(enum fal_acl decision) {
    static const char *const words[] = {
        [FAL_ACL_ALLOW] = "allow", [FAL_ACL_FORBID] = "forbid", [FAL_ACL_HIDE] = "hide"};
    size_t i = (size_t)decision;
    return i < sizeof(words) / sizeof(words[0]) ? words[i] : NULL;
}

static bool is_sound(const struct fal_lifecycle *l) {
    if (l->expires_in_s < FAL_EXPIRES_NEVER || (l->rules == NULL && l->rule_count > 0)) {
        return false;
    }
    for (size_t i = 0; i < l->rule_count; i++) {
        const char *user = l->rules[i].user;
        if (user == NULL || user[0] == '\0' || decision_word(l->rules[i].decision) == NULL) {
            return false;
        }
    }
    return l->acl == FAL_ACL_DEFAULT || decision_word(l->acl) != NULL;
}

static void add_acl(struct buf *out, const struct fal_lifecycle *l) {
    const char *word = decision_word(l->acl);
    buf_puts(out, "\"initial_acl\":{");
    if (word != NULL) {
        buf_printf(out, "\"default\":\"%s\"", word);
    }
    if (l->rule_count > 0) {
        buf_puts(out, word != NULL ? ",\"rules\":[" : "\"rules\":[");
        for (size_t i = 0; i < l->rule_count; i++) {
            buf_puts(out, i > 0 ? ",{\"user\":" : "{\"user\":");
            json_add_string(out, slice_of(l->rules[i].user), true);
            buf_printf(out, ",\"decision\":\"%s\"}", decision_word(l->rules[i].decision));
        }
        buf_addc(out, ']');
    }
    buf_addc(out, '}');
}

/* "Never" is said by saying nothing, as fal's own clients do. */
enum fal_code client_lifecycle_json(const struct fal_lifecycle *lifecycle, char **out) {
    struct fal_lifecycle l;
    *out = NULL;
    if (!client_options_copy(&l, sizeof(l), lifecycle) || !is_sound(&l)) {
        return FAL_ERR_ARGUMENT;
    }
    bool expires = l.expires_in_s > 0, acl = l.acl != FAL_ACL_DEFAULT || l.rule_count > 0;
    if (!expires && !acl) {
        return FAL_OK;
    }
    struct buf text;
    buf_init(&text, LIFECYCLE_BYTES);
    buf_addc(&text, '{');
    if (expires) {
        buf_puts(&text, "\"expiration_duration_seconds\":");
        buf_u64(&text, (uint64_t)l.expires_in_s);
        buf_puts(&text, acl ? "," : "");
    }
    if (acl) {
        add_acl(&text, &l);
    }
    buf_addc(&text, '}');
    bool too_long = text.failed && !text.no_memory;
    size_t len;
    *out = buf_take(&text, &len);
    buf_free(&text);
    return *out != NULL ? FAL_OK : too_long ? FAL_ERR_ARGUMENT : FAL_ERR_MEMORY;
}
