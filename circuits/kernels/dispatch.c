/* Chooses the table of kernels: the best one that the machine has, unless a level is set. */
#define _DEFAULT_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "internal.h"

#if PML_X86
#include <cpuid.h>
#endif

static atomic_int chosen = -1;

static int best(void) {
#if PML_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2")) return 1;
#endif
    return 0;
}

int pml_abi(void) { return PML_ABI; }

int pml_level(void) {
    int level = atomic_load(&chosen);
    if (level < 0) {
        level = best();
        atomic_store(&chosen, level);
    }
    return level;
}

int pml_set_level(int level) {
    if (level < 0 || level > best()) return PML_ERR_LEVEL;
    atomic_store(&chosen, level);
    return 0;
}

int pml_get_threads(void) { return (int)pml_threads(); }

const pml_table *pml_active(void) {
    switch (pml_level()) {
#if PML_X86
        case 2: return &pml_table_avx512;
        case 1: return &pml_table_avx2;
#endif
        default: return &pml_table_portable;
    }
}

/* SHA-NI has no level of its own: it is used wherever it exists, except at the portable level. */
int pml_use_sha_ni(void) {
#if PML_X86
    static atomic_int has = -1;
    int known = atomic_load(&has);
    if (known < 0) {
        unsigned a = 0, b = 0, c = 0, d = 0;
        known = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b >> 29 & 1) &&
                __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1");
        atomic_store(&has, known);
    }
    return known && pml_level() > 0;
#else
    return 0;
#endif
}

long pml_read_base(const u8 *p, size_t count, u32 *out) {
    for (size_t i = 0; i < count; i++) {
        out[i] = pml_load_le32(p + 4 * i);
        if (out[i] >= PML_P) return -1 - (long)i;
    }
    return 0;
}

#define HUGE_PAGE ((size_t)2 << 20)

void *pml_alloc(size_t n) {
    if (n > SIZE_MAX - 2 * HUGE_PAGE) return NULL;
#ifdef MADV_HUGEPAGE
    if (n >= 2 * HUGE_PAGE) { /* else page faults cost as much as what is done with the pages */
        size_t whole = (n + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void *p = aligned_alloc(HUGE_PAGE, whole);
        if (p) (void)madvise(p, whole, MADV_HUGEPAGE);
        return p;
    }
#endif
    return aligned_alloc(64, (n + 64) / 64 * 64);
}
