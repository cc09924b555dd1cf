/* SHA-256 (FIPS 180-4) and the transcript, for use inside the library. */
#ifndef PML_HASH_H
#define PML_HASH_H

#include "internal.h"

typedef struct {
    u32 h[8];
    u8 block[64]; /* the bytes since the last full block */
    u64 length;   /* bytes so far */
} pml_sha;

void pml_sha_init(pml_sha *s);
void pml_sha_update(pml_sha *s, const void *data, size_t n);
void pml_sha_final(pml_sha *s, u8 out[32]);

/* out[i] = H(prefix || row i) for `count` rows of row_bytes, end to end; prefix_len < 64 or, with
 * longer tags, up to 257. Two rows are hashed at once where that is faster. */
void pml_sha_many(const u8 *prefix, size_t prefix_len, const u8 *rows, size_t row_bytes,
                  size_t count, u8 *out);

/* out[i] = H(tag || row i) for `count` rows of 64 * blocks bytes, 1 <= blocks < 2^20. */
void pml_sha_tagged(u8 tag, const u8 *rows, size_t blocks, size_t count, u8 *out);

/* Compression of whole blocks; the second one of two independent streams. */
void pml_sha_blocks(u32 h[8], const u8 *p, size_t blocks);
void pml_sha_blocks2(u32 h0[8], u32 h1[8], const u8 *p0, const u8 *p1, size_t blocks);
#if PML_X86
void pml_sha_ni_blocks(u32 h[8], const u8 *p, size_t blocks);
void pml_sha_ni_blocks2(u32 h0[8], u32 h1[8], const u8 *p0, const u8 *p1, size_t blocks);
void pml_sha_ni_tagged2(u8 tag, const u8 *p0, const u8 *p1, size_t blocks, u8 *out0, u8 *out1);
#endif

extern const u32 pml_sha_k[64], pml_sha_h0[8];
void pml_sha_digest(const u32 h[8], u8 out[32]);

/* The hash of a Merkle leaf's row begins with 0x10, the length of the tag, the tag. */
size_t pml_leaf_prefix(const char *tag, u8 prefix[257]);

/* The challenge in Montgomery form, for provers and verifiers in C. */
e5 pml_challenge_e5(u8 state[32], const char *tag);

#endif
