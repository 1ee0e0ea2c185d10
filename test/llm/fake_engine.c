/* Stands in for llama-server: takes the same arguments, listens on the same kind of socket, and does what the file
 * `fake` beside its socket or beside its program says (words and numbers, the program's own win):
 *
 *   load MS        /health says 503 for so long          exit CODE     complains and ends instead of listening
 *   silent 1       never listens                         signal N      sends itself N when loaded
 *   deaf 1         ignores SIGTERM                       stop MS       stops (SIGSTOP) so long after it was found to
 *                                                                      be loaded
 *   die MS         ends by SIGABRT so long after         spin MS, plain MS, single MS
 *                                                        how long /completion takes, by how it was started
 *   hiss 1         writes much to stderr
 * Each start adds a line with its pid to `starts` beside the socket. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct script {
    int load, exit, silent, signal, deaf, stop, die, spin, plain, single, hiss;
};
static struct script script;
static const char *threads = "";
static volatile bool loaded, found;
static char key[128];

static void sleep_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) continue;
}

static int *word(const char *name) {
    static const char *const names[] = {"load", "exit", "silent", "signal", "deaf", "stop",
                                        "die",  "spin", "plain",  "single", "hiss"};
    int *values = &script.load;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return &values[i];
    return NULL;
}

static void read_script(const char *beside) {
    char path[4096], name[32];
    int value;
    const char *slash = strrchr(beside, '/');
    snprintf(path, sizeof path, "%.*s/fake", slash != NULL ? (int)(slash - beside) : 1,
             slash != NULL ? beside : ".");
    FILE *f = fopen(path, "r");
    while (f != NULL && fscanf(f, "%31s %d", name, &value) == 2)
        if (word(name) != NULL) *word(name) = value;
    if (f != NULL) fclose(f);
}

static void note_start(const char *socket_path) {
    char path[4096];
    snprintf(path, sizeof path, "%.*s/starts", (int)(strrchr(socket_path, '/') - socket_path),
             socket_path);
    FILE *f = fopen(path, "a");
    if (f == NULL) return;
    fprintf(f, "%d\n", (int)getpid());
    fclose(f);
}

static int completion_ms(void) {
    const char *policy = getenv("OMP_WAIT_POLICY");
    if (strcmp(threads, "1") == 0) return script.single;
    return policy != NULL && strcmp(policy, "active") == 0 ? script.spin : script.plain;
}

static void answer(int fd, const char *request) {
    char out[256], body[64] = "{}", bearer[160];
    int status = 200;
    snprintf(bearer, sizeof bearer, "Bearer %s\r\n", key);
    if (strncmp(request, "GET /health ", 12) == 0) {
        status = loaded ? 200 : 503;
    } else if (strstr(request, bearer) == NULL) {
        status = 401;
    } else {
        const char *n = strstr(request, "\"n_predict\":");
        sleep_ms(completion_ms());
        snprintf(body, sizeof body, "{\"tokens_predicted\":%d}",
                 n != NULL ? (int)strtol(n + 12, NULL, 10) : 0);
    }
    int len = snprintf(out, sizeof out, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", status,
                       strlen(body), body);
    if (write(fd, out, (size_t)len) < 0) return;
    if (status == 200) found = true;
}

static void *serve(void *arg) {
    int fd = (int)(long)arg;
    char in[4096];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof in - 1 && (n = read(fd, in + len, sizeof in - 1 - len)) > 0) {
        len += (size_t)n;
        in[len] = '\0';
        const char *end = strstr(in, "\r\n\r\n");
        if (end != NULL && (strncmp(in, "GET", 3) == 0 || strchr(end, '}') != NULL)) break;
    }
    answer(fd, in);
    close(fd);
    return NULL;
}

static void *live(void *arg) {
    (void)arg;
    sleep_ms(script.load);
    if (script.signal != 0) raise(script.signal);
    loaded = true;
    if (script.stop != 0) {
        while (!found) sleep_ms(1);
        sleep_ms(script.stop);
        raise(SIGSTOP);
    }
    if (script.die != 0) {
        sleep_ms(script.die);
        abort();
    }
    return NULL;
}

static int listen_on(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0) {
        fprintf(stderr, "0.00.001.000 E couldn't bind %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return fd;
}

static const char *option(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    fprintf(stderr, "error: %s is missing\n", name);
    exit(1);
}

int main(int argc, char **argv) {
    const char *path = option(argc, argv, "--host");
    pthread_t t;
    threads = option(argc, argv, "--threads");
    FILE *f = fopen(option(argc, argv, "--api-key-file"), "r");
    if (f == NULL || fgets(key, sizeof key, f) == NULL) return 1;
    fclose(f);
    read_script(path);
    read_script(argv[0]);
    note_start(path);
    if (script.deaf) signal(SIGTERM, SIG_IGN);
    for (int i = 0; i < (script.hiss ? 5000 : 1); i++)
        fprintf(stderr, "0.00.000.001 I load: line %d\n", i);
    if (script.exit != 0) {
        fprintf(stderr,
                "0.00.002.000 E llama_model_load: error loading model: the tensor is bad\n");
        fprintf(stderr, "0.00.002.001 I main: bye\n");
        return script.exit;
    }
    if (script.silent) sleep_ms(1000000);
    int fd = listen_on(path);
    pthread_create(&t, NULL, live, NULL);
    for (;;) {
        int peer = accept(fd, NULL, NULL);
        if (peer >= 0 && pthread_create(&t, NULL, serve, (void *)(long)peer) == 0)
            pthread_detach(t);
    }
}
