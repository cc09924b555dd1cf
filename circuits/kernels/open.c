/* The opening of several trees (section 8 of the protocol).
 *
 * One sumcheck for all linear claims, over interleaved Reed-Solomon codes that are folded and
 * committed on the way: BaseFold (Zeilberger, Chen and Fisch, ePrint 2023/1705), FRI (Ben-Sasson
 * et al., ICALP 2018). Weights are made in weights.c. The twin is
 * proofml.zkml.sumcheck.twin.opening. Not audited.
 */
#include <stdio.h>
#include <stdlib.h>

#include "blocks.h"
#include "internal.h"
#include "weights.h"

#define MAX_TREES 4u
#define MAX_FOLDS PML_MAX_LOG

/* A folded and committed vector. */
typedef struct {
    u8 *rows;
    size_t row_bytes;
    unsigned log; /* 2^log rows */
    u8 *nodes;
    char tag[8];
} fold_layer;

typedef struct {
    const pml_provers *k;
    size_t T;
    const pml_tree *trees;
    unsigned mu, rate, selectors;
    pml_pair pairs[MAX_TREES];
    u32 *memory[MAX_TREES + 1]; /* what the pairs point to; the last: trees that do not exist */
    fold_layer layers[MAX_FOLDS];
    size_t folds;
    pml_writer writer;
    size_t cap;
} opening;

static int has_room(const opening *o, size_t n) { return n <= o->cap - o->writer.at; }

/* A round message and its challenge. */
static e5 send_round(opening *o, const char *tag, const e5 sums[2]) {
    pml_send(&o->writer, tag, 2, sums);
    return pml_draw(&o->writer, tag, NULL);
}

/* ---- the trees: rounds over columns, choice of the tree */

/* Memory for a tree of n cells: weights, two rooms, and values where they must be copied. */
static int allocate_tree(opening *o, size_t t) {
    size_t n = (size_t)1 << o->trees[t].m, half = blk_words(n / 2), quarter = blk_words(n / 4);
    size_t whole = blk_words(n), copy = n < BLOCK_LEAST ? BLOCK_LEAST : 0;
    size_t lifted = o->trees[t].m == o->mu ? whole : 0;
    pml_pair *p = &o->pairs[t];
    /* Once folded, the weights' own place has room for the second folding of both vectors. */
    size_t second = whole < 2 * quarter ? 2 * quarter : whole;
    u32 *at = o->memory[t] = pml_alloc(sizeof(u32) * (second + 2 * half + lifted + copy));
    if (!at) return PML_ERR_MEMORY;
    memset(at, 0, sizeof(u32) * whole);
    *p = (pml_pair){.n = n, .base = o->trees[t].v, .weights = at};
    p->room[1][0] = at;
    p->room[1][1] = at + quarter;
    p->room[0][0] = at + second;
    p->room[0][1] = at + second + half;
    if (lifted) p->values = at + second + 2 * half;
    if (copy) {
        u32 *values = at + second + 2 * half + lifted;
        memset(values, 0, sizeof(u32) * copy);
        memcpy(values, o->trees[t].v, sizeof(u32) * n);
        p->base = values;
    }
    return 0;
}

typedef struct {
    const pml_provers *k;
    const pml_pair *pair;
    size_t pieces;
    e5 sums[PML_MAX_PIECES];
} inner_pass;

static void inner_piece(void *ctx, size_t piece) {
    inner_pass *t = ctx;
    size_t from, to;
    pml_piece(t->pair->n, BLOCK, t->pieces, piece, &from, &to);
    t->sums[piece] = t->k->inner_base(from, to, t->pair->base, t->pair->weights);
}

static e5 inner_product(const opening *o, const pml_pair *pair) {
    inner_pass t;
    t.k = o->k;
    t.pair = pair;
    t.pieces = pml_pieces(pair->n / 2);
    if (t.pieces == 1)
        inner_piece(&t, 0);
    else
        pml_parallel(inner_piece, &t, t.pieces);
    e5 sum = e5_zero();
    for (size_t i = 0; i < t.pieces; i++) sum = e5_add(sum, t.sums[i]);
    return sum;
}

/* Rounds over the columns. Tree t takes part in the last m_t - mu rounds. Before, its vector is
 * constant and its weights lie on 0: it adds s (1 - X), s its inner product, and the weights are
 * multiplied by 1 - r. That factor is kept apart (`late`) until the rounds are over. */
static void column_rounds(opening *o, unsigned rounds) {
    e5 sums[MAX_TREES][2], late[MAX_TREES];
    for (size_t t = 0; t < o->T; t++) {
        late[t] = e5_one();
        sums[t][1] = e5_zero();
        if (o->trees[t].m - o->mu < rounds)
            sums[t][0] = inner_product(o, &o->pairs[t]);
        else if (rounds)
            pml_pair_sums(&o->pairs[t], sums[t]);
    }
    for (unsigned round = 0; round < rounds; round++) {
        e5 message[2] = {e5_zero(), e5_zero()};
        for (size_t t = 0; t < o->T; t++)
            for (int k = 0; k < 2; k++)
                message[k] = e5_add(message[k], e5_mul(late[t], sums[t][k]));
        e5 r = send_round(o, "open round", message), rest = e5_sub(e5_one(), r);
        for (size_t t = 0; t < o->T; t++) {
            unsigned first = rounds - (o->trees[t].m - o->mu);
            pml_pair *p = &o->pairs[t];
            if (round >= first) {
                pml_pair_bind(p, r, round + 1 < rounds ? sums[t] : NULL);
                continue;
            }
            late[t] = e5_mul(late[t], rest);
            if (round + 1 == first && round + 1 < rounds) pml_pair_sums(p, sums[t]);
        }
    }
    for (size_t t = 0; t < o->T; t++) {
        pml_pair *p = &o->pairs[t];
        size_t n = p->n;
        if (p->base) { /* there was no column to fold */
            blk_clear_short(p->values, n);
            o->k->lift(n, p->base, p->values);
            p->base = NULL;
        }
        if (!e5_equal(late[t], e5_one())) o->k->scale(n, p->weights, late[t], p->weights);
    }
}

/* The vectors of the trees are one vector whose lowest variables are the number of the tree. */
static void select_rounds(opening *o) {
    size_t n = (size_t)1 << o->mu;
    for (unsigned round = 0; round < o->selectors; round++) {
        size_t count = (size_t)1 << (o->selectors - round - 1);
        e5 sums[2] = {e5_zero(), e5_zero()};
        for (size_t i = 0; i < count; i++) {
            const pml_pair *a = &o->pairs[2 * i], *b = &o->pairs[2 * i + 1];
            o->k->blend_sums(n, a->values, a->weights, b->values, b->weights, sums);
        }
        e5 r = send_round(o, "open select", sums);
        for (size_t i = 0; i < count; i++) {
            const pml_pair *a = &o->pairs[2 * i], *b = &o->pairs[2 * i + 1];
            o->k->blend(n, a->values, b->values, r, a->values);
            o->k->blend(n, a->weights, b->weights, r, a->weights);
            o->pairs[i] = *a;
        }
    }
}

/* ---- folding */

/* Commits to the vector before k rounds fold it. */
static int commit(opening *o, size_t i, unsigned k) {
    fold_layer *f = &o->layers[i];
    pml_pair *p = &o->pairs[0];
    unsigned log_n = 0;
    while ((size_t)1 << log_n < p->n) log_n++;
    f->log = log_n - k + o->rate;
    f->row_bytes = (size_t)20 << k;
    snprintf(f->tag, sizeof f->tag, "F%u", (unsigned)i);
    f->rows = pml_alloc(f->row_bytes << f->log);
    f->nodes = pml_alloc((size_t)64 << f->log);
    u32 *words = pml_alloc(20 * p->n);
    if (!f->rows || !f->nodes || !words) {
        free(words);
        return PML_ERR_MEMORY;
    }
    o->k->words_from_blocks(p->n, p->values, words);
    int error = pml_encode_ext(log_n, k, o->rate, words, (u32 *)(void *)f->rows);
    free(words);
    if (!error) error = pml_merkle(f->tag, f->rows, f->row_bytes, f->log, f->nodes);
    if (error) return error;
    if (!has_room(o, 32)) return PML_ERR_SPACE;
    char tag[24];
    snprintf(tag, sizeof tag, "fold %u root", (unsigned)i);
    memcpy(o->writer.out + o->writer.at, f->nodes + 32, 32);
    pml_absorb(o->writer.state, tag, f->nodes + 32, 32);
    o->writer.at += 32;
    return 0;
}

static int fold_rounds(opening *o, const unsigned *fold) {
    pml_pair *p = &o->pairs[0];
    e5 sums[2];
    if (p->n > 1) pml_pair_sums(p, sums);
    for (size_t i = 0; i <= o->folds; i++) {
        unsigned rounds = 0;
        if (i < o->folds) {
            int error = commit(o, i, fold[i]);
            if (error) return error;
            rounds = fold[i];
        } else {
            size_t bytes = 20 * p->n;
            if (!has_room(o, bytes)) return PML_ERR_SPACE;
            u32 *words = pml_alloc(bytes);
            if (!words) return PML_ERR_MEMORY;
            o->k->words_from_blocks(p->n, p->values, words);
            memcpy(o->writer.out + o->writer.at, words, bytes);
            pml_absorb(o->writer.state, "final", (const u8 *)words, bytes);
            o->writer.at += bytes;
            free(words);
            while (p->n >> rounds > 1) rounds++;
        }
        for (unsigned round = 0; round < rounds; round++) {
            if (!has_room(o, 40)) return PML_ERR_SPACE;
            pml_pair_bind(p, send_round(o, "open round", sums), sums);
        }
    }
    return 0;
}

/* ---- queries */
static int ascending(const void *a, const void *b) {
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

/* Sorts, and drops what occurs twice. */
static size_t distinct(u32 *index, size_t count) {
    size_t kept = 0;
    qsort(index, count, sizeof *index, ascending);
    for (size_t i = 0; i < count; i++)
        if (!kept || index[i] != index[kept - 1]) index[kept++] = index[i];
    return kept;
}

static int send_rows(opening *o, const u8 *rows, size_t row_bytes, unsigned log, const u8 *nodes,
                     const u32 *index, size_t count) {
    if (!has_room(o, count * (row_bytes + 32 * (size_t)log))) return PML_ERR_SPACE;
    for (size_t i = 0; i < count; i++) {
        memcpy(o->writer.out + o->writer.at, rows + index[i] * row_bytes, row_bytes);
        o->writer.at += row_bytes;
    }
    long path = pml_merkle_open(nodes, log, index, count, o->writer.out + o->writer.at);
    if (path < 0) return (int)path;
    o->writer.at += (size_t)path;
    return 0;
}

static int answer(opening *o, size_t queries, unsigned bits) {
    u8 seed[32], nonce_bytes[8];
    u64 nonce;
    pml_seed(o->writer.state, "grind", seed);
    int error = pml_grind(seed, bits, &nonce);
    if (error) return error;
    if (!has_room(o, 8)) return PML_ERR_SPACE;
    pml_store_le64(nonce_bytes, nonce);
    memcpy(o->writer.out + o->writer.at, nonce_bytes, 8);
    pml_absorb(o->writer.state, "nonce", nonce_bytes, 8);
    o->writer.at += 8;

    u32 *index = pml_alloc(queries * sizeof *index);
    if (!index) return PML_ERR_MEMORY;
    unsigned log = o->mu + o->rate;
    pml_indices(o->writer.state, "queries", queries, log, index);
    size_t count = distinct(index, queries);
    for (size_t t = 0; t < o->T && !error; t++) {
        const pml_tree *tree = &o->trees[t];
        error = send_rows(o, (const u8 *)tree->code, (size_t)4 << (tree->m - o->mu), log,
                          tree->nodes, index, count);
    }
    for (size_t i = 0; i < o->folds && !error; i++) {
        const fold_layer *f = &o->layers[i];
        for (size_t j = 0; j < count; j++) index[j] &= ((u32)1 << f->log) - 1;
        count = distinct(index, count);
        error = send_rows(o, f->rows, f->row_bytes, f->log, f->nodes, index, count);
    }
    free(index);
    return error;
}

/* ---- the whole */
static int sizes_fit(size_t T, unsigned mu, unsigned rate, size_t folds, const unsigned *fold,
                     size_t queries) {
    if (T < 1 || T > MAX_TREES || folds > MAX_FOLDS || queries > (size_t)1 << 20) return 0;
    if (mu > PML_MAX_LOG || rate > PML_MAX_LOG - mu) return 0;
    unsigned sum = 0;
    for (size_t i = 0; i < folds; i++) {
        if (fold[i] < 1 || fold[i] > mu - sum) return 0;
        sum += fold[i];
    }
    return 1;
}

size_t pml_open_size_bound(size_t T, const unsigned *m, unsigned mu, unsigned rate, size_t folds,
                           const unsigned *fold, size_t queries) {
    if (!sizes_fit(T, mu, rate, folds, fold, queries)) return 0;
    unsigned rounds = 0, left = mu, log = mu + rate;
    size_t bound = 8;
    for (size_t t = 0; t < T; t++) {
        if (m[t] < mu || m[t] > PML_MAX_LOG) return 0;
        if (m[t] - mu > rounds) rounds = m[t] - mu;
        bound += queries * (((size_t)4 << (m[t] - mu)) + 32 * (size_t)log);
    }
    for (size_t i = 0; i < folds; i++) {
        left -= fold[i];
        log -= fold[i];
        bound += 32 + queries * (((size_t)20 << fold[i]) + 32 * (size_t)log);
    }
    return bound + 40 * (size_t)(rounds + 2 + mu) + ((size_t)20 << left);
}

static int prove(opening *o, size_t C, const pml_claim *claims, const unsigned *fold,
                 size_t queries, unsigned grind_bits) {
    u32 *weights[MAX_TREES];
    for (size_t t = 0; t < o->T; t++) {
        int error = allocate_tree(o, t);
        if (error) return error;
        weights[t] = o->pairs[t].weights;
    }
    int error = pml_add_weights(o->T, o->trees, C, claims, weights);
    if (error) return error;
    size_t slots = (size_t)1 << o->selectors, words = blk_words((size_t)1 << o->mu);
    if (slots > o->T) { /* one vector of zeros stands for all: it is only read */
        u32 *zeros = o->memory[MAX_TREES] = pml_alloc(sizeof(u32) * words);
        if (!zeros) return PML_ERR_MEMORY;
        memset(zeros, 0, sizeof(u32) * words);
        for (size_t t = o->T; t < slots; t++)
            o->pairs[t] = (pml_pair){.values = zeros, .weights = zeros};
    }
    unsigned rounds = 0;
    for (size_t t = 0; t < o->T; t++)
        if (o->trees[t].m - o->mu > rounds) rounds = o->trees[t].m - o->mu;
    if (!has_room(o, 40 * (size_t)(rounds + o->selectors))) return PML_ERR_SPACE;
    column_rounds(o, rounds);
    select_rounds(o);
    error = fold_rounds(o, fold);
    return error ? error : answer(o, queries, grind_bits);
}

long pml_open_prove(size_t T, const pml_tree *trees, size_t C, const pml_claim *claims,
                    unsigned mu, unsigned rate, size_t folds, const unsigned *fold, size_t queries,
                    unsigned grind_bits, uint8_t state[32], uint8_t *out, size_t out_cap) {
    if (!sizes_fit(T, mu, rate, folds, fold, queries)) return PML_ERR_SIZE;
    for (size_t t = 0; t < T; t++)
        if (trees[t].m < mu || trees[t].m > PML_MAX_LOG) return PML_ERR_SIZE;
    opening *o = calloc(1, sizeof *o);
    if (!o) return PML_ERR_MEMORY;
    o->k = &pml_active()->provers;
    o->T = T;
    o->trees = trees;
    o->mu = mu;
    o->rate = rate;
    while ((size_t)1 << o->selectors < T) o->selectors++;
    o->folds = folds;
    o->writer = (pml_writer){state, out, 0};
    o->cap = out_cap;
    int error = prove(o, C, claims, fold, queries, grind_bits);
    long written = (long)o->writer.at;
    for (size_t t = 0; t <= MAX_TREES; t++) free(o->memory[t]);
    for (size_t i = 0; i < folds; i++) {
        free(o->layers[i].rows);
        free(o->layers[i].nodes);
    }
    free(o);
    return error ? error : written;
}
