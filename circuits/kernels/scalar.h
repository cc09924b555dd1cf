/* One element at a time: BabyBear in Montgomery form and its degree-5 extension.
 *
 * p = 15 * 2^27 + 1. A Montgomery product (P. L. Montgomery, "Modular multiplication without
 * trial division", Math. Comp. 44, 1985) of a and b is a b / 2^32 mod p. If one factor is in
 * Montgomery form (times 2^32) and the other canonical, the product is canonical: constants and
 * challenges are kept in Montgomery form, data mostly is not converted at all.
 */
#ifndef PML_SCALAR_H
#define PML_SCALAR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define PML_P 2013265921u      /* the prime */
#define PML_P_INV 2281701377u  /* its inverse mod 2^32 */
#define PML_R1 268435454u      /* 2^32 mod p: one in Montgomery form */
#define PML_R2 1172168163u     /* 2^64 mod p: a product with it converts to Montgomery form */
#define PML_GENERATOR 31u
#define PML_TWO_ADICITY 27u

#define PML_INLINE static inline __attribute__((always_inline, unused))
#define PML_UNUSED __attribute__((unused))
/* For loops over coefficients: their vectors must stay in registers. */
#if defined(__clang__)
#define PML_UNROLL _Pragma("unroll")
#else
#define PML_UNROLL _Pragma("GCC unroll 8")
#endif

PML_INLINE u32 m_add(u32 a, u32 b) {
    u32 t = a + b; /* below 2p < 2^32 */
    return t >= PML_P ? t - PML_P : t;
}

PML_INLINE u32 m_sub(u32 a, u32 b) {
    u32 t = a - b;
    return a < b ? t + PML_P : t;
}

/* x / 2^32 mod p, below p, for x < 2^32 p. The low halves of x and q p agree, so that the
 * difference of the high halves is exact. */
PML_INLINE u32 m_reduce(u64 x) {
    u32 q = (u32)x * PML_P_INV;
    u32 hi = (u32)(x >> 32), sub = (u32)(((u64)q * PML_P) >> 32);
    return m_sub(hi, sub);
}

PML_INLINE u32 m_mul(u32 a, u32 b) { return m_reduce((u64)a * b); }
PML_INLINE u32 m_enter(u32 a) { return m_mul(a, PML_R2); } /* canonical to Montgomery */
PML_INLINE u32 m_leave(u32 a) { return m_reduce(a); }      /* and back */

/* A signed integer as canonical element. */
PML_INLINE u32 m_from_i64(i64 a) {
    i64 r = a % (i64)PML_P;
    return (u32)(r < 0 ? r + (i64)PML_P : r);
}

/* base^e, base and result in Montgomery form. */
static inline PML_UNUSED u32 m_pow(u32 base, u64 e) {
    u32 r = PML_R1;
    for (; e; e >>= 1) {
        if (e & 1) r = m_mul(r, base);
        base = m_mul(base, base);
    }
    return r;
}

/* The element of order 2^log_n, in Montgomery form; log_n <= 27. */
static inline PML_UNUSED u32 m_root(unsigned log_n) {
    return m_pow(m_enter(PML_GENERATOR), (PML_P - 1) >> log_n);
}

/* An element c0 + c1 x + .. + c4 x^4 of F_p[x] / (x^5 - 2). */
typedef struct {
    u32 c[5];
} e5;

PML_INLINE e5 e5_zero(void) { return (e5){{0, 0, 0, 0, 0}}; }
PML_INLINE e5 e5_one(void) { return (e5){{PML_R1, 0, 0, 0, 0}}; } /* Montgomery form */

PML_INLINE e5 e5_add(e5 a, e5 b) {
    for (int k = 0; k < 5; k++) a.c[k] = m_add(a.c[k], b.c[k]);
    return a;
}

PML_INLINE e5 e5_sub(e5 a, e5 b) {
    for (int k = 0; k < 5; k++) a.c[k] = m_sub(a.c[k], b.c[k]);
    return a;
}

PML_INLINE e5 e5_scale(u32 base, e5 a) {
    for (int k = 0; k < 5; k++) a.c[k] = m_mul(a.c[k], base);
    return a;
}

/* Five products reach 4.4 * 2^62. Three stay below 2^64; taking 2^32 p away where that is
 * possible leaves room for two more, and the sum stays below 2 * 2^32 p. */
PML_INLINE u64 m_trim(u64 x) {
    const u64 big = (u64)PML_P << 32;
    return x >= big ? x - big : x;
}

static inline PML_UNUSED e5 e5_mul(e5 a, e5 b) {
    e5 r, d = e5_add(b, b); /* x^5 = 2 */
    for (int k = 0; k < 5; k++) {
        u64 s = 0;
        for (int i = 0; i < 5; i++) {
            s += (u64)a.c[i] * (i <= k ? b.c[k - i] : d.c[k - i + 5]);
            if (i == 2) s = m_trim(s);
        }
        r.c[k] = m_reduce(m_trim(s));
    }
    return r;
}

PML_INLINE e5 e5_enter(const u32 *canonical) {
    e5 r;
    for (int k = 0; k < 5; k++) r.c[k] = m_enter(canonical[k]);
    return r;
}

PML_INLINE void e5_leave(u32 *canonical, e5 a) {
    for (int k = 0; k < 5; k++) canonical[k] = m_leave(a.c[k]);
}

PML_INLINE e5 e5_load(const u32 *p) { /* five words as they are */
    e5 r;
    memcpy(r.c, p, sizeof r.c);
    return r;
}

PML_INLINE int e5_equal(e5 a, e5 b) { return memcmp(a.c, b.c, sizeof a.c) == 0; }

#endif
