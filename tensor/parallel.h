// Loops over the CPU's threads. What one iteration does must not depend on the number of threads, so that results do not
// depend on it.
//
//   parallel(slices, /* pays */ true, [&](int64_t z) { ... });
//   parallel<float>(bands, pays, 4096, [&](int64_t i, float* scratch) { ... });   4096 floats for each thread
#pragma once
#include <algorithm>
#include <cstdint>
#include <exception>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "tensor/memory.h"

namespace acinus {

#ifdef _OPENMP
inline int max_threads() { return omp_get_max_threads(); }
inline int this_thread() { return omp_get_thread_num(); }
#else
inline int max_threads() { return 1; }
inline int this_thread() { return 0; }
#endif

// f(i, scratch) for i = 0 .. n-1, each on the next free thread; all on one thread unless waking the others pays.
// scratch: `elements` T's, not initialised, allocated before the loop. An exception that leaves an OpenMP loop terminates
// the program; so the first one is kept, and thrown after the loop.
template <class T, class F>
void parallel(int64_t n, bool pays, int64_t elements, F f) {
  // All threads or one: OpenMP would end and start threads for teams of other sizes.
  const int threads = pays && n > 1 ? max_threads() : 1;
  const int64_t line = 64 / int64_t(sizeof(T)), each = (elements + line - 1) / line * line;  // whole cache lines
  const std::shared_ptr<void> memory = memory::allocate(threads * each * int64_t(sizeof(T)));
  T* const scratch = static_cast<T*>(memory.get());
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) if (threads > 1)
  for (int64_t i = 0; i < n; i++) {
    try {
      f(i, scratch + this_thread() * each);
    } catch (...) {
#pragma omp critical(acinus_parallel)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

template <class F>
void parallel(int64_t n, bool pays, F f) {
  parallel<char>(n, pays, 0, [&](int64_t i, char*) { f(i); });
}

// The same with at most `max_count` threads at once, for work that needs much memory. Parallel loops within f run on one
// thread.
template <class F>
void parallel_few(int64_t n, int64_t max_count, F f) {
  [[maybe_unused]] const int threads = int(std::clamp<int64_t>(max_count, 1, max_threads()));
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < n; i++) {
    bool failed = false;
#pragma omp critical(acinus_parallel)
    failed = bool(error);
    if (failed) continue;
    try {
      f(i);
    } catch (...) {
#pragma omp critical(acinus_parallel)
      if (!error) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace acinus
