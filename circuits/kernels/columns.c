/* The first rounds of an opening: one tree and the claims on it, folded over the tree's columns.
 *
 * The tree's cells are 2^mu rows of 2^k; the rounds fold along the rows. The weights of most claims
 * are a product a(row) b(column), so that
 *     sum over cells of v a b  =  sum over columns of u b,   u = sum over rows of a v:
 * after one pass over v, which makes u, the rounds are a product sumcheck of two vectors of 2^k
 * elements (Thaler, "Time-Optimal Interactive Proofs for Circuit Evaluation", CRYPTO 2013, section
 * 5, does so for matrix products). After them b has become a number, a b is that number times a,
 * and a second pass folds the rows of v. No vector over all cells is made of elements of F.
 *
 * An axis on both sides of the border is cut into bands, of one row's columns each. A band whose
 * weights are a multiple of the first one's, as they are for eq(z, .), joins it: together they are
 * one term a b. Every other band is a term of its own, with the same factors of the axes above.
 * The vectors u and b of all terms lie end to end, and are folded as one.
 *
 * What has too little of such a structure is dense, as are blocks within one row: the weights of
 * all cells of its rows are made, and folded together with the cells.
 */
#include "columns.h"

#include <stdlib.h>

#include "blocks.h"
#include "weights.h"

#define ROWS_AT_ONCE 32u
#define JOB_CELLS ((u64)1 << 17) /* what another task of the first pass is worth */

/* A band, and its weights as multiple of the first band's of its term. */
typedef struct {
    u32 band;
    e5 factor;
} member;

/* coef times the product over axes, as terms: the first has `joined` bands, the others one each. */
struct pml_split {
    const pml_claim *claim;
    unsigned low, high;      /* axes below the border; the first above it */
    unsigned band_log, part; /* logs: of bands; of weights of the axis between in a band */
    member *members;         /* by terms */
    size_t joined, terms, first_term;
    unsigned shift[PML_MAX_RANK + 1];
};

/* The first terms begin at multiples of this many rows, and vectors end at one; or there are few
 * rows, a power of two. Either way vectors stay whole blocks, or a power of two, when folded. */
static size_t padded(size_t rows) {
    size_t n = 1;
    if (rows > BLOCK_LEAST) return (rows + BLOCK_LEAST - 1) / BLOCK_LEAST * BLOCK_LEAST;
    while (n < rows) n *= 2;
    return n;
}

/* ---- the structure of claims */
static int is_zero(const u32 *words, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (words[i]) return 0;
    return 1;
}

/* Whether b, of n words at most, is a multiple of the vector a of n words; `room`: two vectors. */
static int is_multiple(const pml_provers *k, const u32 *a, const u32 *b, size_t b_len, e5 inverse,
                       size_t pivot, u32 *room, size_t size, e5 *factor) {
    if (b_len <= pivot) return 0;
    *factor = e5_mul(e5_enter(b + 5 * pivot), inverse);
    for (size_t i = b_len; i-- > 0 && i + 2 > b_len;) { /* most that are not differ here */
        e5 x = e5_mul(*factor, blk_get(a, i));
        if (memcmp(x.c, b + 5 * i, sizeof x.c) != 0) return 0;
    }
    u32 *given = room, *product = room + blk_words(size);
    memset(given, 0, sizeof(u32) * blk_words(size));
    k->blocks_from_words(b_len, b, 0, given);
    k->scale(blk_room(size), a, *factor, product);
    return memcmp(given, product, sizeof(u32) * blk_words(size)) == 0;
}

/* Bands that are not zero, those of the first term first. */
static int find_members(const pml_columns *c, pml_split *s) {
    const u32 *axis = NULL;
    size_t length = 1, size = (size_t)1 << s->part;
    if (s->band_log) {
        axis = s->claim->axes[s->low];
        length = s->claim->lens[s->low];
    }
    const size_t bands = (length + size - 1) / size;
    s->members = pml_alloc(bands * sizeof *s->members);
    if (!s->members) return PML_ERR_MEMORY;
    if (!axis) {
        s->members[0] = (member){0, e5_one()};
        s->joined = s->terms = 1;
        return 0;
    }
    u32 *first = pml_alloc(3 * sizeof(u32) * blk_words(size));
    if (!first) return PML_ERR_MEMORY;
    size_t alone = 0, pivot = 0;
    e5 inverse = e5_zero();
    for (size_t i = 0; i < bands; i++) {
        const u32 *band = axis + 5 * i * size;
        size_t n = length - i * size < size ? length - i * size : size;
        member m = {(u32)i, e5_one()};
        if (is_zero(band, 5 * n)) continue;
        if (!s->joined) {
            memset(first, 0, sizeof(u32) * blk_words(size));
            c->k->blocks_from_words(n, band, 0, first);
            while (is_zero(band + 5 * pivot, 5)) pivot++;
            inverse = pml_invert(e5_enter(band + 5 * pivot));
            s->members[s->joined++] = m;
        } else if (is_multiple(c->k, first, band, n, inverse, pivot, first + blk_words(size),
                               size, &m.factor)) {
            s->members[s->joined++] = m;
        } else {
            m.factor = e5_one();
            s->members[bands - ++alone] = m;
        }
    }
    free(first);
    memmove(s->members + s->joined, s->members + bands - alone, alone * sizeof(member));
    s->terms = s->joined ? 1 + alone : 0;
    return 0;
}

/* Members of a term. */
static const member *term_members(const pml_split *s, size_t term, size_t *count) {
    *count = term ? 1 : s->joined;
    return s->members + (term ? s->joined + term - 1 : 0);
}

/* Fills in s for a claim that is worth being split, else leaves s->terms 0 and sets *dense. */
static int split(const pml_columns *c, const pml_claim *claim, pml_split *s, int *dense) {
    const unsigned k = c->columns;
    *s = (pml_split){.claim = claim};
    *dense = 0;
    for (unsigned t = 0; t < claim->rank; t++) {
        if (!claim->lens[t]) return 0;
        s->shift[t + 1] = s->shift[t] + claim->logs[t];
    }
    *dense = 1;
    if (!k || s->shift[claim->rank] <= k) return 0;
    while (s->shift[s->low + 1] <= k && s->shift[s->low] < k) s->low++;
    s->high = s->low;
    if (s->shift[s->low] < k) {
        s->high++;
        s->part = k - s->shift[s->low];
        s->band_log = claim->logs[s->low] - s->part;
    }
    u64 above = 1;
    for (unsigned t = s->high; t < claim->rank; t++) above *= claim->lens[t];
    u64 bands = s->band_log ? ((claim->lens[s->low] - 1) >> s->part) + 1 : 1;
    int error = find_members(c, s);
    if (error) return error;
    *dense = 2 * s->terms > above * bands; /* as many rows in the terms as in the block */
    if (*dense || !s->terms) {
        free(s->members);
        s->members = NULL;
        s->terms = 0;
    }
    return 0;
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
    if (2 * count > c->units || padded(count) >= c->units) c->whole = 1;
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
        const unsigned from = term_members(s, term, &count)->band << s->part;
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
    const member *m = term_members(s, j->term, &members);
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

/* Rows of a term, and the number of tasks that they are shared out to. */
static u64 term_rows(const pml_split *s, size_t term) {
    size_t count;
    term_members(s, term, &count);
    u64 rows = count;
    for (unsigned t = s->high; t < s->claim->rank; t++) rows *= s->claim->lens[t];
    return rows;
}

static size_t term_jobs(const pml_columns *c, u64 rows) {
    u64 jobs = (rows << c->columns) / JOB_CELLS, most = 4 * (u64)pml_threads();
    if (pml_threads() == 1 || jobs < 1) return 1;
    return (size_t)(jobs < most ? jobs : most);
}

/* u of every term: one pass over v. The first task of a term writes to its place, the others to
 * one of their own each. */
static int sum_terms(pml_columns *c) {
    const size_t row = (size_t)1 << c->columns, words = blk_words(row);
    const int direct = row >= BLOCK; /* else a place is no whole block */
    size_t count = 0, own = 0, used = 0;
    for (size_t i = 0; i < c->split_count; i++)
        for (size_t t = 0; t < c->splits[i].terms; t++)
            count += term_jobs(c, term_rows(&c->splits[i], t));
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
            const u64 rows = term_rows(s, t);
            const size_t pieces = term_jobs(c, rows);
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
    if (count == c->terms && (c->tree->m < 17 || pml_threads() == 1))
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
        error = split(c, &claims[i], s, &is_dense);
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
        if (!c->columns) c->whole = 1;
        if (c->slots) error = fill_dense(c, dense_count, dense);
    }
    free(dense);
    if (!error && c->terms) error = fill_terms(c);
    return error;
}
