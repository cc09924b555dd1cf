/* Public functions on vectors: they check sizes, choose the level and share the work out. */
#include <stdlib.h>

#include "internal.h"

#define GRAIN ((size_t)1 << 12) /* elements a thread should have at least */

int pml_bb_mul(size_t n, const u32 *a, const u32 *b, u32 *out) {
    pml_active()->bb_mul(n, a, b, out);
    return 0;
}

int pml_e5_mul(size_t n, const u32 *a, const u32 *b, u32 *out) {
    pml_active()->e5_mul(n, a, b, out);
    return 0;
}

/* ---- eq */
typedef struct {
    size_t size, pieces;
    e5 z;
    u32 *out;
} eq_ctx;

static void eq_job(void *ctx, size_t i) {
    eq_ctx *c = ctx;
    size_t from, to;
    pml_piece(c->size, 64, c->pieces, i, &from, &to);
    pml_active()->eq_step(from, to, c->size, c->z, c->out);
}

static size_t pieces_for(size_t work) {
    size_t n = work / GRAIN, most = 4 * (size_t)pml_threads();
    return n < 1 ? 1 : n < most ? n : most;
}

int pml_eq_table(unsigned m, const u32 *z, u32 *out) {
    if (m > PML_MAX_LOG) return PML_ERR_SIZE;
    memset(out, 0, 20);
    out[0] = 1;
    for (unsigned t = 0; t < m; t++) {
        eq_ctx ctx = {(size_t)1 << t, 1, e5_enter(z + 5 * t), out};
        ctx.pieces = pieces_for(ctx.size);
        pml_parallel(eq_job, &ctx, ctx.pieces);
    }
    return 0;
}

/* ---- contractions */
typedef struct {
    size_t A, N, C, a_pieces, c_pieces;
    const void *in;
    u32 *w, *out;
    enum { I8, I32, EXT } kind;
} contract_ctx;

static void contract_job(void *ctx, size_t i) {
    contract_ctx *c = ctx;
    const pml_table *t = pml_active();
    size_t a0, a1, c0, c1;
    pml_piece(c->A, 1, c->a_pieces, i / c->c_pieces, &a0, &a1);
    pml_piece(c->C, 16, c->c_pieces, i % c->c_pieces, &c0, &c1);
    if (c->kind == I8)
        t->contract_i8(a0, a1, c->N, c->C, c0, c1, c->in, c->w, c->out);
    else if (c->kind == I32)
        t->contract_i32(a0, a1, c->N, c->C, c0, c1, c->in, c->w, c->out);
    else
        t->contract_ext(a0, a1, c->N, c->C, c0, c1, c->in, c->w, c->out);
}

static int contract(contract_ctx *c, const u32 *w) {
    const size_t cap = (size_t)1 << 40, A = c->A, N = c->N, C = c->C;
    if (A > cap || N > cap || C > cap) return PML_ERR_SIZE;
    if (A == 0 || C == 0) return 0;
    if (A > cap / C || (N && A * C > cap / N)) return PML_ERR_SIZE;
    c->w = pml_alloc(N * 20);
    if (!c->w) return PML_ERR_MEMORY;
    for (size_t n = 0; n < N; n++)
        for (size_t k = 0; k < 5; k++)
            c->w[k * N + n] = c->kind == EXT ? m_enter(w[5 * n + k]) : w[5 * n + k];
    size_t pieces = pieces_for(A * C * (N + 1));
    c->a_pieces = pieces < A ? pieces : A;
    size_t rest = pieces / c->a_pieces, groups = (C + 15) / 16;
    c->c_pieces = rest < groups ? rest : groups;
    pml_parallel(contract_job, c, c->a_pieces * c->c_pieces);
    free(c->w);
    return 0;
}

int pml_contract_i32(size_t A, size_t N, size_t C, const i32 *in, const u32 *w, u32 *out) {
    contract_ctx c = {.A = A, .N = N, .C = C, .in = in, .out = out, .kind = I32};
    return contract(&c, w);
}

int pml_contract_i8(size_t A, size_t N, size_t C, const int8_t *in, const u32 *w, u32 *out) {
    contract_ctx c = {.A = A, .N = N, .C = C, .in = in, .out = out, .kind = I8};
    return contract(&c, w);
}

int pml_contract_ext(size_t A, size_t N, size_t C, const u32 *in, const u32 *w, u32 *out) {
    contract_ctx c = {.A = A, .N = N, .C = C, .in = in, .out = out, .kind = EXT};
    return contract(&c, w);
}

/* ---- codes */
#define SHARED_CODE ((size_t)1 << 15) /* from so many words on, another thread is worth waking */

/* w_n^(bits of i reversed), i < 2^(log - 1), Montgomery form: from 2^t entries the next 2^t ones
 * by a root of twice the order. */
static u32 *bit_reversed_roots(unsigned log) {
    u32 *r = pml_alloc(((size_t)1 << log) * sizeof(u32));
    if (!r) return NULL;
    r[0] = PML_R1;
    for (unsigned t = 0; t + 1 < log; t++) {
        const u32 w = m_root(t + 2);
        for (size_t i = 0; i < (size_t)1 << t; i++) r[((size_t)1 << t) + i] = m_mul(r[i], w);
    }
    return r;
}

static int encode_strips(pml_encoding *e) {
    const pml_table *t = pml_active();
    const size_t tasks = t->encode_tasks(e);
    if (e->columns << (e->log_rows + e->rate) >= SHARED_CODE)
        pml_parallel(t->encode_task, e, tasks);
    else
        for (size_t i = 0; i < tasks; i++) t->encode_task(e, i);
    for (size_t i = 0; i < PML_MAX_THREADS; i++) free(e->spare[i]);
    return e->failed ? PML_ERR_MEMORY : 0;
}

typedef struct {
    const pml_encoding *e;
    size_t tiles, pieces;
} join_ctx;

static void join_job(void *ctx, size_t i) {
    const join_ctx *c = ctx;
    size_t from, to;
    pml_piece(c->tiles, 1, c->pieces, i, &from, &to);
    pml_active()->encode_join(c->e, from, to);
}

/* Few columns: 2^group rows as one, then the join. */
static int encode_grouped(pml_encoding *e) {
    const unsigned g = e->group, log_n = e->log_rows + e->rate;
    const size_t size = e->columns << log_n;
    u32 *grouped = pml_alloc(size * sizeof(u32));
    if (!grouped) return PML_ERR_MEMORY;
    pml_encoding wide = *e;
    wide.log_rows -= g;
    wide.columns <<= g;
    wide.out = grouped;
    int error = encode_strips(&wide);
    if (!error) {
        e->grouped = grouped;
        join_ctx ctx = {e, (size_t)1 << (log_n - 2 * g), 1};
        if (size >= SHARED_CODE) ctx.pieces = pieces_for(size);
        if (ctx.pieces > ctx.tiles) ctx.pieces = ctx.tiles;
        pml_parallel(join_job, &ctx, ctx.pieces);
    }
    free(grouped);
    return error;
}

static int encode(unsigned m, unsigned k, unsigned rate, size_t words, const u32 *v, u32 *out) {
    if (m > PML_MAX_LOG || k > m || rate > PML_MAX_LOG || m - k + rate > PML_MAX_LOG)
        return PML_ERR_SIZE;
    const unsigned log_n = m - k + rate;
    pml_encoding e = {.log_rows = m - k, .rate = rate, .columns = words << k, .in = v, .out = out};
    e.group = pml_active()->encode_group(e.columns);
    /* A column must fill a row of the grouped code, and the rows of that a tile. */
    if (e.group > e.log_rows || 2 * e.group > log_n) e.group = 0;
    u32 *roots = bit_reversed_roots(log_n - e.group);
    if (!roots) return PML_ERR_MEMORY;
    e.roots = roots;
    const int error = e.group ? encode_grouped(&e) : encode_strips(&e);
    free(roots);
    return error;
}

int pml_encode(unsigned m, unsigned k, unsigned rate, const u32 *v, u32 *out) {
    return encode(m, k, rate, 1, v, out);
}

int pml_encode_ext(unsigned m, unsigned k, unsigned rate, const u32 *v, u32 *out) {
    return encode(m, k, rate, 5, v, out);
}
