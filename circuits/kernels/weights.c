/* Separable weights of linear claims, added up cell by cell (sections 4 and 8 of the protocol).
 *
 * The lowest axes of a claim are multiplied out into one table; each valid combination of the
 * other axes, a row, then adds a multiple of the table to the cells of its place.
 */
#include "weights.h"

#include <stdlib.h>

#include "blocks.h"
#include "internal.h"

#define MAX_RANK PML_MAX_RANK
#define ROW_COST 32u /* what a row costs beside its cells, in cells */
#define STRIPE 1024u /* cells of an axis that is alone, converted at a time */

typedef struct {
    const pml_provers *k;
    const pml_claim *claim;
    u32 *weights;
    unsigned shift[MAX_RANK + 1]; /* axis t has bits shift[t] .. shift[t + 1] of the cell */
    unsigned inner;               /* axes in the table */
    u32 *table;
    size_t valid; /* cells of the table up to the last that is not zero by the lengths */
    size_t rows, pieces;
} block;

static e5 axis_weight(const pml_claim *c, unsigned axis, size_t i) {
    return e5_enter(c->axes[axis] + 5 * i);
}

/* How many axes go into the table: it must have whole blocks (or be all there is), a row should be
 * long, and a table that is nearly the whole is work done twice. */
static void choose_table(block *b) {
    const pml_claim *c = b->claim;
    u64 rows = 1, least = UINT64_MAX;
    for (unsigned inner = c->rank + 1; inner-- > 0;) {
        if (inner < c->rank) rows *= c->lens[inner];
        if (inner < c->rank && b->shift[inner] < 4) break;
        u64 cost = rows * ROW_COST + (inner > 1 ? (u64)1 << b->shift[inner] : 0);
        if (cost >= least) continue;
        least = cost;
        b->inner = inner;
        b->rows = (size_t)rows;
    }
}

int pml_claim_fits(const pml_claim *c, unsigned m) {
    unsigned size = 0;
    if (c->rank > MAX_RANK) return PML_ERR_SIZE;
    for (unsigned t = 0; t < c->rank; t++) {
        if (c->logs[t] > m - size || c->lens[t] > 1u << c->logs[t]) return PML_ERR_SIZE;
        size += c->logs[t];
    }
    u64 cells = (u64)1 << size;
    return c->offset % cells || c->offset > ((u64)1 << m) - cells ? PML_ERR_SIZE : 0;
}

static void measure(block *b) {
    const pml_claim *c = b->claim;
    b->shift[0] = 0;
    for (unsigned t = 0; t < c->rank; t++) {
        b->shift[t + 1] = b->shift[t] + c->logs[t];
        if (!c->lens[t]) b->rows = 0; /* nothing is valid */
    }
    if (b->rows) choose_table(b);
}

/* The coefficient and the first cell of row `row`: its digits are indices of the outer axes. */
static e5 row_factor(const block *b, size_t row, size_t *cell) {
    e5 factor = e5_enter(b->claim->coef);
    *cell = b->claim->offset;
    for (unsigned t = b->inner; t < b->claim->rank; t++) {
        size_t i = row % b->claim->lens[t];
        row /= b->claim->lens[t];
        *cell += i << b->shift[t];
        factor = e5_mul(factor, axis_weight(b->claim, t, i));
    }
    return factor;
}

static void add_rows(void *ctx, size_t piece) {
    const block *b = ctx;
    size_t from, to, cell;
    pml_piece(b->rows, 1, b->pieces, piece, &from, &to);
    for (size_t row = from; row < to; row++) {
        e5 factor = row_factor(b, row, &cell);
        if (b->shift[b->inner] >= 4) { /* whole blocks */
            b->k->add_scaled(b->valid, b->table, factor, blk_at(b->weights, cell));
            continue;
        }
        for (size_t i = 0; i < b->valid; i++)
            blk_set(b->weights, cell + i,
                    e5_add(blk_get(b->weights, cell + i), e5_mul(factor, blk_get(b->table, i))));
    }
}

/* One axis and nothing else: no table, but stripes of it. */
static void add_stripes(void *ctx, size_t piece) {
    const block *b = ctx;
    const pml_claim *c = b->claim;
    size_t from, to;
    e5 factor = e5_enter(c->coef);
    u32 stripe[5 * STRIPE];
    pml_piece(c->lens[0], STRIPE, b->pieces, piece, &from, &to);
    for (size_t i = from; i < to; i += STRIPE) {
        size_t n = to - i < STRIPE ? to - i : STRIPE;
        if (n % BLOCK) memset(blk_at(stripe, n / BLOCK * BLOCK), 0, sizeof(u32) * BLOCK_WORDS);
        b->k->blocks_from_words(n, c->axes[0] + 5 * i, 1, stripe);
        b->k->add_scaled(n, stripe, factor, blk_at(b->weights, c->offset + i));
    }
}

/* Axis t times the table of the axes below it; from the last index to the first, so that index 0,
 * where the table of the lower axes lies, comes last. */
static void grow_table(const block *b, unsigned t, size_t lower_valid) {
    size_t lower = (size_t)1 << b->shift[t];
    for (size_t i = b->claim->lens[t]; i-- > 0;) {
        e5 x = axis_weight(b->claim, t, i);
        if (lower >= BLOCK) {
            b->k->scale(lower_valid, b->table, x, blk_at(b->table, i * lower));
            continue;
        }
        for (size_t j = 0; j < lower_valid; j++)
            blk_set(b->table, i * lower + j, e5_mul(x, blk_get(b->table, j)));
    }
}

static void build_table(block *b) {
    const pml_claim *c = b->claim;
    size_t cells = (size_t)1 << b->shift[b->inner];
    memset(b->table, 0, sizeof(u32) * blk_words(cells));
    if (!b->inner) { /* a single cell */
        blk_set(b->table, 0, e5_one());
        b->valid = 1;
        return;
    }
    b->k->blocks_from_words(c->lens[0], c->axes[0], 1, b->table);
    b->valid = c->lens[0];
    for (unsigned t = 1; t < b->inner; t++) {
        grow_table(b, t, b->valid);
        b->valid += (size_t)(c->lens[t] - 1) << b->shift[t];
    }
}

int pml_add_weights(size_t C, const pml_claim *claims, uint32_t *weights) {
    size_t room = 0;
    u32 *table = NULL;
    for (size_t i = 0; i < C; i++) {
        const pml_claim *c = &claims[i];
        block b = {.k = &pml_active()->provers, .claim = c, .weights = weights, .rows = 1};
        measure(&b);
        if (!b.rows) continue;
        pml_job job = add_rows;
        size_t least = 1;
        if (c->rank == 1 && b.shift[1] >= 4) {
            job = add_stripes;
            least = c->lens[0] / STRIPE;
        } else {
            size_t words = blk_words((size_t)1 << b.shift[b.inner]);
            if (words > room) {
                free(table);
                table = pml_alloc(sizeof(u32) * words);
                room = words;
                if (!table) return PML_ERR_MEMORY;
            }
            b.table = table;
            build_table(&b);
            least = b.rows;
        }
        size_t total = (size_t)1 << b.shift[c->rank];
        b.pieces = pml_pieces(total / 2);
        if (b.pieces > least) b.pieces = least;
        if (b.pieces <= 1) {
            b.pieces = 1;
            job(&b, 0);
        } else {
            pml_parallel(job, &b, b.pieces);
        }
    }
    free(table);
    return 0;
}
