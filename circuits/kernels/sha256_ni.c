/* SHA-256 with the SHA extensions of x86 (Gulley et al., "Intel SHA Extensions", 2013).
 *
 * One sha256rnds2 waits for the one before it, so a single stream leaves the unit idle half of the
 * time; two independent streams fill it. The state is kept as the instructions want it: words
 * A B E F in one register, C D G H in the other.
 */
#include "hash.h"

#if PML_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("sha,sse4.1,ssse3"))), apply_to = function)
#else
#pragma GCC target("sha,sse4.1,ssse3")
#endif

#include <immintrin.h>

typedef struct {
    __m128i abef, cdgh;
} state;

PML_INLINE state load_state(const u32 h[8]) {
    __m128i abcd = _mm_loadu_si128((const __m128i *)(const void *)h);
    __m128i efgh = _mm_loadu_si128((const __m128i *)(const void *)(h + 4));
    abcd = _mm_shuffle_epi32(abcd, 0xB1); /* C D A B, highest word first */
    efgh = _mm_shuffle_epi32(efgh, 0x1B); /* E F G H */
    return (state){_mm_alignr_epi8(abcd, efgh, 8), _mm_blend_epi16(efgh, abcd, 0xF0)};
}

PML_INLINE void store_state(u32 h[8], state s) {
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1B), dchg = _mm_shuffle_epi32(s.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)(void *)h, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(void *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}

PML_INLINE __m128i load_bytes(const u8 *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

PML_INLINE __m128i swap_words(__m128i x) { /* from or to big-endian */
    return _mm_shuffle_epi8(x, _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203));
}

PML_INLINE __m128i load_words(const u8 *p) { return swap_words(load_bytes(p)); }

PML_INLINE void store_digest(u8 out[32], state s) {
    __m128i feba = _mm_shuffle_epi32(s.abef, 0x1B), dchg = _mm_shuffle_epi32(s.cdgh, 0xB1);
    __m128i *to = (__m128i *)(void *)out;
    _mm_storeu_si128(to, swap_words(_mm_blend_epi16(feba, dchg, 0xF0)));
    _mm_storeu_si128(to + 1, swap_words(_mm_alignr_epi8(dchg, feba, 8)));
}

PML_INLINE __m128i constants(int t) {
    return _mm_loadu_si128((const __m128i *)(const void *)(pml_sha_k + t));
}

PML_INLINE void four_rounds(state *s, __m128i w, __m128i k) {
    __m128i t = _mm_add_epi32(w, k);
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, t);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(t, 0x0E));
}

/* The four words of the schedule after w[0..3], four words each. */
PML_INLINE __m128i next_words(__m128i w0, __m128i w1, __m128i w2, __m128i w3) {
    __m128i t = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
    return _mm_sha256msg2_epu32(t, w3);
}

#define ROUNDS(EACH)                                                            \
    EACH(0, w0)                                                                 \
    EACH(4, w1)                                                                 \
    EACH(8, w2)                                                                 \
    EACH(12, w3)                                                                \
    for (int t = 16; t < 64; t += 16) {                                         \
        EACH##_NEXT(t, w0, w1, w2, w3) EACH##_NEXT(t + 4, w1, w2, w3, w0)       \
        EACH##_NEXT(t + 8, w2, w3, w0, w1) EACH##_NEXT(t + 12, w3, w0, w1, w2)  \
    }

#define ONE(t, w) four_rounds(&a, a##w, constants(t));
#define ONE_NEXT(t, w0, w1, w2, w3)           \
    a##w0 = next_words(a##w0, a##w1, a##w2, a##w3); \
    ONE(t, w0)

#define TWO(t, w)                        \
    four_rounds(&a, a##w, constants(t)); \
    four_rounds(&b, b##w, constants(t));
#define TWO_NEXT(t, w0, w1, w2, w3)           \
    a##w0 = next_words(a##w0, a##w1, a##w2, a##w3); \
    b##w0 = next_words(b##w0, b##w1, b##w2, b##w3); \
    TWO(t, w0)

#define LOAD(s, p)                                                    \
    __m128i s##w0 = load_words(p), s##w1 = load_words((p) + 16),      \
            s##w2 = load_words((p) + 32), s##w3 = load_words((p) + 48); \
    const state s##_before = s

#define FINISH(s)                                          \
    s.abef = _mm_add_epi32(s.abef, s##_before.abef);       \
    s.cdgh = _mm_add_epi32(s.cdgh, s##_before.cdgh)

void pml_sha_ni_blocks(u32 h[8], const u8 *p, size_t blocks) {
    state a = load_state(h);
    for (; blocks; blocks--, p += 64) {
        LOAD(a, p);
        ROUNDS(ONE)
        FINISH(a);
    }
    store_state(h, a);
}

void pml_sha_ni_blocks2(u32 h0[8], u32 h1[8], const u8 *p0, const u8 *p1, size_t blocks) {
    state a = load_state(h0), b = load_state(h1);
    for (; blocks; blocks--, p0 += 64, p1 += 64) {
        LOAD(a, p0);
        LOAD(b, p1);
        ROUNDS(TWO)
        FINISH(a);
        FINISH(b);
    }
    store_state(h0, a);
    store_state(h1, b);
}

/* A row with one byte before it: every block but the first and the last is read where it lies,
 * and these two are made in registers. (Copied into a buffer, they would wait for the stores.) */
#define FIRST(s, p)                                                                            \
    __m128i s##w0 = swap_words(_mm_or_si128(_mm_slli_si128(load_bytes(p), 1), lead)),          \
            s##w1 = load_words((p) + 15), s##w2 = load_words((p) + 31),                        \
            s##w3 = load_words((p) + 47);                                                      \
    const state s##_before = s

#define LAST(s, byte)                                                                          \
    __m128i s##w0 = _mm_cvtsi32_si128((int)((u32)(byte) << 24 | 0x800000)),                    \
            s##w1 = _mm_setzero_si128(), s##w2 = s##w1, s##w3 = length;                        \
    const state s##_before = s

void pml_sha_ni_tagged2(u8 tag, const u8 *p0, const u8 *p1, size_t blocks, u8 *out0, u8 *out1) {
    const __m128i lead = _mm_cvtsi32_si128(tag);
    const __m128i length = _mm_set_epi32((int)(512 * blocks + 8), 0, 0, 0); /* in bits */
    const u8 end0 = p0[64 * blocks - 1], end1 = p1[64 * blocks - 1];
    state a = load_state(pml_sha_h0), b = a;
    {
        FIRST(a, p0);
        FIRST(b, p1);
        ROUNDS(TWO)
        FINISH(a);
        FINISH(b);
    }
    for (p0 += 63, p1 += 63; --blocks; p0 += 64, p1 += 64) {
        LOAD(a, p0);
        LOAD(b, p1);
        ROUNDS(TWO)
        FINISH(a);
        FINISH(b);
    }
    {
        LAST(a, end0);
        LAST(b, end1);
        ROUNDS(TWO)
        FINISH(a);
        FINISH(b);
    }
    store_digest(out0, a);
    store_digest(out1, b);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int pml_nothing_here;
#endif
