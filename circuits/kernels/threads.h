/* A pool of threads for loops whose turns do not depend on each other. */
#ifndef PML_THREADS_H
#define PML_THREADS_H

#include <stddef.h>

typedef void (*pml_job)(void *ctx, size_t i);

/* Calls fn(ctx, i) for every i < n, each once, in any order and on any thread, and returns when
 * all are done. A call from inside a job, or while another thread uses the pool, runs all turns
 * on the caller. */
void pml_parallel(pml_job fn, void *ctx, size_t n);

unsigned pml_threads(void); /* how many run at once, at least 1 */

/* The piece i of `pieces` of 0..n, as [*from, *to); boundaries are multiples of `unit`. */
void pml_piece(size_t n, size_t unit, size_t pieces, size_t i, size_t *from, size_t *to);

#endif
