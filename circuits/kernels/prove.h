/* What the provers (logup.c, product.c, open.c) share: their kernels, and vectors that are folded.
 *
 * Elements of F are in Montgomery form unless said otherwise.
 */
#ifndef PML_PROVE_H
#define PML_PROVE_H

#include "scalar.h"

/* The leaves of LogUp, and the constants of their denominators. */
typedef struct {
    const i32 *id, *c1, *c2, *num;
    e5 alpha;
    e5 beta, beta2; /* times 2^64: a product with a canonical column is in Montgomery form */
} pml_leaves;

/* Kernels over blocks (blocks.h); each is explained at its definition. */
typedef struct {
    /* body_product.h */
    void (*bind)(size_t from, size_t to, const u32 *in, e5 r, u32 *out);
    void (*bind_base)(size_t from, size_t to, const u32 *in, e5 r, u32 *out);
    void (*product_sums)(size_t from, size_t to, const u32 *a, const u32 *b, e5 sums[2]);
    void (*product_sums_base)(size_t from, size_t to, const u32 *a, const u32 *b, e5 sums[2]);
    e5 (*inner_base)(size_t from, size_t to, const u32 *a, const u32 *b);
    void (*blocks_from_words)(size_t n, const u32 *in, int enter, u32 *out);
    void (*words_from_blocks)(size_t n, const u32 *in, u32 *out);
    /* body_logup.h */
    void (*leaves)(size_t n, size_t i, const pml_leaves *t, u32 *num, u32 *den);
    void (*join)(size_t n, const u32 *p0, const u32 *p1, const u32 *q0, const u32 *q1, u32 *p,
                 u32 *q);
    void (*join_leaves)(size_t n, const u32 *p0, const u32 *p1, const u32 *q0, const u32 *q1,
                        u32 *p, u32 *q);
    void (*mix)(size_t n, const u32 *p0, const u32 *q0, e5 lambda, u32 *u);
    void (*mix_leaves)(size_t n, const u32 *p0, const u32 *q0, e5 lambda, u32 *u);
    void (*logup_sums)(size_t n, const u32 *u, const u32 *p1, const u32 *q0, const u32 *q1,
                       const u32 *eq, e5 sums[2]);
    void (*logup_sums_leaves)(size_t n, const u32 *u, const u32 *p1, const u32 *q0, const u32 *q1,
                              const u32 *eq, e5 sums[2]);
    void (*eq_prepend)(size_t n, const u32 *in, e5 z, u32 *out);
    /* body_open.h */
    void (*add_scaled)(size_t n, const u32 *in, e5 factor, u32 *out);
    void (*scale)(size_t n, const u32 *in, e5 factor, u32 *out);
    void (*lift)(size_t n, const u32 *in, u32 *out);
    void (*blend)(size_t n, const u32 *a, const u32 *b, e5 r, u32 *out);
    void (*blend_sums)(size_t n, const u32 *a, const u32 *v, const u32 *b, const u32 *w,
                       e5 sums[2]);
    e5 (*inner)(size_t from, size_t to, const u32 *a, const u32 *b);
    void (*sum_rows)(size_t count, const u32 *at, const e5 *factor, const u32 *v, size_t cells,
                     u32 *out);
    void (*fold_rows)(size_t from, size_t to, unsigned k, const u32 *v, const u32 *eq, u32 *out);
} pml_provers;

/* What every folding loop does with this many pairs at a time: they stay in the first cache. */
#define PML_CHUNK 128u
/* Pairs of a thread at least, about 0.1 ms of work: to wake a thread takes up to 25 us on a virtual
 * machine. And the pieces that a loop is cut into at most. */
#define PML_PAIRS_A_THREAD 4096u
#define PML_MAX_PIECES 256u

/* Two vectors of n elements and the sum of their products, folded variable by variable. The values
 * are canonical, the weights in Montgomery form, hence all sums canonical. The values are flat
 * base elements (`base`) before the first fold, and blocks (`values`) after. Folded vectors go
 * to the two places in `room` in turn, which have room for n / 2 elements (at least BLOCK_LEAST)
 * and for n / 4. */
typedef struct {
    size_t n;
    const u32 *base;
    u32 *values, *weights;
    u32 *room[2][2];
    unsigned turn;
} pml_pair;

/* sums: of a0 b0 and of (a1 - a0)(b1 - b0) over the pairs, canonical: c0 and c2 of the round. */
void pml_pair_sums(const pml_pair *pair, e5 sums[2]);
/* Folds by r; the sums of the next round on the way, unless `sums` is NULL or none is left. */
void pml_pair_bind(pml_pair *pair, e5 r, e5 *sums);

/* Proof bytes under way. */
typedef struct {
    u8 *state;
    u8 *out;
    size_t at;
} pml_writer;

/* Sends `count` canonical elements under `tag`. */
void pml_send(pml_writer *w, const char *tag, size_t count, const e5 *canonical);
/* A challenge, in Montgomery form; its canonical words to `words` unless that is NULL. */
e5 pml_draw(pml_writer *w, const char *tag, u32 *words);

/* Number of pieces for a loop over this many pairs. */
size_t pml_pieces(size_t pairs);

/* 1 / a for a != 0. */
e5 pml_invert(e5 a);

#endif
