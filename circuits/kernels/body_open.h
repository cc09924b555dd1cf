/* What the opening needs beside body_product.h: weights, and the choice between trees. */

/* out[i] += factor in[i]; n is rounded up to VW. */
static void add_scaled(size_t n, const u32 *in, e5 factor, u32 *out) {
    e5v_factor f = e5v_prepare1(factor);
    for (size_t i = 0; i < n; i += VW)
        blk_store(out, i, e5v_add(blk_load(out, i), e5v_mul_by(blk_load(in, i), &f)));
}

/* out[i] = factor in[i]; out may be in. */
static void scale(size_t n, const u32 *in, e5 factor, u32 *out) {
    e5v_factor f = e5v_prepare1(factor);
    for (size_t i = 0; i < n; i += VW) blk_store(out, i, e5v_mul_by(blk_load(in, i), &f));
}

/* Base elements as elements of F. */
static void lift(size_t n, const u32 *in, u32 *out) {
    for (size_t i = 0; i < n; i += VW) {
        e5v x = e5v_zero();
        x.c[0] = v_load(in + i);
        blk_store(out, i, x);
    }
}

/* out[i] = a[i] + r (b[i] - a[i]); out may be a. */
static void blend(size_t n, const u32 *a, const u32 *b, e5 r, u32 *out) {
    e5v_factor f = e5v_prepare1(r);
    for (size_t i = 0; i < n; i += VW) {
        e5v x = blk_load(a, i);
        blk_store(out, i, e5v_add(x, e5v_mul_by(e5v_sub(blk_load(b, i), x), &f)));
    }
}

/* sums[0] += sum a v, sums[1] += sum (b - a)(w - v). */
static void blend_sums(size_t n, const u32 *a, const u32 *v, const u32 *b, const u32 *w,
                       e5 sums[2]) {
    e5v s0 = e5v_zero(), s1 = e5v_zero();
    for (size_t i = 0; i < n; i += VW) {
        e5v x = blk_load(a, i), y = blk_load(v, i);
        s0 = e5v_add(s0, e5v_mul(x, y));
        s1 = e5v_add(s1, e5v_mul(e5v_sub(blk_load(b, i), x), e5v_sub(blk_load(w, i), y)));
    }
    sums[0] = e5_add(sums[0], e5v_sum(s0));
    sums[1] = e5_add(sums[1], e5v_sum(s1));
}
