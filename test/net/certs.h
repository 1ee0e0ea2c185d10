/* Certificates made at run time. */
#ifndef ANYLLM_TEST_NET_CERTS_H
#define ANYLLM_TEST_NET_CERTS_H

#include <openssl/ssl.h>

struct cert {
    X509 *x509;
    EVP_PKEY *key;
};

/* Valid from `from_days` to `to_days` from now; san like "DNS:localhost,IP:127.0.0.1", NULL for a CA.
 * issuer NULL: self-signed. */
struct cert cert_make(const char *name, const char *san, const struct cert *issuer, int from_days,
                      int to_days);
void cert_free(struct cert *c);
struct cert cert_make_rsa(const char *name, unsigned bits); /* self-signed */
/* PEM: the certificate alone into a new file, or behind what is there; the key alone. */
void cert_write(const struct cert *c, const char *path);
void cert_append(const struct cert *c, const char *path);
void cert_write_key(const struct cert *c, const char *path, unsigned mode);
void cert_write_encrypted_key(const struct cert *c, const char *path);

#endif
