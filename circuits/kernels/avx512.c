/* The bodies for x86-64 with AVX-512 (F, BW, DQ, VL). */
#include "internal.h"

#if PML_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl")
/* Products in F need all registers: gcc must order instructions before it assigns them. */
#pragma GCC optimize("schedule-insns", "sched-pressure")
#endif

#include "lanes_avx512.h"

#define PML_TABLE pml_table_avx512
#include "bodies.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int pml_nothing_here;
#endif
