/* The Fiat-Shamir transcript: a chain of SHA-256 states. The first byte of each use differs, so no
 * two uses can be confused; every squeeze changes the state, so no two challenges are equal. */
#include "hash.h"

enum { ABSORB = 0x01, SQUEEZE = 0x02, STREAM = 0x03, GRIND = 0x04, SEED = 0x05, LEAF = 0x10 };

static void begin(pml_sha *s, u8 kind, const char *tag) {
    size_t n = strlen(tag);
    u8 head[2] = {kind, (u8)n};
    pml_sha_init(s);
    pml_sha_update(s, head, 2);
    pml_sha_update(s, tag, n);
}

void pml_absorb(u8 state[32], const char *tag, const u8 *data, size_t n) {
    pml_sha s;
    u8 length[8];
    pml_store_le64(length, n);
    begin(&s, ABSORB, tag);
    pml_sha_update(&s, state, 32);
    pml_sha_update(&s, length, 8);
    pml_sha_update(&s, data, n);
    pml_sha_final(&s, state);
}

static void squeeze(u8 state[32], const char *tag) {
    pml_sha s;
    begin(&s, SQUEEZE, tag);
    pml_sha_update(&s, state, 32);
    pml_sha_final(&s, state);
}

static void stream_words(const u8 state[32], u32 block, u32 words[8]) {
    pml_sha s;
    u8 kind = STREAM, number[4], out[32];
    pml_store_le32(number, block);
    pml_sha_init(&s);
    pml_sha_update(&s, &kind, 1);
    pml_sha_update(&s, state, 32);
    pml_sha_update(&s, number, 4);
    pml_sha_final(&s, out);
    for (int i = 0; i < 8; i++) words[i] = pml_load_le32(out + 4 * i);
}

void pml_challenge(u8 state[32], const char *tag, u32 out[5]) {
    u32 words[8];
    int have = 0;
    squeeze(state, tag);
    for (u32 block = 0; have < 5; block++) {
        stream_words(state, block, words);
        for (int i = 0; i < 8 && have < 5; i++) {
            u32 w = words[i] & 0x7FFFFFFF; /* uniform below p by rejection */
            if (w < PML_P) out[have++] = w;
        }
    }
}

e5 pml_challenge_e5(u8 state[32], const char *tag) {
    u32 canonical[5];
    pml_challenge(state, tag, canonical);
    return e5_enter(canonical);
}

void pml_indices(u8 state[32], const char *tag, size_t count, unsigned log_n, u32 *out) {
    const u32 mask = log_n >= 32 ? UINT32_MAX : ((u32)1 << log_n) - 1;
    u32 words[8];
    squeeze(state, tag);
    for (size_t i = 0; i < count; i++) {
        if (i % 8 == 0) stream_words(state, (u32)(i / 8), words);
        out[i] = words[i % 8] & mask;
    }
}

void pml_seed(u8 state[32], const char *tag, u8 out[32]) {
    pml_sha s;
    u8 kind = SEED;
    squeeze(state, tag);
    pml_sha_init(&s);
    pml_sha_update(&s, &kind, 1);
    pml_sha_update(&s, state, 32);
    pml_sha_final(&s, out);
}

size_t pml_leaf_prefix(const char *tag, u8 prefix[257]) {
    size_t n = strlen(tag);
    if (n > 255) n = 255;
    prefix[0] = LEAF;
    prefix[1] = (u8)n;
    memcpy(prefix + 2, tag, n);
    return n + 2;
}

/* ---- proof of work */
typedef struct {
    const u8 *seed;
    unsigned bits;
    u64 first; /* of this batch */
    size_t each;
    u64 best;
} grind_ctx;

static int good(const u32 h[8], unsigned bits) {
    u64 top = (u64)h[0] << 32 | h[1];
    return bits == 0 || top >> (64 - bits) == 0;
}

static void grind_job(void *ctx, size_t job) {
    grind_ctx *g = ctx;
    u8 block[2][64] = {{0}, {0}}; /* 41 bytes and their padding */
    for (int i = 0; i < 2; i++) {
        block[i][0] = GRIND;
        memcpy(block[i] + 1, g->seed, 32);
        block[i][41] = 0x80;
        block[i][62] = 328 >> 8;
        block[i][63] = 328 & 0xFF;
    }
    const u64 from = g->first + (u64)job * g->each;
    for (u64 nonce = from; nonce < from + g->each; nonce += 2) {
        u32 h[2][8];
        if (__atomic_load_n(&g->best, __ATOMIC_RELAXED) < nonce) return;
        for (u64 i = 0; i < 2; i++) {
            pml_store_le64(block[i] + 33, nonce + i);
            memcpy(h[i], pml_sha_h0, sizeof h[i]);
        }
        pml_sha_blocks2(h[0], h[1], block[0], block[1], 1);
        for (u64 i = 0; i < 2; i++) {
            if (!good(h[i], g->bits)) continue;
            u64 old = __atomic_load_n(&g->best, __ATOMIC_RELAXED);
            while (nonce + i < old &&
                   !__atomic_compare_exchange_n(&g->best, &old, nonce + i, 0, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED)) {
            }
            return;
        }
    }
}

int pml_grind(const u8 seed[32], unsigned bits, u64 *nonce) {
    if (bits > 40) return PML_ERR_SIZE;
    grind_ctx g = {seed, bits, 0, 1 << 10, UINT64_MAX};
    const size_t jobs = 8 * (size_t)pml_threads();
    while (g.best == UINT64_MAX) {
        if (g.first >> 56) return PML_ERR_SIZE;
        pml_parallel(grind_job, &g, jobs);
        g.first += jobs * g.each;
    }
    *nonce = g.best;
    return 0;
}
