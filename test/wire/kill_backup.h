/* Somebody who asks for a backup all the time while the server is killed. A file that is there under its name is whole, and
 * one that was answered holds all that had been accepted before it was asked for. */
#ifndef ANYLLM_TEST_WIRE_KILL_BACKUP_H
#define ANYLLM_TEST_WIRE_KILL_BACKUP_H

#include "kill_books.h"

#define MAX_BACKUPS 512U

struct backup_made {
    unsigned accepted; /* so many submits had been answered when it was asked for */
    bool answered;
};

struct backups {
    struct load *load;
    char dir[MAX_PATH];
    struct backup_made made[MAX_BACKUPS];
    unsigned n;
    atomic_bool over;
    pthread_t thread;
};

void backups_start(struct backups *b, struct load *l);
/* Looks at all of them. The load has stopped and is still there. */
void backups_end(struct backups *b, struct findings *f);

#endif
