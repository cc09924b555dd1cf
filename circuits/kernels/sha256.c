/* SHA-256 as in FIPS 180-4, sections 4 to 6. Section numbers are in the code. */
#include "hash.h"

/* 4.2.2 */
const u32 pml_sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* 5.3.3 */
const u32 pml_sha_h0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

PML_INLINE u32 rotr(u32 x, unsigned n) { return x >> n | x << (32 - n); }
PML_INLINE u32 load_be32(const u8 *p) {
    return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | (u32)p[3];
}

static void portable_block(u32 h[8], const u8 *p) { /* 6.2.2 */
    u32 w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], x = h[7];
    for (int t = 0; t < 16; t++) w[t] = load_be32(p + 4 * t);
    for (int t = 16; t < 64; t++) {
        u32 s0 = rotr(w[t - 15], 7) ^ rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
        u32 s1 = rotr(w[t - 2], 17) ^ rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    for (int t = 0; t < 64; t++) {
        u32 s1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25), ch = (e & f) ^ (~e & g);
        u32 t1 = x + s1 + ch + pml_sha_k[t] + w[t];
        u32 s0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22), maj = (a & b) ^ (a & c) ^ (b & c);
        x = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + s0 + maj;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
    h[5] += f;
    h[6] += g;
    h[7] += x;
}

void pml_sha_blocks(u32 h[8], const u8 *p, size_t blocks) {
#if PML_X86
    if (pml_use_sha_ni()) {
        pml_sha_ni_blocks(h, p, blocks);
        return;
    }
#endif
    for (; blocks; blocks--, p += 64) portable_block(h, p);
}

void pml_sha_blocks2(u32 h0[8], u32 h1[8], const u8 *p0, const u8 *p1, size_t blocks) {
#if PML_X86
    if (pml_use_sha_ni()) {
        pml_sha_ni_blocks2(h0, h1, p0, p1, blocks);
        return;
    }
#endif
    for (size_t i = 0; i < blocks; i++) {
        portable_block(h0, p0 + 64 * i);
        portable_block(h1, p1 + 64 * i);
    }
}

void pml_sha_digest(const u32 h[8], u8 out[32]) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 4; j++) out[4 * i + j] = (u8)(h[i] >> (24 - 8 * j));
}

/* 5.1.1: a one bit, zeros, the length in bits; `used` bytes are in place, `total` were hashed.
 * Returns the number of blocks, 1 or 2; all other bytes of 128 must be zero. */
static size_t pad(u8 *block, size_t used, u64 total) {
    size_t blocks = used + 9 <= 64 ? 1 : 2;
    block[used] = 0x80;
    for (int i = 0; i < 8; i++) block[64 * blocks - 1 - (size_t)i] = (u8)(total << 3 >> 8 * i);
    return blocks;
}

void pml_sha_init(pml_sha *s) {
    memcpy(s->h, pml_sha_h0, sizeof s->h);
    s->length = 0;
}

void pml_sha_update(pml_sha *s, const void *data, size_t n) {
    const u8 *p = data;
    size_t used = s->length & 63;
    if (n == 0) return;
    s->length += n;
    if (used) {
        size_t take = 64 - used < n ? 64 - used : n;
        memcpy(s->block + used, p, take);
        p += take;
        n -= take;
        if (used + take < 64) return;
        pml_sha_blocks(s->h, s->block, 1);
    }
    pml_sha_blocks(s->h, p, n / 64);
    if (n & 63) memcpy(s->block, p + (n & ~(size_t)63), n & 63);
}

void pml_sha_final(pml_sha *s, u8 out[32]) {
    u8 last[128] = {0};
    size_t used = s->length & 63;
    if (used) memcpy(last, s->block, used);
    pml_sha_blocks(s->h, last, pad(last, used, s->length));
    pml_sha_digest(s->h, out);
}

void pml_sha256(const u8 *data, size_t n, u8 out[32]) {
    pml_sha s;
    pml_sha_init(&s);
    pml_sha_update(&s, data, n);
    pml_sha_final(&s, out);
}

/* One of the two streams of pml_sha_many: the blocks that hold a prefix or the padding. */
typedef struct {
    u32 h[8];
    u8 first[64], last[128];
} stream;

void pml_sha_many(const u8 *prefix, size_t prefix_len, const u8 *rows, size_t row_bytes,
                  size_t count, u8 *out) {
    /* Blocks of the prefix alone are the same for all rows. */
    u32 start[8];
    const size_t whole = prefix_len / 64, rest = prefix_len % 64;
    memcpy(start, pml_sha_h0, sizeof start);
    pml_sha_blocks(start, prefix, whole);
    prefix += 64 * whole;

    const size_t total = rest + row_bytes, used = total % 64;
    const size_t blocks = total / 64;      /* full ones; the first may begin with the prefix */
    const size_t lead = blocks ? 64 - rest : 0; /* bytes of a row in it */
    stream s[2];
    size_t last_blocks = 0;
    memset(s, 0, sizeof s);
    for (int i = 0; i < 2; i++) {
        memcpy(s[i].first, prefix, rest);
        if (!blocks) memcpy(s[i].last, prefix, rest);
        last_blocks = pad(s[i].last, used, (u64)(prefix_len + row_bytes));
    }
    const size_t kept = blocks ? 0 : rest; /* bytes of the prefix in the last block */
    const size_t end = used - kept;        /* bytes of a row in it */
    for (size_t i = 0; i < count; i += 2) {
        const u8 *row[2] = {rows + i * row_bytes, rows + (i + 1 < count ? i + 1 : i) * row_bytes};
        for (int j = 0; j < 2; j++) {
            memcpy(s[j].h, start, sizeof start);
            if (lead) memcpy(s[j].first + rest, row[j], lead);
            if (end) memcpy(s[j].last + kept, row[j] + row_bytes - end, end);
        }
        if (blocks) {
            pml_sha_blocks2(s[0].h, s[1].h, s[0].first, s[1].first, 1);
            pml_sha_blocks2(s[0].h, s[1].h, row[0] + lead, row[1] + lead, blocks - 1);
        }
        pml_sha_blocks2(s[0].h, s[1].h, s[0].last, s[1].last, last_blocks);
        pml_sha_digest(s[0].h, out + 32 * i);
        if (i + 1 < count) pml_sha_digest(s[1].h, out + 32 * (i + 1));
    }
}

void pml_sha_tagged(u8 tag, const u8 *rows, size_t blocks, size_t count, u8 *out) {
#if PML_X86
    if (pml_use_sha_ni()) {
        /* The two halves side by side, each in order, as caches like to be read. */
        const size_t half = count / 2, row = 64 * blocks;
        for (size_t i = 0; i < half; i++)
            pml_sha_ni_tagged2(tag, rows + i * row, rows + (half + i) * row, blocks, out + 32 * i,
                               out + 32 * (half + i));
        if (count & 1) {
            u8 spare[32];
            const u8 *last = rows + (count - 1) * row;
            pml_sha_ni_tagged2(tag, last, last, blocks, out + 32 * (count - 1), spare);
        }
        return;
    }
#endif
    pml_sha_many(&tag, 1, rows, 64 * blocks, count, out);
}
