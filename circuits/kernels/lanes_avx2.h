/* Eight lanes with AVX2. See lanes_portable.h for the names, lanes_avx512.h for the method. */
#ifndef PML_LANES_H
#define PML_LANES_H

#include <immintrin.h>

#include "scalar.h"

#define VW 8
typedef __m256i vec;
typedef struct {
    __m256i e, o;
} split;
typedef split wide;

#define V_P _mm256_set1_epi32((int)PML_P)

PML_INLINE vec v_load(const u32 *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
PML_INLINE void v_store(u32 *p, vec a) { _mm256_storeu_si256((__m256i *)(void *)p, a); }
PML_INLINE vec v_mask(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n > 8 ? 8 : n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PML_INLINE vec v_load_part(const u32 *p, size_t n) {
    return _mm256_maskload_epi32((const int *)(const void *)p, v_mask(n));
}
PML_INLINE void v_store_part(u32 *p, vec a, size_t n) {
    _mm256_maskstore_epi32((int *)(void *)p, v_mask(n), a);
}
PML_INLINE vec v_load_i8(const int8_t *p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
PML_INLINE vec v_set1(u32 a) { return _mm256_set1_epi32((int)a); }

PML_INLINE vec v_add(vec a, vec b) {
    vec t = _mm256_add_epi32(a, b);
    return _mm256_min_epu32(t, _mm256_sub_epi32(t, V_P));
}
PML_INLINE vec v_sub(vec a, vec b) {
    vec t = _mm256_sub_epi32(a, b);
    return _mm256_min_epu32(t, _mm256_add_epi32(t, V_P));
}
PML_INLINE vec v_where(vec x, vec a, vec b) {
    return _mm256_blendv_epi8(a, b, _mm256_cmpeq_epi32(x, _mm256_setzero_si256()));
}
PML_INLINE vec v_low16(vec a) { return _mm256_and_si256(a, _mm256_set1_epi32(0xFFFF)); }
PML_INLINE vec v_high16(vec a) { return _mm256_srai_epi32(a, 16); }
PML_INLINE vec v_from_i32(vec a) { /* -2^31 needs p twice: -2^31 + 2p > 0 */
    a = _mm256_add_epi32(a, _mm256_and_si256(_mm256_srai_epi32(a, 31), V_P));
    /* Still negative only if it was below -p; sums of negative numbers and p never wrap. */
    a = _mm256_add_epi32(a, _mm256_and_si256(_mm256_srai_epi32(a, 31), V_P));
    return _mm256_min_epu32(a, _mm256_sub_epi32(a, V_P));
}

PML_INLINE vec v_odd(vec a) {
    return _mm256_castps_si256(_mm256_movehdup_ps(_mm256_castsi256_ps(a)));
}
PML_INLINE vec v_high(vec e, vec o) { return _mm256_blend_epi32(v_odd(e), o, 0xAA); }

PML_INLINE split v_split(vec a) { return (split){a, v_odd(a)}; }
PML_INLINE split v_split1(u32 a) { return (split){v_set1(a), v_set1(a)}; }
PML_INLINE wide w_zero(void) { return (wide){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
PML_INLINE wide w_mac(wide s, split a, split b) {
    return (wide){_mm256_add_epi64(s.e, _mm256_mul_epu32(a.e, b.e)),
                  _mm256_add_epi64(s.o, _mm256_mul_epu32(a.o, b.o))};
}
PML_INLINE wide w_mac_signed(wide s, split a, split b) {
    return (wide){_mm256_add_epi64(s.e, _mm256_mul_epi32(a.e, b.e)),
                  _mm256_add_epi64(s.o, _mm256_mul_epi32(a.o, b.o))};
}
PML_INLINE wide w_trim(wide s) {
    const vec big = _mm256_set1_epi64x((i64)((u64)PML_P << 32));
    return (wide){_mm256_min_epu32(s.e, _mm256_sub_epi32(s.e, big)),
                  _mm256_min_epu32(s.o, _mm256_sub_epi32(s.o, big))};
}
PML_INLINE vec v_redc(vec e, vec o, vec high) {
    const vec inv = _mm256_set1_epi32((int)PML_P_INV);
    vec qe = _mm256_mul_epu32(_mm256_mul_epu32(e, inv), V_P);
    vec qo = _mm256_mul_epu32(_mm256_mul_epu32(o, inv), V_P);
    return v_sub(high, v_high(qe, qo));
}
PML_INLINE vec w_reduce(wide s) {
    vec high = v_high(s.e, s.o);
    return v_redc(s.e, s.o, _mm256_min_epu32(high, _mm256_sub_epi32(high, V_P)));
}
PML_INLINE vec v_mul(vec a, vec b) {
    vec e = _mm256_mul_epu32(a, b), o = _mm256_mul_epu32(v_odd(a), v_odd(b));
    return v_redc(e, o, v_high(e, o));
}
PML_INLINE void w_store(i64 *p, wide s) {
    vec lo = _mm256_unpacklo_epi64(s.e, s.o), hi = _mm256_unpackhi_epi64(s.e, s.o);
    v_store((u32 *)(void *)p, _mm256_permute2x128_si256(lo, hi, 0x20));
    v_store((u32 *)(void *)(p + 4), _mm256_permute2x128_si256(lo, hi, 0x31));
}

PML_INLINE vec v_pick(vec a, vec b, int odd) {
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    __m256 t = odd ? _mm256_shuffle_ps(x, y, 0xDD) : _mm256_shuffle_ps(x, y, 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(t), 0xD8);
}
PML_INLINE vec v_evens(vec a, vec b) { return v_pick(a, b, 0); }
PML_INLINE vec v_odds(vec a, vec b) { return v_pick(a, b, 1); }
PML_INLINE vec v_zip_lo(vec e, vec o) {
    return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(e, o), _mm256_unpackhi_epi32(e, o), 0x20);
}
PML_INLINE vec v_zip_hi(vec e, vec o) {
    return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(e, o), _mm256_unpackhi_epi32(e, o), 0x31);
}

PML_INLINE u32 v_sum(vec a) {
    u32 lane[8];
    u64 sum = 0;
    v_store(lane, a);
    for (int i = 0; i < 8; i++) sum += lane[i];
    return (u32)(sum % PML_P);
}

PML_INLINE void v_load5(const u32 *p, vec out[5]) {
    const vec index = _mm256_setr_epi32(0, 5, 10, 15, 20, 25, 30, 35);
    for (int k = 0; k < 5; k++)
        out[k] = _mm256_i32gather_epi32((const int *)(const void *)(p + k), index, 4);
}
PML_INLINE void v_store5(u32 *p, const vec in[5]) {
    u32 lane[8];
    for (int k = 0; k < 5; k++) {
        v_store(lane, in[k]);
        for (int i = 0; i < 8; i++) p[5 * i + k] = lane[i];
    }
}

#endif
