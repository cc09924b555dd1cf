/* The LogUp-GKR prover (section 5 of the protocol).
 *
 * LogUp: Haboeck, ePrint 2022/1530; proven by GKR over a tree of fractions: Papini and Haboeck,
 * ePrint 2023/1284. Node i of layer k has the children i and i + 2^k of layer k + 1. The twin is
 * proofml.zkml.sumcheck.twin.logup. Not audited.
 *
 * Where the time goes. The round polynomial is s(X) = f eq(z_t, X) T(X): f the product of
 * eq(z_s, r_s) of the rounds before, T of degree 2, a sum over pairs with weights
 * eq(z_{t+1}.., j). Only T(0) and the coefficient of X^2 are summed; T(1) follows from the claim,
 * with 1 / z_t (Gruen, ePrint 2024/108). That z_t is 0 has probability 2^-154, and would only make
 * a proof that no verifier accepts. The weights are the product of two small tables. Leaves are
 * made anew from the integer columns whenever they are read (three times) and never stored. A
 * round folds a chunk of its vectors and sums the next round over the same chunk while it is in
 * the cache.
 *
 * Memory. The layers above the leaves take 40 bytes a leaf, the largest first; while one of them
 * is proven, the smaller ones after it are not needed any more and become room for folded vectors,
 * and so does the whole of it for the leaves.
 */
#include <stdlib.h>

#include "blocks.h"
#include "internal.h"

#define SMALL_LOG 5u   /* layers of up to 2^5 nodes are single elements, `small` */
#define WINDOW_LOG 9u  /* variables in the lower table of weights */
#define LEAF_CHUNK (4 * PML_CHUNK) /* leaves of either side for PML_CHUNK pairs after a fold */

/* The vectors of a layer: numerators and denominators of the left and the right children. Once
 * mixed (body_logup.h), u is in the place of p0. */
enum { P0, P1, Q0, Q1 };

typedef struct {
    const pml_provers *k;
    pml_leaves leaves;
    unsigned n;      /* log2 of the number of leaves */
    u32 *layers;     /* n - 1 down to SMALL_LOG, p then q each */
    u32 *room;       /* after the last of them */
    u32 *suffix;     /* eq tables of the last s variables of a point, s = 0.. */
    u32 *window[2];  /* eq tables of WINDOW_LOG variables, the second to build the first */
    e5 small[2][2 << SMALL_LOG]; /* p, q: node i of layer k at 2^k + i */
    e5 z[PML_MAX_LOG + 1], inverse[PML_MAX_LOG + 1];
    pml_writer writer;
} prover;

/* The children's layer under proof. */
typedef struct {
    prover *p;
    e5 lambda;
    size_t n;           /* length of the vectors; 0: they are leaves */
    u32 *vectors[4];
} layer;

static size_t layer_words(unsigned log) { return 5u * ((size_t)2 << log); }

/* p of layer `log` > SMALL_LOG - 1; its q lies behind. */
static u32 *layer_at(const prover *p, unsigned log) {
    u32 *at = p->layers;
    for (unsigned k = p->n - 1; k > log; k--) at += layer_words(k);
    return at;
}

/* ---- building the tree */
typedef struct {
    prover *p;
    unsigned log; /* of the parents */
    size_t pieces;
} build_pass;

static void build_piece(void *ctx, size_t piece) {
    build_pass *t = ctx;
    prover *p = t->p;
    size_t n = (size_t)1 << t->log, from, to;
    u32 *out = layer_at(p, t->log), *out_q = blk_at(out, n);
    pml_piece(n, BLOCK_LEAST, t->pieces, piece, &from, &to);
    if (t->log + 1 < p->n) {
        const u32 *in = layer_at(p, t->log + 1), *in_q = blk_of(in, 2 * n);
        p->k->join(to - from, blk_of(in, from), blk_of(in, n + from), blk_of(in_q, from),
                   blk_of(in_q, n + from), blk_at(out, from), blk_at(out_q, from));
        return;
    }
    u32 num[2][PML_CHUNK], den[2][5 * PML_CHUNK];
    for (size_t i = from; i < to; i += PML_CHUNK) {
        size_t count = to - i < PML_CHUNK ? to - i : PML_CHUNK;
        for (size_t side = 0; side < 2; side++)
            p->k->leaves(count, side * n + i, &p->leaves, num[side], den[side]);
        p->k->join_leaves(count, num[0], num[1], den[0], den[1], blk_at(out, i), blk_at(out_q, i));
    }
}

/* One leaf, for trees that are small altogether. */
static void small_leaf(prover *p, size_t i) {
    const pml_leaves *t = &p->leaves;
    e5 *num = &p->small[0][((size_t)1 << p->n) + i], *den = &p->small[1][((size_t)1 << p->n) + i];
    *num = e5_zero();
    *den = e5_one();
    if (!t->id[i]) return;
    num->c[0] = m_enter(m_from_i64(t->num[i]));
    e5 fingerprint = e5_add(e5_scale(m_from_i64(t->c1[i]), t->beta),
                            e5_scale(m_from_i64(t->c2[i]), t->beta2));
    fingerprint.c[0] = m_add(fingerprint.c[0], m_enter(m_from_i64(t->id[i])));
    *den = e5_sub(t->alpha, fingerprint);
}

static void build(prover *p) {
    if (p->n <= SMALL_LOG)
        for (size_t i = 0; i < (size_t)1 << p->n; i++) small_leaf(p, i);
    for (unsigned log = p->n - 1; p->n > SMALL_LOG && log >= SMALL_LOG; log--) {
        build_pass t = {p, log, pml_pieces((size_t)1 << log)};
        if (t.pieces == 1)
            build_piece(&t, 0);
        else
            pml_parallel(build_piece, &t, t.pieces);
    }
    if (p->n > SMALL_LOG) {
        const u32 *at = layer_at(p, SMALL_LOG);
        for (size_t i = 0; i < 1u << SMALL_LOG; i++)
            for (size_t side = 0; side < 2; side++)
                p->small[side][(1u << SMALL_LOG) + i] = blk_get(at, (side << SMALL_LOG) + i);
    }
    unsigned top = p->n < SMALL_LOG ? p->n : SMALL_LOG;
    for (unsigned log = top; log-- > 1;) {
        size_t n = (size_t)1 << log;
        for (size_t i = 0; i < n; i++) {
            const e5 *a = &p->small[0][2 * n + i], *b = &p->small[1][2 * n + i];
            p->small[0][n + i] = e5_add(e5_mul(a[0], b[n]), e5_mul(a[n], b[0]));
            p->small[1][n + i] = e5_mul(b[0], b[n]);
        }
    }
}

/* ---- weights of the pairs of a round
 * With m variables left, the weight of pair j is eq of the last m coordinates of the point at j.
 * Up to WINDOW_LOG of them are one table; else the lower ones are the window, the others a
 * suffix: weight(j) = lower[j mod 2^WINDOW_LOG] * upper[j >> WINDOW_LOG]. */
static u32 *suffix_at(const prover *p, unsigned s) {
    u32 *at = p->suffix;
    for (unsigned i = 0; i < s; i++) at += blk_words((size_t)1 << i);
    return at;
}

static unsigned suffix_count(unsigned k) { /* tables for a layer of 2^k parents */
    unsigned rest = k > WINDOW_LOG ? k - WINDOW_LOG : 0;
    return 1 + (rest > WINDOW_LOG ? rest : WINDOW_LOG);
}

static void one_element(u32 *table, e5 x) {
    blk_clear_short(table, 1);
    blk_set(table, 0, x);
}

static void prepend(const prover *p, unsigned log, const u32 *in, e5 z, u32 *out) {
    blk_clear_short(out, (size_t)2 << log);
    p->k->eq_prepend((size_t)1 << log, in, z, out);
}

static void build_suffixes(prover *p, unsigned k) {
    one_element(suffix_at(p, 0), e5_one());
    for (unsigned s = 0; s + 1 < suffix_count(k) && s + 1 < k; s++)
        prepend(p, s, suffix_at(p, s), p->z[k - 1 - s], suffix_at(p, s + 1));
}

/* The lower table for m > WINDOW_LOG variables left of a point of k. */
static const u32 *build_window(prover *p, unsigned k, unsigned m) {
    unsigned first = k - m, turn = WINDOW_LOG & 1; /* the last turn writes window[0] */
    one_element(p->window[turn], e5_one());
    for (unsigned s = 0; s < WINDOW_LOG; s++, turn ^= 1)
        prepend(p, s, p->window[turn], p->z[first + WINDOW_LOG - 1 - s], p->window[turn ^ 1]);
    return p->window[0];
}

/* ---- rounds */
typedef struct {
    layer *l;
    int fold;        /* fold by r first */
    e5 r;
    size_t pairs;    /* to sum over, 0: fold only */
    u32 *out[4];
    const u32 *lower, *upper;
    size_t lower_mask;
    size_t pieces;
    e5 sums[PML_MAX_PIECES][2];
} round_pass;

/* Leaves i.. of the layer: p1 flat in num[1], the others in blocks. */
typedef struct {
    u32 num[2][LEAF_CHUNK], u[5 * LEAF_CHUNK], den[2][5 * LEAF_CHUNK];
} leaf_chunk;

static void read_leaves(const layer *l, size_t i, size_t n, leaf_chunk *c) {
    const prover *p = l->p;
    size_t half = (size_t)1 << (p->n - 1);
    for (size_t side = 0; side < 2; side++)
        p->k->leaves(n, side * half + i, &p->leaves, c->num[side], c->den[side]);
    p->k->mix_leaves(n, c->num[0], c->den[0], l->lambda, c->u);
}

static void fold_chunk(round_pass *t, size_t from, size_t to) { /* of the folded vectors */
    const layer *l = t->l;
    const pml_provers *k = l->p->k;
    if (l->n) {
        for (int i = 0; i < 4; i++) k->bind(from, to, l->vectors[i], t->r, t->out[i]);
        return;
    }
    leaf_chunk c;
    size_t n = to - from;
    read_leaves(l, 2 * from, 2 * n, &c);
    k->bind(0, n, c.u, t->r, blk_at(t->out[P0], from));
    k->bind_base(0, n, c.num[1], t->r, blk_at(t->out[P1], from));
    k->bind(0, n, c.den[0], t->r, blk_at(t->out[Q0], from));
    k->bind(0, n, c.den[1], t->r, blk_at(t->out[Q1], from));
}

static void sum_chunk(round_pass *t, size_t from, size_t to, e5 sums[2]) { /* of pairs */
    const layer *l = t->l;
    const pml_provers *k = l->p->k;
    const u32 *eq = blk_of(t->lower, from & t->lower_mask);
    e5 partial[2] = {e5_zero(), e5_zero()};
    if (t->fold || l->n) {
        u32 *const *v = t->fold ? t->out : l->vectors;
        if (!t->fold)
            k->mix(2 * (to - from), blk_of(v[P0], 2 * from), blk_of(v[Q0], 2 * from), l->lambda,
                   blk_at(v[P0], 2 * from));
        k->logup_sums(to - from, blk_of(v[P0], 2 * from), blk_of(v[P1], 2 * from),
                      blk_of(v[Q0], 2 * from), blk_of(v[Q1], 2 * from), eq, partial);
    } else {
        leaf_chunk c;
        read_leaves(l, 2 * from, 2 * (to - from), &c);
        k->logup_sums_leaves(to - from, c.u, c.num[1], c.den[0], c.den[1], eq, partial);
    }
    e5 weight = blk_get(t->upper, from / (t->lower_mask + 1));
    for (int i = 0; i < 2; i++) sums[i] = e5_add(sums[i], e5_mul(weight, partial[i]));
}

static void round_piece(void *ctx, size_t piece) {
    round_pass *t = ctx;
    size_t from, to;
    if (!t->pairs) {
        fold_chunk(t, 0, 1);
        return;
    }
    pml_piece(t->pairs, PML_CHUNK, t->pieces, piece, &from, &to);
    for (size_t i = from; i < to; i += PML_CHUNK) {
        size_t end = to - i < PML_CHUNK ? to : i + PML_CHUNK;
        if (t->fold) fold_chunk(t, 2 * i, 2 * end);
        sum_chunk(t, i, end, t->sums[piece]);
    }
}

static void run(round_pass *t, e5 sums[2]) {
    t->pieces = pml_pieces(t->pairs);
    memset(t->sums, 0, t->pieces * sizeof t->sums[0]);
    if (t->pieces == 1)
        round_piece(t, 0);
    else
        pml_parallel(round_piece, t, t->pieces);
    sums[0] = sums[1] = e5_zero();
    for (size_t i = 0; i < t->pieces; i++)
        for (int k = 0; k < 2; k++) sums[k] = e5_add(sums[k], t->sums[i][k]);
}

/* Weights for a round with m variables left after it. */
static void choose_weights(round_pass *t, unsigned k, unsigned m) {
    prover *p = t->l->p;
    t->pairs = (size_t)1 << m;
    t->lower = m > WINDOW_LOG ? build_window(p, k, m) : suffix_at(p, m);
    t->upper = suffix_at(p, m > WINDOW_LOG ? m - WINDOW_LOG : 0);
    t->lower_mask = ((size_t)1 << (m > WINDOW_LOG ? WINDOW_LOG : m)) - 1;
}

/* The inverses of z_0..z_{k-1} by one inversion (Montgomery). */
static void invert_point(prover *p, unsigned k) {
    e5 running = e5_one();
    for (unsigned t = 0; t < k; t++) {
        p->inverse[t] = running;
        running = e5_mul(running, p->z[t]);
    }
    running = pml_invert(running);
    for (unsigned t = k; t-- > 0;) {
        p->inverse[t] = e5_mul(p->inverse[t], running);
        running = e5_mul(running, p->z[t]);
    }
}

/* Sends c0, c2, c3 of f eq(z_t, X) (T0 + T1 X + T2 X^2), draws r, and leaves T(r) as the claim and
 * f eq(z_t, r) as the factor. */
static e5 send_round(prover *p, unsigned t, const e5 sums[2], e5 *claim, e5 *f) {
    const e5 one = e5_one(), z = p->z[t], rest = e5_sub(one, z), T0 = sums[0], T2 = sums[1];
    /* claim = (1 - z) T(0) + z T(1) */
    e5 at1 = e5_mul(e5_sub(*claim, e5_mul(rest, T0)), p->inverse[t]);
    e5 T1 = e5_sub(e5_sub(at1, T0), T2), slope = e5_sub(z, rest);
    e5 l0 = e5_mul(*f, rest), l1 = e5_mul(*f, slope);
    e5 message[3] = {e5_mul(l0, T0), e5_add(e5_mul(l0, T2), e5_mul(l1, T1)), e5_mul(l1, T2)};
    for (int i = 0; i < 3; i++) e5_leave(message[i].c, message[i]);
    pml_send(&p->writer, "logup round", 3, message);
    e5 r = pml_draw(&p->writer, "logup round", NULL);
    *claim = e5_add(T0, e5_mul(r, e5_add(T1, e5_mul(r, T2))));
    *f = e5_add(l0, e5_mul(r, l1));
    return r;
}

/* The vectors of the children of layer k, and two places for folded ones. */
static void find_vectors(layer *l, unsigned k, u32 *small, u32 *room[2]) {
    prover *p = l->p;
    size_t h = (size_t)1 << k, words = blk_words(h);
    l->n = h;
    if (k + 1 <= SMALL_LOG) {
        for (size_t i = 0; i < 4; i++) {
            l->vectors[i] = small + i * blk_words(1);
            memset(l->vectors[i], 0, sizeof(u32) * blk_words(1));
            for (size_t j = 0; j < h; j++)
                blk_set(l->vectors[i], j, p->small[i / 2][2 * h + (i & 1) * h + j]);
        }
        room[0] = small + 4 * blk_words(1);
        room[1] = small + 8 * blk_words(1);
    } else if (k + 1 < p->n) {
        u32 *at = layer_at(p, k + 1);
        for (size_t i = 0; i < 4; i++) l->vectors[i] = at + i * words;
        room[0] = at + 4 * words;
        room[1] = at;
    } else {
        l->n = 0;
        room[0] = p->layers;
        room[1] = p->layers + 4 * blk_words(h / 2);
    }
}

/* The sumcheck of layer k >= 1 with the point z_0..z_{k-1}; claim: p(z) + lambda q(z). evals: p0,
 * p1, q0, q1 at the new point, which replaces z. */
static void prove_layer(prover *p, unsigned k, e5 lambda, e5 claim, e5 evals[4]) {
    u32 small[12 * 5 * BLOCK_LEAST];
    u32 *room[2];
    layer l = {.p = p, .lambda = lambda};
    find_vectors(&l, k, small, room);
    invert_point(p, k);
    build_suffixes(p, k);

    round_pass t;
    e5 sums[2], f = e5_one(), point[PML_MAX_LOG + 1];
    t.l = &l;
    t.fold = 0;
    choose_weights(&t, k, k - 1);
    run(&t, sums);
    t.fold = 1;
    for (unsigned round = 0; round < k; round++) {
        size_t n = (size_t)1 << (k - 1 - round); /* after folding */
        point[round] = t.r = send_round(p, round, sums, &claim, &f);
        for (size_t i = 0; i < 4; i++) {
            t.out[i] = room[round & 1] + i * blk_words(n);
            blk_clear_short(t.out[i], n);
        }
        t.pairs = 0;
        if (n > 1) choose_weights(&t, k, k - 2 - round);
        run(&t, sums);
        memcpy(l.vectors, t.out, sizeof l.vectors);
        l.n = n;
    }
    for (int i = 0; i < 4; i++) evals[i] = blk_get(l.vectors[i], 0);
    evals[P0] = e5_sub(evals[P0], e5_mul(lambda, evals[Q0])); /* it was u */
    memcpy(p->z, point, k * sizeof(e5));
}

static e5 line(e5 a, e5 b, e5 r) { return e5_add(a, e5_mul(r, e5_sub(b, a))); }

static void send_values(prover *p, const char *tag, const e5 values[4]) {
    e5 canonical[4];
    for (int i = 0; i < 4; i++) e5_leave(canonical[i].c, values[i]);
    pml_send(&p->writer, tag, 4, canonical);
}

static void prove(prover *p) {
    e5 v[4];
    build(p);
    for (int i = 0; i < 4; i++) v[i] = p->small[i / 2][2 + (i & 1)];
    send_values(p, "logup root", v);
    for (unsigned k = 0;;) {
        p->z[k] = pml_draw(&p->writer, "logup line", NULL);
        e5 top = line(v[P0], v[P1], p->z[k]), bottom = line(v[Q0], v[Q1], p->z[k]);
        if (++k == p->n) return;
        e5 lambda = pml_draw(&p->writer, "logup lambda", NULL);
        prove_layer(p, k, lambda, e5_add(top, e5_mul(lambda, bottom)), v);
        send_values(p, "logup evals", v);
    }
}

long pml_logup_prove(unsigned N, const int32_t *id, const int32_t *c1, const int32_t *c2,
                     const int32_t *num, const uint32_t alpha[5], const uint32_t beta[5],
                     uint8_t state[32], uint8_t *out, uint32_t *z) {
    if (N < 1 || N > PML_MAX_LOG) return PML_ERR_SIZE;
    size_t layers = 0, suffixes = 0, window = blk_words((size_t)1 << WINDOW_LOG);
    if (N > SMALL_LOG) {
        for (unsigned k = SMALL_LOG; k < N; k++) layers += layer_words(k);
        layers += 12 * blk_words(1); /* folded vectors of the smallest layers */
    }
    for (unsigned s = 0; s < suffix_count(N - 1); s++) suffixes += blk_words((size_t)1 << s);
    prover *p = pml_alloc(sizeof *p);
    u32 *memory = pml_alloc(sizeof(u32) * (layers + suffixes + 2 * window));
    if (!p || !memory) {
        free(p);
        free(memory);
        return PML_ERR_MEMORY;
    }
    p->k = &pml_active()->provers;
    p->n = N;
    e5 b = e5_enter(beta);
    p->leaves = (pml_leaves){id, c1, c2, num, e5_enter(alpha), b, e5_mul(b, b)};
    p->leaves.beta = e5_enter(p->leaves.beta.c);
    p->leaves.beta2 = e5_enter(p->leaves.beta2.c);
    p->layers = memory;
    p->suffix = memory + layers;
    p->window[0] = p->suffix + suffixes;
    p->window[1] = p->window[0] + window;
    p->writer = (pml_writer){state, out, 0};
    prove(p);
    for (unsigned i = 0; i < N; i++) e5_leave(z + 5 * i, p->z[i]);
    size_t written = p->writer.at;
    free(memory);
    free(p);
    return (long)written;
}
