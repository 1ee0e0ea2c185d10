#include "cli/chat.h"

#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORMAT "anyllm chat 1"

/* ---- Where ---- */

/* "$name" + tail; false when the variable is not set to an absolute path. */
static bool put_home(struct buf *out, const char *name, const char *tail) {
    const char *home = getenv(name);
    return home != NULL && home[0] == '/' && buf_printf(out, "%s%s", home, tail);
}

static bool make_folders(char *path) {
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        bool ok = mkdir(path, 0700) == 0 || errno == EEXIST || access(path, X_OK) == 0;
        *at = '/';
        if (!ok) {
            return false;
        }
    }
    return true;
}

char *chat_file_path(const struct cli_args *args) {
    struct buf out;
    buf_init(&out, 4096);
    if (args->history != NULL) {
        buf_puts(&out, args->history);
        return chat_text(&out);
    }
    if (!put_home(&out, "XDG_STATE_HOME", "/anyllm/chat.json") &&
        !put_home(&out, "HOME", "/.local/state/anyllm/chat.json")) {
        cli_usage_error(args->command, "the conversation is not kept: HOME is not set");
        buf_free(&out);
        return NULL;
    }
    char *path = chat_text(&out);
    if (path != NULL && !make_folders(path)) {
        cli_usage_error(args->command, "the conversation is not kept: %s: %s", path,
                        strerror(errno));
        free(path);
        return NULL;
    }
    return path;
}

/* ---- Reading ---- */

/* The file's bytes; false: errno. */
static bool read_all(const char *path, struct buf *out) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    while (fd >= 0 && buf_reserve(out, 65536)) {
        n = read(fd, out->base + out->end, 65536);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            break;
        }
        out->end += n > 0 ? (size_t)n : 0;
    }
    int error = out->failed ? (out->no_memory ? ENOMEM : EFBIG) : errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return fd >= 0 && n == 0 && !out->failed;
}

static const char *text_of(yyjson_val *object, const char *key) {
    return yyjson_get_str(json_get(object, key));
}

/* False: not a message, or no memory (then *memory). */
static bool take_message(struct chat_talk *talk, yyjson_val *m, bool *memory) {
    const char *role = text_of(m, "role"), *text = text_of(m, "content");
    bool by_user = role != NULL && strcmp(role, "user") == 0;
    if (text == NULL || role == NULL || (!by_user && strcmp(role, "assistant") != 0)) {
        return false;
    }
    bool cut = yyjson_is_true(json_get(m, "cut"));
    *memory = !chat_talk_add(talk, by_user, json_str(json_get(m, "content")), text_of(m, "model"),
                             cut);
    return !*memory;
}

static enum chat_file take(struct chat_talk *talk, yyjson_val *root) {
    const char *format = text_of(root, "format");
    yyjson_val *list = json_get(root, "messages"), *m;
    size_t i, count;
    bool memory = false;
    if (format == NULL || strcmp(format, FORMAT) != 0 || !yyjson_is_arr(list)) {
        return CHAT_FILE_BAD;
    }
    if (!chat_talk_set(&talk->model, text_of(root, "model")) ||
        !chat_talk_set(&talk->system, text_of(root, "system"))) {
        return CHAT_FILE_MEMORY;
    }
    yyjson_arr_foreach(list, i, count, m) {
        if (!take_message(talk, m, &memory)) {
            return memory ? CHAT_FILE_MEMORY : CHAT_FILE_BAD;
        }
    }
    return CHAT_FILE_OK;
}

enum chat_file chat_file_load(const char *path, struct chat_talk *talk) {
    struct buf bytes;
    buf_init(&bytes, CHAT_FILE_BYTES);
    if (!read_all(path, &bytes)) {
        buf_free(&bytes);
        if (errno == ENOENT) {
            return CHAT_FILE_NONE;
        }
        cli_usage_error("chat", "%s: %s", path, strerror(errno));
        return errno == ENOMEM ? CHAT_FILE_MEMORY : CHAT_FILE_BAD;
    }
    yyjson_doc *doc = yyjson_read(buf_slice(&bytes).ptr, buf_len(&bytes), 0);
    enum chat_file end = take(talk, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    buf_free(&bytes);
    if (end != CHAT_FILE_OK) {
        chat_talk_free(talk);
        cli_usage_error("chat", "%s: %s", path,
                        end == CHAT_FILE_MEMORY ? strerror(ENOMEM)
                                                : "this is no conversation of anyllm chat; name "
                                                  "another file with --history");
    }
    return end;
}

/* ---- Writing ---- */

static bool put_message(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct chat_message *m) {
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    bool ok = yyjson_mut_obj_add_str(doc, o, "role", m->by_user ? "user" : "assistant") &&
              yyjson_mut_obj_add_str(doc, o, "content", m->text);
    ok = ok && (m->model == NULL || yyjson_mut_obj_add_str(doc, o, "model", m->model));
    return ok && (!m->cut || yyjson_mut_obj_add_bool(doc, o, "cut", true));
}

static char *to_json(const struct chat_talk *talk) {
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    bool ok = yyjson_mut_obj_add_str(doc, root, "format", FORMAT);
    ok = ok && (talk->model == NULL || yyjson_mut_obj_add_str(doc, root, "model", talk->model));
    ok = ok && (talk->system == NULL || yyjson_mut_obj_add_str(doc, root, "system", talk->system));
    yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, root, "messages");
    for (size_t i = 0; ok && i < talk->count; i++) {
        ok = put_message(doc, list, &talk->messages[i]);
    }
    char *json = NULL;
    if (ok) {
        json = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES | YYJSON_WRITE_NEWLINE_AT_END,
                                NULL);
    }
    yyjson_mut_doc_free(doc);
    return json;
}

static char *to_markdown(const struct chat_talk *talk) {
    struct buf out;
    buf_init(&out, CHAT_FILE_BYTES);
    buf_puts(&out, "# Conversation\n");
    if (talk->system != NULL) {
        buf_printf(&out, "\n**System**\n\n%s\n", talk->system);
    }
    for (size_t i = 0; i < talk->count; i++) {
        const struct chat_message *m = &talk->messages[i];
        const char *name = m->model != NULL ? m->model : "Assistant";
        buf_printf(&out, "\n**%s**%s\n\n", m->by_user ? "You" : name, m->cut ? " (cut)" : "");
        buf_puts(&out, m->text);
        buf_puts(&out, "\n");
    }
    return chat_text(&out);
}

static bool write_all(int fd, const char *bytes, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        bytes += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* Closes fd. False: errno. */
static bool fill(int fd, const char *text) {
    bool ok = write_all(fd, text, strlen(text)) && fsync(fd) == 0;
    int error = errno;
    ok = close(fd) == 0 && ok;
    errno = error;
    return ok;
}

/* The new file takes the old one's place in one step. */
static bool replace(const char *path, const char *text) {
    struct buf name;
    buf_init(&name, 8192);
    buf_printf(&name, "%s.XXXXXX", path);
    char *temporary = chat_text(&name);
    int fd = temporary != NULL ? mkostemp(temporary, O_CLOEXEC) : -1; /* 0600 */
    bool ok = fd >= 0 && fill(fd, text) && rename(temporary, path) == 0;
    int error = errno;
    if (fd >= 0 && !ok) {
        unlink(temporary);
    }
    free(temporary);
    errno = error;
    return ok;
}

bool chat_file_store(const char *path, const struct chat_talk *talk) {
    char *json = to_json(talk);
    bool ok = json != NULL && replace(path, json);
    if (json == NULL) {
        errno = ENOMEM;
    }
    free(json);
    return ok;
}

bool chat_file_save(const char *path, const struct chat_talk *talk, bool again) {
    bool json = slice_ends(slice_of(path), SLICE(".json"));
    char *text = json ? to_json(talk) : to_markdown(talk);
    if (text == NULL) {
        errno = ENOMEM;
        return false;
    }
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (again ? O_TRUNC : O_EXCL);
    int fd = open(path, flags, 0666);
    bool ok = fd >= 0 && fill(fd, text);
    free(text);
    return ok;
}
