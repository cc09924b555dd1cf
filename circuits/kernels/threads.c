#define _GNU_SOURCE
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

#include "internal.h"

#define MAX_THREADS PML_MAX_THREADS

/* One loop at a time owns the pool (`owner` is held); its state is guarded by `lock`, but for the
 * counter from which threads take turns. A worker that finds a ticket takes part. Whoever finds no
 * turn left takes the tickets away: the loop never waits for a thread that has not begun, so that a
 * busy machine makes it no slower than it is on one thread. */
static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static unsigned started;
static atomic_uint running, tickets; /* changed under `lock`; read without it while spinning */
static pml_job job;
static void *job_ctx;
static size_t job_count;
static atomic_size_t job_next;
static atomic_uint limit; /* 0: not decided yet */
static _Thread_local int inside;

static unsigned cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return (unsigned)CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

unsigned pml_threads(void) {
    unsigned n = atomic_load(&limit);
    if (n) return n;
    const char *text = getenv("PROOFML_THREADS");
    char *end = NULL;
    long asked = text ? strtol(text, &end, 10) : 0;
    n = text && *text && !*end && asked > 0 ? (unsigned)(asked < MAX_THREADS ? asked : MAX_THREADS)
                                            : cores();
    if (n < 1) n = 1;
    if (n > MAX_THREADS) n = MAX_THREADS;
    atomic_store(&limit, n);
    return n;
}

int pml_set_threads(int n) {
    if (n < 1 || n > MAX_THREADS) return PML_ERR_SIZE;
    atomic_store(&limit, (unsigned)n);
    return 0;
}

static void turns(void) {
    inside = 1;
    for (;;) {
        size_t i = atomic_fetch_add(&job_next, 1);
        if (i >= job_count) break;
        job(job_ctx, i);
    }
    inside = 0;
}

/* Loops follow upon each other within microseconds in the rounds of a sumcheck, and to sleep and to
 * be woken takes longer than many of them: so look for a while first. 2^9 pauses are 5 to 20 us. */
#define SPINS 512

static void pause_briefly(void) {
#if PML_X86
    __builtin_ia32_pause();
#endif
}

static void *worker(void *arg) {
    (void)arg;
    for (;;) {
        for (int i = 0; i < SPINS && !atomic_load_explicit(&tickets, memory_order_relaxed); i++)
            pause_briefly();
        pthread_mutex_lock(&lock);
        while (!tickets) pthread_cond_wait(&wake, &lock);
        tickets--;
        running++;
        pthread_mutex_unlock(&lock);
        turns();
        pthread_mutex_lock(&lock);
        tickets = 0;
        if (--running == 0) pthread_cond_signal(&done);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* A forked child has the memory of the pool, but none of its threads. */
static void after_fork(void) {
    pthread_mutex_init(&owner, NULL);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&wake, NULL);
    pthread_cond_init(&done, NULL);
    started = 0;
    running = 0;
    tickets = 0;
    inside = 0;
}

static void start(unsigned n) { /* under `lock` */
    static int registered;
    if (!registered) registered = pthread_atfork(NULL, NULL, after_fork) == 0;
    pthread_attr_t attr;
    if (!registered || pthread_attr_init(&attr)) return;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_t id;
    while (started < n && pthread_create(&id, &attr, worker, NULL) == 0)
        started++;
    pthread_attr_destroy(&attr);
}

void pml_parallel(pml_job fn, void *ctx, size_t n) {
    unsigned threads = pml_threads();
    if (threads > n) threads = (unsigned)n;
    if (threads <= 1 || inside || pthread_mutex_trylock(&owner)) {
        for (size_t i = 0; i < n; i++) fn(ctx, i);
        return;
    }
    pthread_mutex_lock(&lock);
    start(threads - 1);
    job = fn;
    job_ctx = ctx;
    job_count = n;
    atomic_store(&job_next, 0);
    tickets = started < threads - 1 ? started : threads - 1;
    pthread_cond_broadcast(&wake);
    pthread_mutex_unlock(&lock);
    turns();
    for (int i = 0; i < SPINS && atomic_load_explicit(&running, memory_order_relaxed); i++)
        pause_briefly();
    pthread_mutex_lock(&lock);
    tickets = 0;
    while (running) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&owner);
}

void pml_piece(size_t n, size_t unit, size_t pieces, size_t i, size_t *from, size_t *to) {
    size_t units = (n + unit - 1) / unit, share = units / pieces, rest = units % pieces;
    size_t a = share * i + (i < rest ? i : rest), b = a + share + (i < rest);
    *from = a * unit < n ? a * unit : n;
    *to = b * unit < n ? b * unit : n;
}
