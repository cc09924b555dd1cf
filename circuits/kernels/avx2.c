/* The bodies for x86-64 with AVX2. */
#include "internal.h"

#if PML_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
/* Products in F need all registers: gcc must order instructions before it assigns them. */
#pragma GCC optimize("schedule-insns", "sched-pressure")
#endif

#include "lanes_avx2.h"

#define PML_TABLE pml_table_avx2
#include "bodies.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int pml_nothing_here;
#endif
