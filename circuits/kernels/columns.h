/* A tree in the rounds of an opening over its columns. */
#ifndef PML_COLUMNS_H
#define PML_COLUMNS_H

#include "split.h"

/* See columns.c. A row is 2^k cells, k the number of rounds. */
typedef struct {
    const pml_provers *k;
    const pml_tree *tree;
    unsigned columns, unit; /* logs: of cells in a row; in a unit of what is dense */
    pml_split *splits;      /* claims whose weights are products */
    size_t split_count, terms;
    u32 *slot; /* unit of the tree -> its place in `dense` */
    size_t units, slots;
    int whole; /* `dense` is the whole tree */
    pml_pair dense, joint;
    u32 *memory[4];
    e5 r[PML_MAX_LOG];
    unsigned bound;
} pml_columns;

/* Takes the claims on tree number `number`. 0 or PML_ERR_*; to be freed in any case. */
int pml_columns_begin(pml_columns *c, const pml_tree *tree, unsigned mu, size_t C,
                      const pml_claim *claims, unsigned number);
/* The sum of all cells times their weights. */
e5 pml_columns_inner(const pml_columns *c);
/* As pml_pair_sums and pml_pair_bind. */
void pml_columns_sums(const pml_columns *c, e5 sums[2]);
void pml_columns_bind(pml_columns *c, e5 r, e5 *sums);
/* After k rounds: the vector of 2^mu values and its weights times `factor`; memory of c. */
int pml_columns_end(pml_columns *c, e5 factor, u32 **values, u32 **weights);
void pml_columns_free(pml_columns *c);

#endif
