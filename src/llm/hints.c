#include "llm/hints.h"

/* FNV-1a, seeded so that nobody can choose hints that meet; then mixed, as its low bits choose the row. */
static uint64_t hash_of(const struct hints *h, struct slice hint) {
    uint64_t v = 0xcbf29ce484222325U ^ h->seed;
    for (size_t i = 0; i < hint.len; i++) v = (v ^ (unsigned char)hint.ptr[i]) * 0x100000001b3U;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93U;
    return v ^ v >> 32;
}

size_t hints_find(const struct hints *h, struct slice hint) {
    if (hint.len == 0) return HINTS_NONE;
    uint64_t hash = hash_of(h, hint);
    const struct hint_row *row = &h->rows[hash % HINTS_ROWS];
    return row->upstream != 0 && row->hash == hash ? row->upstream - 1 : HINTS_NONE;
}

void hints_keep(struct hints *h, struct slice hint, size_t upstream) {
    if (hint.len == 0) return;
    uint64_t hash = hash_of(h, hint);
    h->rows[hash % HINTS_ROWS] = (struct hint_row){hash, upstream + 1};
}
