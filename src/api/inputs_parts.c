/* Media in the messages of OpenAI's dialect. */
#include "api/inputs_inner.h"

#include "base/json.h"

/* `data` of input_audio is base64 alone. */
static const struct {
    const char *name, *member;
    enum media media;
    bool bare;
} kinds[] = {
    {"image_url", "url", MEDIA_IMAGE, false}, {"video_url", "url", MEDIA_VIDEO, false},
    {"audio_url", "url", MEDIA_AUDIO, false}, {"input_audio", "data", MEDIA_AUDIO, true},
    {"file", "file_data", MEDIA_NONE, false},
};

static bool read_part(yyjson_val *v, struct part *p) {
    struct slice type = json_str(json_get(v, "type"));
    for (size_t i = 0; type.len > 0 && i < sizeof kinds / sizeof *kinds; i++) {
        if (!slice_is(type, kinds[i].name)) continue;
        yyjson_val *at = json_get(v, kinds[i].name);
        p->name = kinds[i].name;
        p->member = yyjson_is_str(at) ? NULL : kinds[i].member;
        p->media = kinds[i].media;
        p->bare = kinds[i].bare;
        p->url = json_str(p->member != NULL ? json_get(at, p->member) : at);
        return p->url.len > 0;
    }
    return false;
}

void parts_each(yyjson_val *messages, void (*visit)(void *user, const struct part *p), void *user) {
    size_t i, k, nmessages, nparts;
    yyjson_val *message, *v;
    yyjson_arr_foreach(messages, i, nmessages, message) {
        yyjson_val *content = json_get(message, "content");
        yyjson_arr_foreach(content, k, nparts, v) {
            struct part p = {.message = i, .part = k};
            if (read_part(v, &p)) visit(user, &p);
        }
    }
}

static void look(void *user, const struct part *p) {
    struct llm_request *r = user;
    if (slice_starts(p->url, SLICE("data:")) || p->bare)
        r->longest_data = p->url.len > r->longest_data ? p->url.len : r->longest_data;
    if (slice_starts(p->url, SLICE("http://")) || slice_starts(p->url, SLICE("https://")))
        r->has_addresses = true;
}

void parts_look(yyjson_val *messages, struct llm_request *r) {
    parts_each(messages, look, r);
}
