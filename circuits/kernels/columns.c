/* The first rounds of an opening: one tree and the claims on it, folded over the tree's columns.
 *
 * The tree's cells are 2^mu rows of 2^k; the rounds fold along the rows. The weights of most claims
 * are a product a(row) b(column), so that
 *     sum over cells of v a b  =  sum over columns of u b,   u = sum over rows of a v:
 * after one pass over v, which makes u, the rounds are a product sumcheck of two vectors of 2^k
 * elements (Thaler, "Time-Optimal Interactive Proofs for Circuit Evaluation", CRYPTO 2013, does so
 * for matrix products). After them b has become a number, a b is that number times a,
 * and a second pass folds the rows of v. No vector over all cells is made of elements of F.
 *
 * A claim may be several such terms (split.h). The vectors u and b of all terms lie end to end, and
 * are folded as one.
 *
 * What has too little of such a structure is dense, as are blocks within one row: the weights of
 * all cells of its rows are made, and folded together with the cells.
 */
#include "columns.h"

#include <stdlib.h>

#include "blocks.h"

#define ROWS_AT_ONCE 32u
#define JOB_CELLS ((u64)1 << 17) /* what another task of the first pass is worth */

/* Rows that a vector of this many is given: whole blocks of them, or a power of two, so that folded
 * vectors are whole blocks, or as short as blocks.h has rules for. */
static size_t padded(size_t rows) {
    size_t n = 1;
    if (rows > BLOCK_LEAST) return (rows + BLOCK_LEAST - 1) / BLOCK_LEAST * BLOCK_LEAST;
    while (n < rows) n *= 2;
    return n;
}

/* ---- memory */
/* A pair of n elements with room to fold it; values are base elements of another place if given. */
static u32 *allocate_pair(pml_pair *p, size_t n, const u32 *base) {
    size_t whole = blk_words(n), half = blk_words(n / 2), quarter = blk_words(n / 4);
    /* Once folded, the weights' own place has room for the second folding of both vectors. */
    size_t second = whole < 2 * quarter ? 2 * quarter : whole;
    u32 *at = pml_alloc(sizeof(u32) * (second + 2 * half + (base ? 0 : whole)));
    if (!at) return NULL;
    *p = (pml_pair){.n = n, .base = base, .weights = at};
    p->room[1][0] = at;
    p->room[1][1] = at + quarter;
    p->room[0][0] = at + second;
    p->room[0][1] = at + second + half;
    memset(p->weights, 0, sizeof(u32) * whole);
    if (!base) {
        p->values = at + second + 2 * half;
        memset(p->values, 0, sizeof(u32) * whole);
    }
    return at;
}

/* ---- what is dense */
static void mark(const pml_columns *c, const pml_claim *claim) {
    u64 last = claim->offset;
    unsigned shift = 0;
    for (unsigned t = 0; t < claim->rank; t++) {
        last += (u64)(claim->lens[t] - 1) << shift;
        shift += claim->logs[t];
    }
    for (u64 u = claim->offset >> c->unit; u <= last >> c->unit; u++) c->slot[u] = 1;
}

/* Places for the units that are marked; all of them when that is most. */
static void number_units(pml_columns *c) {
    size_t count = 0;
    for (size_t u = 0; u < c->units; u++) count += c->slot[u];
    c->whole = !c->columns || 2 * count > c->units || padded(count) >= c->units;
    c->slots = 0;
    for (size_t u = 0; u < c->units; u++)
        c->slot[u] = c->whole || c->slot[u] ? (u32)c->slots++ : UINT32_MAX;
}

/* The cells of the dense units, and the weights that `claims` of them put there. */
static int fill_dense(pml_columns *c, size_t count, pml_claim *claims) {
    const u32 *v = c->tree->v;
    size_t n = (c->whole ? c->units : padded(c->slots)) << c->unit;
    if (!c->whole || n < BLOCK_LEAST) {
        size_t room = n < BLOCK_LEAST ? BLOCK_LEAST : n, size = (size_t)1 << c->unit, used = 0;
        u32 *copy = c->memory[0] = pml_alloc(sizeof(u32) * room);
        if (!copy) return PML_ERR_MEMORY;
        for (size_t u = 0; u < c->units; u++) {
            if (c->slot[u] == UINT32_MAX) continue;
            memcpy(copy + used, v + u * size, sizeof(u32) * size);
            used += size;
        }
        memset(copy + used, 0, sizeof(u32) * (room - used));
        v = copy;
    }
    c->memory[1] = allocate_pair(&c->dense, n, v);
    if (!c->memory[1]) return PML_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        u64 unit = claims[i].offset >> c->unit;
        claims[i].offset += ((u64)c->slot[unit] << c->unit) - (unit << c->unit);
    }
    return pml_add_weights(count, claims, c->dense.weights);
}

/* ---- terms */
/* The weights of the term's columns: the axes below the border, and its first band. */
static int add_term(pml_columns *c, const pml_split *s, size_t term) {
    const pml_claim *claim = s->claim;
    unsigned logs[PML_MAX_RANK], lens[PML_MAX_RANK];
    const u32 *axes[PML_MAX_RANK];
    pml_claim own = {.offset = (u64)(s->first_term + term) << c->columns, .rank = s->low,
                     .logs = logs, .lens = lens, .axes = axes, .coef = claim->coef};
    for (unsigned t = 0; t < s->low; t++) {
        logs[t] = claim->logs[t];
        lens[t] = claim->lens[t];
        axes[t] = claim->axes[t];
    }
    if (s->band_log) {
        size_t count;
        const unsigned from = pml_term_members(s, term, &count)->band << s->part;
        const unsigned left = claim->lens[s->low] - from, most = 1u << s->part;
        own.rank = s->low + 1;
        logs[s->low] = s->part;
        lens[s->low] = left < most ? left : most;
        axes[s->low] = claim->axes[s->low] + 5 * (size_t)from;
    }
    return pml_add_weights(1, &own, c->joint.weights);
}

/* A share of the rows of a term, and where their sum goes. */
typedef struct {
    const pml_split *split;
    size_t term;
    u64 from, to;
    u32 *out;
} job;

typedef struct {
    const pml_columns *c;
    job *jobs;
    size_t count;
} first_pass;

/* Where a walk over the axes above the border is: of each axis the index, and the product of the
 * weights and the sum of the places of this axis and those above. */
typedef struct {
    size_t digit[PML_MAX_RANK];
    e5 factor[PML_MAX_RANK + 1];
    u64 cell[PML_MAX_RANK + 1];
} walk;

static void enter_axes(const pml_split *s, walk *w, unsigned from) {
    for (unsigned t = from + 1; t-- > s->high;) {
        e5 weight = e5_enter(s->claim->axes[t] + 5 * w->digit[t]);
        w->factor[t] = e5_mul(w->factor[t + 1], weight);
        w->cell[t] = w->cell[t + 1] + ((u64)w->digit[t] << s->shift[t]);
    }
}

static void begin_walk(const pml_split *s, walk *w, u64 index) {
    const unsigned rank = s->claim->rank;
    w->factor[rank] = e5_one();
    w->cell[rank] = s->claim->offset;
    for (unsigned t = s->high; t < rank; t++) {
        w->digit[t] = (size_t)(index % s->claim->lens[t]);
        index /= s->claim->lens[t];
    }
    if (rank > s->high) enter_axes(s, w, rank - 1);
}

static void step_walk(const pml_split *s, walk *w) {
    for (unsigned t = s->high; t < s->claim->rank; t++) {
        if (++w->digit[t] < s->claim->lens[t]) {
            enter_axes(s, w, t);
            return;
        }
        w->digit[t] = 0;
    }
}

static void sum_job(void *ctx, size_t index) {
    const first_pass *pass = ctx;
    const job *j = &pass->jobs[index];
    const pml_split *s = j->split;
    const unsigned k = pass->c->columns;
    u32 at[ROWS_AT_ONCE];
    e5 factor[ROWS_AT_ONCE];
    size_t members, filled = 0;
    const pml_member *m = pml_term_members(s, j->term, &members);
    size_t band = (size_t)(j->from % members);
    walk w;
    begin_walk(s, &w, j->from / members);
    for (u64 i = j->from; i < j->to; i++) {
        at[filled] = (u32)(w.cell[s->high] + ((u64)m[band].band << k));
        factor[filled++] = members > 1 ? e5_mul(w.factor[s->high], m[band].factor)
                                       : w.factor[s->high];
        if (filled == ROWS_AT_ONCE || i + 1 == j->to) {
            pass->c->k->sum_rows(filled, at, factor, pass->c->tree->v, (size_t)1 << k, j->out);
            filled = 0;
        }
        if (++band == members) {
            band = 0;
            if (i + 1 < j->to) step_walk(s, &w);
        }
    }
}

/* The number of tasks that the rows of a term are shared out to. */
static size_t term_jobs(const pml_columns *c, u64 rows, unsigned threads) {
    u64 jobs = (rows << c->columns) / JOB_CELLS, most = 4 * (u64)threads;
    if (threads == 1 || jobs < 1) return 1;
    return (size_t)(jobs < most ? jobs : most);
}

/* u of every term: one pass over v. The first task of a term writes to its place, the others to
 * one of their own each. */
static int sum_terms(pml_columns *c) {
    const size_t row = (size_t)1 << c->columns, words = blk_words(row);
    const int direct = row >= BLOCK; /* else a place is no whole block */
    const unsigned threads = pml_threads(); /* once: it may be changed any time */
    size_t count = 0, own = 0, used = 0;
    u64 cells = 0;
    for (size_t i = 0; i < c->split_count; i++)
        for (size_t t = 0; t < c->splits[i].terms; t++) {
            u64 rows = pml_term_rows(&c->splits[i], t);
            cells += rows << c->columns;
            count += term_jobs(c, rows, threads);
        }
    own = direct ? count - c->terms : count;
    first_pass pass = {c, pml_alloc(count * sizeof(job)), count};
    u32 *places = pml_alloc(sizeof(u32) * words * own);
    if (!pass.jobs || !places) {
        free(pass.jobs);
        free(places);
        return PML_ERR_MEMORY;
    }
    memset(places, 0, sizeof(u32) * words * own);
    job *j = pass.jobs;
    for (size_t i = 0; i < c->split_count; i++) {
        const pml_split *s = &c->splits[i];
        for (size_t t = 0; t < s->terms; t++) {
            const u64 rows = pml_term_rows(s, t);
            const size_t pieces = term_jobs(c, rows, threads);
            for (size_t piece = 0; piece < pieces; piece++, j++) {
                size_t from, to;
                pml_piece((size_t)rows, ROWS_AT_ONCE, pieces, piece, &from, &to);
                *j = (job){.split = s, .term = t, .from = from, .to = to};
                j->out = direct && !piece
                             ? blk_at(c->joint.values, (s->first_term + t) << c->columns)
                             : places + words * used++;
            }
        }
    }
    if (cells < JOB_CELLS)
        for (size_t i = 0; i < count; i++) sum_job(&pass, i);
    else
        pml_parallel(sum_job, &pass, count);
    for (size_t i = 0; i < count; i++) {
        const size_t at = (pass.jobs[i].split->first_term + pass.jobs[i].term) << c->columns;
        u32 *to = blk_at(c->joint.values, at);
        const u32 *from = pass.jobs[i].out;
        if (from == to) continue;
        for (size_t n = 0; direct && n < 5 * row; n++) to[n] = m_add(to[n], from[n]);
        for (size_t n = 0; !direct && n < row; n++)
            blk_set(c->joint.values, at + n,
                    e5_add(blk_get(c->joint.values, at + n), blk_get(from, n)));
    }
    free(pass.jobs);
    free(places);
    return 0;
}

static int fill_terms(pml_columns *c) {
    c->memory[2] = allocate_pair(&c->joint, padded(c->terms) << c->columns, NULL);
    if (!c->memory[2]) return PML_ERR_MEMORY;
    for (size_t i = 0; i < c->split_count; i++)
        for (size_t t = 0; t < c->splits[i].terms; t++) {
            int error = add_term(c, &c->splits[i], t);
            if (error) return error;
        }
    return sum_terms(c);
}

int pml_columns_begin(pml_columns *c, const pml_tree *tree, unsigned mu, size_t C,
                      const pml_claim *claims, unsigned number) {
    *c = (pml_columns){.k = &pml_active()->provers, .tree = tree, .columns = tree->m - mu};
    /* Units are whole rows, and whole blocks where the tree is as large as one. */
    c->unit = c->columns > 4 ? c->columns : tree->m < 4 ? tree->m : 4;
    c->units = (size_t)1 << (tree->m - c->unit);
    size_t own = 0, dense_count = 0;
    for (size_t i = 0; i < C; i++) {
        if (claims[i].tree != number) continue;
        int error = pml_claim_fits(&claims[i], tree->m);
        if (error) return error;
        own++;
    }
    c->splits = calloc(own + 1, sizeof *c->splits);
    c->slot = calloc(c->units, sizeof *c->slot);
    pml_claim *dense = pml_alloc(own * sizeof *dense);
    int error = c->splits && c->slot && dense ? 0 : PML_ERR_MEMORY;
    for (size_t i = 0; i < C && !error; i++) {
        int is_dense;
        pml_split *s = &c->splits[c->split_count];
        if (claims[i].tree != number) continue;
        error = pml_split_claim(&claims[i], c->columns, s, &is_dense);
        s->first_term = c->terms;
        c->terms += s->terms;
        c->split_count += s->terms > 0;
        if (is_dense && !error) {
            mark(c, &claims[i]);
            dense[dense_count++] = claims[i];
        }
    }
    if (!error) {
        number_units(c);
        if (c->slots) error = fill_dense(c, dense_count, dense);
    }
    free(dense);
    if (!error && c->terms) error = fill_terms(c);
    return error;
}

/* ---- the rounds */
typedef struct {
    const pml_provers *k;
    const pml_pair *pair;
    size_t pieces;
    e5 sums[PML_MAX_PIECES];
} inner_pass;

static void inner_piece(void *ctx, size_t piece) {
    inner_pass *t = ctx;
    const pml_pair *p = t->pair;
    size_t from, to;
    pml_piece(p->n, BLOCK, t->pieces, piece, &from, &to);
    t->sums[piece] = p->base ? t->k->inner_base(from, to, p->base, p->weights)
                             : t->k->inner(from, to, p->values, p->weights);
}

static e5 inner_product(const pml_columns *c, const pml_pair *pair) {
    inner_pass t;
    t.k = c->k;
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

e5 pml_columns_inner(const pml_columns *c) {
    e5 sum = e5_zero();
    if (c->slots) sum = inner_product(c, &c->dense);
    if (c->terms) sum = e5_add(sum, inner_product(c, &c->joint));
    return sum;
}

void pml_columns_sums(const pml_columns *c, e5 sums[2]) {
    e5 more[2];
    sums[0] = sums[1] = e5_zero();
    if (c->slots) pml_pair_sums(&c->dense, sums);
    if (!c->terms) return;
    pml_pair_sums(&c->joint, more);
    for (int k = 0; k < 2; k++) sums[k] = e5_add(sums[k], more[k]);
}

void pml_columns_bind(pml_columns *c, e5 r, e5 *sums) {
    e5 more[2] = {e5_zero(), e5_zero()};
    c->r[c->bound++] = r;
    if (sums) sums[0] = sums[1] = e5_zero();
    if (c->slots) pml_pair_bind(&c->dense, r, sums);
    if (!c->terms) return;
    pml_pair_bind(&c->joint, r, sums ? more : NULL);
    for (int k = 0; sums && k < 2; k++) sums[k] = e5_add(sums[k], more[k]);
}

/* ---- what is left after the rounds */
/* eq(r, .) over the columns, in planes as fold_rows takes them. */
static u32 *column_weights(const pml_columns *c) {
    const size_t row = (size_t)1 << c->columns, stride = row < BLOCK ? BLOCK : row;
    u32 *eq = pml_alloc(sizeof(u32) * 5 * stride), *words = pml_alloc(sizeof(u32) * 5 * row);
    if (!eq || !words) {
        free(eq);
        free(words);
        return NULL;
    }
    const e5 one = e5_one();
    memcpy(words, one.c, sizeof one.c);
    for (unsigned t = 0; t < c->columns; t++) {
        const size_t size = (size_t)1 << t;
        pml_active()->eq_step(0, size, size, c->r[t], words);
    }
    /* A row shorter than a vector is repeated; planes are as wide as one, whatever the lanes. */
    const size_t width = row < pml_active()->lanes ? pml_active()->lanes : row;
    for (size_t i = 0; i < width; i++)
        for (size_t k = 0; k < 5; k++) eq[k * width + i] = words[5 * (i % row) + k];
    free(words);
    return eq;
}

typedef struct {
    const pml_columns *c;
    const u32 *eq;
    u32 *out;
    size_t rows, pieces;
} second_pass;

static void fold_piece(void *ctx, size_t piece) {
    const second_pass *pass = ctx;
    size_t from, to;
    pml_piece(pass->rows, BLOCK, pass->pieces, piece, &from, &to);
    pass->c->k->fold_rows(from, to, pass->c->columns, pass->c->tree->v, pass->eq, pass->out);
}

static int fold_values(const pml_columns *c, u32 *out) {
    u32 *eq = column_weights(c);
    if (!eq) return PML_ERR_MEMORY;
    second_pass pass = {c, eq, out, (size_t)1 << (c->tree->m - c->columns), 1};
    if (c->tree->m >= 17) pass.pieces = pml_pieces((size_t)1 << (c->tree->m - 4));
    if (pass.pieces == 1)
        fold_piece(&pass, 0);
    else
        pml_parallel(fold_piece, &pass, pass.pieces);
    free(eq);
    return 0;
}

/* weights[row] += for every term what its columns have become times its rows. */
static int add_rows(const pml_columns *c, const pml_split *s, u32 *weights) {
    const pml_claim *claim = s->claim;
    unsigned logs[PML_MAX_RANK], lens[PML_MAX_RANK], rank = 0;
    const u32 *axes[PML_MAX_RANK];
    const size_t bands = (size_t)1 << s->band_log;
    u32 coef[5], *factors = pml_alloc(sizeof(u32) * 5 * bands);
    if (!factors) return PML_ERR_MEMORY;
    memset(factors, 0, sizeof(u32) * 5 * bands);
    for (size_t t = 0; t < s->terms; t++) {
        size_t count;
        const pml_member *m = pml_term_members(s, t, &count);
        e5 folded = blk_get(c->joint.weights, s->first_term + t);
        for (size_t i = 0; i < count; i++)
            e5_leave(factors + 5 * m[i].band, e5_mul(folded, m[i].factor));
    }
    e5_leave(coef, e5_one());
    if (s->band_log) {
        logs[rank] = s->band_log;
        lens[rank] = (unsigned)bands;
        axes[rank++] = factors;
    } else {
        memcpy(coef, factors, sizeof coef);
    }
    for (unsigned t = s->high; t < claim->rank; t++, rank++) {
        logs[rank] = claim->logs[t];
        lens[rank] = claim->lens[t];
        axes[rank] = claim->axes[t];
    }
    pml_claim own = {.offset = claim->offset >> c->columns, .rank = rank, .logs = logs,
                     .lens = lens, .axes = axes, .coef = coef};
    int error = pml_add_weights(1, &own, weights);
    free(factors);
    return error;
}

int pml_columns_end(pml_columns *c, e5 factor, u32 **values, u32 **weights) {
    const size_t n = (size_t)1 << (c->tree->m - c->columns);
    if (!c->whole || !c->columns) {
        u32 *at = c->memory[3] = pml_alloc(sizeof(u32) * 2 * blk_words(n));
        if (!at) return PML_ERR_MEMORY;
        *values = at;
        *weights = at + blk_words(n);
        blk_clear_short(*values, n);
    }
    if (c->whole && c->columns) { /* folded with all the weights */
        *values = c->dense.values;
        *weights = c->dense.weights;
    } else if (c->whole) { /* there was no column to fold */
        c->k->lift(n, c->dense.base, *values);
        *weights = c->dense.weights;
    } else {
        memset(*weights, 0, sizeof(u32) * blk_words(n));
        const size_t rows = (size_t)1 << (c->unit - c->columns);
        for (size_t u = 0; u < c->units; u++)
            for (size_t i = 0; i < rows && c->slot[u] != UINT32_MAX; i++)
                blk_set(*weights, u * rows + i, blk_get(c->dense.weights, c->slot[u] * rows + i));
        int error = fold_values(c, *values);
        if (error) return error;
    }
    for (size_t i = 0; i < c->split_count; i++) {
        int error = add_rows(c, &c->splits[i], *weights);
        if (error) return error;
    }
    if (!e5_equal(factor, e5_one())) c->k->scale(n, *weights, factor, *weights);
    return 0;
}

void pml_columns_free(pml_columns *c) {
    for (size_t i = 0; i < c->split_count; i++) free(c->splits[i].members);
    free(c->splits);
    free(c->slot);
    for (size_t i = 0; i < sizeof c->memory / sizeof *c->memory; i++) free(c->memory[i]);
    *c = (pml_columns){0};
}
