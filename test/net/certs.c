#include "certs.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

static void extend(X509 *x, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

static struct cert make(EVP_PKEY *key, const char *name, const char *san, const struct cert *issuer,
                        int from_days, int to_days) {
    static long serial = 1;
    struct cert c = {X509_new(), key};
    assert_true(c.x509 != NULL && c.key != NULL);
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), serial++);
    X509_time_adj_ex(X509_getm_notBefore(c.x509), from_days, 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(c.x509), to_days, 0, NULL);
    X509_set_pubkey(c.x509, c.key);
    X509_NAME *subject = X509_get_subject_name(c.x509);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509 *by = issuer != NULL ? issuer->x509 : c.x509;
    X509_set_issuer_name(c.x509, X509_get_subject_name(by));
    extend(c.x509, by, NID_basic_constraints, san == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (san != NULL) extend(c.x509, by, NID_subject_alt_name, san);
    assert_true(X509_sign(c.x509, issuer != NULL ? issuer->key : c.key, EVP_sha256()) > 0);
    return c;
}

struct cert cert_make(const char *name, const char *san, const struct cert *issuer, int from_days,
                      int to_days) {
    return make(EVP_EC_gen("P-256"), name, san, issuer, from_days, to_days);
}

struct cert cert_make_rsa(const char *name, unsigned bits) {
    return make(EVP_RSA_gen(bits), name, "DNS:localhost", NULL, -1, 1);
}

void cert_free(struct cert *c) {
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
    c->x509 = NULL;
    c->key = NULL;
}

static void write_x509(const struct cert *c, const char *path, const char *mode) {
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(PEM_write_X509(f, c->x509), 1);
    fclose(f);
}

void cert_write(const struct cert *c, const char *path) {
    write_x509(c, path, "w");
}

void cert_append(const struct cert *c, const char *path) {
    write_x509(c, path, "a");
}

static void write_key(const struct cert *c, const char *path, unsigned mode, const char *secret) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, c->key, secret != NULL ? EVP_aes_128_cbc() : NULL,
                                          NULL, 0, NULL, (void *)(uintptr_t)secret),
                     1);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

void cert_write_key(const struct cert *c, const char *path, unsigned mode) {
    write_key(c, path, mode, NULL);
}

void cert_write_encrypted_key(const struct cert *c, const char *path) {
    write_key(c, path, 0600, "a passphrase");
}
