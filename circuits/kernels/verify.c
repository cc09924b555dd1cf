/* What a verifier does with untrusted bytes: sumcheck rounds, LogUp-GKR, opened rows.
 *
 * Every message is measured against what is left before a byte of it is read. All challenges and
 * claims are in Montgomery form inside; elements of a proof enter it when they are read.
 */
#include <stdlib.h>

#include "hash.h"

enum { MAX_DEGREE = 8 };

/* The bytes of a proof, in order. `error` is 0 or the negative code of api.h. */
typedef struct {
    const u8 *data;
    size_t len, pos;
    u8 *state;
    long error;
} reader;

static int read_elements(reader *r, const char *tag, size_t count, e5 *out) {
    if (r->len - r->pos < 20 * count) {
        r->error = -1 - (long)r->len;
        return 0;
    }
    const u8 *p = r->data + r->pos;
    pml_absorb(r->state, tag, p, 20 * count);
    for (size_t i = 0; i < count; i++) {
        u32 words[5];
        long bad = pml_read_base(p + 20 * i, 5, words);
        if (bad) {
            r->error = -1 - (long)(r->pos + 20 * i + 4 * (size_t)(-1 - bad));
            return 0;
        }
        out[i] = e5_enter(words);
    }
    r->pos += 20 * count;
    return 1;
}

/* One round: coefficients c0, c2 .. cd; c1 follows from g(0) + g(1) = claim. */
static int round_verify(reader *r, const char *tag, unsigned degree, e5 *claim, e5 *challenge) {
    e5 c[MAX_DEGREE];
    if (!read_elements(r, tag, degree, c)) return 0;
    *challenge = pml_challenge_e5(r->state, tag);
    e5 c1 = e5_sub(e5_sub(*claim, c[0]), c[0]), value = e5_zero();
    for (unsigned i = 1; i < degree; i++) c1 = e5_sub(c1, c[i]);
    for (unsigned i = degree; i-- > 1;) value = e5_mul(e5_add(value, c[i]), *challenge);
    value = e5_mul(e5_add(value, c1), *challenge);
    *claim = e5_add(value, c[0]);
    return 1;
}

static int sizes_fit(unsigned rounds, size_t len) {
    return rounds <= 64 && len <= (size_t)1 << 30;
}

long pml_rounds_verify(const char *tag, unsigned n, unsigned degree, const u8 *data, size_t len,
                       u8 state[32], u32 claim[5], u32 *point) {
    if (degree < 1 || degree > MAX_DEGREE || !sizes_fit(n, len)) return PML_ERR_SIZE;
    reader r = {data, len, 0, state, 0};
    e5 value = e5_enter(claim);
    for (unsigned i = 0; i < n; i++) {
        e5 challenge;
        if (!round_verify(&r, tag, degree, &value, &challenge)) return r.error;
        e5_leave(point + 5 * i, challenge);
    }
    e5_leave(claim, value);
    return (long)r.pos;
}

/* ---- LogUp-GKR */
static e5 on_line(e5 a, e5 b, e5 r) { return e5_add(a, e5_mul(r, e5_sub(b, a))); }

/* ab + (1 - a)(1 - b) = 1 - a - b + 2ab */
static e5 eq_factor(e5 a, e5 b) {
    e5 both = e5_mul(a, b);
    return e5_add(e5_sub(e5_sub(e5_one(), a), b), e5_add(both, both));
}

/* The claims at one layer: values of p and q at the point z, `size` coordinates. */
typedef struct {
    e5 z[PML_MAX_LOG], p, q;
    unsigned size;
} layer;

/* Four values at the ends of a line to claims at a point on it. */
static void descend(reader *r, layer *at, const e5 v[4]) {
    e5 c = pml_challenge_e5(r->state, "logup line");
    at->z[at->size++] = c;
    at->p = on_line(v[0], v[1], c);
    at->q = on_line(v[2], v[3], c);
}

/* The sumcheck from the claims of layer k to four values of layer k + 1; 1 when it holds. */
static int layer_verify(reader *r, layer *at, int *holds) {
    e5 lambda = pml_challenge_e5(r->state, "logup lambda"), eq = e5_one(), v[4];
    e5 claim = e5_add(at->p, e5_mul(lambda, at->q));
    for (unsigned i = 0; i < at->size; i++) {
        e5 c;
        if (!round_verify(r, "logup round", 3, &claim, &c)) return 0;
        eq = e5_mul(eq, eq_factor(c, at->z[i]));
        at->z[i] = c;
    }
    if (!read_elements(r, "logup evals", 4, v)) return 0;
    e5 p = e5_add(e5_mul(v[0], v[3]), e5_mul(v[1], v[2])), q = e5_mul(v[2], v[3]);
    *holds = e5_equal(claim, e5_mul(eq, e5_add(p, e5_mul(lambda, q))));
    if (*holds) descend(r, at, v);
    return 1;
}

long pml_logup_verify(unsigned N, const u8 *data, size_t len, u8 state[32], u32 *z, u32 p[5],
                      u32 q[5], int *failed_check, unsigned *failed_layer) {
    *failed_check = 0;
    *failed_layer = 0;
    if (N < 1 || N > PML_MAX_LOG || !sizes_fit(N, len)) return PML_ERR_SIZE;
    reader r = {data, len, 0, state, 0};
    layer at = {.size = 0};
    e5 v[4];
    if (!read_elements(&r, "logup root", 4, v)) return r.error;
    e5 sum = e5_add(e5_mul(v[0], v[3]), e5_mul(v[1], v[2]));
    if (!e5_equal(sum, e5_zero()) || e5_equal(e5_mul(v[2], v[3]), e5_zero())) {
        *failed_check = 4;
        return (long)r.pos;
    }
    descend(&r, &at, v);
    while (at.size < N) {
        int holds = 0;
        const unsigned k = at.size;
        if (!layer_verify(&r, &at, &holds)) return r.error;
        if (!holds) {
            *failed_check = 5;
            *failed_layer = k;
            return (long)r.pos;
        }
    }
    for (unsigned i = 0; i < N; i++) e5_leave(z + 5 * i, at.z[i]);
    e5_leave(p, at.p);
    e5_leave(q, at.q);
    return (long)r.pos;
}

/* ---- opened rows */
static int rows_fit(size_t count, unsigned k) {
    return k <= 24 && count <= (size_t)1 << 27 && count << k <= (size_t)1 << 25;
}

int pml_rows_fold_base(size_t count, unsigned k, const u8 *rows, const u32 *eq, u32 *out) {
    if (!rows_fit(count, k)) return PML_ERR_SIZE;
    const size_t n = (size_t)1 << k;
    e5 *weight = pml_alloc(n * sizeof(e5));
    if (!weight) return PML_ERR_MEMORY;
    int result = 0;
    for (size_t j = 0; j < n; j++) weight[j] = e5_enter(eq + 5 * j);
    for (size_t i = 0; i < count && result == 0; i++) {
        u64 sum[5] = {0}; /* below 2^32 p after each step */
        for (size_t j = 0; j < n; j++) {
            u32 x = pml_load_le32(rows + 4 * (i * n + j));
            if (x >= PML_P) {
                result = -1 - (int)(4 * (i * n + j));
                break;
            }
            for (int c = 0; c < 5; c++) sum[c] = m_trim(sum[c] + (u64)x * weight[j].c[c]);
        }
        for (int c = 0; c < 5; c++) out[5 * i + (size_t)c] = m_reduce(sum[c]);
    }
    free(weight);
    return result;
}

int pml_rows_fold_ext(size_t count, unsigned k, const u8 *rows, const u32 *eq, u32 *out) {
    if (!rows_fit(count, k)) return PML_ERR_SIZE;
    const size_t n = (size_t)1 << k;
    e5 *weight = pml_alloc(n * sizeof(e5));
    if (!weight) return PML_ERR_MEMORY;
    int result = 0;
    for (size_t j = 0; j < n; j++) weight[j] = e5_enter(eq + 5 * j);
    for (size_t i = 0; i < count && result == 0; i++) {
        e5 sum = e5_zero(), x;
        for (size_t j = 0; j < n; j++) {
            long bad = pml_read_base(rows + 20 * (i * n + j), 5, x.c);
            if (bad) {
                result = -1 - (int)(20 * (i * n + j) + 4 * (size_t)(-1 - bad));
                break;
            }
            sum = e5_add(sum, e5_mul(x, weight[j])); /* canonical times Montgomery: canonical */
        }
        memcpy(out + 5 * i, sum.c, sizeof sum.c);
    }
    free(weight);
    return result;
}

int pml_rows_eval_ext(size_t count, unsigned k, const u8 *rows, unsigned log_n, const u32 *idx,
                      u32 *out) {
    if (!rows_fit(count, k) || log_n > PML_MAX_LOG) return PML_ERR_SIZE;
    const size_t n = (size_t)1 << k;
    const u32 omega = m_root(log_n);
    for (size_t i = 0; i < count; i++) {
        const u32 x = m_pow(omega, idx[i]);
        u32 power = PML_R1;
        e5 value = e5_zero(), c;
        for (size_t j = 0; j < n; j++) { /* forwards, to report the first bad element */
            long bad = pml_read_base(rows + 20 * (i * n + j), 5, c.c);
            if (bad) return -1 - (int)(20 * (i * n + j) + 4 * (size_t)(-1 - bad));
            value = e5_add(value, e5_scale(power, c));
            power = m_mul(power, x);
        }
        memcpy(out + 5 * i, value.c, sizeof value.c);
    }
    return 0;
}
