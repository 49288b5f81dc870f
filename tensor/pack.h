// Several neighbouring numbers at a time, for the bodies of map, for_each_row (rows.h) and reduce_columns (column_sums.h).
// Such a body is a template, and is called with the count n of the numbers that it processes:
//
//   Exactly<8>     on the GPU: as many as 16 bytes hold, which is what one instruction moves; or 1, where rows are not
//                  multiples of that. The compiler knows n, so a thread's numbers stay in registers.
//   AtMost<256>    on the CPU: the numbers stay where they are, and the compiler vectorises the loops.
//
//   const auto a = load(n, x), b = load(n, y);           // a[k] is x[k], b[k] is y[k], k = 0 .. n-1
//   Values<T, Count> sum;                                // n numbers of the body's own
//   for (int k = 0; k < n; k++) sum[k] = a[k] + b[k];
//   store(n, z, sum);                                    // z[k] = sum[k]
//   assign(n, z, [](T a, T b) { return a + b; }, a, b);  // the same; on the CPU without `sum`
#pragma once

#include "tensor/cuda/kernel.h"
#include "tensor/dtype.h"

namespace acinus {

template <int N>
struct Exactly {
  static constexpr int max = N;
  HD constexpr operator int() const { return N; }
};
template <int Max>
struct AtMost {
  static constexpr int max = Max;
  int n;
  HD constexpr operator int() const { return n; }
};

template <class C, class Count>
struct Values {
  C at[Count::max];
  HD C& operator[](int k) { return at[k]; }
  HD const C& operator[](int k) const { return at[k]; }
};

// How many elements of type T are 16 bytes.
template <class T>
constexpr int sixteen_bytes_of = 16 / int(sizeof(T));

// from[0 .. n-1], in the type of their arithmetic. 16-byte accesses need addresses that are multiples of 16.
template <int Max, class T>
HD const T* load(AtMost<Max>, const T* from) {
  return from;
}
template <int N, class T>
HD auto load(Exactly<N>, const T* from) {
  Values<Compute<T>, Exactly<N>> values;
  constexpr int at_once = sixteen_bytes_of<T>;
  if constexpr (N % at_once == 0) {
    ACINUS_UNROLL
    for (int i = 0; i < N; i += at_once) {
      T numbers[at_once];
      load_sixteen(numbers, from + i);
      ACINUS_UNROLL
      for (int k = 0; k < at_once; k++) values[i + k] = Compute<T>(numbers[k]);
    }
  } else {
    ACINUS_UNROLL
    for (int k = 0; k < N; k++) values[k] = Compute<T>(from[k]);
  }
  return values;
}

template <class Count, class T, class C>
HD void store(Count n, T* to, const Values<C, Count>& values) {
  constexpr int at_once = sixteen_bytes_of<T>;
  if constexpr (std::is_same_v<Count, Exactly<Count::max>> && Count::max % at_once == 0) {
    ACINUS_UNROLL
    for (int i = 0; i < n; i += at_once) {
      T numbers[at_once];
      ACINUS_UNROLL
      for (int k = 0; k < at_once; k++) numbers[k] = T(Compute<T>(values[i + k]));
      store_sixteen(to + i, numbers);
    }
  } else {
    for (int k = 0; k < n; k++) to[k] = T(Compute<T>(values[k]));
  }
}

// f(x[k], ...) for each k.
template <int N, class F, class... X>
HD auto each(F f, const Values<X, Exactly<N>>&... x) {
  Values<decltype(f(x[0]...)), Exactly<N>> values;
  ACINUS_UNROLL
  for (int k = 0; k < N; k++) values[k] = f(x[k]...);
  return values;
}

template <int Max, class T, class F, class... X>
HD void assign(AtMost<Max> n, T* to, F f, const X*... x) {
#pragma omp simd  // `to` may be one of x
  for (int k = 0; k < n; k++) to[k] = T(f(x[k]...));
}
template <int N, class T, class F, class... X>
HD void assign(Exactly<N> n, T* to, F f, const Values<X, Exactly<N>>&... x) {
  store(n, to, each(f, x...));
}

// map on the GPU: a thread processes N elements, 16 bytes of inputs or outputs, whichever are smaller; the last thread
// those that are left.
template <class Each, int N>
struct MapSixteenBytes {
  Each each;
  int64_t elements;
  HD void operator()(int64_t thread) const {
    constexpr Exactly<N> n;
    const int64_t begin = thread * n;
    if (begin + n <= elements)
      store(n, each.y + begin, each.f(begin, n));
    else
      for (int64_t i = begin; i < elements; i++) each(i);
  }
};

}  // namespace acinus
