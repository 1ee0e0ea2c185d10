/* What the tests of uploads share: a file's way as script steps, files of the disk, a source that dribbles, and progress that
 * is watched. */
#ifndef ANYLLM_TEST_CLIENT_UPLOAD_RIG_H
#define ANYLLM_TEST_CLIENT_UPLOAD_RIG_H

#include "client/rig.h"

#define INITIATED \
    {.status = 200, .body = "{\"upload_url\":\"$BASE/u/1?sig=x\",\"file_url\":\"$BASE/f/1\"}"}
#define PUT_DONE {.status = 200}
#define INITIATE_LINE "POST /rest/storage/upload/initiate?storage_type=fal-cdn-v3 HTTP/1.1"
#define MULTIPART_LINE \
    "POST /rest/storage/upload/initiate-multipart?storage_type=fal-cdn-v3 HTTP/1.1"
#define PUT_LINE "PUT /u/1?sig=x HTTP/1.1"
#define COMPLETE_LINE "POST /u/1/complete?sig=x HTTP/1.1"
#define PART(n)                  \
    {.status = 200,              \
     .when = "PUT /u/1/" #n "?", \
     .body = "{\"partNumber\":" #n ",\"etag\":\"e" #n "\"}"}
#define COMPLETED_PARTS {.status = 200, .when = "/complete?"}

struct watched {
    uint64_t sent, total;
    size_t calls;
    bool fell;                /* it went back, or passed its total */
    void (*then)(void *user); /* in each. Optional */
    void *user;
};
void watch_progress(uint64_t sent_bytes, uint64_t total_bytes, void *user);

struct dribble {
    const char *bytes;
    size_t left, each; /* bytes of one call */
    bool fails;        /* at the end, in place of 0 */
};
int64_t read_dribble(void *buffer, size_t room, void *user);

/* A server on 127.0.0.1 that takes PUTs: the first of them `piece` bytes at a time with `pause_ms` between two, by a small
 * window (piece 0: it accepts the connection and reads nothing), the others at once; each is answered with an ETag. */
struct sluggard;
struct sluggard *sluggard_start(size_t piece, int pause_ms);
unsigned sluggard_port(const struct sluggard *s);
size_t sluggard_stop(struct sluggard *s); /* how many connections there were */

/* A new file of these bytes. */
void file_of(char path[40], const char *ending, const char *bytes, size_t len);

/* The body of request i. "" when there is none. */
const char *body_of(struct script *s, size_t i);
/* How many requests have this first line; *body gets the last one's body. */
size_t asked_how_often(struct script *s, const char *line, const char **body);

#endif
