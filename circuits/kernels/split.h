/* Claims whose weights are products of weights of rows and of columns. */
#ifndef PML_SPLIT_H
#define PML_SPLIT_H

#include "internal.h"
#include "weights.h"

/* A band, and its weights as multiple of the first band's of its term. */
typedef struct {
    u32 band;
    e5 factor;
} pml_member;

/* A claim as a sum of terms a(row) b(column), a row being 2^k cells.
 *
 * An axis on both sides of the border is cut into bands, of one row's columns each. A band whose
 * weights are a multiple of the first one's, as they are for eq(z, .), joins it: together they are
 * one term. Every other band is a term of its own. A claim without such an axis is one term, with
 * a single band. Bands whose weights are zero belong to no term. */
typedef struct {
    const pml_claim *claim;
    unsigned low, high;      /* axes 0..low lie below the border, those from `high` on above it */
    unsigned band_log, part; /* logs: of bands; of weights that the axis between has in a band */
    pml_member *members;     /* by terms: `joined` of the first, then one each */
    size_t joined, terms, first_term;
    unsigned shift[PML_MAX_RANK + 1]; /* axis t has bits shift[t] .. shift[t + 1] of the cell */
} pml_split;

/* Fills in s for a claim that fits and is worth being split; else s->terms is 0, and *dense says
 * whether it has weights at all. s->members is to be freed. 0 or PML_ERR_MEMORY. */
int pml_split_claim(const pml_claim *claim, unsigned k, pml_split *s, int *dense);
/* The members of a term. */
const pml_member *pml_term_members(const pml_split *s, size_t term, size_t *count);
/* Rows that a term has weights on. */
u64 pml_term_rows(const pml_split *s, size_t term);

#endif
