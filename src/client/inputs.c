/* The files of a call's input: where they go is marked in the document first, then they are uploaded, some at once, and their
 * addresses are written to the marks. Nothing is sent before all marks are set and all files could be opened. */
#include "client/inputs.h"

#include "client/upload.h"

#include <stdlib.h>

struct input_file {
    struct fal_file file; /* its strings are ours */
    bool by_url;          /* a file:// string named it */
    struct client_upload *upload;
    char *url;
    uint64_t sent_bytes, total_bytes;
};

struct mark {
    yyjson_mut_val *val;
    size_t file;
};

struct client_inputs {
    fal_client *client;
    yyjson_mut_doc *doc;
    bool file_urls;
    char *lifecycle; /* JSON or NULL */
    struct client_upload_limits limits;
    struct input_file *files;
    struct mark *marks;
    size_t file_count, file_room, mark_count, mark_room;
    size_t begun, running;
    uint64_t deadline_ms;
    fal_result *result;
    struct client_timer none; /* there is nothing to upload */
    void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user);
    void *user;
    void (*done)(enum fal_code code, char *input, void *owner);
    void *owner;
};

/* ---- What is to be uploaded ---- */

static void file_free(struct input_file *f) {
    client_upload_free(f->upload);
    free((char *)(uintptr_t)f->file.path);
    free((char *)(uintptr_t)f->file.content_type);
    free((char *)(uintptr_t)f->file.name);
    free((char *)(uintptr_t)f->file.pointer);
    free(f->url);
    *f = (struct input_file){0};
}

static bool copy_text(const char **to, const char *from) {
    *to = from != NULL ? slice_dup(slice_of(from)) : NULL;
    return from == NULL || *to != NULL;
}

/* Room for one more at the end of an array; false: no memory. */
static bool one_more(void **array, size_t *room, size_t count, size_t each_bytes) {
    if (count < *room) {
        return true;
    }
    size_t next = *room > 0 ? *room * 2 : 8;
    void *p = realloc(*array, next * each_bytes);
    if (p == NULL) {
        return false;
    }
    *array = p;
    *room = next;
    return true;
}

static bool add_file(struct client_inputs *in, const struct fal_file *file) {
    void *files = in->files;
    bool ok = one_more(&files, &in->file_room, in->file_count, sizeof(*in->files));
    in->files = files;
    if (!ok) {
        return false;
    }
    struct input_file *f = &in->files[in->file_count++];
    *f = (struct input_file){.file = *file};
    f->file.path = f->file.content_type = f->file.name = f->file.pointer = NULL;
    return copy_text(&f->file.path, file->path) &&
           copy_text(&f->file.content_type, file->content_type) &&
           copy_text(&f->file.name, file->name) && copy_text(&f->file.pointer, file->pointer);
}

static bool add_mark(struct client_inputs *in, yyjson_mut_val *val, size_t file) {
    void *marks = in->marks;
    bool ok = one_more(&marks, &in->mark_room, in->mark_count, sizeof(*in->marks));
    in->marks = marks;
    if (ok) {
        in->marks[in->mark_count++] = (struct mark){val, file};
    }
    return ok;
}

/* ---- Made ---- */

/* The caller's array has the stride of the header that the caller was built with. */
static enum fal_code copy_files(struct client_inputs *in, const struct fal_files *files,
                                const char **why) {
    const char *at = (const char *)files->files;
    size_t stride = files->file_count > 0 ? files->files[0].size : 0;
    for (size_t i = 0; i < files->file_count; i++, at += stride) {
        struct fal_file file;
        size_t size;
        memcpy(&size, at, sizeof(size));
        *why = client_unknown_options;
        if (size != stride || !client_options_copy(&file, sizeof(file), at)) {
            return FAL_ERR_ARGUMENT;
        }
        *why = client_file_fault(&file);
        if (*why == NULL && (file.pointer == NULL || file.pointer[0] != '/')) {
            *why = "a file's pointer must say where its address goes, \"/image_url\"";
        }
        if (*why != NULL) {
            return FAL_ERR_ARGUMENT;
        }
        if (!add_file(in, &file)) {
            return FAL_ERR_MEMORY;
        }
    }
    return FAL_OK;
}

/* Numbers stay as they are written: the input of a model is not ours to round. */
static enum fal_code read_input(struct client_inputs *in, const char *input_json) {
    yyjson_read_err err = {0};
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)input_json, strlen(input_json),
                                       YYJSON_READ_NUMBER_AS_RAW, NULL, &err);
    if (doc == NULL) {
        return err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION ? FAL_ERR_MEMORY : FAL_ERR_ARGUMENT;
    }
    in->doc = yyjson_doc_mut_copy(doc, NULL);
    yyjson_doc_free(doc);
    return in->doc != NULL ? FAL_OK : FAL_ERR_MEMORY;
}

static enum fal_code fill(struct client_inputs *in, const struct fal_files *f,
                          const char *input_json, const char **why) {
    static const struct fal_upload_options defaults = FAL_UPLOAD_OPTIONS_INIT;
    if (f->files == NULL && f->file_count > 0) {
        *why = "files is NULL and file_count is not 0";
        return FAL_ERR_ARGUMENT;
    }
    if (f->file_count > CLIENT_INPUT_FILES) {
        *why = "more than 1000 files";
        return FAL_ERR_ARGUMENT;
    }
    in->file_urls = f->file_urls;
    in->on_progress = f->on_progress;
    in->user = f->user;
    client_upload_limits_set(&in->limits, &defaults);
    *why = "lifecycle is not one";
    enum fal_code code = client_lifecycle_json(f->lifecycle, &in->lifecycle);
    if (code == FAL_OK) {
        code = copy_files(in, f, why);
    }
    if (code == FAL_OK) {
        *why = "input_json is not a JSON object";
        code = read_input(in, input_json != NULL ? input_json : "{}");
    }
    return code;
}

enum fal_code client_inputs_new(fal_client *c, const struct fal_files *files,
                                const char *input_json, struct client_inputs **out,
                                const char **why) {
    struct fal_files f;
    *out = NULL;
    *why = client_unknown_options;
    if (!client_options_copy(&f, sizeof(f), files)) {
        return FAL_ERR_ARGUMENT;
    }
    struct client_inputs *in = calloc(1, sizeof(*in));
    if (in != NULL) {
        in->client = c;
    }
    enum fal_code code = in != NULL ? fill(in, &f, input_json, why) : FAL_ERR_MEMORY;
    if (code == FAL_ERR_MEMORY) {
        *why = fal_strerror(code);
    }
    if (code != FAL_OK) {
        client_inputs_free(in);
        return code;
    }
    *out = in;
    return FAL_OK;
}

void client_inputs_free(struct client_inputs *in) {
    if (in == NULL) {
        return;
    }
    client_timer_off(&in->none);
    for (size_t i = 0; i < in->file_count; i++) {
        file_free(&in->files[i]);
    }
    free(in->files);
    free(in->marks);
    free(in->lifecycle);
    yyjson_mut_doc_free(in->doc);
    free(in);
}

/* ---- Marks ---- */

static enum fal_code no_memory(struct client_inputs *in) {
    return client_result_fail(in->result, FAL_ERR_MEMORY, "%s", fal_strerror(FAL_ERR_MEMORY));
}

/* What stands there is replaced; at the end of an array, which "-" is too, it is added. */
static bool put_place(struct client_inputs *in, const char *pointer, yyjson_mut_val *place,
                      yyjson_ptr_err *err) {
    size_t len = strlen(pointer);
    return yyjson_mut_doc_ptr_setx(in->doc, pointer, len, place, false, NULL, err) ||
           (err->code != YYJSON_PTR_ERR_MEMORY_ALLOCATION &&
            yyjson_mut_doc_ptr_addx(in->doc, pointer, len, place, false, NULL, err));
}

static enum fal_code mark_pointer(struct client_inputs *in, size_t i) {
    const char *pointer = in->files[i].file.pointer;
    yyjson_ptr_err err = {0};
    yyjson_mut_val *place = yyjson_mut_str(in->doc, "");
    if (place != NULL && put_place(in, pointer, place, &err)) {
        return add_mark(in, place, i) ? FAL_OK : no_memory(in);
    }
    if (place == NULL || err.code == YYJSON_PTR_ERR_MEMORY_ALLOCATION) {
        return no_memory(in);
    }
    char text[CLIENT_MESSAGE_BYTES];
    client_error_set_text(text, slice_of(pointer));
    if (err.code == YYJSON_PTR_ERR_SYNTAX) {
        return client_result_fail(in->result, FAL_ERR_ARGUMENT,
                                  "the pointer \"%.500s\" is no JSON Pointer", text);
    }
    return client_result_fail(in->result, FAL_ERR_ARGUMENT,
                              "the pointer \"%.500s\" leads nowhere in the input: what holds its "
                              "last part must be there",
                              text);
}

/* The file of that path which another string has named before, else a new one. */
static enum fal_code mark_path(struct client_inputs *in, yyjson_mut_val *val, const char *path) {
    size_t i = 0;
    while (i < in->file_count &&
           !(in->files[i].by_url && strcmp(in->files[i].file.path, path) == 0)) {
        i++;
    }
    if (i == CLIENT_INPUT_FILES) {
        return client_result_fail(in->result, FAL_ERR_ARGUMENT, "more than %u files",
                                  CLIENT_INPUT_FILES);
    }
    if (i == in->file_count) {
        struct fal_file file = FAL_FILE_INIT;
        file.path = path;
        if (!add_file(in, &file)) {
            return no_memory(in);
        }
        in->files[i].by_url = true;
    }
    return add_mark(in, val, i) ? FAL_OK : no_memory(in);
}

static enum fal_code mark_string(struct client_inputs *in, yyjson_mut_val *val) {
    struct slice text = slice_make(yyjson_mut_get_str(val), yyjson_mut_get_len(val));
    enum fal_code code;
    const char *why = "";
    if (!slice_starts(text, SLICE("file://"))) {
        return FAL_OK;
    }
    char *path = client_file_url_path(text, &code, &why);
    if (code == FAL_ERR_MEMORY) {
        return no_memory(in);
    }
    if (path == NULL) {
        char words[CLIENT_MESSAGE_BYTES];
        client_error_set_text(words, text);
        return client_result_fail(in->result, code, "%.500s: %s", words, why);
    }
    code = mark_path(in, val, path);
    free(path);
    return code;
}

static enum fal_code mark_strings(struct client_inputs *in, yyjson_mut_val *val, unsigned depth) {
    enum fal_code code = FAL_OK;
    size_t i, n;
    yyjson_mut_val *key, *each;
    if (yyjson_mut_is_str(val)) {
        return mark_string(in, val);
    }
    if (!yyjson_mut_is_ctn(val)) {
        return FAL_OK;
    }
    if (depth == CLIENT_INPUT_DEPTH) {
        return client_result_fail(in->result, FAL_ERR_ARGUMENT,
                                  "the input is nested deeper than %u", CLIENT_INPUT_DEPTH);
    }
    yyjson_mut_arr_foreach(val, i, n, each) {
        code = code != FAL_OK ? code : mark_strings(in, each, depth + 1);
    }
    yyjson_mut_obj_foreach(val, i, n, key, each) {
        code = code != FAL_OK ? code : mark_strings(in, each, depth + 1);
    }
    return code;
}

static enum fal_code mark_all(struct client_inputs *in) {
    enum fal_code code = FAL_OK;
    for (size_t i = 0; i < in->file_count && code == FAL_OK; i++) {
        code = mark_pointer(in, i);
    }
    if (code == FAL_OK && in->file_urls) {
        code = mark_strings(in, yyjson_mut_doc_get_root(in->doc), 0);
    }
    return code;
}

/* Whether each can be opened, and how large it is. */
static enum fal_code measure(struct client_inputs *in) {
    for (size_t i = 0; i < in->file_count; i++) {
        struct client_source source;
        char message[CLIENT_MESSAGE_BYTES] = "";
        enum fal_code code = client_source_open(&source, &in->files[i].file, message);
        if (code != FAL_OK) {
            return code == FAL_ERR_MEMORY ? no_memory(in)
                                          : client_result_fail(in->result, code, "%s", message);
        }
        in->files[i].total_bytes = source.size_bytes;
        client_source_close(&source);
    }
    return FAL_OK;
}

/* ---- Uploads ---- */

static void say_progress(const struct client_inputs *in) {
    uint64_t sent = 0, total = 0;
    for (size_t i = 0; i < in->file_count; i++) {
        const struct input_file *f = &in->files[i];
        sent += f->sent_bytes;
        total = total == CLIENT_SIZE_UNKNOWN || f->total_bytes == CLIENT_SIZE_UNKNOWN
                    ? CLIENT_SIZE_UNKNOWN
                    : total + f->total_bytes;
    }
    if (in->on_progress != NULL) {
        in->on_progress(sent, total, in->user);
    }
}

static struct input_file *file_of(struct client_inputs *in, const struct client_upload *u) {
    size_t i = 0;
    while (in->files[i].upload != u) {
        i++;
    }
    return &in->files[i];
}

static void moved(struct client_upload *u) {
    struct client_inputs *in = u->owner;
    struct input_file *f = file_of(in, u);
    f->sent_bytes = u->sent_bytes;
    f->total_bytes = client_upload_total(u);
    say_progress(in);
}

static void file_done(struct client_upload *u, enum fal_code code);

static enum fal_code start_file(struct client_inputs *in, struct input_file *f) {
    char message[CLIENT_MESSAGE_BYTES] = "";
    enum fal_code code = client_upload_new(in->client, &f->file, &in->limits, in->lifecycle,
                                           &f->upload, message);
    if (code == FAL_OK) {
        f->upload->progress = moved;
        f->upload->done = file_done;
        f->upload->owner = in;
        code = client_upload_start(f->upload, in->result, in->deadline_ms);
    }
    if (code != FAL_OK) {
        return client_result_fail(in->result, code, "%s",
                                  message[0] != '\0' ? message : fal_strerror(code));
    }
    in->running++;
    return FAL_OK;
}

static enum fal_code start_more(struct client_inputs *in) {
    enum fal_code code = FAL_OK;
    while (code == FAL_OK && in->begun < in->file_count && in->running < CLIENT_FILES_AT_ONCE) {
        code = start_file(in, &in->files[in->begun++]);
    }
    return code;
}

/* The marks become addresses. NULL: no memory. */
static char *written(struct client_inputs *in) {
    size_t len;
    for (size_t i = 0; i < in->mark_count; i++) {
        const char *url = in->files[in->marks[i].file].url;
        yyjson_mut_set_strn(in->marks[i].val, url, strlen(url));
    }
    return yyjson_mut_write_opts(in->doc, 0, NULL, &len, NULL);
}

static void end(struct client_inputs *in, enum fal_code code) {
    char *input = NULL;
    if (code == FAL_OK) {
        input = written(in);
        code = input != NULL ? FAL_OK : no_memory(in);
    }
    for (size_t i = 0; i < in->file_count; i++) {
        client_upload_free(in->files[i].upload);
        in->files[i].upload = NULL;
    }
    in->done(code, input, in->owner);
}

static void file_done(struct client_upload *u, enum fal_code code) {
    struct client_inputs *in = u->owner;
    if (code == FAL_OK) {
        struct input_file *f = file_of(in, u);
        f->url = u->file_url;
        u->file_url = NULL;
        f->upload = NULL;
        client_upload_free(u);
        in->running--;
        code = start_more(in);
    }
    if (code != FAL_OK || in->running == 0) {
        end(in, code);
    }
}

static void nothing_to_do(struct client_timer *timer) {
    struct client_inputs *in =
        (struct client_inputs *)(void *)((char *)timer - offsetof(struct client_inputs, none));
    end(in, FAL_OK);
}

enum fal_code client_inputs_begin(struct client_inputs *in, fal_result *result,
                                  uint64_t deadline_ms,
                                  void (*done)(enum fal_code code, char *input, void *owner),
                                  void *owner) {
    in->result = result;
    in->deadline_ms = deadline_ms;
    in->done = done;
    in->owner = owner;
    in->none.fire = nothing_to_do;
    enum fal_code code = mark_all(in);
    if (code == FAL_OK) {
        code = measure(in);
    }
    if (code == FAL_OK) {
        code = start_more(in);
    }
    if (code == FAL_OK && in->file_count == 0) {
        client_timer_set(in->client, &in->none, client_now_ms(in->client));
    }
    return code;
}
