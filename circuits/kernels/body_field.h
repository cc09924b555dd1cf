/* Products of vectors, and the table of eq(z, .). */

static void bb_mul(size_t n, const u32 *a, const u32 *b, u32 *out) {
    const vec r2 = v_set1(PML_R2);
    size_t i = 0;
    for (; i + VW <= n; i += VW) v_store(out + i, v_mul(v_mul(v_load(a + i), r2), v_load(b + i)));
    for (; i < n; i++) out[i] = m_mul(m_enter(a[i]), b[i]);
}

static void e5_mul_many(size_t n, const u32 *a, const u32 *b, u32 *out) {
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        e5v x = e5v_load_aos(a + 5 * i), y = e5v_enter(e5v_load_aos(b + 5 * i));
        e5v_store_aos(out + 5 * i, e5v_mul(x, y));
    }
    for (; i < n; i++) {
        e5 r = e5_mul(e5_load(a + 5 * i), e5_enter(b + 5 * i));
        memcpy(out + 5 * i, r.c, sizeof r.c);
    }
}

static void eq_step(size_t from, size_t to, size_t size, e5 z, u32 *out) {
    const e5v zv = e5v_set1(z);
    const e5v_factor factor = e5v_prepare(zv);
    size_t i = from;
    for (; i + VW <= to; i += VW) {
        e5v low = e5v_load_aos(out + 5 * i), high = e5v_mul_by(low, &factor);
        e5v_store_aos(out + 5 * (size + i), high);
        e5v_store_aos(out + 5 * i, e5v_sub(low, high));
    }
    for (; i < to; i++) {
        e5 low = e5_load(out + 5 * i), high = e5_mul(low, z);
        memcpy(out + 5 * (size + i), high.c, sizeof high.c);
        low = e5_sub(low, high);
        memcpy(out + 5 * i, low.c, sizeof low.c);
    }
}
