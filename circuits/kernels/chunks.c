/* Merkle trees over chunks of bytes, any number of them; proofml.optimistic.merkle is the twin. */
#include <stdlib.h>

#include "hash.h"

#define BELOW 7u                  /* a task builds one subtree of 2^BELOW leaves */
#define SHARED ((size_t)1 << 17)  /* bytes that are worth waking another thread */
#define MAX_LEAF ((size_t)1 << 20)
#define MAX_BYTES ((u64)1 << 40)

static const u8 LEAF = 0x00, NODE = 0x01;

typedef struct {
    const u8 *data;
    size_t bytes, leaves;
    size_t first; /* task */
    u8 *nodes;
} tree;

typedef struct {
    const tree *trees;
    size_t count, leaf;
} forest;

/* Leaves from..to, as many as there are. */
static void leaves(const tree *t, size_t leaf, size_t from, size_t to) {
    const size_t whole = t->bytes / leaf, end = to < whole ? to : whole;
    const u8 *rows = t->data + from * leaf;
    u8 *out = t->nodes + 32 * from;
    if (end > from) {
        if (leaf % 64 == 0)
            pml_sha_tagged(LEAF, rows, leaf / 64, end - from, out);
        else
            pml_sha_many(&LEAF, 1, rows, leaf, end - from, out);
    }
    if (to > whole) /* the last one is shorter */
        pml_sha_many(&LEAF, 1, t->data + whole * leaf, t->bytes - whole * leaf, 1,
                     t->nodes + 32 * whole);
}

/* Parents of the nodes from..to of a level that has `size` nodes; `from` is even, and `to` is even
 * or the level's end. */
static void parents(const u8 *level, size_t from, size_t to, u8 *above) {
    const size_t pairs = (to - from) / 2;
    pml_sha_tagged(NODE, level + 32 * from, 1, pairs, above + 32 * (from / 2));
    if ((to - from) & 1) {
        u8 pair[64] = {0};
        memcpy(pair, level + 32 * (to - 1), 32);
        pml_sha_tagged(NODE, pair, 1, 1, above + 32 * (to / 2));
    }
}

/* All levels of a piece of the tree: the nodes above leaves from..to, at most `most` levels up. */
static void climb(u8 *level, size_t size, size_t from, size_t to, unsigned most) {
    for (unsigned i = 0; i < most && size > 1; i++) {
        u8 *above = level + 32 * size;
        parents(level, from, to, above);
        level = above;
        size = (size + 1) / 2;
        from /= 2;
        to = (to + 1) / 2;
    }
}

static void subtree(void *ctx, size_t task) {
    const forest *f = ctx;
    size_t low = 0, high = f->count; /* the last tree whose first task is not beyond this one */
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (f->trees[middle].first <= task)
            low = middle;
        else
            high = middle;
    }
    const tree *t = f->trees + low;
    const size_t from = (task - t->first) << BELOW, rest = t->leaves - from;
    const size_t to = from + (rest < (size_t)1 << BELOW ? rest : (size_t)1 << BELOW);
    leaves(t, f->leaf, from, to);
    climb(t->nodes, t->leaves, from, to, BELOW);
}

/* What lies above the subtrees. */
static void top(const tree *t) {
    u8 *level = t->nodes;
    size_t size = t->leaves;
    for (unsigned i = 0; i < BELOW && size > 1; i++) {
        level += 32 * size;
        size = (size + 1) / 2;
    }
    climb(level, size, 0, size, 64);
}

int pml_chunk_trees(size_t count, const u8 *const *data, const u64 *bytes, size_t leaf,
                    u8 *const *nodes) {
    if (leaf < 1 || leaf > MAX_LEAF || count < 1 || count > (size_t)1 << 24) return PML_ERR_SIZE;
    tree *trees = pml_alloc(count * sizeof(tree));
    if (!trees) return PML_ERR_MEMORY;
    size_t tasks = 0, total = 0;
    int result = PML_ERR_SIZE;
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] < 1 || bytes[i] > MAX_BYTES) goto end;
        const size_t n = (size_t)((bytes[i] + leaf - 1) / leaf);
        trees[i] = (tree){data[i], (size_t)bytes[i], n, tasks, nodes[i]};
        tasks += (n + ((size_t)1 << BELOW) - 1) >> BELOW;
        total += (size_t)bytes[i];
    }
    forest f = {trees, count, leaf};
    if (total >= SHARED)
        pml_parallel(subtree, &f, tasks);
    else
        for (size_t i = 0; i < tasks; i++) subtree(&f, i);
    for (size_t i = 0; i < count; i++) top(trees + i);
    result = 0;
end:
    free(trees);
    return result;
}
