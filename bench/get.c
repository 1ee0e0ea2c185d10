/* get URL [KEY [BODY]]: the body of the answer on stdout; ends with 1 unless the status is 200. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    struct http_target t;
    struct http c;
    struct http_reply r;
    if (argc < 2 || !http_target_parse(argv[1], &t)) return 2;
    if (!http_open(&c, &t)) return 1;
    const char *key = argc > 2 && strcmp(argv[2], "-") ? argv[2] : NULL;
    if (!http_call(&c, t.path, key, argc > 3 ? argv[3] : NULL, NULL, &r)) return 1;
    fwrite(r.body, 1, r.len, stdout);
    free(r.body);
    http_close(&c);
    return r.status == 200 ? 0 : 1;
}
