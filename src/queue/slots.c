#include "queue/slots.h"

#include <stdlib.h>

static struct slot *find(const struct slots *s, uint64_t handle) {
    uint32_t index = (uint32_t)handle - 1;
    if ((uint32_t)handle == 0 || index >= s->count) return NULL;
    struct slot *slot = &s->base[index];
    return slot->ptr != NULL && slot->generation == (uint32_t)(handle >> 32) ? slot : NULL;
}

static struct slot *fresh(struct slots *s) {
    if (s->free != 0) {
        struct slot *slot = &s->base[s->free - 1];
        s->free = slot->next_free;
        return slot;
    }
    if (s->count == s->room) {
        uint32_t room = s->room == 0 ? 64 : s->room * 2;
        struct slot *base = realloc(s->base, room * sizeof *base);
        if (base == NULL) return NULL;
        s->base = base;
        s->room = room;
    }
    s->base[s->count] = (struct slot){0};
    return &s->base[s->count++];
}

uint64_t slots_add(struct slots *s, void *ptr) {
    struct slot *slot = fresh(s);
    if (slot == NULL) return 0;
    slot->ptr = ptr;
    slot->generation++;
    return (uint64_t)slot->generation << 32 | (uint64_t)(slot - s->base + 1);
}

void *slots_get(const struct slots *s, uint64_t handle) {
    struct slot *slot = find(s, handle);
    return slot != NULL ? slot->ptr : NULL;
}

void *slots_take(struct slots *s, uint64_t handle) {
    struct slot *slot = find(s, handle);
    if (slot == NULL) return NULL;
    void *ptr = slot->ptr;
    slot->ptr = NULL;
    slot->next_free = s->free;
    s->free = (uint32_t)(slot - s->base) + 1;
    return ptr;
}

void slots_free(struct slots *s) {
    free(s->base);
    *s = (struct slots){0};
}
