/* Sixteen lanes with AVX-512 (F, BW, DQ, VL). See lanes_portable.h for the names.
 *
 * Products of 32 bits come from the even lanes of each pair only, so every product is made twice,
 * for the even and for the odd lanes. min(t, t - p) as unsigned numbers is the reduction of t < 2p,
 * because t - p wraps to a huge number when t < p.
 */
#ifndef PML_LANES_H
#define PML_LANES_H

#include <immintrin.h>

#include "scalar.h"

#define VW 16
typedef __m512i vec;
typedef struct {
    __m512i e, o;
} split;
typedef split wide;

#define V_P _mm512_set1_epi32((int)PML_P)

PML_INLINE vec v_load(const u32 *p) { return _mm512_loadu_si512((const void *)p); }
PML_INLINE void v_store(u32 *p, vec a) { _mm512_storeu_si512((void *)p, a); }
PML_INLINE __mmask16 v_mask(size_t n) { return (__mmask16)(n >= 16 ? 0xFFFF : (1u << n) - 1); }
PML_INLINE vec v_load_part(const u32 *p, size_t n) {
    return _mm512_maskz_loadu_epi32(v_mask(n), (const void *)p);
}
PML_INLINE void v_store_part(u32 *p, vec a, size_t n) {
    _mm512_mask_storeu_epi32((void *)p, v_mask(n), a);
}
PML_INLINE vec v_load_i8(const int8_t *p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
PML_INLINE vec v_set1(u32 a) { return _mm512_set1_epi32((int)a); }

PML_INLINE vec v_add(vec a, vec b) {
    vec t = _mm512_add_epi32(a, b);
    return _mm512_min_epu32(t, _mm512_sub_epi32(t, V_P));
}
PML_INLINE vec v_sub(vec a, vec b) {
    vec t = _mm512_sub_epi32(a, b);
    return _mm512_min_epu32(t, _mm512_add_epi32(t, V_P));
}
PML_INLINE vec v_where(vec x, vec a, vec b) {
    return _mm512_mask_mov_epi32(b, _mm512_test_epi32_mask(x, x), a);
}
PML_INLINE vec v_low16(vec a) { return _mm512_and_si512(a, _mm512_set1_epi32(0xFFFF)); }
PML_INLINE vec v_high16(vec a) { return _mm512_srai_epi32(a, 16); }
PML_INLINE vec v_from_i32(vec a) { /* -2^31 needs p twice: -2^31 + 2p > 0 */
    __mmask16 negative = _mm512_movepi32_mask(a);
    a = _mm512_mask_add_epi32(a, negative, a, V_P);
    negative = _mm512_mask_cmplt_epi32_mask(negative, a, _mm512_setzero_si512());
    a = _mm512_mask_add_epi32(a, negative, a, V_P);
    return _mm512_min_epu32(a, _mm512_sub_epi32(a, V_P));
}

/* Odd lanes into even ones; a shuffle of floats, since shifts compete with products for a port. */
PML_INLINE vec v_odd(vec a) {
    return _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(a)));
}
/* High halves of two vectors of 64-bit numbers, in lane order. */
PML_INLINE vec v_high(vec e, vec o) { return _mm512_mask_blend_epi32(0xAAAA, v_odd(e), o); }

PML_INLINE split v_split(vec a) { return (split){a, v_odd(a)}; }
PML_INLINE split v_split1(u32 a) { return (split){v_set1(a), v_set1(a)}; }
PML_INLINE wide w_zero(void) { return (wide){_mm512_setzero_si512(), _mm512_setzero_si512()}; }
PML_INLINE wide w_mac(wide s, split a, split b) {
    return (wide){_mm512_add_epi64(s.e, _mm512_mul_epu32(a.e, b.e)),
                  _mm512_add_epi64(s.o, _mm512_mul_epu32(a.o, b.o))};
}
PML_INLINE wide w_mac_signed(wide s, split a, split b) {
    return (wide){_mm512_add_epi64(s.e, _mm512_mul_epi32(a.e, b.e)),
                  _mm512_add_epi64(s.o, _mm512_mul_epi32(a.o, b.o))};
}
PML_INLINE wide w_trim(wide s) { /* 2^32 p has a low half of 0: halves can be treated alone */
    const vec big = _mm512_set1_epi64((i64)((u64)PML_P << 32));
    return (wide){_mm512_min_epu32(s.e, _mm512_sub_epi32(s.e, big)),
                  _mm512_min_epu32(s.o, _mm512_sub_epi32(s.o, big))};
}
PML_INLINE vec v_redc(vec e, vec o, vec high) {
    const vec inv = _mm512_set1_epi32((int)PML_P_INV);
    vec qe = _mm512_mul_epu32(_mm512_mul_epu32(e, inv), V_P);
    vec qo = _mm512_mul_epu32(_mm512_mul_epu32(o, inv), V_P);
    return v_sub(high, v_high(qe, qo));
}
PML_INLINE vec w_reduce(wide s) {
    vec high = v_high(s.e, s.o);
    return v_redc(s.e, s.o, _mm512_min_epu32(high, _mm512_sub_epi32(high, V_P)));
}
PML_INLINE vec v_mul(vec a, vec b) {
    vec e = _mm512_mul_epu32(a, b), o = _mm512_mul_epu32(v_odd(a), v_odd(b));
    return v_redc(e, o, v_high(e, o));
}
PML_INLINE void w_store(i64 *p, wide s) {
    const vec lo = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const vec hi = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    _mm512_storeu_si512((void *)p, _mm512_permutex2var_epi64(s.e, lo, s.o));
    _mm512_storeu_si512((void *)(p + 8), _mm512_permutex2var_epi64(s.e, hi, s.o));
}

#define V_EACH(f) \
    _mm512_setr_epi32(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), \
                      f(12), f(13), f(14), f(15))
#define V_EVEN(i) (2 * (i))
#define V_ODD(i) (2 * (i) + 1)
#define V_ZIP_LO(i) (((i) >> 1) + 16 * ((i) & 1))
#define V_ZIP_HI(i) (8 + ((i) >> 1) + 16 * ((i) & 1))

PML_INLINE vec v_evens(vec a, vec b) { return _mm512_permutex2var_epi32(a, V_EACH(V_EVEN), b); }
PML_INLINE vec v_odds(vec a, vec b) { return _mm512_permutex2var_epi32(a, V_EACH(V_ODD), b); }
PML_INLINE vec v_zip_lo(vec e, vec o) { return _mm512_permutex2var_epi32(e, V_EACH(V_ZIP_LO), o); }
PML_INLINE vec v_zip_hi(vec e, vec o) { return _mm512_permutex2var_epi32(e, V_EACH(V_ZIP_HI), o); }

PML_INLINE u32 v_sum(vec a) {
    vec wide64 = _mm512_add_epi64(_mm512_and_si512(a, _mm512_set1_epi64(0xFFFFFFFF)),
                                  _mm512_srli_epi64(a, 32));
    return (u32)((u64)_mm512_reduce_add_epi64(wide64) % PML_P);
}

/* The words at `index` (0..79) of five vectors laid end to end. */
PML_INLINE vec v_lookup80(const vec in[5], vec index) {
    vec low = _mm512_permutex2var_epi32(in[0], index, in[1]);
    vec mid = _mm512_permutex2var_epi32(in[2], index, in[3]);
    low = _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), mid);
    return _mm512_mask_permutexvar_epi32(
        low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(64)), index, in[4]);
}

/* Sixteen elements of five words each to one vector per coefficient. */
PML_INLINE void v_load5(const u32 *p, vec out[5]) {
    vec in[5];
    for (int k = 0; k < 5; k++) in[k] = v_load(p + 16 * k);
#define V_FIVE(i) (5 * (i))
    for (int k = 0; k < 5; k++)
        out[k] = v_lookup80(in, _mm512_add_epi32(V_EACH(V_FIVE), _mm512_set1_epi32(k)));
}

PML_INLINE void v_store5(u32 *p, const vec in[5]) {
#define V_FROM(j) (16 * ((j) % 5) + (j) / 5) /* word j is coefficient j % 5 of element j / 5 */
#define V_FROM0(i) V_FROM(i)
#define V_FROM1(i) V_FROM(16 + (i))
#define V_FROM2(i) V_FROM(32 + (i))
#define V_FROM3(i) V_FROM(48 + (i))
#define V_FROM4(i) V_FROM(64 + (i))
    v_store(p, v_lookup80(in, V_EACH(V_FROM0)));
    v_store(p + 16, v_lookup80(in, V_EACH(V_FROM1)));
    v_store(p + 32, v_lookup80(in, V_EACH(V_FROM2)));
    v_store(p + 48, v_lookup80(in, V_EACH(V_FROM3)));
    v_store(p + 64, v_lookup80(in, V_EACH(V_FROM4)));
}

#endif
