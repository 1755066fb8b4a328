/* Loaded into the daemon by LD_PRELOAD: its wall clock stands off the host's by as many nanoseconds as the first eight
 * bytes of the file say that STEPPED_CLOCK names. Every other clock is left as it is. tests/chaos/clock.rs compiles it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

typedef int clock_gettime_t(clockid_t clock, struct timespec *time);

static clock_gettime_t *real;
/* In memory that the test writes to; null: the process has no such variable. */
static volatile const int64_t *step;

__attribute__((constructor)) static void load(void) {
    const char *path = getenv("STEPPED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    if (at != MAP_FAILED)
        step = at;
    if (file >= 0)
        close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real)
        real = (clock_gettime_t *)dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (clock == CLOCK_REALTIME && result == 0 && step) {
        int64_t total = (int64_t)time->tv_sec * SECOND + time->tv_nsec + *step;
        time->tv_sec = total / SECOND;
        time->tv_nsec = total % SECOND;
    }
    return result;
}
