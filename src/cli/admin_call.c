/* The way to the operator's routes: the running server's socket, else a small server of this command's own. */
#include "cli/admin.h"
#include "cli/serve.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OWN_SOCKET \
    "command.sock" /* nobody else looks for it: two commands never meet in one small server */
#define PATIENCE_MS 10000 /* for a server that starts or ends, and for another command */
#define LOOK_MS 50
#define CALL_TIMEOUT_S 60L
#define ANSWER_MAX_BYTES ((size_t)64 << 20)

struct admin {
    const struct admin_args *args;
    const char *data;      /* the folder */
    struct config *config; /* NULL: not needed so far */
    char socket[SERVE_SOCKET_BYTES];
    int folder; /* what a long socket path goes through, else -1 */
    int lock_fd;
    pid_t helper; /* 0: the server answers */
    bool patient; /* of the next call */
    FILE *words;  /* where it says what is wrong */
    void (*tick)(struct admin *a);
    uint64_t ticked_s;
};

__attribute__((format(printf, 3, 4))) static int say(const struct admin *a, int code,
                                                     const char *fmt, ...) {
    va_list args;
    fprintf(stderr, "anyllm %s: ", a->args->command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

/* ---- Which folder ---- */

static int load_config(struct admin *a) {
    struct config_error err;
    bool help;
    char *argv[6] = {(char[]){"serve"}};
    int argc = 1;
    const char *const pairs[][2] = {{"--data", a->args->data}, {"--config", a->args->config}};
    for (size_t i = 0; i < 2; i++) {
        if (pairs[i][1] != NULL) {
            argv[argc++] = (char *)(uintptr_t)pairs[i][0];
            argv[argc++] = (char *)(uintptr_t)pairs[i][1];
        }
    }
    a->config = config_load(argc, argv, &help, &err);
    if (a->config == NULL) {
        return say(a, CLI_FAILED, "%s", err.text);
    }
    a->data = a->config->data_dir;
    return 0;
}

/* ---- The running server ---- */

static int try_socket(const char *path) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), e = 0;
    memcpy(sa.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
        e = errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    return e;
}

static bool socket_path(struct admin *a, const char *name) {
    if (a->folder >= 0) {
        close(a->folder);
        a->folder = -1;
    }
    return serve_socket_path(a->data, name, &a->folder, a->socket);
}

/* 0: a server answers there. Else an errno; ENOENT and ECONNREFUSED mean that none runs. */
static int find_server(struct admin *a) {
    return socket_path(a, SERVE_ADMIN_SOCKET) ? try_socket(a->socket) : errno;
}

/* ---- Without one ---- */

/* Files that another user's server could not write later. */
static int check_folder(struct admin *a) {
    struct stat st;
    if (a->args->action == ADMIN_KEYS_CREATE) {
        int e = serve_make_folders(a->data);
        if (e != 0) {
            return say(a, CLI_FAILED, "data folder %s: %s", a->data, strerror(-e));
        }
    }
    if (stat(a->data, &st) != 0) {
        return say(a, CLI_FAILED, "data folder %s: %s", a->data, strerror(errno));
    }
    if (st.st_uid != geteuid()) {
        return say(a, CLI_FAILED,
                   "no server runs on %s, and the folder is another user's: run this as that user",
                   a->data);
    }
    return 0;
}

static int run_helper(struct admin *a, int ready_fd, pid_t parent) {
    signal(SIGINT, SIG_IGN); /* the terminal sends it to both; this one ends with its parent */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        return CLI_FAILED;
    }
    log_set_level(LOG_ERROR);
    return serve_operator(a->config, OWN_SOCKET, ready_fd);
}

/* The helper says why it could not start. */
static int start_helper(struct admin *a) {
    int ready[2];
    char byte;
    pid_t parent = getpid();
    if (pipe2(ready, O_CLOEXEC) != 0) {
        return say(a, CLI_FAILED, "%s", strerror(errno));
    }
    fflush(NULL);
    a->helper = fork();
    if (a->helper == 0) {
        close(ready[0]);
        _exit(run_helper(a, ready[1], parent));
    }
    close(ready[1]);
    bool started = a->helper > 0;
    while (started && read(ready[0], &byte, 1) != 1) {
        started = errno == EINTR;
    }
    close(ready[0]);
    return started && socket_path(a, OWN_SOCKET) ? 0 : CLI_FAILED;
}

static void pause_ms(long ms) {
    struct timespec t = {.tv_nsec = ms * 1000000L};
    nanosleep(&t, NULL);
}

/* 0: a server was found or the lock is ours (lock_fd). */
static int find_or_lock(struct admin *a) {
    int e = find_server(a), locked = -EWOULDBLOCK;
    for (int waited = 0; e == ENOENT || e == ECONNREFUSED; waited += LOOK_MS) {
        int code = check_folder(a);
        if (code != 0) {
            return code;
        }
        locked = serve_lock(a->data, &a->lock_fd);
        if (locked == 0) {
            return 0;
        }
        if (locked != -EWOULDBLOCK) {
            return say(a, CLI_FAILED, "data folder %s: %s", a->data, strerror(-locked));
        }
        if (waited >= PATIENCE_MS) {
            return say(
                a, CLI_TRANSPORT,
                "data folder %s is in use: a server that starts or ends, or another command, "
                "holds its lock; try again",
                a->data);
        }
        pause_ms(LOOK_MS);
        e = find_server(a);
    }
    return e == 0 ? 0
                  : say(a, CLI_TRANSPORT, "%s/" SERVE_ADMIN_SOCKET ": %s", a->data, strerror(e));
}

static int reach(struct admin *a) {
    int code = a->data == NULL ? load_config(a) : 0;
    if (code == 0) {
        code = find_or_lock(a);
    }
    if (code != 0 || a->lock_fd < 0) {
        return code;
    }
    if (a->config == NULL) {
        code = load_config(a);
    }
    return code == 0 ? start_helper(a) : code;
}

struct admin *admin_open(const struct admin_args *args, int *code) {
    struct admin *a = calloc(1, sizeof *a);
    serve_prepare_process();
    if (a == NULL) {
        *code = cli_usage_error(args->command, "out of memory");
        return NULL;
    }
    *a = (struct admin){
        .args = args, .data = args->data, .folder = -1, .lock_fd = -1, .words = stderr};
    *code = reach(a);
    if (*code == 0) {
        return a;
    }
    admin_close(a);
    return NULL;
}

void admin_close(struct admin *a) {
    if (a == NULL) {
        return;
    }
    if (a->helper > 0) {
        kill(a->helper, SIGTERM);
        while (waitpid(a->helper, NULL, 0) < 0 && errno == EINTR) {
            continue;
        }
    }
    if (a->folder >= 0) {
        close(a->folder);
    }
    if (a->lock_fd >= 0) {
        close(a->lock_fd);
    }
    config_free(a->config);
    free(a);
}

void admin_speak_to(struct admin *a, FILE *words) {
    a->words = words;
}

bool admin_has_server(const struct admin *a) {
    return a->helper == 0;
}

/* ---- Asking ---- */

void admin_be_patient(struct admin *a, void (*tick)(struct admin *a)) {
    a->patient = true;
    a->tick = tick;
}

/* libcurl calls it many times a second. What it asks is a call of its own. */
static int on_progress(void *user, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal,
                       curl_off_t ulnow) {
    struct admin *a = user;
    void (*tick)(struct admin *) = a->tick;
    uint64_t now = (uint64_t)time(NULL);
    if (tick == NULL || now == a->ticked_s) {
        return 0;
    }
    a->tick = NULL;
    tick(a);
    a->tick = tick;
    a->ticked_s = now;
    return 0;
}

static void set_patience(struct admin *a, CURL *e) {
    curl_easy_setopt(e, CURLOPT_TIMEOUT, a->patient ? 0L : CALL_TIMEOUT_S);
    if (a->patient) {
        curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(e, CURLOPT_XFERINFODATA, a);
        curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    }
    a->patient = false;
}

static size_t take(char *bytes, size_t size, size_t count, void *user) {
    return buf_add(user, slice_make(bytes, size * count)) ? size * count : 0;
}

static CURLcode perform(struct admin *a, const char *method, const char *path, struct buf *body,
                        struct buf *answer, long *status) {
    CURL *e = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char *url = NULL;
    CURLcode rc = e == NULL || headers == NULL ? CURLE_OUT_OF_MEMORY : CURLE_OK;
    if (rc == CURLE_OK && asprintf(&url, "http://localhost%s", path) < 0) {
        rc = CURLE_OUT_OF_MEMORY;
    }
    if (rc == CURLE_OK) {
        curl_easy_setopt(e, CURLOPT_URL, url);
        curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, a->socket);
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
        set_patience(a, e);
        curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take);
        curl_easy_setopt(e, CURLOPT_WRITEDATA, answer);
        if (body != NULL) {
            curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)buf_len(body));
            curl_easy_setopt(e, CURLOPT_POSTFIELDS, buf_slice(body).ptr);
        }
        rc = curl_easy_perform(e);
        curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, status);
    }
    free(url);
    curl_slist_free_all(headers);
    curl_easy_cleanup(e);
    return rc;
}

/* The number is for those who have no words. */
static int refusal(const struct admin *a, yyjson_doc *answer, long status) {
    const char *text = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(answer), "message"));
    fprintf(a->words, "anyllm %s: ", a->args->command);
    if (text != NULL) {
        cli_print_text(a->words, text, false);
        fputc('\n', a->words);
    } else {
        fprintf(a->words, "the server refused (HTTP %ld)\n", status);
    }
    return CLI_FAILED;
}

static int no_answer(const struct admin *a, CURLcode rc) {
    fprintf(a->words, "anyllm %s: %s: %s\n", a->args->command, a->socket,
            rc != CURLE_OK ? curl_easy_strerror(rc) : "the answer is no JSON");
    return rc == CURLE_OPERATION_TIMEDOUT ? CLI_TIMED_OUT : CLI_TRANSPORT;
}

static void wipe(struct buf *b) {
    if (b != NULL && b->base != NULL) {
        secret_wipe(b->base, b->cap);
    }
}

yyjson_doc *admin_ask(struct admin *a, const char *method, const char *path, struct buf *body,
                      int *code) {
    struct buf answer;
    long status = 0;
    buf_init(&answer, ANSWER_MAX_BYTES);
    CURLcode rc = perform(a, method, path, body, &answer, &status);
    yyjson_doc *doc = rc == CURLE_OK ? yyjson_read(buf_slice(&answer).ptr, buf_len(&answer), 0)
                                     : NULL;
    wipe(body);
    wipe(&answer);
    buf_free(&answer);
    *code = CLI_DONE;
    if (doc == NULL) {
        *code = no_answer(a, rc);
    } else if (status >= 400) {
        *code = refusal(a, doc, status);
        yyjson_doc_free(doc);
        doc = NULL;
    }
    return doc;
}

void admin_add_query(struct buf *path, const char *name, const char *value) {
    static const char hex[] = "0123456789ABCDEF";
    if (value == NULL) {
        return;
    }
    buf_printf(path, "%c%s=", slice_find(buf_slice(path), '?') < 0 ? '?' : '&', name);
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= 'a' && *p <= 'z') || strchr("-._~", *p) != NULL;
        if (plain) {
            buf_addc(path, (char)*p);
        } else {
            buf_addc(path, '%');
            buf_addc(path, hex[*p >> 4]);
            buf_addc(path, hex[*p & 15]);
        }
    }
}

bool admin_print_json(const struct admin_args *args, const yyjson_doc *answer) {
    if (!args->json) {
        return false;
    }
    char *text = yyjson_write(answer, YYJSON_WRITE_NOFLAG, NULL);
    if (text != NULL) {
        cli_print_json(text, true);
        secret_wipe(text, strlen(text));
    }
    free(text);
    return true;
}
