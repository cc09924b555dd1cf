/* What the C files of this folder share; nothing here is visible outside the library.
 *
 * Kernels that depend on the instruction set are entries of `pml_table`. portable.c, avx2.c and
 * avx512.c each fill one table from the same bodies (bodies.h); dispatch.c chooses one.
 */
#ifndef PML_INTERNAL_H
#define PML_INTERNAL_H

#include "api.h"
#include "prove.h"
#include "scalar.h"
#include "threads.h"

#ifndef PML_X86 /* -DPML_X86=0 builds what other machines get */
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define PML_X86 1
#else
#define PML_X86 0
#endif
#endif

#define PML_MAX_LOG 27u
#define PML_MAX_THREADS 64

/* One Reed-Solomon encoding; see body_ntt.h. */
typedef struct {
    unsigned log_rows; /* 2^log_rows coefficients a column */
    unsigned rate;     /* 2^rate times as many values */
    size_t columns;
    const u32 *in;
    u32 *out;
    const u32 *roots; /* 2^(log_rows + rate) / 2 of them, bit-reversed, Montgomery form */
    unsigned group;   /* of the join: 2^group rows made one */
    const u32 *grouped;
    int failed; /* set when a task finds no memory */
    /* Work space that no task uses now: fresh pages cost as much as the work done in them. */
    void *spare[PML_MAX_THREADS];
} pml_encoding;

typedef struct {
    unsigned lanes;
    /* body_field.h */
    void (*bb_mul)(size_t n, const u32 *a, const u32 *b, u32 *out);
    void (*e5_mul)(size_t n, const u32 *a, const u32 *b, u32 *out);
    /* one more variable: out[size + i] = out[i] z, out[i] -= that; z in Montgomery form */
    void (*eq_step)(size_t from, size_t to, size_t size, e5 z, u32 *out);
    /* body_contract.h: rows a0..a1 of a, columns c0..c1 of c; weights planar, stride N */
    void (*contract_i32)(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                         const i32 *in, const u32 *w, u32 *out);
    void (*contract_i8)(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                        const int8_t *in, const u32 *w, u32 *out);
    void (*contract_ext)(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                         const u32 *in, const u32 *w, u32 *out);
    /* body_ntt.h */
    size_t (*encode_tasks)(const pml_encoding *);
    void (*encode_task)(void *encoding, size_t task);
    unsigned (*encode_group)(size_t columns);
    void (*encode_join)(const pml_encoding *, size_t from, size_t to);
    pml_provers provers; /* prove.h */
} pml_table;

extern const pml_table pml_table_portable;
#if PML_X86
extern const pml_table pml_table_avx2, pml_table_avx512;
#endif

const pml_table *pml_active(void); /* of the level in use */
int pml_use_sha_ni(void);

/* Bits and bytes */
PML_INLINE u32 pml_load_le32(const u8 *p) {
    return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}
PML_INLINE void pml_store_le32(u8 *p, u32 v) {
    for (int i = 0; i < 4; i++) p[i] = (u8)(v >> 8 * i);
}
PML_INLINE void pml_store_le64(u8 *p, u64 v) {
    for (int i = 0; i < 8; i++) p[i] = (u8)(v >> 8 * i);
}
PML_INLINE void pml_put_e5(u8 *p, e5 canonical) { /* 20 bytes */
    for (int k = 0; k < 5; k++) pml_store_le32(p + 4 * k, canonical.c[k]);
}

/* Reads `count` canonical base elements. 0, or -1 - (index of the first that is not below p). */
long pml_read_base(const u8 *p, size_t count, u32 *out);

/* n bytes (0 allowed), 64-byte aligned; NULL when there is no memory. Freed by free(). */
void *pml_alloc(size_t n);

#endif
