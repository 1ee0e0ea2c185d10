/* What the suites of bad files ask of the server: uploads begun, put, posted and read again, by one of two keys. */
#ifndef ANYLLM_TEST_WIRE_FILES_CALLS_H
#define ANYLLM_TEST_WIRE_FILES_CALLS_H

#include "calls.h"

#define ANN "Authorization: Key ann:" CANARY_CLIENT "\r\n"
#define BEN "Authorization: Key ben:" CANARY_OTHER "\r\n"
#define JSON "Content-Type: application/json\r\n"
#define TEXT "Content-Type: text/plain\r\n"
#define UPLOAD "/cdn/files/upload"

/* Two keys of two owners; `more` are further lines of the configuration. */
void files_config(struct text *config, const char *more);
void files_start(struct server *s, const char *more);

struct answer send_request(unsigned port, const char *method, const char *path, const char *headers,
                           const char *body, size_t len);
/* The same with Transfer-Encoding: chunked, in two chunks. */
struct answer send_chunked(unsigned port, const char *method, const char *path, const char *headers,
                           const char *body, size_t len);
void expect(const char *what, struct answer a, unsigned status, const char *says); /* frees it */

/* A string of the answer's JSON; of an address the path and query alone. */
void answer_text(const struct answer *a, const char *name, char *out, size_t size);
void answer_path(const struct answer *a, const char *name, char out[512]);

struct begun {
    char upload[512], file[512]; /* paths */
};
/* size -1: not declared */
struct begun begin_upload(unsigned port, const char *key, const char *type, long size);
struct begun begin_parts(unsigned port, const char *key);
/* Posts it; the path of its address. */
void post_file(unsigned port, const char *headers, const char *body, size_t len, char path[512]);
void expect_file(unsigned port, const char *path, const char *headers, const char *body,
                 size_t len);
unsigned long file_metric(unsigned port, const char *name);
/* Where a file's bytes lie. */
void blob_path(const struct server *s, const char *file_path, char out[512]);
/* Plain files below DATA/files. */
size_t blobs_count(const struct server *s);
void expect_blobs(const struct server *s,
                  size_t n); /* soon: what is dropped goes behind the answer */

#endif
