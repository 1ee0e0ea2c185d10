#include "cli/chat.h"

#include <stdlib.h>
#include <yyjson.h>

static void clear(struct chat_message *m) {
    free(m->text);
    free(m->model);
    *m = (struct chat_message){0};
}

void chat_talk_free(struct chat_talk *talk) {
    for (size_t i = 0; i < talk->count; i++) {
        clear(&talk->messages[i]);
    }
    free(talk->messages);
    free(talk->model);
    free(talk->system);
    *talk = (struct chat_talk){0};
}

bool chat_talk_set(char **field, const char *value) {
    bool none = value == NULL || value[0] == '\0';
    char *copy = none ? NULL : slice_dup(slice_of(value));
    if (!none && copy == NULL) {
        return false;
    }
    free(*field);
    *field = copy;
    return true;
}

static bool make_room(struct chat_talk *talk) {
    if (talk->count < talk->room) {
        return true;
    }
    size_t room = talk->room > 0 ? talk->room * 2 : 16;
    struct chat_message *more = realloc(talk->messages, room * sizeof(*more));
    if (more == NULL) {
        return false;
    }
    talk->messages = more;
    talk->room = room;
    return true;
}

bool chat_talk_add(struct chat_talk *talk, bool by_user, struct slice text, const char *model,
                   bool cut) {
    struct chat_message m = {.by_user = by_user, .cut = cut, .text = slice_dup(text)};
    if (m.text == NULL || !chat_talk_set(&m.model, model) || !make_room(talk)) {
        clear(&m);
        return false;
    }
    talk->messages[talk->count++] = m;
    return true;
}

void chat_talk_pop(struct chat_talk *talk) {
    clear(&talk->messages[--talk->count]);
}

size_t chat_talk_bytes(const struct chat_talk *talk, size_t first) {
    size_t bytes = 0;
    for (size_t i = first; i < talk->count; i++) {
        bytes += strlen(talk->messages[i].text);
    }
    return bytes;
}

size_t chat_talk_first(const struct chat_talk *talk, size_t max_bytes) {
    size_t bytes = talk->system != NULL ? strlen(talk->system) : 0;
    size_t first = talk->count > 0 ? talk->count - 1 : 0;
    for (size_t i = talk->count; i-- > 0;) {
        bytes += strlen(talk->messages[i].text);
        if (bytes > max_bytes) {
            break;
        }
        first = talk->messages[i].by_user ? i : first;
    }
    return first;
}

static bool add_message(yyjson_mut_doc *doc, yyjson_mut_val *list, const char *role,
                        const char *text) {
    yyjson_mut_val *m = yyjson_mut_arr_add_obj(doc, list);
    return yyjson_mut_obj_add_str(doc, m, "role", role) &&
           yyjson_mut_obj_add_str(doc, m, "content", text);
}

static bool add_messages(yyjson_mut_doc *doc, yyjson_mut_val *root, const struct chat_talk *talk,
                         size_t first) {
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "messages");
    bool ok = talk->system == NULL || add_message(doc, list, "system", talk->system);
    for (size_t i = first; ok && i < talk->count; i++) {
        const struct chat_message *m = &talk->messages[i];
        ok = add_message(doc, list, m->by_user ? "user" : "assistant", m->text);
    }
    return ok;
}

char *chat_talk_input(const struct chat_talk *talk, size_t first, const struct cli_args *args) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    char *json = NULL;
    yyjson_mut_doc_set_root(doc, root);
    bool ok = yyjson_mut_obj_add_str(doc, root, "model",
                                     talk->model != NULL ? talk->model : CHAT_DEFAULT_MODEL) &&
              add_messages(doc, root, talk, first) &&
              yyjson_mut_obj_add_bool(doc, root, "stream", true);
    if (args->has_temperature) {
        ok = ok && yyjson_mut_obj_add_real(doc, root, "temperature", args->temperature);
    }
    if (args->max_tokens > 0) {
        ok = ok && yyjson_mut_obj_add_sint(doc, root, "max_tokens", args->max_tokens);
    }
    if (ok) {
        json = yyjson_mut_write(doc, 0, NULL);
    }
    yyjson_mut_doc_free(doc);
    return json;
}
