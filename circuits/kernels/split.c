/* Which claims of an opening have weights that are products of rows and columns; see columns.c. */
#include "split.h"

#include <stdlib.h>

#include "blocks.h"

static int is_zero(const u32 *words, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (words[i]) return 0;
    return 1;
}

/* Whether b, of n words at most, is a multiple of the vector a of n words; `room`: two vectors. */
static int is_multiple(const pml_provers *k, const u32 *a, const u32 *b, size_t b_len, e5 inverse,
                       size_t pivot, u32 *room, size_t size, e5 *factor) {
    if (b_len <= pivot) return 0;
    *factor = e5_mul(e5_enter(b + 5 * pivot), inverse);
    e5 last = e5_mul(*factor, blk_get(a, b_len - 1)); /* most that are none differ here */
    if (memcmp(last.c, b + 5 * (b_len - 1), sizeof last.c) != 0) return 0;
    u32 *given = room, *product = room + blk_words(size);
    memset(given, 0, sizeof(u32) * blk_words(size));
    k->blocks_from_words(b_len, b, 0, given);
    k->scale(blk_room(size), a, *factor, product);
    return memcmp(given, product, sizeof(u32) * blk_words(size)) == 0;
}

/* Bands that are not zero, those of the first term first. */
static int find_members(const pml_provers *k, pml_split *s) {
    const u32 *axis = NULL;
    size_t length = 1, size = (size_t)1 << s->part;
    if (s->band_log) {
        axis = s->claim->axes[s->low];
        length = s->claim->lens[s->low];
    }
    const size_t bands = (length + size - 1) / size;
    s->members = pml_alloc(bands * sizeof *s->members);
    if (!s->members) return PML_ERR_MEMORY;
    if (!axis) {
        s->members[0] = (pml_member){0, e5_one()};
        s->joined = s->terms = 1;
        return 0;
    }
    u32 *first = pml_alloc(3 * sizeof(u32) * blk_words(size));
    if (!first) return PML_ERR_MEMORY;
    size_t alone = 0, pivot = 0;
    e5 inverse = e5_zero();
    for (size_t i = 0; i < bands; i++) {
        const u32 *band = axis + 5 * i * size;
        size_t n = length - i * size < size ? length - i * size : size;
        pml_member m = {(u32)i, e5_one()};
        if (is_zero(band, 5 * n)) continue;
        if (!s->joined) {
            memset(first, 0, sizeof(u32) * blk_words(size));
            k->blocks_from_words(n, band, 0, first);
            while (is_zero(band + 5 * pivot, 5)) pivot++;
            inverse = pml_invert(e5_enter(band + 5 * pivot));
            s->members[s->joined++] = m;
        } else if (is_multiple(k, first, band, n, inverse, pivot, first + blk_words(size),
                               size, &m.factor)) {
            s->members[s->joined++] = m;
        } else {
            m.factor = e5_one();
            s->members[bands - ++alone] = m;
        }
    }
    free(first);
    memmove(s->members + s->joined, s->members + bands - alone, alone * sizeof(pml_member));
    s->terms = s->joined ? 1 + alone : 0;
    return 0;
}

const pml_member *pml_term_members(const pml_split *s, size_t term, size_t *count) {
    *count = term ? 1 : s->joined;
    return s->members + (term ? s->joined + term - 1 : 0);
}

u64 pml_term_rows(const pml_split *s, size_t term) {
    size_t count;
    pml_term_members(s, term, &count);
    u64 rows = count;
    for (unsigned t = s->high; t < s->claim->rank; t++) rows *= s->claim->lens[t];
    return rows;
}

int pml_split_claim(const pml_claim *claim, unsigned k, pml_split *s, int *dense) {
    *s = (pml_split){.claim = claim};
    *dense = 0;
    for (unsigned t = 0; t < claim->rank; t++) {
        if (!claim->lens[t]) return 0;
        s->shift[t + 1] = s->shift[t] + claim->logs[t];
    }
    *dense = 1;
    if (!k || s->shift[claim->rank] <= k) return 0;
    while (s->shift[s->low + 1] <= k && s->shift[s->low] < k) s->low++;
    s->high = s->low;
    if (s->shift[s->low] < k) {
        s->high++;
        s->part = k - s->shift[s->low];
        s->band_log = claim->logs[s->low] - s->part;
    }
    u64 above = 1;
    for (unsigned t = s->high; t < claim->rank; t++) above *= claim->lens[t];
    u64 bands = s->band_log ? ((claim->lens[s->low] - 1) >> s->part) + 1 : 1;
    int error = find_members(&pml_active()->provers, s);
    *dense = 2 * s->terms > above * bands; /* nearly as many rows in the terms as in the block */
    if (error || *dense || !s->terms) {
        free(s->members);
        s->members = NULL;
        s->terms = 0;
    }
    return error;
}
