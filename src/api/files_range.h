/* Which part of a file is asked for, and whether it is wanted at all: RFC 9110, sections 13 and 14. Pure. */
#ifndef ANYLLM_API_FILES_RANGE_H
#define ANYLLM_API_FILES_RANGE_H

#include "net/h1.h"

#define HTTP_DATE_BYTES 30
/* "Mon, 23 Nov 2026 05:20:08 GMT" */
void http_date(int64_t wall_ms, char out[HTTP_DATE_BYTES]);
/* All three forms that may still be met; false: it is none. Whole seconds. */
bool http_date_read(struct slice text, int64_t *wall_ms);

struct file_part {
    unsigned status; /* 200, 206, 304, 412, 416 */
    uint64_t from, length;
};
/* etag with its quotes; modified_ms as in Last-Modified. More ranges than one are answered with the whole file. */
struct file_part file_part_asked(const struct h1_head *h, struct slice etag, int64_t modified_ms,
                                 uint64_t bytes);

#endif
