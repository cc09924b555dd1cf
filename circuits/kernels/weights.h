/* The weights of an opening. */
#ifndef PML_WEIGHTS_H
#define PML_WEIGHTS_H

#include "api.h"

#define PML_MAX_RANK 8u

/* 0, or PML_ERR_SIZE for a claim that does not lie in a tree of 2^m cells: blocks begin at
 * multiples of their size. */
int pml_claim_fits(const pml_claim *claim, unsigned m);

/* weights[i] += for every claim, whatever its tree, coef times the product of its axes at cell i;
 * in blocks and in Montgomery form. Blocks of 16 cells and more begin at multiples of 16.
 * 0 or PML_ERR_MEMORY. */
int pml_add_weights(size_t C, const pml_claim *claims, uint32_t *weights);

#endif
