/* The batched product sumcheck (section 7 of the protocol), and what it shares with the opening.
 *
 * Sumcheck: Thaler, "Proofs, Arguments, and Zero-Knowledge", section 4.1, with the tables folded
 * in place of being evaluated anew (Vu, Setty, Blumberg and Walfish, IEEE S&P 2013, for the
 * linear-time prover). The twin is proofml.zkml.sumcheck.twin.product. Not audited.
 */
#include <stdlib.h>

#include "blocks.h"
#include "internal.h"

void pml_send(pml_writer *w, const char *tag, size_t count, const e5 *canonical) {
    u8 *at = w->out + w->at;
    for (size_t i = 0; i < count; i++) pml_put_e5(at + 20 * i, canonical[i]);
    pml_absorb(w->state, tag, at, 20 * count);
    w->at += 20 * count;
}

e5 pml_draw(pml_writer *w, const char *tag, u32 *words) {
    u32 canonical[5];
    pml_challenge(w->state, tag, canonical);
    if (words) memcpy(words, canonical, sizeof canonical);
    return e5_enter(canonical);
}

size_t pml_pieces(size_t pairs) {
    size_t most = pairs / PML_PAIRS_A_THREAD;
    if (most <= 1 || pml_threads() == 1) return 1;
    return most < PML_MAX_PIECES ? most : PML_MAX_PIECES;
}

/* a^-1 by Itoh and Tsujii (Information and Computation 78, 1988): with r = 1 + p + p^2 + p^3 + p^4
 * the norm a^r is in the base field, and a^-1 = a^(r - 1) / a^r. The p-th power multiplies c_k by
 * g^k, g = 2^((p - 1) / 5), since x^p = x * x^(p - 1) = x * 2^((p - 1) / 5). */
e5 pml_invert(e5 a) {
    const u32 g = m_pow(m_enter(2), (PML_P - 1) / 5);
    e5 conjugate = a, product = e5_one();
    for (int i = 0; i < 4; i++) {
        u32 power = PML_R1;
        for (int k = 0; k < 5; k++) {
            conjugate.c[k] = m_mul(conjugate.c[k], power);
            power = m_mul(power, g);
        }
        product = e5_mul(product, conjugate);
    }
    return e5_scale(m_pow(e5_mul(a, product).c[0], PML_P - 2), product);
}

/* ---- folding a pair of vectors */
typedef struct {
    const pml_provers *k;
    const pml_pair *from;
    e5 r;
    u32 *values, *weights;
    size_t n; /* after folding */
    int sum;
    size_t pieces;
    e5 sums[PML_MAX_PIECES][2];
} pair_pass;

static void sum_piece(void *ctx, size_t piece) {
    pair_pass *t = ctx;
    const pml_pair *p = t->from;
    size_t from, to;
    pml_piece(p->n / 2, BLOCK, t->pieces, piece, &from, &to);
    if (p->base)
        t->k->product_sums_base(from, to, p->base, p->weights, t->sums[piece]);
    else
        t->k->product_sums(from, to, p->values, p->weights, t->sums[piece]);
}

static void bind_piece(void *ctx, size_t piece) {
    pair_pass *t = ctx;
    size_t from, to;
    pml_piece(t->n, 2 * BLOCK, t->pieces, piece, &from, &to);
    for (size_t i = from; i < to; i += 2 * PML_CHUNK) {
        size_t end = to - i < 2 * PML_CHUNK ? to : i + 2 * PML_CHUNK;
        if (t->from->base)
            t->k->bind_base(i, end, t->from->base, t->r, t->values);
        else
            t->k->bind(i, end, t->from->values, t->r, t->values);
        t->k->bind(i, end, t->from->weights, t->r, t->weights);
        if (t->sum)
            t->k->product_sums(i / 2, end / 2, t->values, t->weights, t->sums[piece]);
    }
}

static void run(pair_pass *t, pml_job job, size_t pairs, e5 *sums) {
    t->k = &pml_active()->provers;
    t->pieces = pml_pieces(pairs);
    memset(t->sums, 0, t->pieces * sizeof t->sums[0]);
    if (t->pieces == 1)
        job(t, 0);
    else
        pml_parallel(job, t, t->pieces);
    if (!sums) return;
    sums[0] = sums[1] = e5_zero();
    for (size_t i = 0; i < t->pieces; i++)
        for (int k = 0; k < 2; k++) sums[k] = e5_add(sums[k], t->sums[i][k]);
}

void pml_pair_sums(const pml_pair *pair, e5 sums[2]) {
    pair_pass t;
    t.from = pair;
    run(&t, sum_piece, pair->n / 2, sums);
}

void pml_pair_bind(pml_pair *pair, e5 r, e5 *sums) {
    pair_pass t;
    t.from = pair;
    t.r = r;
    t.n = pair->n / 2;
    t.sum = sums != NULL && t.n > 1;
    t.values = pair->room[pair->turn][0];
    t.weights = pair->room[pair->turn][1];
    blk_clear_short(t.values, t.n);
    blk_clear_short(t.weights, t.n);
    run(&t, bind_piece, t.n, sums);
    pair->n = t.n;
    pair->base = NULL;
    pair->values = t.values;
    pair->weights = t.weights;
    pair->turn ^= 1;
}

/* ---- the batch */
static int shape(unsigned K, size_t L, const unsigned *logs, size_t *total, size_t *words) {
    *total = *words = 0;
    if (K > PML_MAX_LOG || L > SIZE_MAX / sizeof(pml_pair) / 4) return PML_ERR_SIZE;
    for (size_t l = 0; l < L; l++) {
        if (logs[l] > K) return PML_ERR_SIZE;
        size_t n = (size_t)1 << logs[l];
        *total += n;
        *words += 2 * (blk_words(n) + blk_words(n / 2) + blk_words(n / 4));
        if (*words > SIZE_MAX / 64) return PML_ERR_SIZE;
    }
    return 0;
}

long pml_product_prove(const char *tag, unsigned K, size_t L, const unsigned *logs,
                       const uint32_t *coef, const uint32_t *u, const uint32_t *w,
                       uint8_t state[32], uint8_t *out, uint32_t *r) {
    const pml_provers *kernels = &pml_active()->provers;
    size_t total, words;
    int error = shape(K, L, logs, &total, &words);
    if (error) return error;
    u32 *memory = pml_alloc(words * sizeof(u32));
    pml_pair *pairs = pml_alloc(L * sizeof *pairs);
    e5(*sums)[2] = pml_alloc(L * sizeof *sums);
    if (!memory || !pairs || !sums) {
        free(memory);
        free(pairs);
        free(sums);
        return PML_ERR_MEMORY;
    }
    u32 *next = memory;
    for (size_t l = 0; l < L; l++) {
        size_t n = (size_t)1 << logs[l];
        pml_pair *p = &pairs[l];
        *p = (pml_pair){.n = n};
        u32 **places[6] = {&p->values,     &p->weights,    &p->room[0][0],
                           &p->room[0][1], &p->room[1][0], &p->room[1][1]};
        for (int i = 0; i < 6; i++) {
            *places[i] = next;
            next += blk_words(n >> i / 2);
        }
        blk_clear_short(p->values, n);
        blk_clear_short(p->weights, n);
        kernels->blocks_from_words(n, u, 0, p->values);
        kernels->blocks_from_words(n, w, 1, p->weights);
        u += 5 * n;
        w += 5 * n;
        if (n > 1) pml_pair_sums(p, sums[l]);
    }
    pml_writer writer = {.state = state, .out = out};
    for (unsigned t = 0; t < K; t++) {
        e5 message[2] = {e5_zero(), e5_zero()};
        for (size_t l = 0; l < L; l++) {
            if (pairs[l].n == 1) /* (v, 0): the slope is -v in both vectors */
                sums[l][0] = sums[l][1] =
                    e5_mul(blk_get(pairs[l].values, 0), blk_get(pairs[l].weights, 0));
            e5 factor = e5_enter(coef + 5 * l);
            for (int k = 0; k < 2; k++)
                message[k] = e5_add(message[k], e5_mul(factor, sums[l][k]));
        }
        pml_send(&writer, tag, 2, message);
        e5 c = pml_draw(&writer, tag, r + 5 * t), rest = e5_sub(e5_one(), c);
        for (size_t l = 0; l < L; l++) {
            if (pairs[l].n > 1) {
                pml_pair_bind(&pairs[l], c, sums[l]);
                continue;
            }
            blk_set(pairs[l].values, 0, e5_mul(rest, blk_get(pairs[l].values, 0)));
            blk_set(pairs[l].weights, 0, e5_mul(rest, blk_get(pairs[l].weights, 0)));
        }
    }
    free(memory);
    free(pairs);
    free(sums);
    return (long)writer.at;
}
