/* Folding vectors of F, and the sums of a product over its pairs; see blocks.h for the layout.
 *
 * Ranges from..to are of elements (of pairs for sums); `from` is a multiple of 16, and `to` of VW
 * is rounded up, which stays inside the room of a vector. r, z and other single elements are in
 * Montgomery form. Sums are added to what the caller has.
 */
#include "blocks.h"

PML_INLINE e5v blk_load(const u32 *a, size_t i) { return e5v_load(blk_of(a, i), BLOCK, 0); }
PML_INLINE void blk_store(u32 *a, size_t i, e5v x) { e5v_store(blk_at(a, i), BLOCK, 0, x); }

/* Elements i..i+VW of a vector's even and of its odd half. */
PML_INLINE void blk_pairs(const u32 *a, size_t i, e5v *even, e5v *odd) {
    e5v x = blk_load(a, 2 * i), y = blk_load(a, 2 * i + VW);
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        even->c[k] = v_evens(x.c[k], y.c[k]);
        odd->c[k] = v_odds(x.c[k], y.c[k]);
    }
}

/* a b + c d with one reduction for each coefficient: ten products, of 0.47 * 2^32 p each, and a
 * trim whenever two more would pass 2^64 = 2.13 * 2^32 p. */
PML_INLINE e5v e5v_mul_add(e5v a, const e5v_factor *b, e5v c, const e5v_factor *d) {
    e5v r;
    split x[5], y[5];
    PML_UNROLL
    for (int i = 0; i < 5; i++) {
        x[i] = v_split(a.c[i]);
        y[i] = v_split(c.c[i]);
    }
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        wide s = w_zero();
        PML_UNROLL
        for (int i = 0; i < 5; i++) {
            s = w_mac(s, x[i], i <= k ? b->b[k - i] : b->twice[k - i + 5]);
            s = w_mac(s, y[i], i <= k ? d->b[k - i] : d->twice[k - i + 5]);
            if (i >= 1 && i < 4) s = w_trim(s);
        }
        r.c[k] = w_reduce(s);
    }
    return r;
}

/* a b + s d with a base element s for each lane. */
PML_INLINE e5v e5v_mul_add_base(e5v a, const e5v_factor *b, vec s, e5v d) {
    e5v r;
    split x[5], y = v_split(s);
    PML_UNROLL
    for (int i = 0; i < 5; i++) x[i] = v_split(a.c[i]);
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        wide sum = w_mac(w_zero(), y, v_split(d.c[k]));
        PML_UNROLL
        for (int i = 0; i < 5; i++) {
            sum = w_mac(sum, x[i], i <= k ? b->b[k - i] : b->twice[k - i + 5]);
            if (i == 2) sum = w_trim(sum);
        }
        r.c[k] = w_reduce(sum);
    }
    return r;
}

static void bind(size_t from, size_t to, const u32 *in, e5 r, u32 *out) {
    e5v_factor f = e5v_prepare1(r);
    for (size_t i = from; i < to; i += VW) {
        e5v low, high;
        blk_pairs(in, i, &low, &high);
        blk_store(out, i, e5v_add(low, e5v_mul_by(e5v_sub(high, low), &f)));
    }
}

/* The same for a flat vector of base elements. */
static void bind_base(size_t from, size_t to, const u32 *in, e5 r, u32 *out) {
    e5v f = e5v_set1(r);
    for (size_t i = from; i < to; i += VW) {
        vec x = v_load(in + 2 * i), y = v_load(in + 2 * i + VW), low = v_evens(x, y);
        e5v high = e5v_scale(v_sub(v_odds(x, y), low), f);
        high.c[0] = v_add(high.c[0], low);
        blk_store(out, i, high);
    }
}

/* Of VW pairs of a vector: the lower values, and the slopes. */
PML_INLINE void blk_slopes(const u32 *a, size_t i, e5v *low, e5v *slope) {
    e5v high;
    blk_pairs(a, i, low, &high);
    *slope = e5v_sub(high, *low);
}
PML_INLINE void base_slopes(const u32 *a, size_t i, vec *low, vec *slope) {
    vec x = v_load(a + 2 * i), y = v_load(a + 2 * i + VW);
    *low = v_evens(x, y);
    *slope = v_sub(v_odds(x, y), *low);
}

/* a b + c d + total, a and c in the base field. */
PML_INLINE e5v e5v_dot_base(vec a, e5v b, vec c, e5v d, e5v total) {
    split x = v_split(a), y = v_split(c);
    PML_UNROLL
    for (int k = 0; k < 5; k++) {
        wide s = w_mac(w_mac(w_zero(), x, v_split(b.c[k])), y, v_split(d.c[k]));
        total.c[k] = v_add(total.c[k], w_reduce(s));
    }
    return total;
}

/* sums[0] += sum a0 b0, sums[1] += sum (a1 - a0)(b1 - b0) over the pairs. */
static void product_sums(size_t from, size_t to, const u32 *a, const u32 *b, e5 sums[2]) {
    e5v s0 = e5v_zero(), s1 = e5v_zero(), a0, a1, b0, b1;
    for (size_t i = from; i < to; i += VW) {
        blk_slopes(a, i, &a0, &a1);
        blk_slopes(b, i, &b0, &b1);
        s0 = e5v_add(s0, e5v_mul(a0, b0));
        s1 = e5v_add(s1, e5v_mul(a1, b1));
    }
    sums[0] = e5_add(sums[0], e5v_sum(s0));
    sums[1] = e5_add(sums[1], e5v_sum(s1));
}

/* The same with base elements a; two vectors of pairs share the reductions. */
static void product_sums_base(size_t from, size_t to, const u32 *a, const u32 *b, e5 sums[2]) {
    e5v s0 = e5v_zero(), s1 = e5v_zero(), b0, b1, d0, d1;
    vec a0, a1, c0, c1;
    size_t i = from;
    for (; i + VW < to; i += 2 * VW) {
        base_slopes(a, i, &a0, &a1);
        blk_slopes(b, i, &b0, &b1);
        base_slopes(a, i + VW, &c0, &c1);
        blk_slopes(b, i + VW, &d0, &d1);
        s0 = e5v_dot_base(a0, b0, c0, d0, s0);
        s1 = e5v_dot_base(a1, b1, c1, d1, s1);
    }
    for (; i < to; i += VW) {
        base_slopes(a, i, &a0, &a1);
        blk_slopes(b, i, &b0, &b1);
        s0 = e5v_add(s0, e5v_scale(a0, b0));
        s1 = e5v_add(s1, e5v_scale(a1, b1));
    }
    sums[0] = e5_add(sums[0], e5v_sum(s0));
    sums[1] = e5_add(sums[1], e5v_sum(s1));
}

/* The sum of a b over elements, a in the base field. */
static e5 inner_base(size_t from, size_t to, const u32 *a, const u32 *b) {
    e5v s = e5v_zero();
    for (size_t i = from; i < to; i += VW)
        s = e5v_add(s, e5v_scale(v_load(a + i), blk_load(b, i)));
    return e5v_sum(s);
}

/* Elements of five words to blocks, into Montgomery form if `enter`; n need not be a multiple. */
static void blocks_from_words(size_t n, const u32 *in, int enter, u32 *out) {
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        e5v x = e5v_load_aos(in + 5 * i);
        blk_store(out, i, enter ? e5v_enter(x) : x);
    }
    for (; i < n; i++) blk_set(out, i, enter ? e5_enter(in + 5 * i) : e5_load(in + 5 * i));
}

static void words_from_blocks(size_t n, const u32 *in, u32 *out) {
    size_t i = 0;
    for (; i + VW <= n; i += VW) e5v_store_aos(out + 5 * i, blk_load(in, i));
    for (; i < n; i++) {
        e5 x = blk_get(in, i);
        memcpy(out + 5 * i, x.c, sizeof x.c);
    }
}
