/* What a record of calls (power_calls.h) leaves on the platter of a disk whose power is cut.
 *
 *   1. Bytes are there for sure once their file was synced, names once their folder was.
 *   2. What was not may be there or not, each sector of a write and each name for itself, in any order; where a file has grown and
 *      the bytes did not come there are zeros or noise.
 *   3. A rename is one step, done for sure with the sync of the folder it went to.
 *   4. What a failed sync was to write is lost: the kernel takes such pages for clean, and later syncs do not bring them back. */
#ifndef TEST_POWER_PLATTER_H
#define TEST_POWER_PLATTER_H

#include <stddef.h>
#include <stdint.h>

struct platter;

struct platter *platter_new(void);
void platter_free(struct platter *p);
/* Takes in the record up to the call `to`, exclusive; never backwards. */
void platter_advance(struct platter *p, size_t to);
/* Writes what a cut now leaves into the folder, which is empty; what is drawn comes from the seed. */
void platter_build(const struct platter *p, const char *folder, uint64_t seed);
/* Calls whose effect a cut now may undo. */
size_t platter_unsynced(const struct platter *p);

#endif
