// Loops over the CPU's threads. What one iteration does must not depend on the number of threads, so that results do not
// depend on it.
//
//   parallel(slices, /* pays */ true, [&](int64_t z) { ... });
//   parallel<float>(bands, pays, 4096, [&](int64_t i, float* scratch) { ... });   4096 floats for each thread
#pragma once
#include <algorithm>
#include <atomic>
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

// f(i) for i = 0 .. n-1, each on the next free thread of at most `max_count`, for work that needs much memory. Parallel
// loops within f run on one thread. An exception that leaves an OpenMP loop terminates the program; so the first one is
// kept, and thrown after the loop.
template <class F>
void parallel_few(int64_t n, int64_t max_count, F f) {
  [[maybe_unused]] const int threads = int(std::clamp<int64_t>(max_count, 1, max_threads()));
  std::atomic<bool> failed = false;
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < n; i++) {
    if (failed) continue;
    try {
      f(i);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// The same on all threads; on one unless waking the others pays. (OpenMP would end and start threads for teams of other
// sizes.)
template <class F>
void parallel(int64_t n, bool pays, F f) {
  parallel_few(n, pays && n > 1 ? max_threads() : 1, f);
}

// f(i, scratch), where scratch is `elements` T's for each thread, not initialised, allocated before the loop.
template <class T, class F>
void parallel(int64_t n, bool pays, int64_t elements, F f) {
  const int64_t line = 64 / int64_t(sizeof(T)), each = (elements + line - 1) / line * line;  // whole cache lines
  const auto memory = memory::allocate((pays && n > 1 ? max_threads() : 1) * each * int64_t(sizeof(T)));
  T* const scratch = static_cast<T*>(memory.get());
  parallel(n, pays, [&](int64_t i) { f(i, scratch + this_thread() * each); });
}

}  // namespace acinus
