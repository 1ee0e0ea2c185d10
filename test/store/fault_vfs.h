/* SQLite's own VFS with faults on demand: the k-th change of a file fails, or the disk has only so much room.
 * Becomes the default VFS of the process; without a fault set it only passes on. Thread-safe. */
#ifndef TEST_FAULT_VFS_H
#define TEST_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

void fault_vfs_install(void);
/* From now on the k-th write, truncate or sync (counted from 1) fails with this SQLite code, and all after it until
 * fault_clear when `sticky`. */
void fault_at(uint64_t k, int code, bool sticky);
/* The k-th sync from now on fails. */
void fault_sync(uint64_t k);
/* Files may grow by this much in all; then SQLITE_FULL. */
void fault_room(int64_t bytes);
/* The process is killed in the k-th change: nothing of it is done, or (k even) the first half of a write. */
void fault_kill_at(uint64_t k);
/* The next so many reads of a file's bytes at this place fail with this code. */
void fault_reads(int64_t at, uint64_t times, int code);
/* The next so many openings of a database fail with this code. */
void fault_opens(uint64_t times, int code);
/* Whoever maps the head of a wal-index of his own once more finds one of a format that he does not know. */
void fault_strange_index(void);
void fault_clear(void);
/* Changes counted since fault_at or fault_clear; how many of them failed. */
uint64_t fault_changes(void);
uint64_t fault_failed(void);

#endif
