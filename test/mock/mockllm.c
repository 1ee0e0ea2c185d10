/* mockllm: the scripted upstream as a program. See mock.h. */
#include "mock.h"

#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void usage(void) {
    puts("mockllm: a scripted OpenAI-compatible upstream on 127.0.0.1\n"
         "\n"
         "  mockllm [--port N] [--unix PATH] [--die-with-parent]\n"
         "\n"
         "  --port N           0 = the kernel chooses (the default when there is no --unix);\n"
         "                     \"listening on PORT\" is then the first line of stdout\n"
         "  --unix PATH        listen there too; \"listening on PATH\"\n"
         "  --die-with-parent  end when the process that started this one ends\n"
         "\n"
         "POST PREFIX/v1/chat/completions, GET PREFIX/v1/models, GET /health,\n"
         "GET /_stats (what arrived, as JSON), POST /_reset.\n"
         "A last user message with nonce:XYZ gets an answer that begins with nonce:XYZ.\n"
         "\n"
         "Prefixes, combined left to right, as /delay/100/cut/50/v1:\n");
    script_print_table();
}

static void raise_descriptor_limit(void) {
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

static void listen_port(uint16_t port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        mock_die(strerror(errno));
    loop_listen(fd);
    printf("listening on %u\n", ntohs(a.sin_port));
}

static void listen_unix(const char *path) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) mock_die("the path of the socket is too long");
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 4096) != 0)
        mock_die(strerror(errno));
    loop_listen(fd);
    printf("listening on %s\n", path);
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"unix", required_argument, NULL, 'u'},
                                            {"die-with-parent", no_argument, NULL, 'd'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    long port = -1;
    const char *path = NULL;
    for (int opt; (opt = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (opt == 'p')
            port = strtol(optarg, NULL, 10);
        else if (opt == 'u')
            path = optarg;
        else if (opt == 'd')
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        else if (opt == 'h')
            return usage(), 0;
        else
            return 2;
    }
    if (port > 65535 || optind < argc) return 2;
    raise_descriptor_limit();
    if (port >= 0 || !path) listen_port(port > 0 ? (uint16_t)port : 0);
    if (path) listen_unix(path);
    fflush(stdout);
    loop_run();
    if (path) unlink(path);
    return 0;
}
