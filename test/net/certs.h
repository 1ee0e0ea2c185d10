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
void cert_write(const struct cert *c, const char *path); /* the certificate alone, PEM */
void cert_write_key(const struct cert *c, const char *path, unsigned mode); /* PEM */

#endif
