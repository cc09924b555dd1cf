/* Contractions out[a][c] = sum_n in[a][n][c] w[n] of small integers, or elements of F, with
 * weights in F. `w` is planar with stride N; canonical for integers, Montgomery form for F.
 *
 * Integers are not reduced before they are multiplied: products go to sums of 64 bits with a sign,
 * which are reduced before they can overflow. Lanes run along c, or along n where C is 1.
 */

/* |in| <= 2^7 and w < 2^31: 2^24 products stay below 2^62. */
#define I8_SUMMANDS ((size_t)1 << 24)
/* Halves of 16 bits: 2^14 products stay below 2^61. */
#define I32_SUMMANDS ((size_t)1 << 14)

typedef struct {
    wide s[5];
} wide5;

PML_INLINE wide5 wide5_zero(void) {
    wide5 r;
    for (int k = 0; k < 5; k++) r.s[k] = w_zero();
    return r;
}

/* sums[lane][k] += factor * s[k][lane] mod p, canonical */
static void wide5_flush(u32 (*sums)[5], const wide5 *s, u32 factor) {
    i64 lane[VW];
    for (int k = 0; k < 5; k++) {
        w_store(lane, s->s[k]);
        for (int i = 0; i < VW; i++) {
            u64 add = (u64)m_from_i64(lane[i]) * factor;
            sums[i][k] = (u32)((sums[i][k] + add) % PML_P);
        }
    }
}

PML_INLINE vec load_i8_part(const int8_t *p, size_t n) {
    int8_t buffer[VW] = {0};
    if (n >= VW) return v_load_i8(p);
    for (size_t i = 0; i < n; i++) buffer[i] = p[i];
    return v_load_i8(buffer);
}

PML_INLINE void mac5(wide5 *s, split x, const split w[5]) {
    for (int k = 0; k < 5; k++) s->s[k] = w_mac_signed(s->s[k], x, w[k]);
}

/* The weights of one n in all lanes, or of the next n's in one lane each. */
PML_INLINE void weights_at(split w[5], const u32 *planes, size_t N, size_t n) {
    for (size_t k = 0; k < 5; k++) w[k] = v_split(v_set1(planes[k * N + n]));
}
PML_INLINE void weights_from(split w[5], const u32 *planes, size_t N, size_t n, size_t count) {
    for (size_t k = 0; k < 5; k++)
        w[k] = v_split(count >= VW ? v_load(planes + k * N + n)
                                   : v_load_part(planes + k * N + n, count));
}

/* All lanes of `sums` to one element. */
static void join_lanes(u32 (*sums)[5], u32 *out) {
    for (int k = 0; k < 5; k++) {
        u64 s = 0;
        for (int i = 0; i < VW; i++) s += sums[i][k];
        out[k] = (u32)(s % PML_P);
    }
}

static void contract_i8(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                        const int8_t *in, const u32 *w, u32 *out) {
    split f[5];
    for (size_t a = a0; a < a1; a++) {
        const int8_t *row = in + a * N * C;
        if (C == 1) {
            u32 sums[VW][5] = {{0}};
            for (size_t n = 0; n < N;) {
                wide5 s = wide5_zero();
                size_t stop = N - n > I8_SUMMANDS ? n + I8_SUMMANDS : N;
                for (; n < stop; n += VW) {
                    weights_from(f, w, N, n, stop - n);
                    mac5(&s, v_split(load_i8_part(row + n, stop - n)), f);
                }
                n = stop;
                wide5_flush(sums, &s, 1);
            }
            join_lanes(sums, out + 5 * a);
            continue;
        }
        for (size_t c = c0; c < c1; c += VW) {
            u32 sums[VW][5] = {{0}};
            size_t lanes = c1 - c < VW ? c1 - c : VW;
            for (size_t n = 0; n < N;) {
                wide5 s = wide5_zero();
                size_t stop = N - n > I8_SUMMANDS ? n + I8_SUMMANDS : N;
                for (; n < stop; n++) {
                    weights_at(f, w, N, n);
                    mac5(&s, v_split(load_i8_part(row + n * C + c, lanes)), f);
                }
                wide5_flush(sums, &s, 1);
            }
            memcpy(out + 5 * (a * C + c), sums, lanes * sizeof sums[0]);
        }
    }
}

PML_INLINE void mac5_halves(wide5 *low, wide5 *high, vec x, const split w[5]) {
    mac5(low, v_split(v_low16(x)), w);
    mac5(high, v_split(v_high16(x)), w);
}

PML_INLINE vec load_i32_part(const i32 *p, size_t n) {
    const u32 *q = (const u32 *)(const void *)p;
    return n >= VW ? v_load(q) : v_load_part(q, n);
}

static void contract_i32(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                         const i32 *in, const u32 *w, u32 *out) {
    split f[5];
    for (size_t a = a0; a < a1; a++) {
        const i32 *row = in + a * N * C;
        if (C == 1) {
            u32 sums[VW][5] = {{0}};
            for (size_t n = 0; n < N;) {
                wide5 low = wide5_zero(), high = wide5_zero();
                size_t stop = N - n > I32_SUMMANDS ? n + I32_SUMMANDS : N;
                for (; n < stop; n += VW) {
                    weights_from(f, w, N, n, stop - n);
                    mac5_halves(&low, &high, load_i32_part(row + n, stop - n), f);
                }
                n = stop;
                wide5_flush(sums, &low, 1);
                wide5_flush(sums, &high, 1u << 16);
            }
            join_lanes(sums, out + 5 * a);
            continue;
        }
        for (size_t c = c0; c < c1; c += VW) {
            u32 sums[VW][5] = {{0}};
            size_t lanes = c1 - c < VW ? c1 - c : VW;
            for (size_t n = 0; n < N;) {
                wide5 low = wide5_zero(), high = wide5_zero();
                size_t stop = N - n > I32_SUMMANDS ? n + I32_SUMMANDS : N;
                for (; n < stop; n++) {
                    weights_at(f, w, N, n);
                    mac5_halves(&low, &high, load_i32_part(row + n * C + c, lanes), f);
                }
                wide5_flush(sums, &low, 1);
                wide5_flush(sums, &high, 1u << 16);
            }
            memcpy(out + 5 * (a * C + c), sums, lanes * sizeof sums[0]);
        }
    }
}

static void contract_ext(size_t a0, size_t a1, size_t N, size_t C, size_t c0, size_t c1,
                         const u32 *in, const u32 *w, u32 *out) {
    for (size_t a = a0; a < a1; a++) {
        const u32 *row = in + 5 * a * N * C;
        if (C == 1) {
            e5v s = e5v_zero();
            size_t n = 0;
            for (; n + VW <= N; n += VW)
                s = e5v_add(s, e5v_mul(e5v_load_aos(row + 5 * n), e5v_load(w, N, n)));
            e5 sum = e5v_sum(s);
            for (; n < N; n++)
                sum = e5_add(sum, e5_mul(e5_load(row + 5 * n), e5_load_planar(w, N, n)));
            memcpy(out + 5 * a, sum.c, sizeof sum.c);
            continue;
        }
        size_t c = c0;
        for (; c + VW <= c1; c += VW) {
            e5v s = e5v_zero();
            for (size_t n = 0; n < N; n++) {
                e5v f = e5v_set1(e5_load_planar(w, N, n));
                s = e5v_add(s, e5v_mul(e5v_load_aos(row + 5 * (n * C + c)), f));
            }
            e5v_store_aos(out + 5 * (a * C + c), s);
        }
        for (; c < c1; c++) {
            e5 s = e5_zero();
            for (size_t n = 0; n < N; n++)
                s = e5_add(s, e5_mul(e5_load(row + 5 * (n * C + c)), e5_load_planar(w, N, n)));
            memcpy(out + 5 * (a * C + c), s.c, sizeof s.c);
        }
    }
}
