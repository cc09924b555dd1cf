/* Vectors of F in the provers: blocks of 16 elements, planar within a block, whatever the number
 * of lanes. A vector shorter than 32 elements has two blocks all the same, and zeros beyond its
 * end: so pairs of elements can be read as whole vectors, and no loop needs a tail.
 */
#ifndef PML_BLOCKS_H
#define PML_BLOCKS_H

#include "scalar.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are sent as they lie in memory: little-endian machines only"
#endif

#define BLOCK 16u
#define BLOCK_WORDS 80u
#define BLOCK_LEAST 32u /* elements that a vector has room for at least */

PML_INLINE size_t blk_room(size_t n) { return n < BLOCK_LEAST ? BLOCK_LEAST : n; }
PML_INLINE size_t blk_words(size_t n) { return 5 * blk_room(n); }

/* Coefficient 0 of element i; the others follow at a stride of BLOCK. */
PML_INLINE u32 *blk_at(u32 *a, size_t i) { return a + i / BLOCK * BLOCK_WORDS + i % BLOCK; }
PML_INLINE const u32 *blk_of(const u32 *a, size_t i) {
    return a + i / BLOCK * BLOCK_WORDS + i % BLOCK;
}

PML_INLINE e5 blk_get(const u32 *a, size_t i) {
    const u32 *p = blk_of(a, i);
    return (e5){{p[0], p[BLOCK], p[2 * BLOCK], p[3 * BLOCK], p[4 * BLOCK]}};
}

PML_INLINE void blk_set(u32 *a, size_t i, e5 x) {
    u32 *p = blk_at(a, i);
    for (size_t k = 0; k < 5; k++) p[k * BLOCK] = x.c[k];
}

/* Zeros, before a vector of n elements is written here. */
PML_INLINE void blk_clear_short(u32 *a, size_t n) {
    if (n < BLOCK_LEAST) memset(a, 0, sizeof(u32) * blk_words(n));
}

#endif
