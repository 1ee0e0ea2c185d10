/* Draws that a seed repeats. */
#ifndef TEST_POWER_DRAW_H
#define TEST_POWER_DRAW_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t draw(uint64_t *seed) {
    uint64_t z = (*seed += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static inline unsigned draw_below(uint64_t *seed, unsigned bound) {
    return (unsigned)(draw(seed) % bound);
}

/* True in so many of a hundred cases. */
static inline bool draw_percent(uint64_t *seed, unsigned percent) {
    return draw_below(seed, 100) < percent;
}

#endif
