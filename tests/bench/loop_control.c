/* The control of bench_loop.py: what the line's loop does when nothing happens, in C.  Waits 1 ms in select() for a
 * descriptor that never becomes readable, and notes how late it wakes.  Prints n, p50, p99, p99.9 and max in us. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 5000, STEP_NS = 2000 };
static uint64_t counts[STEPS];

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static double at(double rank, int64_t largest) {
  uint64_t seen = 0;
  for (int step = 0; step < STEPS; step++) {
    seen += counts[step];
    if ((double)seen < rank) continue;
    int64_t edge = (step + 1LL) * STEP_NS;
    return (double)(edge < largest ? edge : largest) / 1e3;
  }
  return (double)largest / 1e3;
}

int main(int argc, char **argv) {
  int64_t end = now_ns() + (int64_t)((argc > 1 ? atof(argv[1]) : 1.0) * 1e9), largest = 0;
  uint64_t n = 0;
  int pipes[2];
  if (pipe(pipes)) return 1;
  mlockall(MCL_CURRENT | MCL_FUTURE);
  for (int64_t slept = now_ns(); slept < end; slept = now_ns()) {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(pipes[0], &readable);
    struct timeval wait = {0, 1000};
    select(pipes[0] + 1, &readable, NULL, NULL, &wait);
    int64_t late = now_ns() - slept - 1000000;
    int64_t step = late < 0 ? 0 : late / STEP_NS;
    counts[step < STEPS ? step : STEPS - 1]++;
    if (late > largest) largest = late;
    n++;
  }
  double total = (double)n;
  printf("{\"n\": %llu, \"p50\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f, \"max\": %.1f}\n", (unsigned long long)n,
         at(0.5 * total, largest), at(0.99 * total, largest), at(0.999 * total, largest), (double)largest / 1e3);
  return 0;
}
