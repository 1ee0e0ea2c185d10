/* Certificate and key of a TLS listener: what is refused, and exchanging them. */
#include "app.h"
#include "wire_tls.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static bool has_certificate(int fd, const struct cert *c) {
    X509 *x = SSL_get0_peer_certificate(wire_tls_ssl(fd));
    return x != NULL && X509_cmp(x, c->x509) == 0;
}

static void reload_is_for_new_connections_and_leaves_the_others_alone(void **state) {
    struct app *a = *state;
    char why[256] = "";
    struct cert other = cert_make("other", "DNS:localhost", NULL, -1, 1);
    int old = app_ask(a, GET("/stream"), "first");
    cert_write(&other, a->pair.cert);
    assert_false(
        net_tls_server_reload(a->tls, why, sizeof why)); /* the key is still the first one's */
    assert_non_null(strstr(why, "not the key"));
    int fd = app_ask(a, GET("/echo"), "200 OK");
    assert_false(has_certificate(fd, &other));
    close(fd);
    cert_write_key(&other, a->pair.key, 0600);
    assert_true(net_tls_server_reload(a->tls, why, sizeof why));
    fd = app_ask(a, GET("/echo"), "200 OK");
    assert_true(has_certificate(fd, &other));
    close(fd);
    a->waiting = 0;
    assert_false(has_certificate(old, &other));
    close(old);
    cert_free(&other);
}

static void a_stream_outlives_a_reload(void **state) {
    struct app *a = *state;
    char why[256], line[32];
    int fd = app_ask(a, GET("/stream"), "first");
    for (int i = 0; i < 20; i++) {
        assert_true(net_tls_server_reload(a->tls, why, sizeof why));
        snprintf(line, sizeof line, "event %d.", i);
        net_stream_write(app_waiting(a), slice_of(line));
        wire_expect(&a->loop, fd, &a->in, line);
    }
    net_stream_end(app_waiting(a));
    wire_expect(&a->loop, fd, &a->in, "\r\n0\r\n\r\n");
    wire_sends(&a->loop, fd, GET("/echo"));
    wire_expect(&a->loop, fd, &a->in, "X-Path: /echo");
    close(fd);
}

static void the_chain_is_sent(void **state) {
    struct app *a = *state;
    char why[256];
    struct cert root = cert_make("Root", NULL, NULL, -1, 1),
                middle = cert_make("Middle", NULL, &root, -1, 1);
    struct cert leaf = cert_make("leaf", "DNS:localhost", &middle, -1, 1);
    cert_write(&leaf, a->pair.cert);
    cert_append(&middle, a->pair.cert);
    cert_write_key(&leaf, a->pair.key, 0600);
    assert_true(net_tls_server_reload(a->tls, why, sizeof why));
    X509_STORE_add_cert(SSL_CTX_get_cert_store(a->client), root.x509);
    SSL_CTX_set_verify(a->client, SSL_VERIFY_PEER, NULL);
    int fd = app_ask(a, GET("/echo"), "200 OK");
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(wire_tls_ssl(fd))), 2);
    close(fd);
    cert_free(&root);
    cert_free(&middle);
    cert_free(&leaf);
}

static void refused(struct app *a, const char *file, const char *saying) {
    char why[512] = "";
    assert_false(net_tls_server_reload(a->tls, why, sizeof why));
    if (strstr(why, file) == NULL || strstr(why, saying) == NULL || strchr(why, '\n') != NULL)
        fail_msg("\"%s\" does not say \"%s: %s\"", why, file, saying);
    assert_null(net_tls_server_new(a->pair.cert, a->pair.key, why, sizeof why));
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void a_pair_that_does_not_work_is_refused_in_one_line(void **state) {
    struct app *a = *state;
    struct app_pair *p = &a->pair;
    struct cert c = cert_make("one", "DNS:localhost", NULL, -1, 1),
                other = cert_make("two", "DNS:h", NULL, -1, 1);
    cert_write(&c, p->cert);
    cert_write_key(&other, p->key, 0600);
    refused(a, p->key, "is not the key of the certificate in");
    EVP_PKEY_free(other.key);
    other.key = EVP_RSA_gen(2048);
    cert_write_key(&other, p->key, 0600);
    refused(a, p->key, "is not the key of the certificate in");
    cert_write_key(&c, p->key, 0604);
    refused(a, p->key, "chmod o-r");
    cert_write_encrypted_key(&c, p->key);
    refused(a, p->key, "passphrase");
    write_text(p->key, "not a key");
    refused(a, p->key, "holds no private key");
    unlink(p->key);
    refused(a, p->key, "cannot be read: No such file");
    assert_int_equal(mkfifo(p->key, 0600), 0);
    refused(a, p->key, "is not a file");
    unlink(p->key);
    cert_write_key(&c, p->key, 0640); /* a group's key is the group's business */
    char why[256];
    if (!net_tls_server_reload(a->tls, why, sizeof why)) fail_msg("%s", why);
    write_text(p->cert, "");
    refused(a, p->cert, "holds no certificate");
    cert_write_key(&c, p->cert, 0600);
    refused(a, p->cert, "holds no certificate");
    unlink(p->cert);
    refused(a, p->cert, "cannot be read: No such file");
    close(app_ask(a, GET("/echo"), "200 OK")); /* with the last good pair */
    cert_free(&c);
    cert_free(&other);
}

static void a_certificate_that_is_too_weak_or_spoiled_is_refused(void **state) {
    struct app *a = *state;
    struct app_pair *p = &a->pair;
    struct cert c = cert_make("one", "DNS:localhost", NULL, -1, 1);
    cert_write(&c, p->cert);
    cert_write_key(&c, p->key, 0600);
    FILE *f = fopen(p->cert, "a");
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", f);
    fclose(f);
    refused(a, p->cert, "cannot be read");
    cert_free(&c);
    c = cert_make_rsa("weak", 1024);
    cert_write(&c, p->cert);
    cert_write_key(&c, p->key, 0600);
    refused(a, p->cert, "key too small");
    cert_free(&c);
}

static void both_may_lie_in_one_file(void **state) {
    struct app *a = *state;
    char why[256];
    struct cert c = cert_make("one", "DNS:localhost", NULL, -1, 1);
    cert_write_key(&c, a->pair.key, 0600);
    cert_append(&c, a->pair.key);
    struct net_tls_server *t = net_tls_server_new(a->pair.key, a->pair.key, why, sizeof why);
    if (t == NULL) fail_msg("%s", why);
    net_tls_server_free(t);
    cert_free(&c);
}

int main(void) {
    app_over_tls(true);
    const struct CMUnitTest tests[] = {
        APP_TEST(reload_is_for_new_connections_and_leaves_the_others_alone),
        APP_TEST(a_stream_outlives_a_reload),
        APP_TEST(the_chain_is_sent),
        APP_TEST(a_pair_that_does_not_work_is_refused_in_one_line),
        APP_TEST(a_certificate_that_is_too_weak_or_spoiled_is_refused),
        APP_TEST(both_may_lie_in_one_file),
    };
    return cmocka_run_group_tests_name("server_tls_pair", tests, NULL, NULL);
}
