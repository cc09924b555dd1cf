/* Merkle trees over rows of bytes, openings of several leaves at once, and their check. */
#include <stdlib.h>

#include "hash.h"

#define SHARED ((size_t)1 << 17) /* bytes of leaves that are worth waking another thread */

static const u8 NODE = 0x11;

/* Parents of 2 count nodes. */
static void parents(const u8 *children, size_t count, u8 *out) {
    pml_sha_many(&NODE, 1, children, 64, count, out);
}

typedef struct {
    const u8 *prefix, *rows;
    size_t prefix_len, row_bytes;
    unsigned log_n, below; /* a task builds one subtree with 2^below leaves */
    u8 *nodes;
} tree_ctx;

static void subtree(void *ctx, size_t task) {
    const tree_ctx *c = ctx;
    size_t count = (size_t)1 << c->below, at = ((size_t)1 << c->log_n) + task * count;
    pml_sha_many(c->prefix, c->prefix_len, c->rows + task * count * c->row_bytes, c->row_bytes,
                 count, c->nodes + 32 * at);
    for (; count > 1; count /= 2, at /= 2)
        parents(c->nodes + 32 * at, count / 2, c->nodes + 32 * (at / 2));
}

int pml_merkle(const char *tag, const u8 *rows, size_t row_bytes, unsigned log_n, u8 *nodes) {
    u8 prefix[257];
    if (log_n > PML_MAX_LOG || row_bytes > (size_t)1 << 32 || strlen(tag) > 255)
        return PML_ERR_SIZE;
    const unsigned below = log_n < 8 ? log_n : 8;
    tree_ctx c = {prefix, rows, pml_leaf_prefix(tag, prefix), row_bytes, log_n, below, nodes};
    memset(nodes, 0, 32);
    const size_t tasks = (size_t)1 << (log_n - below);
    if (row_bytes << log_n >= SHARED)
        pml_parallel(subtree, &c, tasks);
    else
        for (size_t i = 0; i < tasks; i++) subtree(&c, i);
    for (size_t at = (size_t)1 << (log_n - below); at > 1; at /= 2)
        parents(nodes + 32 * at, at / 2, nodes + 32 * (at / 2));
    return 0;
}

static int ascending(const u32 *idx, size_t count, unsigned log_n) {
    if (count == 0 || log_n > PML_MAX_LOG || idx[count - 1] >> log_n) return 0;
    for (size_t i = 1; i < count; i++)
        if (idx[i - 1] >= idx[i]) return 0;
    return 1;
}

long pml_merkle_open(const u8 *nodes, unsigned log_n, const u32 *idx, size_t count, u8 *out) {
    if (!ascending(idx, count, log_n)) return PML_ERR_SIZE;
    u32 *known = pml_alloc(count * sizeof(u32));
    if (!known) return PML_ERR_MEMORY;
    memcpy(known, idx, count * sizeof(u32));
    u8 *to = out;
    for (unsigned level = log_n; level > 0; level--) {
        size_t above = 0;
        for (size_t i = 0; i < count;) {
            u32 at = known[i];
            if (!(at & 1) && i + 1 < count && known[i + 1] == at + 1) {
                i += 2;
            } else {
                memcpy(to, nodes + 32 * (((size_t)1 << level) + (at ^ 1)), 32);
                to += 32;
                i += 1;
            }
            known[above++] = at >> 1;
        }
        count = above;
    }
    free(known);
    return (long)(to - out);
}

long pml_merkle_verify(const char *tag, unsigned log_n, const u32 *idx, size_t count,
                       const u8 *rows, size_t row_bytes, const u8 *path, size_t path_len,
                       u8 root_out[32]) {
    u8 prefix[257];
    if (!ascending(idx, count, log_n) || row_bytes > (size_t)1 << 32 || strlen(tag) > 255 ||
        path_len > (size_t)1 << 30)
        return PML_ERR_SIZE;
    /* Per level: the known nodes' positions and hashes, and the pairs that make the next level. */
    u32 *known = pml_alloc(count * sizeof(u32));
    u8 *hash = pml_alloc(count * 32), *pair = pml_alloc(count * 64);
    size_t used = 0;
    long result = PML_ERR_MEMORY;
    if (!known || !hash || !pair) goto end;
    memcpy(known, idx, count * sizeof(u32));
    pml_sha_many(prefix, pml_leaf_prefix(tag, prefix), rows, row_bytes, count, hash);
    for (unsigned level = log_n; level > 0; level--) {
        size_t above = 0;
        for (size_t i = 0; i < count;) {
            u32 at = known[i];
            u8 *both = pair + 64 * above;
            if (!(at & 1) && i + 1 < count && known[i + 1] == at + 1) {
                memcpy(both, hash + 32 * i, 64);
                i += 2;
            } else {
                if (path_len - used < 32) {
                    result = -1 - (long)path_len;
                    goto end;
                }
                memcpy(both + (at & 1 ? 32 : 0), hash + 32 * i, 32);
                memcpy(both + (at & 1 ? 0 : 32), path + used, 32);
                used += 32;
                i += 1;
            }
            known[above++] = at >> 1;
        }
        count = above;
        parents(pair, count, hash);
    }
    memcpy(root_out, hash, 32);
    result = (long)used;
end:
    free(known);
    free(hash);
    free(pair);
    return result;
}
