// Work shared out among the CPU's threads, in pieces that are cut by the shapes alone: so results do not depend on how
// many threads there are.
//
//   parallel(slices, /* pays */ true, [&](int64_t z) { ... });
//   parallel<float>(bands, pays, 4096, [&](int64_t i, float* scratch) { ... });   4096 floats of the thread's own
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

// f(i, scratch) for i = 0 .. n-1, each by the next thread that is free; by one alone if it does not pay to wake the
// others. scratch: `elements` T's, not initialised, taken before the loop begins. No exception may leave an OpenMP
// loop, or the program ends at once; the first one is kept, and thrown when the loop is over.
template <class T, class F>
void parallel(int64_t n, bool pays, int64_t elements, F f) {
  // All or one: teams of other sizes would end and start threads each time.
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

// The same with at most `most` threads at once, for work that takes memory. What f does in parallel it does alone.
template <class F>
void parallel_few(int64_t n, int64_t most, F f) {
  [[maybe_unused]] const int threads = int(std::clamp<int64_t>(most, 1, max_threads()));
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < n; i++) {
    bool go_on = true;
#pragma omp critical(acinus_parallel)
    go_on = !error;
    if (!go_on) continue;
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
