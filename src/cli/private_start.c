/* Starts the private server: one command does, under a lock; it lives in a session of its own and ends by itself. */
#include "cli/line.h"
#include "cli/private.h"
#include "cli/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 20L
#define LOADING_S 180.0 /* then the call is tried all the same, and says what is wrong */
/* For one that ends just now to give its data folder back. */
#define WAIT_FOR_LOCK "20"
#define LOG_END_BYTES 8192

__attribute__((format(printf, 2, 3))) static int refuse(const struct cli_args *args,
                                                        const char *fmt, ...) {
    char why[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    fprintf(stderr,
            "anyllm %s: no server at " CLI_DEFAULT_BASE ", and a private one cannot start: ",
            args->command);
    cli_print_text(stderr, why, false);
    fputc('\n', stderr);
    return CLI_TRANSPORT;
}

/* ---- Its process ---- */

/* 300, or what the user wants instead: anything --idle-exit takes. */
static const char *idle_exit(void) {
    const char *wish = getenv("ANYLLM_PRIVATE_IDLE");
    return wish != NULL && wish[0] != '\0' ? wish : "300";
}

/* Nothing of the caller's stays open, so that nobody waits for the end of a pipe. The keys of `serve` are for its callers. */
static void become_server(const struct private_place *p) {
    char listen[PRIVATE_SOCKET_BYTES + 8];
    sigset_t none;
    snprintf(listen, sizeof(listen), "unix:%s", p->socket);
    const char *argv[] = {"anyllm",      "private-serve", "--listen",        listen,
                          "--data",      p->data,         "--store",         "sqlite:anyllm.db",
                          "--idle-exit", idle_exit(),     "--wait-for-lock", WAIT_FOR_LOCK,
                          NULL};
    int null = open("/dev/null", O_RDWR);
    int log = open(p->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (setsid() < 0 || null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
        dup2(log, 2) < 0) {
        _exit(EXIT_SYSTEM);
    }
    closefrom(3);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    unsetenv("ANYLLM_KEYS");
    execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    fprintf(stderr, "anyllm serve: %s\n", strerror(errno));
    _exit(EXIT_SYSTEM);
}

/* The log of the one before is kept beside it: it may say why that one is gone. */
static void put_log_aside(const char *log) {
    char old[PATH_MAX];
    int n = snprintf(old, sizeof(old), "%s.old", log);
    if (n > 0 && (size_t)n < sizeof(old)) {
        rename(log, old);
    }
}

static pid_t spawn(const struct private_place *p) {
    put_log_aside(p->log);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become_server(p);
    }
    return pid;
}

/* ---- Why it did not start ---- */

/* Its last word: `serve` says in one line what is wrong and what to do; else the last error of its log. */
static const char *last_words(char *text) {
    static const char says[] = "anyllm serve: ", logs[] = "level=error ";
    const char *found = NULL;
    for (char *line = text, *end; *line != '\0'; line = end) {
        end = line + strcspn(line, "\n");
        if (*end != '\0') {
            *end++ = '\0';
        }
        const char *logged = strstr(line, logs);
        if (strncmp(line, says, sizeof(says) - 1) == 0) {
            found = line + sizeof(says) - 1;
        } else if (logged != NULL) {
            found = logged + sizeof(logs) - 1;
        }
    }
    return found;
}

static int refuse_with_log(const struct cli_args *args, const struct private_place *p, int status) {
    char text[LOG_END_BYTES + 1];
    struct stat st;
    int fd = open(p->log, O_RDONLY | O_CLOEXEC);
    off_t from = fd >= 0 && fstat(fd, &st) == 0 && st.st_size > LOG_END_BYTES
                     ? st.st_size - LOG_END_BYTES
                     : 0;
    ssize_t n = fd >= 0 ? pread(fd, text, LOG_END_BYTES, from) : 0;
    text[n > 0 ? n : 0] = '\0';
    if (fd >= 0) {
        close(fd);
    }
    const char *why = last_words(text);
    if (why != NULL && strncmp(why, "nothing answers", 15) == 0) { /* its advice is for `serve` */
        why = "there is no model: run `make demo` once, set OPENROUTER_API_KEY or "
              "ANYLLM_LOCAL_MODEL=FILE.gguf";
    }
    if (why != NULL) {
        return refuse(args, "%s; or name a server with --base", why);
    }
    return refuse(args, "it ended with %s %d, see %s; or name a server with --base",
                  WIFEXITED(status) ? "exit code" : "signal",
                  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), p->log);
}

/* ---- Waiting ---- */

static void pause_a_moment(void) {
    struct timespec t = {.tv_nsec = LOOK_MS * 1000000L};
    nanosleep(&t, NULL);
}

/* Ctrl-C and its like where they are held back, as in chat: its number, which is left for who takes it; 0: none. */
static int signal_held_back(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t pending;
    sigpending(&pending);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (sigismember(&pending, numbers[i]) == 1) {
            return numbers[i];
        }
    }
    return 0;
}

/* 0: wait on. Else an exit code. */
static int had_enough(const struct cli_args *args, struct cli_line *line) {
    int number = signal_held_back();
    if (number != 0) {
        cli_line_clear(line);
        return 128 + number;
    }
    if (args->timeout_s > 0 && cli_seconds_since(&line->since) > args->timeout_s) {
        cli_line_clear(line);
        cli_usage_error(args->command, "timed out: the private server is not ready yet");
        return CLI_TIMED_OUT;
    }
    return CLI_DONE;
}

/* 0 when it is ready; `pid` is 0 when it is another command's. */
static int wait_until_ready(const struct cli_args *args, const struct private_place *p, pid_t pid,
                            struct cli_line *line) {
    enum private_state state;
    int status = 0;
    while ((state = private_look(p->socket)) != PRIVATE_READY) {
        if (pid > 0 && waitpid(pid, &status, WNOHANG) == pid) {
            pid = 0;
            if (private_look(p->socket) == PRIVATE_NONE) {
                cli_line_clear(line);
                return refuse_with_log(args, p, status);
            }
        }
        if (pid == 0 && state == PRIVATE_NONE) {
            cli_line_clear(line);
            return refuse(args, "it has ended, see %s", p->log);
        }
        int code = had_enough(args, line);
        if (code != CLI_DONE) {
            return code;
        }
        if (cli_seconds_since(&line->since) > LOADING_S) {
            break;
        }
        cli_line_say(line, state == PRIVATE_NONE ? "starting a private server"
                                                 : "the private server is loading its model");
        pause_a_moment();
    }
    cli_line_clear(line);
    return CLI_DONE;
}

/* "5 minutes" for what nobody has set. */
static void tell(const struct cli_args *args, const struct private_place *p) {
    const char *idle = idle_exit();
    bool usual = strcmp(idle, "300") == 0, number = idle[strspn(idle, "0123456789")] == '\0';
    if (args->quiet) {
        return;
    }
    fprintf(stderr,
            "anyllm %s: started a private server, as there is none at " CLI_DEFAULT_BASE
            "; it ends after %s%s without use (log: %s)\n",
            args->command, usual ? "5 minutes" : idle, !usual && number ? " s" : "", p->log);
}

static int start(const struct cli_args *args, const struct private_place *p,
                 struct cli_line *line) {
    char folder[PATH_MAX];
    if (p->data[0] == '\0' || p->log[0] == '\0') {
        return refuse(args, "there is no home folder for its data: set XDG_STATE_HOME");
    }
    snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(p->log, '/') - p->log), p->log);
    int e = serve_make_folders(folder);
    if (e != 0) {
        return refuse(args, "%s: %s", folder, strerror(-e));
    }
    pid_t pid = spawn(p);
    if (pid < 0) {
        return refuse(args, "%s", strerror(errno));
    }
    int code = wait_until_ready(args, p, pid, line);
    if (code == CLI_DONE) {
        tell(args, p);
    }
    return code;
}

/* 0 when it is ours. In looks, because a wait in flock keeps to no --timeout, and where signals are held back to no Ctrl-C. */
static int take_lock(const struct cli_args *args, const struct private_place *p, int lock,
                     struct cli_line *line) {
    int code = CLI_DONE;
    while (code == CLI_DONE && flock(lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int e = errno;
            cli_line_clear(line);
            return refuse(args, "%s: %s", p->lock, strerror(e));
        }
        cli_line_say(line, "waiting for a private server that another command starts");
        pause_a_moment();
        code = had_enough(args, line);
    }
    return code;
}

int private_start(const struct cli_args *args, const struct private_place *p) {
    struct cli_line line;
    while (waitpid(-1, NULL, WNOHANG) > 0) { /* one that was started for an earlier question */
    }
    if (private_look(p->socket) == PRIVATE_READY) {
        return CLI_DONE;
    }
    cli_line_begin(&line, args->quiet);
    int lock = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0) {
        return refuse(args, "%s: %s", p->lock, strerror(errno));
    }
    int code = take_lock(args, p, lock, &line);
    if (code == CLI_DONE) {
        code = private_look(p->socket) == PRIVATE_NONE ? start(args, p, &line)
                                                       : wait_until_ready(args, p, 0, &line);
    }
    close(lock);
    return code;
}
