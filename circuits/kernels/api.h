/* Kernels of the native prover and verifier: the public interface of the shared library.
 *
 * Conventions. Base elements are canonical uint32 (below p = 2013265921); an element of the
 * extension F_p[x] / (x^5 - 2) is five of them, c0 first; arrays are dense in C order. Callers
 * guarantee that arrays have the sizes given here and that field elements are canonical, except
 * where a function is marked "untrusted": there only the length is trusted. Results depend neither
 * on the instruction set nor on the number of threads. The protocol is that of
 * proofml.zkml.sumcheck, the NumPy twin of the field proofml.circuits.field.
 *
 * Errors. 0 or a count on success; PML_ERR_* on sizes out of bounds or lack of memory. Functions
 * on untrusted bytes return -1 - offset for the first element that is not canonical, or
 * -1 - length when the bytes end too early; offsets stay below 2^30. Nothing aborts.
 */
#ifndef PML_API_H
#define PML_API_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define PML_API __attribute__((visibility("default")))
#else
#define PML_API
#endif

#define PML_ERR_SIZE (-0x7FFFFF01)
#define PML_ERR_MEMORY (-0x7FFFFF02)
#define PML_ERR_LEVEL (-0x7FFFFF03)
#define PML_ERR_SPACE (-0x7FFFFF04) /* out_cap is too small */

/* Changes with every incompatible change of this file; the Python side compares. */
#define PML_ABI 1
PML_API int pml_abi(void);

/* ---- machine */
PML_API int pml_level(void);         /* in use: 0 portable, 1 AVX2, 2 AVX-512 */
PML_API int pml_set_level(int level); /* PML_ERR_LEVEL when this machine lacks it */
PML_API int pml_set_threads(int n);   /* 1 to 64 */
PML_API int pml_get_threads(void);

/* ---- vectors */
PML_API int pml_bb_mul(size_t n, const uint32_t *a, const uint32_t *b, uint32_t *out);
PML_API int pml_e5_mul(size_t n, const uint32_t *a, const uint32_t *b, uint32_t *out);
/* out[i] = eq(z, i), i < 2^m; bit t of i belongs to z[t]. z: m x 5, out: 2^m x 5. */
PML_API int pml_eq_table(unsigned m, const uint32_t *z, uint32_t *out);
/* out[a][c] = sum_n in[a][n][c] w[n]; w: N x 5, out: A x C x 5. */
PML_API int pml_contract_i32(size_t A, size_t N, size_t C, const int32_t *in, const uint32_t *w,
                             uint32_t *out);
PML_API int pml_contract_i8(size_t A, size_t N, size_t C, const int8_t *in, const uint32_t *w,
                            uint32_t *out);
PML_API int pml_contract_ext(size_t A, size_t N, size_t C, const uint32_t *in, const uint32_t *w,
                             uint32_t *out);

/* ---- Reed-Solomon codes, interleaved
 * Column j < 2^k of v (2^m elements) is the polynomial sum_i v[i 2^k + j] X^i. Row a of out holds
 * its values at omega^a for all j, omega of order 2^(m - k + rate): 2^(m - k + rate) rows of 2^k.
 */
PML_API int pml_encode(unsigned m, unsigned k, unsigned rate, const uint32_t *v, uint32_t *out);
PML_API int pml_encode_ext(unsigned m, unsigned k, unsigned rate, const uint32_t *v, uint32_t *out);

/* ---- hashing */
PML_API void pml_sha256(const uint8_t *data, size_t n, uint8_t out[32]);
/* 2^log_n leaves of row_bytes bytes. nodes: 2^(log_n + 1) x 32; nodes[1] is the root, nodes[0]
 * is zero, leaf i at nodes[2^log_n + i]. tag: at most 255 bytes. */
PML_API int pml_merkle(const char *tag, const uint8_t *rows, size_t row_bytes, unsigned log_n,
                       uint8_t *nodes);
/* Siblings for the distinct ascending leaves idx, level by level from below, ascending, each that
 * is not itself known. out: room for count * log_n * 32. Returns the bytes written. */
PML_API long pml_merkle_open(const uint8_t *nodes, unsigned log_n, const uint32_t *idx,
                             size_t count, uint8_t *out);
/* Trees over chunks, of `count` pieces of data at once. Leaf i of a piece is SHA-256 of 0x00 and
 * its bytes from i * leaf on, leaf of them or, the last one, what is left (bytes >= 1); a node is
 * SHA-256 of 0x01 and its two children, or of its one child and 32 zero bytes. nodes: level by
 * level from the leaves to the root, n of n leaves, then (n + 1) / 2, and so on to 1. */
PML_API int pml_chunk_trees(size_t count, const uint8_t *const *data, const uint64_t *bytes,
                            size_t leaf, uint8_t *const *nodes);
/* The smallest nonce whose hash with the seed begins with `bits` (<= 40) zero bits. */
PML_API int pml_grind(const uint8_t seed[32], unsigned bits, uint64_t *nonce);

/* ---- transcript; tags are at most 255 bytes */
PML_API void pml_absorb(uint8_t state[32], const char *tag, const uint8_t *data, size_t n);
PML_API void pml_challenge(uint8_t state[32], const char *tag, uint32_t out[5]);
PML_API void pml_indices(uint8_t state[32], const char *tag, size_t count, unsigned log_n,
                         uint32_t *out);
PML_API void pml_seed(uint8_t state[32], const char *tag, uint8_t out[32]);

/* ---- provers (logup.c, product.c, open.c) */
/* LogUp-GKR from the leaves to the point z (N x 5) of the leaf claims. Leaf i < 2^N is 0/1 where
 * id[i] = 0, else num[i] / (alpha - (id[i] + beta c1[i] + beta^2 c2[i])). out receives "logup
 * root", then "logup round" and "logup evals" per layer: 80 + 30 N (N - 1) + 80 (N - 1) bytes.
 * 1 <= N <= 27. Returns the bytes written. */
PML_API long pml_logup_prove(unsigned N, const int32_t *id, const int32_t *c1, const int32_t *c2,
                             const int32_t *num, const uint32_t alpha[5], const uint32_t beta[5],
                             uint8_t state[32], uint8_t *out, uint32_t *z);
/* K rounds of sum_l coef[l] sum_i u_l[i] w_l[i]; vector l has 2^logs[l] elements, zero-padded to
 * 2^K at high indices; vectors lie end to end. out: 40 K bytes under `tag`; r: K x 5. */
PML_API long pml_product_prove(const char *tag, unsigned K, size_t L, const unsigned *logs,
                               const uint32_t *coef, const uint32_t *u, const uint32_t *w,
                               uint8_t state[32], uint8_t *out, uint32_t *r);

typedef struct {
    const char *tag;
    unsigned m;            /* 2^m cells */
    const uint32_t *v;     /* the cells */
    const uint32_t *code;  /* from pml_encode */
    const uint8_t *nodes;  /* from pml_merkle */
} pml_tree;

/* coef times the product of the axes' weights, on the block of cells at `offset`. Axis 0 has the
 * lowest bits; axis t has lens[t] weights and is padded to 2^logs[t]. rank 0 is one cell. */
typedef struct {
    unsigned tree;
    uint64_t offset;
    unsigned rank; /* <= 8 */
    const unsigned *logs;
    const unsigned *lens;
    const uint32_t *const *axes; /* axes[t]: lens[t] x 5 */
    const uint32_t *coef;        /* 5 */
} pml_claim;

/* The batched opening, from "open round" to the last path, for T trees (1 to 4) and selector
 * rounds S = ceil(log2 T). Returns the bytes written. */
PML_API long pml_open_prove(size_t T, const pml_tree *trees, size_t C, const pml_claim *claims,
                            unsigned mu, unsigned rate, size_t folds, const unsigned *fold,
                            size_t queries, unsigned grind_bits, uint8_t state[32], uint8_t *out,
                            size_t out_cap);
/* An upper bound for what pml_open_prove writes; 0 when the sizes are out of bounds. */
PML_API size_t pml_open_size_bound(size_t T, const unsigned *m, unsigned mu, unsigned rate,
                                   size_t folds, const unsigned *fold, size_t queries);

/* ---- verifier: data, rows and path are untrusted */
/* n rounds of degree 1 to 8: 20 degree bytes each. claim: in the sum, out the value at the point
 * (n x 5). Returns the bytes consumed. */
PML_API long pml_rounds_verify(const char *tag, unsigned n, unsigned degree, const uint8_t *data,
                               size_t len, uint8_t state[32], uint32_t claim[5], uint32_t *point);
/* LogUp-GKR, mirror of pml_logup_prove; p, q: the claims at the point z (N x 5). On a failed check
 * (4, 5) returns the bytes consumed so far and sets *failed_check, *failed_layer; else they are 0.
 */
PML_API long pml_logup_verify(unsigned N, const uint8_t *data, size_t len, uint8_t state[32],
                              uint32_t *z, uint32_t p[5], uint32_t q[5], int *failed_check,
                              unsigned *failed_layer);
/* The root that `count` rows (distinct ascending idx) and the siblings in path lead to. Returns
 * the bytes of path consumed, -1 - path_len when they do not suffice. */
PML_API long pml_merkle_verify(const char *tag, unsigned log_n, const uint32_t *idx, size_t count,
                               const uint8_t *rows, size_t row_bytes, const uint8_t *path,
                               size_t path_len, uint8_t root_out[32]);
/* out[i] = sum_j eq[j] row_i[j], rows of 2^k base elements, or of 2^k elements of F. */
PML_API int pml_rows_fold_base(size_t count, unsigned k, const uint8_t *rows, const uint32_t *eq,
                               uint32_t *out);
PML_API int pml_rows_fold_ext(size_t count, unsigned k, const uint8_t *rows, const uint32_t *eq,
                              uint32_t *out);
/* out[i] = sum_j x^j row_i[j], x = omega^idx[i], omega of order 2^log_n. */
PML_API int pml_rows_eval_ext(size_t count, unsigned k, const uint8_t *rows, unsigned log_n,
                              const uint32_t *idx, uint32_t *out);

#endif
