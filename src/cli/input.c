/* The model's input: --input, the prompt from argv and standard input, the options about the model, and the files that are
 * uploaded before it is sent. */
#include "cli/cli.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#define SEPARATOR "\n\n" /* between the prompt and what was piped in */

/* NUL-terminated, from malloc; NULL: said why. */
static char *read_all(const char *command, int fd, const char *what, size_t *len) {
    struct buf text;
    char chunk[16384];
    ssize_t n;
    buf_init(&text, CLI_STDIN_BYTES);
    while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || !buf_add(&text, slice_make(chunk, (size_t)n))) {
            cli_usage_error(command, "%s: %s", what, n < 0 ? strerror(errno) : "too large");
            buf_free(&text);
            return NULL;
        }
    }
    return buf_take(&text, len);
}

static char *read_file(const char *command, const char *path, size_t *len) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cli_usage_error(command, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *text = read_all(command, fd, path, len);
    close(fd);
    return text;
}

static bool is_dash(const char *text) {
    return text != NULL && strcmp(text, "-") == 0;
}

/* Somebody meant to say something there: not a terminal, not /dev/null. */
static bool stdin_is_piped(void) {
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 &&
           (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* ---- --input ---- */

/* As a document that can be added to; an empty object without it. NULL: said why. */
static yyjson_mut_doc *start_input(const struct cli_args *args) {
    char *text = NULL;
    size_t len = 2;
    const char *given = args->input != NULL ? args->input : "{}";
    if (given[0] == '@') {
        text = read_file(args->command, given + 1, &len);
    } else if (is_dash(given)) {
        text = read_all(args->command, STDIN_FILENO, "standard input", &len);
    } else {
        len = strlen(given);
        text = strdup(given);
    }
    if (text == NULL) {
        return NULL;
    }
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts(text, len, 0, NULL, &why);
    bool is_object = yyjson_is_obj(yyjson_doc_get_root(doc));
    yyjson_mut_doc *copy = is_object ? yyjson_doc_mut_copy(doc, NULL) : NULL;
    if (doc == NULL) {
        cli_usage_error(args->command, "--input is not JSON: %s at byte %zu", why.msg, why.pos);
    } else if (copy == NULL) {
        cli_usage_error(args->command, "--input must be a JSON object");
    }
    yyjson_doc_free(doc);
    free(text);
    return copy;
}

/* ---- The prompt ---- */

/* From argv, then from standard input. NULL: said why. */
static char *join_prompt(const struct cli_args *args, bool piped, size_t *len) {
    struct buf text;
    size_t piped_len = 0;
    char *rest = NULL;
    buf_init(&text, CLI_STDIN_BYTES * 2);
    if (args->operand != NULL && !is_dash(args->operand)) {
        buf_puts(&text, args->operand);
    }
    if (piped &&
        (rest = read_all(args->command, STDIN_FILENO, "standard input", &piped_len)) == NULL) {
        buf_free(&text);
        return NULL;
    }
    if (buf_len(&text) > 0 && piped_len > 0) {
        buf_puts(&text, SEPARATOR);
    }
    buf_add(&text, slice_make(rest != NULL ? rest : "", piped_len));
    free(rest);
    return buf_take(&text, len);
}

static bool put_prompt(const struct cli_args *args, yyjson_mut_doc *doc, yyjson_mut_val *root) {
    bool taken = args->stdin_taken || is_dash(args->input), dash = is_dash(args->operand);
    if (args->operand == NULL && args->input != NULL) {
        return true;
    }
    if (dash && taken) {
        cli_usage_error(args->command, "standard input cannot be read twice");
        return false;
    }
    bool asked_for = dash || args->operand == NULL; /* else it comes after the operand */
    size_t len = 0;
    char *prompt = join_prompt(args, !taken && (asked_for || stdin_is_piped()), &len);
    bool ok = prompt != NULL && len > 0;
    if (prompt != NULL && len == 0) {
        cli_usage_error(args->command, "the prompt is empty; anyllm %s PROMPT, or - to read it",
                        args->command);
    }
    ok = ok && yyjson_mut_obj_put(root, yyjson_mut_str(doc, "prompt"),
                                  yyjson_mut_strncpy(doc, prompt, len));
    free(prompt);
    return ok;
}

static bool put(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *name,
                yyjson_mut_val *value) {
    return yyjson_mut_obj_put(root, yyjson_mut_str(doc, name), value);
}

static bool put_options(const struct cli_args *args, yyjson_mut_doc *doc, yyjson_mut_val *root) {
    bool ok = true;
    if (args->model != NULL) {
        ok = ok && put(doc, root, "model", yyjson_mut_str(doc, args->model));
    }
    if (args->system != NULL) {
        ok = ok && put(doc, root, "system_prompt", yyjson_mut_str(doc, args->system));
    }
    if (args->has_temperature) {
        ok = ok && put(doc, root, "temperature", yyjson_mut_real(doc, args->temperature));
    }
    if (args->max_tokens > 0) {
        ok = ok && put(doc, root, "max_tokens", yyjson_mut_sint(doc, args->max_tokens));
    }
    return ok;
}

/* ---- Files ---- */

/* Takes `pointer`. False: said why. */
static bool add_file(const struct cli_args *args, struct cli_input *in, const char *path,
                     char *pointer) {
    struct stat st;
    if (pointer == NULL || stat(path, &st) != 0 || access(path, R_OK) != 0) {
        cli_usage_error(args->command, "%s: %s", path, strerror(errno));
        free(pointer);
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        cli_usage_error(args->command, "%s is a folder", path);
        free(pointer);
        return false;
    }
    size_t i = in->files.file_count++;
    in->list[i] = (struct fal_file)FAL_FILE_INIT;
    in->list[i].path = path;
    in->list[i].pointer = in->pointers[i] = pointer;
    return true;
}

static bool is_address(const char *image) {
    static const char *const starts[] = {"http://", "https://", "data:"};
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
        if (strncmp(image, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* In the order given: a file's place holds null until its address is known. */
static bool put_images(const struct cli_args *args, struct cli_input *in, yyjson_mut_doc *doc,
                       yyjson_mut_val *root) {
    yyjson_mut_val *list = yyjson_mut_obj_get(root, "image_urls");
    if (args->images.count > 0 && list == NULL) {
        list = yyjson_mut_arr(doc);
        put(doc, root, "image_urls", list);
    }
    if (args->images.count > 0 && !yyjson_mut_is_arr(list)) {
        cli_usage_error(args->command, "image_urls in --input is not a list");
        return false;
    }
    for (size_t i = 0; i < args->images.count; i++) {
        const char *image = args->images.at[i];
        char *pointer = NULL;
        if (is_address(image)) {
            yyjson_mut_arr_add_str(doc, list, image);
            continue;
        }
        if (asprintf(&pointer, "/image_urls/%zu", yyjson_mut_arr_size(list)) < 0) {
            pointer = NULL;
        }
        yyjson_mut_arr_add_null(doc, list);
        if (!add_file(args, in, image, pointer)) {
            return false;
        }
    }
    return true;
}

static bool add_files(const struct cli_args *args, struct cli_input *in) {
    for (size_t i = 0; i < args->files.count; i++) {
        const char *text = args->files.at[i], *equals = strchr(text, '=');
        if (text[0] != '/' || equals == NULL || equals[1] == '\0') {
            cli_usage_error(args->command, "--file '%s': wants POINTER=FILE, as /audio_url=FILE",
                            text);
            return false;
        }
        if (!add_file(args, in, equals + 1, strndup(text, (size_t)(equals - text)))) {
            return false;
        }
    }
    return true;
}

/* ---- All of it ---- */

bool cli_input_read(const struct cli_args *args, struct cli_input *in, int *code) {
    *in = (struct cli_input){.files = FAL_FILES_INIT};
    in->files.files = in->list;
    *code = CLI_USAGE;
    yyjson_mut_doc *doc = start_input(args);
    if (doc == NULL) {
        return false;
    }
    yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
    if (put_prompt(args, doc, root) && put_options(args, doc, root) &&
        put_images(args, in, doc, root) && add_files(args, in)) {
        in->json = yyjson_mut_write(doc, 0, NULL);
        if (in->json == NULL) {
            cli_usage_error(args->command, "the prompt or an option is not UTF-8 text");
        }
    }
    yyjson_mut_doc_free(doc);
    if (in->json == NULL) {
        cli_input_free(in);
        return false;
    }
    return true;
}

const struct fal_files *cli_input_files(const struct cli_input *in) {
    return in->files.file_count > 0 ? &in->files : NULL;
}

void cli_input_watch(struct cli_input *in,
                     void (*on_progress)(uint64_t sent_bytes, uint64_t total_bytes, void *user),
                     void *user) {
    in->files.on_progress = on_progress;
    in->files.user = user;
}

void cli_input_free(struct cli_input *in) {
    for (size_t i = 0; i < in->files.file_count; i++) {
        free(in->pointers[i]);
        in->pointers[i] = NULL;
    }
    free(in->json);
    in->json = NULL;
    in->files.file_count = 0;
}
