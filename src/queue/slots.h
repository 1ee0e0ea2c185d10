/* Handles for pointers that may be gone when the handle comes back: a reused slot has another generation. */
#ifndef ANYLLM_QUEUE_SLOTS_H
#define ANYLLM_QUEUE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

struct slot {
    void *ptr; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* index + 1 */
};

struct slots {
    struct slot *base;
    uint32_t count, room, free; /* free: index + 1 of the first free one */
};

/* A handle, never 0; 0 when out of memory. */
uint64_t slots_add(struct slots *s, void *ptr);
/* The pointer, or NULL when the handle is not (or no longer) one of ours. */
void *slots_get(const struct slots *s, uint64_t handle);
/* The same, and frees the handle. */
void *slots_take(struct slots *s, uint64_t handle);
void slots_free(struct slots *s);

#endif
