#include "kill_backup.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKUP_MS 20000
#define PAUSE_MS 200U

static void path_of(const struct backups *b, unsigned n, char path[MAX_PATH + 16]) {
    snprintf(path, MAX_PATH + 16, "%s/%u.db", b->dir, n);
}

static int dial(const char *data) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%.90s/admin.sock", data);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
    close(fd);
    return -1;
}

/* The status of the answer; 0: none came. */
static unsigned ask_for(const char *data, const char *path) {
    char body[MAX_PATH + 32], text[MAX_PATH + 256], in[256];
    struct pollfd f = {.fd = dial(data), .events = POLLIN};
    int len = snprintf(body, sizeof body, "{\"path\":\"%s\"}", path);
    len = snprintf(text, sizeof text,
                   "POST /admin/backup HTTP/1.1\r\nHost: anyllm\r\nConnection: close\r\n"
                   "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                   len, body);
    if (f.fd < 0) return 0;
    ssize_t n = send(f.fd, text, (size_t)len, MSG_NOSIGNAL);
    n = n == len && poll(&f, 1, BACKUP_MS) == 1 ? recv(f.fd, in, sizeof in - 1, 0) : 0;
    close(f.fd);
    if (n < 13) return 0;
    in[n] = '\0';
    return (unsigned)strtoul(in + 9, NULL, 10);
}

static void *make_all(void *backups) {
    struct backups *b = backups;
    char path[MAX_PATH + 16];
    while (!atomic_load(&b->over) && b->n < MAX_BACKUPS) {
        struct backup_made *m = &b->made[b->n];
        path_of(b, b->n, path);
        m->accepted = atomic_load(&b->load->naccepted);
        unsigned status = ask_for(b->load->server->data, path);
        m->answered = status == 200;
        if (status != 200 && status != 0 && status != 503)
            found(b->load->findings, FOUND_ANSWER, "a backup was answered %u", status);
        b->n++;
        sleep_ms(PAUSE_MS);
    }
    return NULL;
}

void backups_start(struct backups *b, struct load *l) {
    memset(b, 0, sizeof *b);
    b->load = l;
    scratch_make(b->dir);
    assert_int_equal(pthread_create(&b->thread, NULL, make_all, b), 0);
}

/* --- looking at them */

static void look_at(const struct backups *b, unsigned n, const char *path, struct findings *f) {
    struct books *read = calloc(1, sizeof *read);
    database_check(path, f);
    books_read_file(read, path);
    for (unsigned i = 0; b->made[n].answered && i < b->made[n].accepted; i++)
        if (books_find(read, b->load->accepted[i].id) == NULL)
            found(f, FOUND_LOST, "%s is not in a backup that was asked for later",
                  b->load->accepted[i].id);
    books_free(read);
}

static unsigned files_in(const char *dir) {
    DIR *d = opendir(dir);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

void backups_end(struct backups *b, struct findings *f) {
    unsigned answered = 0, whole = 0, files;
    char path[MAX_PATH + 16];
    atomic_store(&b->over, true);
    pthread_join(b->thread, NULL);
    files = files_in(b->dir);
    for (unsigned n = 0; n < b->n; n++) {
        path_of(b, n, path);
        bool there = access(path, F_OK) == 0;
        answered += b->made[n].answered;
        whole += there;
        if (there) look_at(b, n, path, f);
        if (!there && b->made[n].answered) found(f, FOUND_LOST, "backup %u is not there", n);
    }
    print_message("# M9: %u backups asked for, %u answered, %u there; %u files were left half\n",
                  b->n, answered, whole, files - whole);
    scratch_remove(b->dir);
}
