/* The opening of several trees (section 8 of the protocol).
 *
 * One sumcheck for all linear claims, over interleaved Reed-Solomon codes that are folded and
 * committed on the way: BaseFold (Zeilberger, Chen and Fisch, ePrint 2023/1705), FRI (Ben-Sasson
 * et al., ICALP 2018). The rounds over a tree's columns are in columns.c. The twin is
 * proofml.zkml.sumcheck.twin.opening. Not audited.
 */
#include <stdio.h>
#include <stdlib.h>

#include "blocks.h"
#include "columns.h"

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
    pml_columns columns[MAX_TREES];
    struct {
        u32 *values, *weights;
    } vectors[MAX_TREES]; /* of 2^mu elements */
    pml_pair pair;        /* the one vector that is left after the choice of the tree */
    u32 *zeros, *room;    /* for trees that do not exist; for the pair */
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

/* Rounds over the columns. Tree t takes part in the last m_t - mu rounds. Before, its vector is
 * constant and its weights lie on 0: it adds s (1 - X), s its inner product, and the weights are
 * multiplied by 1 - r. That factor is kept apart (`late`) until the rounds are over. */
static int column_rounds(opening *o, unsigned rounds) {
    e5 sums[MAX_TREES][2], late[MAX_TREES];
    for (size_t t = 0; t < o->T; t++) {
        late[t] = e5_one();
        sums[t][1] = e5_zero();
        if (o->columns[t].columns < rounds)
            sums[t][0] = pml_columns_inner(&o->columns[t]);
        else if (rounds)
            pml_columns_sums(&o->columns[t], sums[t]);
    }
    for (unsigned round = 0; round < rounds; round++) {
        e5 message[2] = {e5_zero(), e5_zero()};
        for (size_t t = 0; t < o->T; t++)
            for (int k = 0; k < 2; k++)
                message[k] = e5_add(message[k], e5_mul(late[t], sums[t][k]));
        e5 r = send_round(o, "open round", message), rest = e5_sub(e5_one(), r);
        for (size_t t = 0; t < o->T; t++) {
            pml_columns *c = &o->columns[t];
            unsigned first = rounds - c->columns;
            if (round >= first) {
                pml_columns_bind(c, r, round + 1 < rounds ? sums[t] : NULL);
                continue;
            }
            late[t] = e5_mul(late[t], rest);
            if (round + 1 == first && round + 1 < rounds) pml_columns_sums(c, sums[t]);
        }
    }
    for (size_t t = 0; t < o->T; t++) {
        int error = pml_columns_end(&o->columns[t], late[t], &o->vectors[t].values,
                                    &o->vectors[t].weights);
        if (error) return error;
    }
    return 0;
}

/* Two trees that are joined to one. */
typedef struct {
    const pml_provers *k;
    const u32 *values[2], *weights[2];
    u32 *out_values, *out_weights;
    e5 r;
    size_t n, pieces;
    e5 sums[PML_MAX_PIECES][2];
} selection;

static void sum_selection(void *ctx, size_t piece) {
    selection *s = ctx;
    size_t from, to;
    pml_piece(s->n, BLOCK, s->pieces, piece, &from, &to);
    s->sums[piece][0] = s->sums[piece][1] = e5_zero();
    s->k->blend_sums(to - from, blk_of(s->values[0], from), blk_of(s->weights[0], from),
                     blk_of(s->values[1], from), blk_of(s->weights[1], from), s->sums[piece]);
}

static void select_piece(void *ctx, size_t piece) {
    selection *s = ctx;
    size_t from, to;
    pml_piece(s->n, BLOCK, s->pieces, piece, &from, &to);
    s->k->blend(to - from, blk_of(s->values[0], from), blk_of(s->values[1], from), s->r,
                blk_at(s->out_values, from));
    s->k->blend(to - from, blk_of(s->weights[0], from), blk_of(s->weights[1], from), s->r,
                blk_at(s->out_weights, from));
}

static void run_selection(opening *o, selection *s, pml_job job, size_t i) {
    s->k = o->k;
    s->n = (size_t)1 << o->mu;
    s->pieces = pml_pieces(s->n);
    for (size_t b = 0; b < 2; b++) {
        s->values[b] = o->vectors[2 * i + b].values;
        s->weights[b] = o->vectors[2 * i + b].weights;
    }
    s->out_values = o->vectors[2 * i].values;
    s->out_weights = o->vectors[2 * i].weights;
    if (s->pieces == 1)
        job(s, 0);
    else
        pml_parallel(job, s, s->pieces);
}

/* The vectors of the trees are one vector whose lowest variables are the number of the tree. */
static void select_rounds(opening *o) {
    selection s;
    for (unsigned round = 0; round < o->selectors; round++) {
        size_t count = (size_t)1 << (o->selectors - round - 1);
        e5 sums[2] = {e5_zero(), e5_zero()};
        for (size_t i = 0; i < count; i++) {
            run_selection(o, &s, sum_selection, i);
            for (size_t piece = 0; piece < s.pieces; piece++)
                for (int k = 0; k < 2; k++) sums[k] = e5_add(sums[k], s.sums[piece][k]);
        }
        s.r = send_round(o, "open select", sums);
        for (size_t i = 0; i < count; i++) {
            run_selection(o, &s, select_piece, i);
            o->vectors[i] = o->vectors[2 * i];
        }
    }
}

/* ---- folding */

/* Commits to the vector before k rounds fold it. */
static int commit(opening *o, size_t i, unsigned k) {
    fold_layer *f = &o->layers[i];
    pml_pair *p = &o->pair;
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
    pml_pair *p = &o->pair;
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

/* The vector that is left becomes a pair with room to be folded. */
static int begin_folds(opening *o) {
    size_t n = (size_t)1 << o->mu, half = blk_words(n / 2), quarter = blk_words(n / 4);
    u32 *at = o->room = pml_alloc(sizeof(u32) * 2 * (half + quarter));
    if (!at) return PML_ERR_MEMORY;
    o->pair = (pml_pair){
        .n = n,
        .values = o->vectors[0].values,
        .weights = o->vectors[0].weights,
        .room = {{at, at + half}, {at + 2 * half, at + 2 * half + quarter}},
    };
    return 0;
}

static int prove(opening *o, size_t C, const pml_claim *claims, const unsigned *fold,
                 size_t queries, unsigned grind_bits) {
    unsigned rounds = 0;
    for (size_t i = 0; i < C; i++)
        if (claims[i].tree >= o->T) return PML_ERR_SIZE;
    for (size_t t = 0; t < o->T; t++) {
        pml_columns *c = &o->columns[t];
        int error = pml_columns_begin(c, &o->trees[t], o->mu, C, claims, (unsigned)t);
        if (error) return error;
        if (c->columns > rounds) rounds = c->columns;
    }
    if (!has_room(o, 40 * (size_t)(rounds + o->selectors))) return PML_ERR_SPACE;
    int error = column_rounds(o, rounds);
    if (error) return error;
    size_t slots = (size_t)1 << o->selectors, words = blk_words((size_t)1 << o->mu);
    if (slots > o->T) { /* one vector of zeros stands for all: it is only read */
        o->zeros = pml_alloc(sizeof(u32) * words);
        if (!o->zeros) return PML_ERR_MEMORY;
        memset(o->zeros, 0, sizeof(u32) * words);
        for (size_t t = o->T; t < slots; t++)
            o->vectors[t].values = o->vectors[t].weights = o->zeros;
    }
    select_rounds(o);
    error = begin_folds(o);
    if (!error) error = fold_rounds(o, fold);
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
    for (size_t t = 0; t < T; t++) pml_columns_free(&o->columns[t]);
    free(o->zeros);
    free(o->room);
    for (size_t i = 0; i < folds; i++) {
        free(o->layers[i].rows);
        free(o->layers[i].nodes);
    }
    free(o);
    return error ? error : written;
}
