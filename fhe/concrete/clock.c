/* A clock for Concrete alone: every reading is 20 ms after the one before.
 *
 * Concrete's runtime chooses between ways to compute a Fourier transform by timing them, so two
 * processes may choose differently, round differently, and make ciphertexts that differ in most of
 * their bytes. Loaded before the program (LD_PRELOAD), this library answers the runtime's own
 * questions for the monotonic time with a count of the questions of that thread: all candidates
 * take equally long, and the first one is chosen in every process.
 *
 * Other callers, Python and OpenMP among them, are told the true time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP_NANOSECONDS 20000000LL
#define SECOND 1000000000LL

/* Not of zero: a clock that starts at its origin looks unset. */
static __thread long long readings = 1000;

static int asked_by_concrete(const void *caller)
{
    Dl_info object;

    return dladdr(caller, &object) != 0 && object.dli_fname != NULL &&
           (strstr(object.dli_fname, "oncretelang") != NULL);
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock == CLOCK_MONOTONIC && asked_by_concrete(__builtin_return_address(0))) {
        long long now = ++readings * STEP_NANOSECONDS;

        time->tv_sec = (time_t)(now / SECOND);
        time->tv_nsec = (long)(now % SECOND);
        return 0;
    }
    return (int)syscall(SYS_clock_gettime, clock, time);
}
