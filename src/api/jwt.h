/* Tokens of ours: JWTs signed with the server's Ed25519 key (RFC 7519, 8037). They stand for a key of an owner, on the
 * applications they name, for a short time; they live in addresses, where no secret may. Pure: the caller brings the time.
 *
 * The same key signs webhooks. Neither can be taken for the other: what is signed here is base64url with one dot in it, a
 * webhook's has line ends (fal's) or two dots and JSON (Standard Webhooks). */
#ifndef ANYLLM_API_JWT_H
#define ANYLLM_API_JWT_H

#include "api/signer.h"
#include "base/arena.h"

#define JWT_MAX_APPS 16U
#define JWT_MAX_APP_BYTES 128U
#define JWT_MAX_BYTES 8192U

struct jwt_claims {
    struct slice owner, key_id; /* key_id: the key's name (api/auth.h) */
    size_t napps;
    struct slice apps[JWT_MAX_APPS];
    int64_t issued_s, expires_s; /* Unix time */
};

/* Appends the token. False: out of memory, or the signer cannot. */
bool jwt_write(struct buf *b, const struct signer *s, const struct jwt_claims *claims);
/* NULL: the token is ours and has not expired; *out borrows from the arena. Else one line that says why. */
const char *jwt_read(struct slice token, const struct signer *s, int64_t now_s, struct arena *a,
                     struct jwt_claims *out);
/* An app is named by its alias ("any-llm"), by its id ("fal-ai/any-llm", which opens what is below it too), or by a path that
 * ends in /realtime or /stream, as fal's clients ask their token providers for. `app` is canonical. `whole`: an id below
 * `app` counts as well, where only owner and alias are known. */
bool jwt_allows(const struct jwt_claims *claims, struct slice app, bool whole);
/* What a name of allowed_apps stands for: the same without /realtime or /stream. */
struct slice jwt_app(struct slice name);

#endif
