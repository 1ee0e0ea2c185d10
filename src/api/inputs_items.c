/* Which media a request names, and the request with what travels in their place. */
#include "api/inputs_inner.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

/* --- media types */

struct slice media_type(struct slice header) {
    struct slice rest, type = slice_trim(slice_cut(header, ';', &rest));
    bool slash = false;
    for (size_t i = 0; i < type.len; i++) {
        char c = type.ptr[i];
        bool token = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("!#$&^_.+-", c) != NULL);
        if (c == '/' && !slash && i > 0 && i + 1 < type.len)
            slash = true;
        else if (!token)
            return SLICE("");
    }
    return slash && type.len <= 127 ? type : SLICE("");
}

bool media_fits(enum media m, struct slice type) {
    static const char *const mains[] = {
        [MEDIA_IMAGE] = "image", [MEDIA_AUDIO] = "audio", [MEDIA_VIDEO] = "video"};
    struct slice sub;
    return m == MEDIA_NONE || slice_eq_nocase(slice_cut(type, '/', &sub), slice_of(mains[m]));
}

/* --- gathering the items */

static struct item *add_item(struct inputs *i, enum media m, struct slice url) {
    if (i->n == i->size) {
        size_t size = i->size > 0 ? i->size * 2 : 8;
        struct item *more = realloc(i->items, size * sizeof *more);
        if (more == NULL) return NULL;
        i->items = more;
        i->size = size;
    }
    struct item *x = &i->items[i->n++];
    *x = (struct item){.media = m, .url = url};
    return x;
}

/* The k-th address of a kind stands in the fields of that kind, in their order. */
static void name_field(struct item *x, const struct inputs_asker *asker, size_t k) {
    for (unsigned row = 0; row < IN_COUNT; row++) {
        const struct input_field *in = input_field_at((enum input_row)row);
        if (in->media != x->media || (asker->endpoint->takes & 1U << row) == 0) continue;
        yyjson_val *v = json_get(asker->input, in->name);
        size_t n = yyjson_is_arr(v) ? yyjson_arr_size(v) : yyjson_is_str(v) ? 1 : 0;
        if (k >= n) {
            k -= n;
            continue;
        }
        if (yyjson_is_arr(v))
            snprintf(x->param, sizeof x->param, "%s.%zu", in->name, k);
        else
            snprintf(x->param, sizeof x->param, "%s", in->name);
        return;
    }
}

static bool add_list(struct inputs *i, const struct inputs_asker *asker, enum media m,
                     const struct slice *urls, size_t n) {
    for (size_t k = 0; k < n; k++) {
        struct item *x = add_item(i, m, urls[k]);
        if (x == NULL) return false;
        if (asker->endpoint != NULL && asker->input != NULL) name_field(x, asker, k);
    }
    return true;
}

static void add_part(void *user, const struct part *p) {
    struct inputs *i = user;
    struct item *x = add_item(i, p->media, p->url);
    if (x == NULL) {
        i->left = true; /* told below */
        return;
    }
    x->part = *p;
    x->bare = p->bare;
    snprintf(x->param, sizeof x->param, "messages.%zu.content.%zu", p->message, p->part);
}

static bool add_parts(struct inputs *i) {
    struct slice m = i->r->members;
    char *text = malloc(m.len + 2);
    if (text == NULL) return false;
    text[0] = '{';
    memcpy(text + 1, m.ptr, m.len);
    text[m.len + 1] = '}';
    i->doc = yyjson_read(text, m.len + 2, YYJSON_READ_NUMBER_AS_RAW);
    free(text);
    if (i->doc == NULL) return false;
    parts_each(json_get(yyjson_doc_get_root(i->doc), "messages"), add_part, i);
    return !i->left;
}

bool items_gather(struct inputs *i, const struct inputs_asker *asker) {
    const struct llm_request *r = i->r;
    if (r->members.len > 0) return add_parts(i);
    return add_list(i, asker, MEDIA_IMAGE, r->images, r->nimages) &&
           add_list(i, asker, MEDIA_AUDIO, r->audios, r->naudios) &&
           add_list(i, asker, MEDIA_VIDEO, r->videos, r->nvideos);
}

/* --- what travels */

static void replace(struct slice *out, const struct slice **list, size_t n,
                    const struct item *items) {
    for (size_t k = 0; k < n; k++)
        out[k] = items[k].text != NULL ? slice_make(items[k].text, items[k].len) : items[k].url;
    *list = out;
}

/* Items stand in the order of the lists. */
static bool write_lists(struct inputs *i) {
    struct llm_request *r = i->r;
    i->lists = calloc(i->n, sizeof *i->lists);
    if (i->lists == NULL) return false;
    size_t audios = r->nimages, videos = audios + r->naudios;
    replace(i->lists, &r->images, r->nimages, i->items);
    replace(i->lists + audios, &r->audios, r->naudios, i->items + audios);
    replace(i->lists + videos, &r->videos, r->nvideos, i->items + videos);
    return true;
}

static bool set_part(yyjson_mut_doc *doc, yyjson_mut_val *messages, const struct item *x) {
    yyjson_mut_val *message = yyjson_mut_arr_get(messages, x->part.message),
                   *part = yyjson_mut_arr_get(yyjson_mut_obj_get(message, "content"), x->part.part),
                   *text = yyjson_mut_strn(doc, x->text, x->len);
    const char *name = x->part.name;
    if (x->part.member != NULL) {
        part = yyjson_mut_obj_get(part, name);
        name = x->part.member;
    }
    return yyjson_mut_obj_put(part, yyjson_mut_str(doc, name), text);
}

/* The caller's numbers stay as they were written. */
static bool write_members(struct inputs *i) {
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(i->doc, NULL);
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc),
                   *messages = yyjson_mut_obj_get(root, "messages");
    bool ok = doc != NULL;
    size_t len = 0;
    for (size_t k = 0; k < i->n && ok; k++)
        ok = i->items[k].text == NULL || set_part(doc, messages, &i->items[k]);
    i->members = ok ? yyjson_mut_write(doc, 0, &len) : NULL;
    yyjson_mut_doc_free(doc);
    if (i->members == NULL || len < 2) return false;
    i->r->members = slice_make(i->members + 1, len - 2); /* without the braces */
    for (size_t k = 0; k < i->n; k++) {
        free(i->items[k].text);
        i->items[k].text = NULL;
    }
    yyjson_doc_free(i->doc);
    i->doc = NULL;
    return true;
}

bool items_write(struct inputs *i) {
    bool changed = false;
    for (size_t k = 0; k < i->n; k++) changed = changed || i->items[k].text != NULL;
    if (!changed) return true;
    return i->r->members.len > 0 ? write_members(i) : write_lists(i);
}
