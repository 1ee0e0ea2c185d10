/* Files that were read lately: their rows, and their bytes as open descriptors, so that a file that many want costs neither a
 * question to the store nor a turn of the pool. Loop's thread only.
 *
 * Every change of a row goes through this process and is told by files_held_changed, when it is given to the store and when it is
 * answered: between the two a reader may still get the row as it was, after them nobody does. */
#ifndef ANYLLM_API_FILES_HELD_H
#define ANYLLM_API_FILES_HELD_H

#include "store/store.h"

struct files_held;

#define FILES_HELD_MAX 128U

struct files_held *files_held_new(void); /* NULL when out of memory */
void files_held_free(struct files_held *h);
/* NULL: not held. Both live until the next call; the descriptor is to be copied. */
const struct store_file *files_held_find(struct files_held *h, struct slice id, int *fd);
/* Before a row is asked for; what came by then may be held only if nothing has changed since. */
uint64_t files_held_age(const struct files_held *h);
/* Copies the row and the descriptor. Of files that are whole. */
void files_held_add(struct files_held *h, uint64_t age, const struct store_file *row, int fd);
void files_held_changed(struct files_held *h, struct slice id);

#endif
