/* How long a file lives and who may read it, as its owner says it. Pure. */
#ifndef ANYLLM_API_FILES_RULES_H
#define ANYLLM_API_FILES_RULES_H

#include "base/buf.h"
#include "base/json.h"

#define FILE_ACL_MAX_BYTES 16384U
#define FILE_ACL_MAX_RULES 100U
#define FILE_MAX_LIFETIME_S 3153600000U /* a hundred years */

enum file_access { FILE_ALLOW, FILE_FORBID, FILE_HIDE };

/* X-Fal-Object-Lifecycle: {"expiration_duration_seconds", "initial_acl"}. *lifetime_ms 0: kept; the ACL is appended to
 * `acl`, nothing when everybody may read. Static text says what is wrong; NULL: nothing. */
const char *file_lifecycle_read(struct slice json, int64_t *lifetime_ms, struct buf *acl);
/* {"default","rules":[{"user","decision"}]}, in the same way. */
const char *file_acl_read(yyjson_val *v, struct buf *acl);
/* What is kept, made whole again: never empty. */
void file_acl_json(struct buf *b, struct slice acl);
/* For whoever is not the file's owner. `user` is the owner of his key, empty: he has none. */
enum file_access file_acl_judge(struct slice acl, struct slice user);

#endif
