/* The weights of an opening. */
#ifndef PML_WEIGHTS_H
#define PML_WEIGHTS_H

#include "api.h"

/* weights[t][i] += for every claim of tree t coef times the product of its axes at cell i, in
 * blocks and in Montgomery form. 0, or PML_ERR_SIZE for a claim that does not lie in its tree
 * (blocks begin at multiples of their size), or PML_ERR_MEMORY. */
int pml_add_weights(size_t T, const pml_tree *trees, size_t C, const pml_claim *claims,
                    uint32_t *const *weights);

#endif
