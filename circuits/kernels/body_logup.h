/* LogUp-GKR over blocks: leaves, layers of the tree of fractions, and the sums of a round.
 *
 * A layer has the vectors p0, p1, q0, q1 of its children's fractions p0 / q0 + p1 / q1. Instead of
 * p0 the provers fold u = p0 + lambda q0, and the summand is
 *     p0 q1 + p1 q0 + lambda q0 q1 = u q1 + p1 q0.
 * All values are in Montgomery form; numerators of leaves are flat vectors of base elements.
 */

/* As they are: the sign bit is a matter of v_from_i32. */
PML_INLINE vec v_load_i32(const i32 *p) { return v_load((const u32 *)(const void *)p); }

/* Leaves i..i+n of the columns; n is a multiple of 16. num: base elements, den: blocks. */
static void logup_leaves(size_t n, size_t i, const pml_leaves *t, u32 *num, u32 *den) {
    const vec zero = v_set1(0), r2 = v_set1(PML_R2);
    const e5v alpha = e5v_set1(t->alpha), one = e5v_set1(e5_one());
    split b1[5], b2[5], unit = v_split1(PML_R2);
    for (int k = 0; k < 5; k++) {
        b1[k] = v_split1(t->beta.c[k]);
        b2[k] = v_split1(t->beta2.c[k]);
    }
    for (size_t j = 0; j < n; j += VW) {
        vec id = v_load_i32(t->id + i + j);
        split x = v_split(v_from_i32(id));
        split y = v_split(v_where(id, v_from_i32(v_load_i32(t->c1 + i + j)), zero));
        split z = v_split(v_where(id, v_from_i32(v_load_i32(t->c2 + i + j)), zero));
        e5v d;
        PML_UNROLL
        for (int k = 0; k < 5; k++) {
            wide s = w_mac(w_mac(w_zero(), y, b1[k]), z, b2[k]);
            if (k == 0) s = w_mac(s, x, unit);
            d.c[k] = v_sub(v_where(id, alpha.c[k], one.c[k]), w_reduce(s));
        }
        blk_store(den, j, d);
        vec m = v_where(id, v_from_i32(v_load_i32(t->num + i + j)), zero);
        v_store(num + j, v_mul(m, r2));
    }
}

/* p = p0 q1 + p1 q0 and q = q0 q1 for n parents. */
static void logup_join(size_t n, const u32 *p0, const u32 *p1, const u32 *q0, const u32 *q1,
                       u32 *p, u32 *q) {
    for (size_t i = 0; i < n; i += VW) {
        e5v a = blk_load(q0, i);
        e5v_factor f0 = e5v_prepare(a), f1 = e5v_prepare(blk_load(q1, i));
        blk_store(p, i, e5v_mul_add(blk_load(p0, i), &f1, blk_load(p1, i), &f0));
        blk_store(q, i, e5v_mul_by(a, &f1));
    }
}

/* The same over leaves. */
static void logup_join_leaves(size_t n, const u32 *p0, const u32 *p1, const u32 *q0,
                              const u32 *q1, u32 *p, u32 *q) {
    for (size_t i = 0; i < n; i += VW) {
        e5v a = blk_load(q0, i), b = blk_load(q1, i), r;
        split x = v_split(v_load(p0 + i)), y = v_split(v_load(p1 + i));
        PML_UNROLL
        for (int k = 0; k < 5; k++)
            r.c[k] = w_reduce(w_mac(w_mac(w_zero(), x, v_split(b.c[k])), y, v_split(a.c[k])));
        blk_store(p, i, r);
        blk_store(q, i, e5v_mul(a, b));
    }
}

/* u = p0 + lambda q0; u may be p0. */
static void logup_mix(size_t n, const u32 *p0, const u32 *q0, e5 lambda, u32 *u) {
    e5v_factor f = e5v_prepare1(lambda);
    for (size_t i = 0; i < n; i += VW)
        blk_store(u, i, e5v_add(blk_load(p0, i), e5v_mul_by(blk_load(q0, i), &f)));
}

static void logup_mix_leaves(size_t n, const u32 *p0, const u32 *q0, e5 lambda, u32 *u) {
    e5v_factor f = e5v_prepare1(lambda);
    for (size_t i = 0; i < n; i += VW) {
        e5v x = e5v_mul_by(blk_load(q0, i), &f);
        x.c[0] = v_add(x.c[0], v_load(p0 + i));
        blk_store(u, i, x);
    }
}

/* sums[0] += sum_j eq_j (u q1 + p1 q0)(0), sums[1] the same with the coefficient of X^2, over n
 * pairs; each e is prepared once for both. */
static void logup_sums(size_t n, const u32 *u, const u32 *p1, const u32 *q0, const u32 *q1,
                       const u32 *eq, e5 sums[2]) {
    e5v s0 = e5v_zero(), s1 = e5v_zero();
    for (size_t j = 0; j < n; j += VW) {
        e5v a, a1, b, b1, c, c1, d, d1;
        blk_pairs(u, j, &a, &a1);
        blk_pairs(p1, j, &b, &b1);
        blk_pairs(q0, j, &c, &c1);
        blk_pairs(q1, j, &d, &d1);
        e5v_factor e = e5v_prepare(blk_load(eq, j));
        e5v_factor fc = e5v_prepare(c), fd = e5v_prepare(d);
        s0 = e5v_add(s0, e5v_mul_by(e5v_mul_add(a, &fd, b, &fc), &e));
        fc = e5v_prepare(e5v_sub(c1, c));
        fd = e5v_prepare(e5v_sub(d1, d));
        e5v slope = e5v_mul_add(e5v_sub(a1, a), &fd, e5v_sub(b1, b), &fc);
        s1 = e5v_add(s1, e5v_mul_by(slope, &e));
    }
    sums[0] = e5_add(sums[0], e5v_sum(s0));
    sums[1] = e5_add(sums[1], e5v_sum(s1));
}

/* The same over leaves, where p1 is flat. */
static void logup_sums_leaves(size_t n, const u32 *u, const u32 *p1, const u32 *q0, const u32 *q1,
                              const u32 *eq, e5 sums[2]) {
    e5v s0 = e5v_zero(), s1 = e5v_zero();
    for (size_t j = 0; j < n; j += VW) {
        e5v a, a1, c, c1, d, d1;
        blk_pairs(u, j, &a, &a1);
        blk_pairs(q0, j, &c, &c1);
        blk_pairs(q1, j, &d, &d1);
        vec x = v_load(p1 + 2 * j), y = v_load(p1 + 2 * j + VW), b = v_evens(x, y);
        e5v_factor e = e5v_prepare(blk_load(eq, j)), f = e5v_prepare(d);
        s0 = e5v_add(s0, e5v_mul_by(e5v_mul_add_base(a, &f, b, c), &e));
        f = e5v_prepare(e5v_sub(d1, d));
        e5v slope = e5v_mul_add_base(e5v_sub(a1, a), &f, v_sub(v_odds(x, y), b), e5v_sub(c1, c));
        s1 = e5v_add(s1, e5v_mul_by(slope, &e));
    }
    sums[0] = e5_add(sums[0], e5v_sum(s0));
    sums[1] = e5_add(sums[1], e5v_sum(s1));
}

/* One more variable below all others of a table: out[2 i] = in[i] (1 - z), out[2 i + 1] = in[i] z. */
static void eq_prepend(size_t n, const u32 *in, e5 z, u32 *out) {
    e5v_factor f = e5v_prepare1(z);
    for (size_t i = 0; i < n; i += VW) {
        e5v x = blk_load(in, i), high = e5v_mul_by(x, &f), low = e5v_sub(x, high), a, b;
        PML_UNROLL
        for (int k = 0; k < 5; k++) {
            a.c[k] = v_zip_lo(low.c[k], high.c[k]);
            b.c[k] = v_zip_hi(low.c[k], high.c[k]);
        }
        blk_store(out, 2 * i, a);
        blk_store(out, 2 * i + VW, b);
    }
}
