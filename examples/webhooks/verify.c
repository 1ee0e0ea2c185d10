/* A receiver of webhooks: fetches the sender's keys, takes one delivery after the other, and says of each whether it is from
 * this server, new and whole. Put a web server in front of it, or take what `verdict` does into yours.
 *
 *   cc verify.c $(pkg-config --cflags --libs fal) -o verify
 *   FAL_BASE_URL=http://127.0.0.1:8787 ./verify 9000 */
#include <arpa/inet.h>
#include <fal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_BYTES (4U << 20)

/* The value of a header, its line cut off behind it. NULL: not there. */
static char *header(char *head, const char *name) {
    size_t len = strlen(name);
    for (char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':')
            return line + 2 + len + 1 + strspn(line + 2 + len + 1, " ");
    return NULL;
}

static const char *cut(char *value) {
    if (value != NULL) value[strcspn(value, "\r")] = '\0';
    return value;
}

/* `head` is cut into pieces; `jwks` is what fal_webhook_keys_fetch gave. */
static enum fal_webhook_verdict verdict(char *head, const char *body, size_t body_bytes,
                                        const char *jwks) {
    struct fal_webhook w = FAL_WEBHOOK_INIT;
    struct fal_webhook_keys keys = FAL_WEBHOOK_KEYS_INIT;
    char *id = header(head, "X-Fal-Webhook-Request-Id"),
         *user = header(head, "X-Fal-Webhook-User-Id"),
         *time = header(head, "X-Fal-Webhook-Timestamp"),
         *signature = header(head, "X-Fal-Webhook-Signature");
    w.body = body; /* as it came: verify before you parse */
    w.body_bytes = body_bytes;
    w.request_id = cut(id);
    w.user_id = cut(user);
    w.timestamp = cut(time);
    w.signature = cut(signature);
    keys.jwks_json = jwks;
    return fal_webhook_verify(&w, &keys);
}

/* One whole request, NUL-terminated. NULL: it is none, or too long. */
static char *read_request(int fd, char **body, size_t *body_bytes) {
    char *all = malloc(MAX_BYTES + 1), *end = NULL, *length;
    size_t n = 0, wanted = SIZE_MAX;
    while (all != NULL && n < wanted) {
        ssize_t got = n < MAX_BYTES ? recv(fd, all + n, MAX_BYTES - n, 0) : 0;
        if (got <= 0) break;
        n += (size_t)got;
        all[n] = '\0';
        if (end != NULL || (end = strstr(all, "\r\n\r\n")) == NULL) continue;
        end[2] = '\0';
        length = header(all, "Content-Length");
        *body = end + 4;
        *body_bytes = length != NULL ? strtoul(length, NULL, 10) : 0;
        if (*body_bytes > MAX_BYTES) break;
        wanted = (size_t)(*body - all) + *body_bytes;
    }
    if (n >= wanted) return all;
    free(all);
    return NULL;
}

static void serve(int fd, const char *jwks) {
    static const char *const words[] = {"valid",         "unsigned", "too old or from the future",
                                        "not from here", "no key",   "out of memory"};
    char *body = NULL;
    size_t bytes = 0;
    char *request = read_request(fd, &body, &bytes);
    if (request == NULL) return;
    enum fal_webhook_verdict v = verdict(request, body, bytes, jwks);
    printf("%s: %.*s\n", words[v], v == FAL_WEBHOOK_VALID ? (int)bytes : 0, body);
    fflush(stdout);
    /* Answer at once and work later; what is not 2xx comes again. */
    dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            v == FAL_WEBHOOK_VALID ? "200 OK" : "401 Unauthorized");
    free(request);
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    fal_client *c = NULL;
    fal_result *keys = NULL;
    if (argc != 2 || fal_client_new(NULL, &c) != FAL_OK) return 2;
    if (fal_webhook_keys_fetch(c, NULL, &keys) != FAL_OK) { /* again every day */
        fprintf(stderr, "no keys: %s\n", fal_result_error(keys)->message);
        return 1;
    }
    at.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 16) != 0) {
        perror(argv[1]);
        return 1;
    }
    getsockname(listener, (struct sockaddr *)&at, &(socklen_t){sizeof at});
    printf("listening on 127.0.0.1:%u\n", ntohs(at.sin_port));
    fflush(stdout);
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0; close(fd))
        serve(fd, fal_result_json(keys));
    fal_result_free(keys);
    fal_client_free(c);
    return 0;
}
