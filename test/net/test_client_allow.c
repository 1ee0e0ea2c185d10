/* Which addresses an origin connects to: net_origin_options.allow, and what is believed of a name and how long. Names are
 * resolved by this file: see names below. */
#include "net/call.h"
#include "upstream.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <semaphore.h>
#include <unistd.h>

/* --- a resolver of our own --- */

/* What the next lookups of a name say, addresses parted by spaces; the last line stays. Anything that is no name of ours is
 * read as a number, as the C library's resolver does with 0x7f.1. */
static const char *const *names;
static unsigned lookups;
static sem_t *gate; /* NULL: at once; else a lookup waits for it */

static struct addrinfo *entry(struct in_addr a, struct addrinfo *next) {
    struct {
        struct addrinfo info;
        struct sockaddr_in sa;
    } *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = a};
    e->info.ai_family = AF_INET;
    e->info.ai_socktype = SOCK_STREAM;
    e->info.ai_addr = (struct sockaddr *)&e->sa;
    e->info.ai_addrlen = sizeof e->sa;
    e->info.ai_next = next;
    return &e->info;
}

static struct addrinfo *entries(struct slice line) {
    char text[32];
    struct in_addr a;
    struct slice rest;
    if (line.len == 0) return NULL;
    struct slice first = slice_cut(line, ' ', &rest);
    memcpy(text, first.ptr, first.len);
    text[first.len] = '\0';
    return inet_pton(AF_INET, text, &a) == 1 ? entry(a, entries(rest)) : NULL;
}

#define PUBLIC __attribute__((visibility("default"))) /* libuv is to find these */

PUBLIC int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **out) {
    struct in_addr a;
    lookups++;
    if (gate != NULL) sem_wait(gate);
    if (inet_aton(host, &a) != 0) {
        *out = entry(a, NULL);
        return 0;
    }
    *out = entries(slice_of(*names));
    if (names[1] != NULL) names++;
    return *out != NULL ? 0 : EAI_NONAME;
}

PUBLIC void freeaddrinfo(struct addrinfo *list) {
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* --- who may be connected to --- */

struct judge {
    uint16_t port;
    unsigned asked;
    bool no; /* to all from now on */
};

static bool only_127_0_0_1(void *user, const struct sockaddr *sa) {
    struct judge *j = user;
    struct sockaddr_in v4;
    j->asked++;
    assert_int_equal(sa->sa_family, AF_INET);
    memcpy(&v4, sa, sizeof v4);
    assert_int_equal(ntohs(v4.sin_port), j->port); /* it is what connect gets */
    return !j->no && ntohl(v4.sin_addr.s_addr) == INADDR_LOOPBACK;
}

static bool the_internet(void *user, const struct sockaddr *sa) {
    ((struct judge *)user)->asked++;
    return !net_address_is_private(sa);
}

static void judged(struct up *u, const char *host, struct judge *j,
                   bool (*allow)(void *user, const struct sockaddr *sa)) {
    j->port = u->port;
    up_origin(u, &(struct net_origin_options){
                     .host = host, .port = u->port, .allow = allow, .allow_user = j});
}

/* A listener on the forbidden neighbour, at the same port. */
static int listen_on_127_0_0_2(const struct up *u) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(u->port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static void expect_untouched(int listener) {
    assert_true(accept(listener, NULL, NULL) < 0);
    close(listener);
}

/* --- the tests --- */

static void no_spelling_of_this_host_is_connected_to(void **state) {
    struct up *u = *state;
    static const char *const hosts[] = {
        "127.0.0.1",   "0.0.0.0", "[::1]",      "::1",    "[::ffff:127.0.0.1]",
        "::127.0.0.1", "127.1",   "2130706433", "0x7f.1", "0177.0.0.1",
        "0",           "a.name"};
    names = (const char *const[]){"127.0.0.1", NULL};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct judge j = {0};
        u->r[0].ends = 0;
        judged(u, hosts[i], &j, the_internet);
        struct record *r = up_post(u, 0);
        up_end(u, r, NET_FORBIDDEN);
        assert_int_equal(j.asked, 1);
        assert_false(r->end.sent);
        assert_null(strstr(r->end.detail, "127")); /* nor does it say which it was */
    }
    assert_true(up_nobody_waits(u));
}

static void refused_addresses_of_a_name_are_passed_over(void **state) {
    struct up *u = *state;
    struct judge j = {0};
    int other = listen_on_127_0_0_2(u);
    names = (const char *const[]){"127.0.0.2 127.0.0.1 127.0.0.2", NULL};
    judged(u, "a.name", &j, only_127_0_0_1);
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_int_equal(j.asked, 2);
    close(fd);
    expect_untouched(other);
}

/* What was tried and failed is not called forbidden. */
static void an_address_that_was_tried_makes_it_refused(void **state) {
    struct up *u = *state;
    struct judge j = {0};
    int other = listen_on_127_0_0_2(u);
    names = (const char *const[]){"127.0.0.1 127.0.0.2", NULL};
    close(u->listener);
    u->listener = -1;
    judged(u, "a.name", &j, only_127_0_0_1);
    up_end(u, up_post(u, 0), NET_REFUSED);
    assert_int_equal(j.asked, 2);
    expect_untouched(other);
}

static void a_name_that_changes_its_mind_gains_nothing(void **state) {
    struct up *u = *state;
    struct judge j = {0};
    int other = listen_on_127_0_0_2(u);
    for (int i = 0; i < 300; i++) {
        const char *const turns[] = {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2", NULL};
        names = turns;
        judged(u, "a.name", &j, only_127_0_0_1);
        for (int n = 0; n < 4; n++) {
            u->r[0].ends = u->r[0].heads = 0;
            lookups = 0;
            struct record *r = up_post(u, 0);
            if (n % 2 == 0) {
                int fd = up_accept(u);
                up_answer(u, fd, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                up_end(u, r, NET_OK);
                close(fd);
                u->origin->resolved_ms = 0; /* as after ORIGIN_NAME_MS */
            } else {
                up_end(u, r, NET_FORBIDDEN);
            }
            assert_int_equal(lookups, 1);
        }
    }
    assert_true(up_nobody_waits(u));
    expect_untouched(other);
}

/* A known address is judged for each connection; a pooled connection was when it was made. */
static void each_connection_is_judged_once(void **state) {
    struct up *u = *state;
    struct judge j = {0};
    judged(u, "127.0.0.1", &j, only_127_0_0_1);
    struct record *r = up_post(u, 0);
    int fd = up_accept(u);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    j.no = true;
    r = up_post(u, 1);
    up_answer(u, fd, UP_OK);
    up_end(u, r, NET_OK);
    assert_true(r->end.reused);
    assert_int_equal(j.asked, 1);
    close(
        fd); /* while the next request is on its way: it is repeated on a fresh connection, and that is judged */
    up_end(u, up_post(u, 2), NET_FORBIDDEN);
    assert_int_equal(j.asked, 2);
}

/* --- how long a name is believed --- */

static void known_for(struct up *u, uint64_t ms) {
    if (net_now_ms(&u->loop) <= ms) skip(); /* its clock began with the machine */
    u->origin->resolved_ms = net_now_ms(&u->loop) - ms;
}

static void answer_one(struct up *u, size_t i) {
    struct record *r = up_post(u, i);
    int fd = up_accept(u);
    up_answer(u, fd, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    up_end(u, r, NET_OK);
    close(fd);
}

/* A name server that does not answer holds up nobody who has been told before. */
static void an_old_name_serves_while_it_is_asked_for_again(void **state) {
    struct up *u = *state;
    sem_t closed;
    names = (const char *const[]){"127.0.0.1", "127.0.0.2", NULL};
    lookups = 0;
    up_origin(u, &(struct net_origin_options){.host = "a.name", .port = u->port});
    answer_one(u, 0);
    answer_one(u, 1);
    assert_int_equal(lookups, 1);
    sem_init(&closed, 0, 0);
    gate = &closed;
    known_for(u, ORIGIN_NAME_MS + 1);
    answer_one(u, 2);
    answer_one(u, 3);
    UP_UNTIL(u, u->origin->resolving);
    sem_post(&closed);
    UP_UNTIL(u, !u->origin->resolving);
    gate = NULL;
    assert_int_equal(lookups, 2);
    up_end(u, up_post(u, 4), NET_REFUSED); /* the new one is believed now */
    sem_destroy(&closed);
}

/* The peer moved: what was known leads nowhere, what the name means now does. */
static void old_addresses_that_fail_are_not_the_last_word(void **state) {
    struct up *u = *state;
    sem_t closed;
    for (size_t i = 0; i < 2; i++) {
        names = (const char *const[]){"127.0.0.2", "127.0.0.1", NULL};
        lookups = 0;
        up_origin(u, &(struct net_origin_options){.host = "a.name", .port = u->port});
        u->r[0].ends = 0;
        up_end(u, up_post(u, 0), NET_REFUSED);
        sem_init(&closed, 0, 0);
        gate = i == 0 ? &closed : NULL; /* known before or after they failed */
        known_for(u, ORIGIN_NAME_MS + 1);
        u->r[1].ends = u->r[1].heads = 0;
        struct record *r = up_post(u, 1);
        wire_turn_for(&u->loop, 20);
        if (i == 0) assert_int_equal(r->ends, 0);
        sem_post(&closed);
        int fd = up_accept(u);
        up_answer(u, fd, UP_OK);
        up_end(u, r, NET_OK);
        gate = NULL;
        assert_int_equal(lookups, 2);
        close(fd);
        sem_destroy(&closed);
    }
}

static void a_name_that_is_too_old_is_waited_for(void **state) {
    struct up *u = *state;
    struct judge j = {0};
    names = (const char *const[]){"127.0.0.1", "127.0.0.2", NULL};
    judged(u, "a.name", &j, only_127_0_0_1);
    answer_one(u, 0);
    known_for(u, ORIGIN_STALE_MS + 1);
    up_end(u, up_post(u, 1), NET_FORBIDDEN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        UP_TEST(no_spelling_of_this_host_is_connected_to),
        UP_TEST(refused_addresses_of_a_name_are_passed_over),
        UP_TEST(an_address_that_was_tried_makes_it_refused),
        UP_TEST(a_name_that_changes_its_mind_gains_nothing),
        UP_TEST(each_connection_is_judged_once),
        UP_TEST(an_old_name_serves_while_it_is_asked_for_again),
        UP_TEST(old_addresses_that_fail_are_not_the_last_word),
        UP_TEST(a_name_that_is_too_old_is_waited_for),
    };
    return cmocka_run_group_tests_name("client_allow", tests, NULL, NULL);
}
