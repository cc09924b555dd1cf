/* What the opening needs beside body_product.h: weights, sums over the rows and over the columns of
 * a tree, and the choice between trees. */

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

/* The sum of a b over elements. */
static e5 inner(size_t from, size_t to, const u32 *a, const u32 *b) {
    e5v s = e5v_zero();
    for (size_t i = from; i < to; i += VW) s = e5v_add(s, e5v_mul(blk_load(a, i), blk_load(b, i)));
    return e5v_sum(s);
}

/* s + x a + y b, below 1.14 * 2^32 p if s is: 2^64 is 2.13 * 2^32 p, a product 0.47 of it, so that
 * after each trim two more fit in. */
PML_INLINE wide w_mac2(wide s, split x, split a, split y, split b) {
    return w_trim(w_mac(w_mac(s, x, a), y, b));
}

/* out[j] += sum_i factor[i] v[at[i] + j], j < cells: a weighted sum of rows of base elements. */
static void sum_rows(size_t count, const u32 *at, const e5 *factor, const u32 *v, size_t cells,
                     u32 *out) {
    for (size_t j = 0; j < cells; j += VW) {
        const size_t lanes = cells - j;
        wide s[5];
        size_t i = 0;
        PML_UNROLL
        for (int k = 0; k < 5; k++) s[k] = w_zero();
        for (; lanes >= VW && i + 2 <= count; i += 2) {
            split x = v_split(v_load(v + at[i] + j)), y = v_split(v_load(v + at[i + 1] + j));
            PML_UNROLL
            for (int k = 0; k < 5; k++)
                s[k] = w_mac2(s[k], x, v_split1(factor[i].c[k]), y, v_split1(factor[i + 1].c[k]));
        }
        for (; i < count; i++) { /* the last of an odd number; rows shorter than a vector */
            const u32 *row = v + at[i] + j;
            split x = v_split(lanes >= VW ? v_load(row) : v_load_part(row, lanes));
            PML_UNROLL
            for (int k = 0; k < 5; k++)
                s[k] = w_trim(w_mac(s[k], x, v_split1(factor[i].c[k])));
        }
        e5v sum = blk_load(out, j);
        PML_UNROLL
        for (int k = 0; k < 5; k++) sum.c[k] = v_add(sum.c[k], w_reduce(s[k]));
        blk_store(out, j, sum);
    }
}

/* out[i] = sum_j eq[j] v[i 2^k + j], j < 2^k: each row by the same weights, planes of 2^k words
 * that are repeated up to VW words where they are fewer.
 *
 * Lanes run along the row. VW rows together leave one vector of partial sums each (rows shorter
 * than a vector: each vector of them one), which are added up by pairs of lanes, so that the sums
 * of rows end in order in the lanes of one vector. */
static void fold_rows(size_t from, size_t to, unsigned k, const u32 *v, const u32 *eq, u32 *out) {
    const size_t row = (size_t)1 << k, leaves = row < VW ? row : VW, steps = row / leaves;
    const size_t stride = row < VW ? VW : row;
    size_t i = from;
    for (; i + VW <= to; i += VW) {
        vec part[5][VW];
        const u32 *p = v + (i << k);
        for (size_t leaf = 0; leaf < leaves; leaf++) {
            wide s[5];
            PML_UNROLL
            for (int c = 0; c < 5; c++) s[c] = w_zero();
            if (steps == 1) {
                split x = v_split(v_load(p));
                PML_UNROLL
                for (size_t c = 0; c < 5; c++)
                    s[c] = w_mac(s[c], x, v_split(v_load(eq + c * stride)));
                p += VW;
            }
            for (size_t q = 0; q + 2 <= steps; q += 2, p += 2 * VW) {
                const u32 *e = eq + q * VW;
                split x = v_split(v_load(p)), y = v_split(v_load(p + VW));
                PML_UNROLL
                for (size_t c = 0; c < 5; c++)
                    s[c] = w_mac2(s[c], x, v_split(v_load(e + c * stride)), y,
                                  v_split(v_load(e + c * stride + VW)));
            }
            PML_UNROLL
            for (int c = 0; c < 5; c++) part[c][leaf] = w_reduce(s[c]);
        }
        e5v sums;
        for (int c = 0; c < 5; c++) {
            for (size_t n = leaves; n > 1; n /= 2)
                for (size_t q = 0; q < n; q += 2)
                    part[c][q / 2] = v_add(v_evens(part[c][q], part[c][q + 1]),
                                           v_odds(part[c][q], part[c][q + 1]));
            sums.c[c] = part[c][0];
        }
        blk_store(out, i, sums);
    }
    for (; i < to; i++) {
        e5 sum = e5_zero();
        for (size_t j = 0; j < row; j++)
            sum = e5_add(sum, e5_scale(v[(i << k) + j], e5_load_planar(eq, stride, j)));
        blk_set(out, i, sum);
    }
}
