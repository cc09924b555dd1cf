/* Reed-Solomon encoding of many columns at once; lanes run along the columns.
 *
 * A polynomial f of 2^L coefficients is to be evaluated on the subgroup of order n. Modulo
 * X^(2s) - z^2 it splits into f mod X^s - z and f mod X^s + z: with halves f0 + X^s f1 these are
 * f0 + z f1 and f0 - z f1. From X^n - 1 downwards, node i of a level splits with z = w_n^(the bits
 * of i reversed): one factor for a whole node, the same at every level (as in the NTT of Kyber,
 * and with bit-reversed leaves in Cooley and Tukey 1965). While a node is longer than f, both
 * children are f itself. So coset b of 2^rate begins at node b with a copy of f: the padding with
 * zeros costs nothing.
 *
 * A task is one coset of one strip: 16 columns, a line of the cache, whatever the number of lanes.
 * Its 2^L rows are worked off in two passes, so that both stay in the first-level cache: pass 1
 * runs down the first levels on every 2^tail-th row; pass 2 does the last `tail` levels on
 * consecutive rows and stores them, bits reversed.
 *
 * Fewer columns than lanes would leave lanes empty. Then G = 2^g rows count as one of G times as
 * many columns, which is f(X) = sum_j X^j f_j(X^G), j < G, with the f_j as columns. Their code gives
 * f_j(w^(G a)), w = w_n; a second step, the join, makes f(w^(a + b n/G)) for b < G from these as the
 * values of the polynomial sum_j f_j(w^(G a)) X^j (Bailey's four steps, 1990, with a short second
 * transform). Its factors differ from row to row, and its lanes run along rows and columns.
 */

#define NTT_TAIL 9u /* 2^9 rows of 64 bytes are 32 kB */
#define NTT_STRIP 16u

/* Both levels of four vectors, s apart. */
PML_INLINE void ntt_radix4(vec *x, size_t s, vec f, vec f0, vec f1) {
    vec a0 = x[0], a1 = x[s];
    vec a2 = v_mul(x[2 * s], f), a3 = v_mul(x[3 * s], f);
    vec b0 = v_add(a0, a2), b2 = v_sub(a0, a2);
    vec b1 = v_mul(v_add(a1, a3), f0), b3 = v_mul(v_sub(a1, a3), f1);
    x[0] = v_add(b0, b1);
    x[s] = v_sub(b0, b1);
    x[2 * s] = v_add(b2, b3);
    x[3 * s] = v_sub(b2, b3);
}

/* All levels of the node `node`: 2^log rows of `width` vectors at x. */
static void ntt_node(vec *x, unsigned log, size_t width, size_t node, const u32 *roots) {
    size_t nodes = 1, length = width << log;
    if (log & 1) {
        const vec f = v_set1(roots[node]);
        length /= 2;
        for (size_t j = 0; j < length; j++) {
            vec a = x[j], b = v_mul(x[j + length], f);
            x[j] = v_add(a, b);
            x[j + length] = v_sub(a, b);
        }
        nodes = 2;
        node *= 2;
    }
    while (length > width) {
        size_t s = length / 4;
        for (size_t i = 0; i < nodes; i++) {
            const u32 *below = roots + 2 * (node + i);
            const vec f = v_set1(roots[node + i]), f0 = v_set1(below[0]), f1 = v_set1(below[1]);
            for (size_t j = 0; j < s; j++) ntt_radix4(x + i * length + j, s, f, f0, f1);
        }
        nodes *= 4;
        node *= 4;
        length = s;
    }
}

PML_INLINE void row_load(vec *x, const u32 *p, size_t words) {
    for (; words >= VW; words -= VW, p += VW) *x++ = v_load(p);
    if (words) *x = v_load_part(p, words);
}

PML_INLINE void row_store(u32 *p, const vec *x, size_t words) {
    for (; words >= VW; words -= VW, p += VW) v_store(p, *x++);
    if (words) v_store_part(p, *x, words);
}

PML_INLINE size_t reverse_bits(size_t i, unsigned bits) {
    size_t r = 0;
    for (; bits; bits--, i >>= 1) r = r << 1 | (i & 1);
    return r;
}

static size_t encode_tasks(const pml_encoding *e) {
    return ((e->columns + NTT_STRIP - 1) / NTT_STRIP) << e->rate;
}

/* Work space of a task; all tasks of an encoding need the same size, or less. */
static vec *take_space(pml_encoding *e, size_t size) {
    for (size_t i = 0; i < PML_MAX_THREADS; i++) {
        void *p = __atomic_exchange_n(&e->spare[i], NULL, __ATOMIC_ACQ_REL);
        if (p) return p;
    }
    return pml_alloc(size);
}

static void give_space(pml_encoding *e, void *p) {
    for (size_t i = 0; i < PML_MAX_THREADS && p; i++) {
        void *expected = NULL;
        if (__atomic_compare_exchange_n(&e->spare[i], &expected, p, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            p = NULL;
    }
    free(p);
}

static void encode_task(void *encoding, size_t task) {
    pml_encoding *e = encoding;
    const unsigned L = e->log_rows, tail = L < NTT_TAIL ? L : NTT_TAIL, head = L - tail;
    const size_t coset = task & (((size_t)1 << e->rate) - 1);
    const size_t column = (task >> e->rate) * NTT_STRIP, C = e->columns;
    const size_t words = C - column < NTT_STRIP ? C - column : NTT_STRIP;
    const size_t width = (words + VW - 1) / VW;
    const size_t tops = (size_t)1 << head, bottoms = (size_t)1 << tail;
    /* A stride that is no power of two, or all rows would meet in few sets of the cache. */
    const size_t stride = (head ? bottoms + 8 : bottoms) * width;
    /* The last strip may be narrower than the others. */
    const size_t most = ((C < NTT_STRIP ? C : NTT_STRIP) + VW - 1) / VW;
    vec *x = take_space(e, tops * (stride / width + 1) * most * sizeof(vec));
    u32 *reversed = pml_alloc(bottoms * sizeof(u32));
    if (!x || !reversed) {
        __atomic_store_n(&e->failed, 1, __ATOMIC_RELAXED);
        give_space(e, x);
        free(reversed);
        return;
    }
    for (size_t i = 0; i < bottoms; i++) reversed[i] = (u32)reverse_bits(i, tail);

    vec *strip = x + tops * stride;
    for (size_t j = 0; j < bottoms; j++) {
        const u32 *in = e->in + j * C + column;
        for (size_t i = 0; i < tops; i++) row_load(strip + i * width, in + i * bottoms * C, words);
        ntt_node(strip, head, width, coset, e->roots);
        for (size_t i = 0; i < tops; i++)
            for (size_t g = 0; g < width; g++) x[i * stride + j * width + g] = strip[i * width + g];
    }
    /* In the order of the output rows. */
    for (size_t t = 0; t < tops; t++) {
        const size_t i = reverse_bits(t, head), node = (coset << head) + i;
        ntt_node(x + i * stride, tail, width, node, e->roots);
        const size_t first = (t << e->rate) + reverse_bits(coset, e->rate);
        u32 *out = e->out + first * C + column;
        const size_t step = (C << head) << e->rate;
        const vec *from = x + i * stride;
        for (size_t r = 0; r < bottoms; r++)
            row_store(out + r * step, from + reversed[r] * width, words);
    }
    give_space(e, x);
    free(reversed);
}

/* ---- the join */
#define JOIN_TILE (16 * 80) /* words of a tile: at most 16 rows of 16 times 5 columns */
#define JOIN_WORDS 16u /* a row of the grouped code is a multiple of these: a line of the cache */
/* log2 of G, for a power of two of columns. */
#define JOIN_GROUP(columns)              \
    ((columns) >= JOIN_WORDS       ? 0u  \
     : (columns) * 2 >= JOIN_WORDS ? 1u  \
     : (columns) * 4 >= JOIN_WORDS ? 2u  \
     : (columns) * 8 >= JOIN_WORDS ? 3u  \
                                   : 4u)

/* log2 of G for 2^k or 5 * 2^k columns; 0 where these alone are faster: they fill their vectors, and
 * rows are long enough to be stored one by one. */
static unsigned encode_group(size_t columns) {
    if (columns % VW == 0 && columns > (VW > 1 ? JOIN_WORDS : 4)) return 0;
    return JOIN_GROUP(columns & -columns);
}

/* Values at the 2^g points w, w w_G, .. (bits reversed) of 2^g coefficients, `stride` apart. */
PML_INLINE void join_values(vec *x, size_t stride, unsigned g, vec w, const u32 *roots) {
    vec power[4]; /* w^(2^i); g <= 4 */
    power[0] = w;
    for (unsigned i = 1; i < g; i++) power[i] = v_mul(power[i - 1], power[i - 1]);
    size_t nodes = 1, length = (size_t)1 << g; /* coefficients of a node */
    if (g & 1) {
        length /= 2;
        for (size_t j = 0; j < length; j++) {
            vec a = x[j * stride], b = v_mul(x[(j + length) * stride], power[g - 1]);
            x[j * stride] = v_add(a, b);
            x[(j + length) * stride] = v_sub(a, b);
        }
        nodes = 2;
        g--;
    }
    for (; g; g -= 2, nodes *= 4, length /= 4)
        for (size_t i = 0; i < nodes; i++) {
            const vec f = i ? v_mul(power[g - 1], v_set1(roots[i])) : power[g - 1];
            const vec f0 = i ? v_mul(power[g - 2], v_set1(roots[2 * i])) : power[g - 2];
            const vec f1 = v_mul(power[g - 2], v_set1(roots[2 * i + 1]));
            for (size_t j = 0; j < length / 4; j++)
                ntt_radix4(x + (i * length + j) * stride, length / 4 * stride, f, f0, f1);
        }
}

/* From row a, column (j, c) of a tile of G rows to row j, column (a, c). */
PML_INLINE void join_turn(u32 *x, const u32 *in, size_t G, size_t C) {
    for (size_t a = 0; a < G; a++)
        for (size_t j = 0; j < G; j++) memcpy(x + (j * G + a) * C, in + (a * G + j) * C, 4 * C);
}

/* Tiles from..to of G rows of the grouped code. */
PML_INLINE void join_tiles(const pml_encoding *e, unsigned g, size_t C, size_t from, size_t to) {
    const size_t G = (size_t)1 << g, block = C << g, width = block / VW;
    const unsigned log_n = e->log_rows + e->rate;
    vec x[JOIN_TILE / VW], w[JOIN_TILE / VW]; /* w: the point of each lane */
    u32 points[JOIN_TILE];
    u32 point = m_pow(m_root(log_n), from << g);
    for (size_t a = 0; a < G; a++, point = m_mul(point, m_root(log_n)))
        for (size_t c = 0; c < C; c++) points[a * C + c] = point;
    for (size_t q = 0; q < width; q++) w[q] = v_load(points + q * VW);
    const vec next = v_set1(m_root(log_n - g));
    for (size_t tile = from; tile < to; tile++) {
        join_turn((u32 *)(void *)x, e->grouped + tile * G * block, G, C);
        for (size_t q = 0; q < width; q++) {
            join_values(x + q, width, g, w[q], e->roots);
            w[q] = v_mul(w[q], next);
        }
        for (size_t i = 0; i < G; i++) {
            u32 *out = e->out + ((reverse_bits(i, g) << (log_n - g)) + (tile << g)) * C;
            for (size_t q = 0; q < width; q++) v_store(out + q * VW, x[i * width + q]);
        }
    }
}

static void encode_join(const pml_encoding *e, size_t from, size_t to) {
    switch (e->columns) { /* constants for the compiler */
        case 1: join_tiles(e, JOIN_GROUP(1), 1, from, to); break;
        case 2: join_tiles(e, JOIN_GROUP(2), 2, from, to); break;
        case 4: join_tiles(e, JOIN_GROUP(4), 4, from, to); break;
        case 8: join_tiles(e, JOIN_GROUP(8), 8, from, to); break;
        case 5: join_tiles(e, JOIN_GROUP(1), 5, from, to); break;
        case 10: join_tiles(e, JOIN_GROUP(2), 10, from, to); break;
        case 20: join_tiles(e, JOIN_GROUP(4), 20, from, to); break;
        default: join_tiles(e, JOIN_GROUP(8), 40, from, to); break;
    }
}
