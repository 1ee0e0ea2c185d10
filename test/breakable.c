/* Which fault BREAK names. An unknown name must not pass for "none". */
#include "base/broken.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[BROKEN_COUNT] = {
#define X(name, text) [BROKEN_##name] = text,
    BROKEN_FAULTS(X)
#undef X
};

static int planted(void) {
    const char *wanted = getenv("BREAK");
    if (wanted == NULL || wanted[0] == '\0') return BROKEN_COUNT;
    for (int i = 0; i < BROKEN_COUNT; i++)
        if (strcmp(names[i], wanted) == 0) return i;
    fprintf(stderr, "BREAK=%s is no fault that can be planted\n", wanted);
    exit(2);
}

bool broken(enum broken fault) {
    static int which = -1;
    if (which < 0) which = planted();
    return which == (int)fault;
}
