/* F = F_p[x] / (x^5 - 2) over lanes: VW elements at once, one vec per coefficient.
 *
 * Include after a lanes header. Products are Montgomery products, as in scalar.h.
 * In memory a vector of elements is planar: coefficient k of element i at plane0[k * stride + i].
 */
#ifndef PML_EXT5_H
#define PML_EXT5_H

typedef struct {
    vec c[5];
} e5v;

PML_INLINE e5v e5v_set1(e5 a) {
    e5v r;
    PML_UNROLL
    for (int k = 0; k < 5; k++) r.c[k] = v_set1(a.c[k]);
    return r;
}
PML_INLINE e5v e5v_zero(void) { return e5v_set1(e5_zero()); }

PML_INLINE e5v e5v_load(const u32 *plane0, size_t stride, size_t i) {
    e5v r;
    PML_UNROLL
    for (size_t k = 0; k < 5; k++) r.c[k] = v_load(plane0 + k * stride + i);
    return r;
}
PML_INLINE void e5v_store(u32 *plane0, size_t stride, size_t i, e5v a) {
    PML_UNROLL
    for (size_t k = 0; k < 5; k++) v_store(plane0 + k * stride + i, a.c[k]);
}
/* VW elements of five words each, as they lie in NumPy arrays. */
PML_INLINE e5v e5v_load_aos(const u32 *p) {
    e5v r;
    v_load5(p, r.c);
    return r;
}
PML_INLINE void e5v_store_aos(u32 *p, e5v a) { v_store5(p, a.c); }

PML_INLINE e5 e5_load_planar(const u32 *plane0, size_t stride, size_t i) {
    e5 r;
    PML_UNROLL
    for (size_t k = 0; k < 5; k++) r.c[k] = plane0[k * stride + i];
    return r;
}
PML_INLINE void e5_store_planar(u32 *plane0, size_t stride, size_t i, e5 a) {
    PML_UNROLL
    for (size_t k = 0; k < 5; k++) plane0[k * stride + i] = a.c[k];
}

PML_INLINE e5v e5v_add(e5v a, e5v b) {
    PML_UNROLL
    for (int k = 0; k < 5; k++) a.c[k] = v_add(a.c[k], b.c[k]);
    return a;
}
PML_INLINE e5v e5v_sub(e5v a, e5v b) {
    PML_UNROLL
    for (int k = 0; k < 5; k++) a.c[k] = v_sub(a.c[k], b.c[k]);
    return a;
}
PML_INLINE e5v e5v_scale(vec base, e5v a) {
    PML_UNROLL
    for (int k = 0; k < 5; k++) a.c[k] = v_mul(base, a.c[k]);
    return a;
}

/* One factor with all that a product needs of it; worth keeping when it is used again. */
typedef struct {
    split b[5], twice[5];
} e5v_factor;

PML_INLINE e5v_factor e5v_prepare(e5v b) {
    e5v_factor f;
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        f.b[k] = v_split(b.c[k]);
        f.twice[k] = v_split(v_add(b.c[k], b.c[k]));
    }
    return f;
}

/* The same element in every lane: half as many registers. */
PML_INLINE e5v_factor e5v_prepare1(e5 b) {
    e5v_factor f;
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        f.b[k] = v_split1(b.c[k]);
        f.twice[k] = v_split1(m_add(b.c[k], b.c[k]));
    }
    return f;
}

PML_INLINE e5v e5v_mul_by(e5v a, const e5v_factor *f) {
    e5v r;
    split x[5];
    PML_UNROLL
    for (int i = 0; i < 5; i++) x[i] = v_split(a.c[i]);
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        wide s = w_zero();
        PML_UNROLL
        for (int i = 0; i < 5; i++) {
            s = w_mac(s, x[i], i <= k ? f->b[k - i] : f->twice[k - i + 5]);
            if (i == 2) s = w_trim(s); /* the bound is in scalar.h */
        }
        r.c[k] = w_reduce(s);
    }
    return r;
}

PML_INLINE e5v e5v_mul(e5v a, e5v b) {
    e5v_factor f = e5v_prepare(b);
    return e5v_mul_by(a, &f);
}

PML_INLINE e5 e5v_sum(e5v a) {
    e5 r;
    PML_UNROLL
    for (int k = 0; k < 5; k++) r.c[k] = v_sum(a.c[k]);
    return r;
}

/* Between Montgomery form and canonical values. */
PML_INLINE e5v e5v_enter(e5v a) { return e5v_scale(v_set1(PML_R2), a); }
PML_INLINE e5v e5v_leave(e5v a) { return e5v_scale(v_set1(1), a); }

#endif
