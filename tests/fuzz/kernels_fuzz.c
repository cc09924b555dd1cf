/* Any bytes: every verifier kernel returns, and reads nothing but what it was given.
 *
 * For libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer; tools/fuzz_kernels.sh builds
 * and runs it. Inputs are copied to buffers of their exact length, so that a byte read beyond one
 * is seen. At each of the machine's levels the results must be the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../circuits/kernels/api.h"

enum { MAX_OUT = 1 << 16 };

typedef struct {
    const uint8_t *data;
    size_t left;
} source;

static unsigned number(source *in, unsigned below)
{
    unsigned value = 0;
    for (int i = 0; i < 4 && in->left; i++, in->left--)
        value = value << 8 | *in->data++;
    return below ? value % below : 0;
}

/* The rest of the input in a buffer of its own; NULL never, even for no bytes. */
static uint8_t *rest(source *in, size_t *size)
{
    uint8_t *copy = malloc(in->left ? in->left : 1);
    if (!copy)
        abort();
    memcpy(copy, in->data, in->left);
    *size = in->left;
    return copy;
}

static void require(int condition)
{
    if (!condition)
        abort();
}

typedef struct {
    long result;
    uint8_t out[MAX_OUT];
} outcome;

static void rounds(source in, outcome *found)
{
    unsigned n = number(&in, 20), degree = 1 + number(&in, 8);
    size_t size;
    uint8_t *data = rest(&in, &size);
    uint8_t state[32] = {1};
    uint32_t claim[5] = {1, 2, 3, 4, 5}, *point = calloc(n + 1, 20);
    found->result = pml_rounds_verify("fuzz round", n, degree, data, size, state, claim, point);
    require(found->result <= (long)size);
    if (found->result >= 0) {
        memcpy(found->out, state, 32);
        memcpy(found->out + 32, claim, 20);
        memcpy(found->out + 52, point, (size_t)n * 20);
    }
    free(point);
    free(data);
}

static void logup(source in, outcome *found)
{
    unsigned n = 1 + number(&in, 12);
    size_t size;
    uint8_t *data = rest(&in, &size);
    uint8_t state[32] = {2};
    uint32_t p[5] = {0}, q[5] = {0}, *z = calloc(n, 20);
    int check = 0;
    unsigned layer = 0;
    found->result = pml_logup_verify(n, data, size, state, z, p, q, &check, &layer);
    require(found->result <= (long)size);
    require(check == 0 || check == 4 || check == 5);
    found->out[0] = (uint8_t)check;
    found->out[1] = (uint8_t)layer;
    free(z);
    free(data);
}

static void merkle(source in, outcome *found)
{
    unsigned log_n = number(&in, 16), row = 4 * (1 + number(&in, 20));
    unsigned wanted = 1 + number(&in, 40), step = 1 + number(&in, 9);
    uint32_t idx[40];
    size_t count = 0;
    for (uint32_t at = number(&in, 9); count < wanted && at < 1u << log_n; at += step)
        idx[count++] = at;
    size_t size;
    uint8_t *data = rest(&in, &size);
    if (count && count * row <= size) {
        size_t path = size - count * row;
        uint8_t *rows = malloc(count * row), *siblings = malloc(path ? path : 1);
        memcpy(rows, data, count * row);
        memcpy(siblings, data + count * row, path);
        found->result = pml_merkle_verify("fuzz", log_n, idx, count, rows, row, siblings, path,
                                          found->out);
        require(found->result <= (long)path);
        if (found->result < 0)
            memset(found->out, 0, 32);
        free(rows);
        free(siblings);
    }
    free(data);
}

static void rows(source in, outcome *found)
{
    unsigned kind = number(&in, 3), k = number(&in, 6), log_n = number(&in, 28);
    size_t size, width = (kind ? 20u : 4u) << k;
    uint8_t *data = rest(&in, &size);
    size_t count = size / width;
    if (count > 64)
        count = 64;
    uint32_t *eq = malloc(((size_t)20 << k) + 4), *out = calloc(count + 1, 20), idx[64];
    for (size_t i = 0; i < (size_t)5 << k; i++)
        eq[i] = (uint32_t)(i * 2654435761u % 2013265921u);
    for (size_t i = 0; i < 64; i++)
        idx[i] = (uint32_t)(i * 40503u) & ((log_n ? 1u << log_n : 1u) - 1);
    uint8_t *exact = malloc(count * width ? count * width : 1);
    memcpy(exact, data, count * width);
    if (kind == 0)
        found->result = pml_rows_fold_base(count, k, exact, eq, out);
    else if (kind == 1)
        found->result = pml_rows_fold_ext(count, k, exact, eq, out);
    else
        found->result = pml_rows_eval_ext(count, k, exact, log_n, idx, out);
    if (found->result >= 0)
        memcpy(found->out, out, count * 20);
    free(exact);
    free(out);
    free(eq);
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static outcome first, again;
    if (size < 1)
        return 0;
    static void (*const run[])(source, outcome *) = {rounds, logup, merkle, rows};
    source in = {data + 1, size - 1};
    memset(&first, 0, sizeof first);
    pml_set_level(0);
    run[data[0] & 3](in, &first);
    for (int level = 1; level <= 2; level++) {
        if (pml_set_level(level) < 0)
            continue;
        memset(&again, 0, sizeof again);
        run[data[0] & 3](in, &again);
        require(again.result == first.result);
        require(!memcmp(again.out, first.out, sizeof again.out));
    }
    return 0;
}
