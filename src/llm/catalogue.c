#include "llm/catalogue.h"

#include "base/json.h"
#include "llm/embedded.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_FILE_BYTES (4U << 20)
#define MAX_MODELS 100000U
#define MAX_ID_BYTES 200U
#define MAX_USD_PER_MILLION 1e6

struct catalogue {
    struct arena arena;
    size_t count, default_index;
    struct catalogue_model *models; /* in the order of the file */
    size_t *by_id;                  /* indices, sorted by id */
};

/* Where the reader stands: messages say it as a JSON pointer. */
struct reading {
    const char *name;
    struct catalogue *c;
    struct config_error *err;
    char at[160];
};

static bool refuse(struct reading *r, const char *key, const char *what) {
    r->err->exit_code = 78;
    snprintf(r->err->text, sizeof r->err->text, "%s: %s%s%s: %s", r->name, r->at,
             key[0] != '\0' ? "/" : "", key, what);
    return false;
}

static struct slice copy(struct reading *r, struct slice s) {
    return arena_copy(&r->c->arena, s);
}

/* --- one function per key of a model */

static bool read_id_text(struct reading *r, const char *key, yyjson_val *v, struct slice *out) {
    struct slice s = json_str(v);
    if (!yyjson_is_str(v) || s.len == 0) return refuse(r, key, "must be a model id in quotes");
    if (s.len > MAX_ID_BYTES) return refuse(r, key, "is longer than 200 bytes");
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return refuse(r, key, "holds a space or a character outside ASCII");
    *out = copy(r, s);
    return true;
}

static bool read_id(struct reading *r, const char *key, yyjson_val *v, struct catalogue_model *m) {
    return read_id_text(r, key, v, &m->id);
}

static bool read_replaced_by(struct reading *r, const char *key, yyjson_val *v,
                             struct catalogue_model *m) {
    return yyjson_is_null(v) || read_id_text(r, key, v, &m->replaced_by);
}

static bool read_premium(struct reading *r, const char *key, yyjson_val *v,
                         struct catalogue_model *m) {
    m->premium = yyjson_is_true(v);
    return yyjson_is_bool(v) || refuse(r, key, "must be true or false");
}

static bool read_vision(struct reading *r, const char *key, yyjson_val *v,
                        struct catalogue_model *m) {
    m->vision = yyjson_is_true(v);
    return yyjson_is_bool(v) || refuse(r, key, "must be true or false");
}

static bool read_max_completion_tokens(struct reading *r, const char *key, yyjson_val *v,
                                       struct catalogue_model *m) {
    m->max_completion_tokens = yyjson_is_true(v);
    return yyjson_is_bool(v) || refuse(r, key, "must be true or false");
}

static bool read_context(struct reading *r, const char *key, yyjson_val *v,
                         struct catalogue_model *m) {
    if (yyjson_is_null(v)) return true;
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) == 0 || yyjson_get_uint(v) > UINT32_MAX)
        return refuse(r, key, "must be a number of tokens, or null when it is not known");
    m->context_tokens = (uint32_t)yyjson_get_uint(v);
    return true;
}

/* Dollars per million tokens are micro-dollars per token; six decimals make whole pico-dollars. The number was read
 * as a double: at most 1e12 after scaling, far below 2^53, so that rounding restores the decimal that was written. */
static bool read_usd(struct reading *r, const char *key, yyjson_val *v, int64_t *out) {
    if (!yyjson_is_num(v))
        return refuse(r, key, "must be US dollars per million tokens (an unknown price is null)");
    double usd = yyjson_get_num(v);
    if (!(usd >= 0 && usd <= MAX_USD_PER_MILLION))
        return refuse(r, key, "must be from 0 to 1000000");
    double scaled = usd * 1e6, whole = round(scaled);
    if (fabs(scaled - whole) > 1e-3) return refuse(r, key, "has more than 6 decimals");
    *out = (int64_t)whole;
    return true;
}

static bool read_price(struct reading *r, const char *key, yyjson_val *v,
                       struct catalogue_model *m) {
    if (yyjson_is_null(v)) return true;
    if (!yyjson_is_obj(v))
        return refuse(r, key, "must be {\"prompt\": USD, \"completion\": USD} or null");
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;)
        if (!slice_is(json_str(k), "prompt") && !slice_is(json_str(k), "completion") &&
            !slice_is(json_str(k), "cached"))
            return refuse(r, key, "has a key that is none of prompt, completion, cached");
    yyjson_val *cached = json_get(v, "cached");
    m->has_price = true;
    if (cached != NULL && !read_usd(r, "price/cached", cached, &m->cached_picousd)) return false;
    return read_usd(r, "price/prompt", json_get(v, "prompt"), &m->prompt_picousd) &&
           read_usd(r, "price/completion", json_get(v, "completion"), &m->completion_picousd);
}

static bool read_upstream_id(struct reading *r, const char *key, yyjson_val *v,
                             struct catalogue_model *m) {
    static const char *const kinds[] = {[UPSTREAM_OPENAI] = "openai",
                                        [UPSTREAM_OPENROUTER] = "openrouter",
                                        [UPSTREAM_LOCAL] = "local"};
    if (!yyjson_is_obj(v))
        return refuse(r, key, "must be an object from a kind of upstream to an id");
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;) {
        size_t kind = 0;
        while (kind < 3 && !slice_is(json_str(k), kinds[kind])) kind++;
        if (kind == 3) return refuse(r, key, "has a key that is none of openai, openrouter, local");
        if (!read_id_text(r, key, yyjson_obj_iter_get_val(k), &m->upstream_id[kind])) return false;
    }
    return true;
}

/* Sentences for people; JSON has no comments. */
static bool read_comment(struct reading *r, const char *key, yyjson_val *v,
                         struct catalogue_model *m) {
    return yyjson_is_str(v) || yyjson_is_arr(v) ||
           refuse(r, key, "must be text or a list of texts");
}

static const struct {
    const char *key;
    bool (*read)(struct reading *r, const char *key, yyjson_val *v, struct catalogue_model *m);
} model_keys[] = {
    {"id", read_id},
    {"premium", read_premium},
    {"vision", read_vision},
    {"max_completion_tokens", read_max_completion_tokens},
    {"context_tokens", read_context},
    {"price", read_price},
    {"upstream_id", read_upstream_id},
    {"replaced_by", read_replaced_by},
    {"comment", read_comment},
};

static bool read_model_key(struct reading *r, yyjson_val *k, struct catalogue_model *m) {
    for (size_t i = 0; i < sizeof model_keys / sizeof *model_keys; i++)
        if (slice_is(json_str(k), model_keys[i].key))
            return model_keys[i].read(r, model_keys[i].key, yyjson_obj_iter_get_val(k), m);
    char key[80];
    snprintf(key, sizeof key, "%.*s", (int)(yyjson_get_len(k) < 70 ? yyjson_get_len(k) : 70),
             yyjson_get_str(k));
    return refuse(
        r, key,
        "unknown key (id, premium, vision, max_completion_tokens, context_tokens, price, upstream_id, "
        "replaced_by, comment)");
}

static bool read_model(struct reading *r, yyjson_val *v, struct catalogue_model *m) {
    m->next = SIZE_MAX;
    m->cached_picousd = -1;
    if (!yyjson_is_obj(v)) return refuse(r, "", "must be an object");
    yyjson_obj_iter it = yyjson_obj_iter_with(v);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;)
        if (!read_model_key(r, k, m)) return false;
    return m->id.len > 0 || refuse(r, "id", "is missing");
}

static bool read_models(struct reading *r, yyjson_val *list) {
    size_t n = yyjson_arr_size(list), i = 0;
    if (!yyjson_is_arr(list) || n == 0)
        return refuse(r, "models", "must be a list of at least one model");
    if (n > MAX_MODELS) return refuse(r, "models", "has more than 100000 entries");
    r->c->models = arena_zalloc(&r->c->arena, n * sizeof *r->c->models);
    r->c->by_id = arena_alloc(&r->c->arena, n * sizeof *r->c->by_id);
    if (r->c->models == NULL || r->c->by_id == NULL) return refuse(r, "models", "out of memory");
    r->c->count = n;
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&it)) != NULL; i++) {
        snprintf(r->at, sizeof r->at, "/models/%zu", i);
        if (!read_model(r, v, &r->c->models[i])) return false;
    }
    r->at[0] = '\0';
    return true;
}

/* --- the index */

static int compare(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int d = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;
    return d != 0 ? d : (a.len > b.len) - (a.len < b.len);
}

static int by_id(const void *a, const void *b, void *models) {
    const struct catalogue_model *m = models;
    return compare(m[*(const size_t *)a].id, m[*(const size_t *)b].id);
}

static bool index_models(struct reading *r) {
    struct catalogue *c = r->c;
    for (size_t i = 0; i < c->count; i++) c->by_id[i] = i;
    qsort_r(c->by_id, c->count, sizeof *c->by_id, by_id, c->models);
    for (size_t i = 1; i < c->count; i++)
        if (by_id(&c->by_id[i - 1], &c->by_id[i], c->models) == 0) {
            snprintf(r->at, sizeof r->at, "/models/%zu", c->by_id[i]);
            return refuse(r, "id", "stands twice");
        }
    return true;
}

static bool link_successors(struct reading *r) {
    struct catalogue *c = r->c;
    for (size_t i = 0; i < c->count; i++) {
        if (c->models[i].replaced_by.len == 0) continue;
        snprintf(r->at, sizeof r->at, "/models/%zu", i);
        const struct catalogue_model *to = catalogue_find(c, c->models[i].replaced_by);
        if (to == NULL) return refuse(r, "replaced_by", "names a model that is not in this file");
        c->models[i].next = (size_t)(to - c->models);
    }
    for (size_t i = 0; i < c->count; i++) {
        size_t at = i, steps = 0;
        while (c->models[at].next != SIZE_MAX && steps++ <= c->count) at = c->models[at].next;
        snprintf(r->at, sizeof r->at, "/models/%zu", i);
        if (steps > c->count) return refuse(r, "replaced_by", "runs in a circle");
    }
    r->at[0] = '\0';
    return true;
}

static bool read_default(struct reading *r, yyjson_val *v) {
    struct slice id;
    if (!read_id_text(r, "default", v, &id)) return false;
    const struct catalogue_model *m = catalogue_find(r->c, id);
    if (m == NULL) return refuse(r, "default", "names a model that is not in this file");
    r->c->default_index = (size_t)(m - r->c->models);
    return true;
}

static bool read_root(struct reading *r, yyjson_val *root) {
    if (!yyjson_is_obj(root))
        return refuse(r, "", "must be an object with the keys default and models");
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    for (yyjson_val *k; (k = yyjson_obj_iter_next(&it)) != NULL;) {
        struct slice s = json_str(k);
        if (!slice_is(s, "default") && !slice_is(s, "models") && !slice_is(s, "comment"))
            return refuse(r, "", "has a key that is none of default, models, comment");
    }
    return read_models(r, json_get(root, "models")) && index_models(r) && link_successors(r) &&
           read_default(r, json_get(root, "default"));
}

/* --- the face */

static void say_syntax(struct slice text, const char *name, const struct json_error *j,
                       struct config_error *err) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < j->offset && i < text.len; i++) {
        column = text.ptr[i] == '\n' ? 1 : column + 1;
        line += text.ptr[i] == '\n';
    }
    err->exit_code = 78;
    if (j->offset > 0)
        snprintf(err->text, sizeof err->text, "%s:%zu:%zu: %s", name, line, column, j->reason);
    else
        snprintf(err->text, sizeof err->text, "%s: %s", name, j->reason);
}

struct catalogue *catalogue_read(struct slice text, const char *name, struct config_error *err) {
    struct json_error j;
    yyjson_doc *doc = json_parse(text, &j);
    if (doc == NULL) {
        say_syntax(text, name, &j, err);
        return NULL;
    }
    struct reading r = {.name = name, .c = calloc(1, sizeof *r.c), .err = err};
    bool ok = r.c != NULL;
    if (ok) {
        arena_init(&r.c->arena, ARENA_MAX_BYTES);
        ok = read_root(&r, yyjson_doc_get_root(doc)) && !r.c->arena.failed;
    }
    if (!ok && (r.c == NULL || r.c->arena.failed)) refuse(&r, "", "out of memory");
    yyjson_doc_free(doc);
    if (ok) return r.c;
    catalogue_free(r.c);
    return NULL;
}

static char *read_file(const char *file, size_t *len) {
    FILE *f = fopen(file, "rbe");
    char *text = f != NULL ? malloc(MAX_FILE_BYTES + 1) : NULL;
    *len = 0;
    if (text != NULL) {
        errno = 0;
        *len = fread(text, 1, MAX_FILE_BYTES + 1, f);
        if (ferror(f) || *len > MAX_FILE_BYTES) {
            if (*len > MAX_FILE_BYTES) errno = EFBIG;
            free(text);
            text = NULL;
        }
    }
    if (f != NULL) {
        int keep = errno;
        fclose(f);
        errno = keep;
    }
    return text;
}

struct catalogue *catalogue_load(const char *file, struct config_error *err) {
    if (file == NULL)
        return catalogue_read(slice_make((const char *)catalogue_json, catalogue_json_len),
                              "catalogue", err);
    size_t len;
    char *text = read_file(file, &len);
    if (text == NULL) {
        err->exit_code = 78;
        snprintf(err->text, sizeof err->text, "%s: cannot read the catalogue of models: %s", file,
                 strerror(errno));
        return NULL;
    }
    struct catalogue *c = catalogue_read(slice_make(text, len), file, err);
    free(text);
    return c;
}

void catalogue_free(struct catalogue *c) {
    if (c == NULL) return;
    arena_free(&c->arena);
    free(c);
}

const struct catalogue_model *catalogue_find(const struct catalogue *c, struct slice id) {
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = compare(id, c->models[c->by_id[mid]].id);
        if (d == 0) return &c->models[c->by_id[mid]];
        if (d < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct catalogue_model *catalogue_current(const struct catalogue *c,
                                                const struct catalogue_model *m,
                                                enum config_kind kind) {
    while (m->next != SIZE_MAX && m->upstream_id[kind].len == 0) m = &c->models[m->next];
    return m;
}

struct slice catalogue_upstream_id(const struct catalogue_model *m, enum config_kind kind) {
    return m->upstream_id[kind].len > 0 ? m->upstream_id[kind] : m->id;
}

size_t catalogue_count(const struct catalogue *c) {
    return c->count;
}

const struct catalogue_model *catalogue_at(const struct catalogue *c, size_t i) {
    return i < c->count ? &c->models[i] : NULL;
}

struct slice catalogue_default(const struct catalogue *c) {
    return c->models[c->default_index].id;
}
