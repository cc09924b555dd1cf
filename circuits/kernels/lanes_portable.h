/* Lanes of one: the bodies in plain C. Defines the same names as lanes_avx2.h, lanes_avx512.h.
 *
 * vec     VW base elements. Additions, subtractions and products take and give values below p.
 * split   a vec prepared as factor of a wide product
 * wide    VW sums of 64 bits
 */
#ifndef PML_LANES_H
#define PML_LANES_H

#include "scalar.h"

#define VW 1
typedef u32 vec;
typedef u32 split;
typedef u64 wide;

PML_INLINE vec v_load(const u32 *p) { return *p; }
PML_INLINE void v_store(u32 *p, vec a) { *p = a; }
PML_INLINE vec v_load_part(const u32 *p, size_t n) { return n ? *p : 0; }
PML_INLINE void v_store_part(u32 *p, vec a, size_t n) {
    if (n) *p = a;
}
PML_INLINE vec v_load_i8(const int8_t *p) { return (u32)(i32)*p; }
PML_INLINE vec v_set1(u32 a) { return a; }

PML_INLINE vec v_add(vec a, vec b) { return m_add(a, b); }
PML_INLINE vec v_sub(vec a, vec b) { return m_sub(a, b); }
PML_INLINE vec v_mul(vec a, vec b) { return m_mul(a, b); }
/* a where x is not 0, else b. */
PML_INLINE vec v_where(vec x, vec a, vec b) { return x ? a : b; }
PML_INLINE vec v_low16(vec a) { return a & 0xFFFF; }
PML_INLINE vec v_high16(vec a) { return (u32)((i32)a >> 16); }
/* A signed integer mod p. */
PML_INLINE vec v_from_i32(vec a) { return m_from_i64((i32)a); }

PML_INLINE vec v_evens(vec a, vec b) { return (void)b, a; }
PML_INLINE vec v_odds(vec a, vec b) { return (void)a, b; }
PML_INLINE vec v_zip_lo(vec e, vec o) { return (void)o, e; }
PML_INLINE vec v_zip_hi(vec e, vec o) { return (void)e, o; }
PML_INLINE u32 v_sum(vec a) { return a; }

PML_INLINE void v_load5(const u32 *p, vec out[5]) { memcpy(out, p, 20); }
PML_INLINE void v_store5(u32 *p, const vec in[5]) { memcpy(p, in, 20); }

PML_INLINE split v_split(vec a) { return a; }
PML_INLINE split v_split1(u32 a) { return a; } /* the same in every lane */
PML_INLINE wide w_zero(void) { return 0; }
PML_INLINE wide w_mac(wide s, split a, split b) { return s + (u64)a * b; }
PML_INLINE wide w_mac_signed(wide s, split a, split b) {
    return s + (u64)((i64)(i32)a * (i32)b);
}
PML_INLINE wide w_trim(wide s) { return m_trim(s); }
PML_INLINE vec w_reduce(wide s) { return m_reduce(m_trim(s)); }
PML_INLINE void w_store(i64 *p, wide s) { *p = (i64)s; }

#endif
