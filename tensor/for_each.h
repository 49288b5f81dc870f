// The page that explains how one formula runs on every device.
//
// An op writes its formula once, as a *functor*: a struct with an operator(), which may also hold parameters.
//
//   struct SigmoidForward { template <class T> HD T operator()(T x) const { return 1 / (1 + exp(-x)); } };
//
//   map(SigmoidForward{}, x)                    y[i] = f(x[i]),      for tensors of one shape
//   for_each(device, n, body)                   body(i) for i = 0 .. n-1, in any order, none depending on another
//   reduce(f, x, ...)                           sum over i of f(x[i], ...), a scalar tensor
//   reduce_columns<T>(device, groups, rows, columns, f)     sums over the rows of each (rows x columns) group
//
// On the CPU these are loops shared by all threads and vectorised by the compiler. On a GPU the same functor
// will run in a kernel, one thread an element: HD marks what must compile for both.
//
// Sums are made over blocks of a *fixed* size, and the blocks' sums are then added in order. The blocks do
// not depend on the number of threads, so neither do the results, to the last bit.
#pragma once
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif

namespace acinus {

// ---- for_each, map --------------------------------------------------------------------------------------------

// Waking the other threads takes some microseconds, so little work is left to one: `elements_each` says how many
// elements a call of f goes through.
template <class F>
void for_each(Device, int64_t n, F f, [[maybe_unused]] int64_t elements_each = 1) {
#pragma omp parallel for simd schedule(static) if (n * elements_each > 1 << 15)
  for (int64_t i = 0; i < n; i++) f(i);
}

// What map hands to for_each: apply f to element i of each input. (Pointers in an array, so that it can be
// copied to a GPU.)
template <class F, class T, int N>
struct MapBody {
  F f;
  T* y;
  const T* x[N];
  HD void operator()(int64_t i) const { apply(i, std::make_integer_sequence<int, N>()); }
  template <int... K>
  HD void apply(int64_t i, std::integer_sequence<int, K...>) const {
    y[i] = f(x[K][i]...);
  }
};

// y[i] = f(x[i], more[i]...), written into an existing tensor, which may be one of the inputs.
template <class F, class... More>
void map_into(Tensor& y, F f, const Tensor& x, const More&... more) {
  check_same_kind("map", {&y, &x, &more...});
  for (const Tensor* t : {&x, &more...})
    check(t->shape() == y.shape(), "map: shapes differ: ", y.shape(), " vs ", t->shape());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), x.elements(),
             MapBody<F, T, 1 + sizeof...(More)>{f, y.data<T>(), {x.data<T>(), more.template data<T>()...}});
  });
}

template <class F, class... More>
Tensor map(F f, const Tensor& x, const More&... more) {
  Tensor y(x.shape(), x.dtype(), x.device());
  map_into(y, f, x, more...);
  return y;
}

// The one functor that several ops share.
struct Scale {
  double factor;
  template <class T>
  HD T operator()(T x) const {
    return T(factor) * x;
  }
};

// ---- reduce ---------------------------------------------------------------------------------------------------

// sum over i of f(x[i], more[i]...), accumulated in float64.
template <class F, class... More>
double reduce_to_number(F f, const Tensor& x, const More&... more) {
  check_same_kind("reduce", {&x, &more...});
  for (const Tensor* t : {&x, &more...})
    check(t->shape() == x.shape(), "reduce: shapes differ: ", x.shape(), " vs ", t->shape());
  const int64_t n = x.elements(), block = 1 << 14, blocks = (n + block - 1) / block;
  std::vector<double> sums(size_t(blocks), 0.0);
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const auto sum_block = [&](int64_t b, const T* x0, const auto*... x1) {
      const int64_t begin = b * block, end = std::min(begin + block, n);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = begin; i < end; i++) sum += double(f(x0[i], x1[i]...));
      sums[size_t(b)] = sum;
    };
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t b = 0; b < blocks; b++) sum_block(b, x.data<T>(), more.template data<T>()...);
  });
  double total = 0;
  for (double sum : sums) total += sum;
  return total;
}

// The same as a scalar tensor of x's type.
template <class F, class... More>
Tensor reduce(F f, const Tensor& x, const More&... more) {
  return Tensor::full(Shape{}, reduce_to_number(f, x, more...), x.dtype(), x.device());
}

// For each of `groups` blocks of memory that hold (rows x columns) elements: the sum over the rows of f(i, s),
// where i is the linear index of an element and s that of the sum it belongs to, group * columns + column.
// Returns (groups, columns) in type T.
//   Example: the channel sums of x (N,H,W,C): groups 1, rows N*H*W, columns C, f(i, s) = x[i].
template <class T, class F>
Tensor reduce_columns(Device device, int64_t groups, int64_t rows, int64_t columns, F f) {
  Tensor y(Shape{groups, columns}, DTypeOf<T>::value, device);
  const int64_t block = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(columns, 1));
  const int64_t blocks = (rows + block - 1) / block;
  std::vector<double> sums(size_t(groups * blocks * columns), 0.0);
#pragma omp parallel for schedule(static) if (groups * blocks > 1)
  for (int64_t gb = 0; gb < groups * blocks; gb++) {
    const int64_t g = gb / blocks, first = g * rows;
    const int64_t begin = gb % blocks * block, end = std::min(begin + block, rows);
    double* sum = sums.data() + gb * columns;
    // 16 columns at a time, a number the compiler knows: their sums stay in registers.
    for (int64_t c0 = 0; c0 < columns; c0 += 16) {
      double some[16] = {};
      const auto add_rows = [&](auto width) {
        for (int64_t r = first + begin; r < first + end; r++) {
          T value[16];  // two loops: a functor with a choice in it would keep one loop from being vectorised
#pragma omp simd
          for (int c = 0; c < int(width); c++) value[c] = T(f(r * columns + c0 + c, g * columns + c0 + c));
#pragma omp simd
          for (int c = 0; c < int(width); c++) some[c] += double(value[c]);
        }
      };
      if (columns - c0 >= 16)
        add_rows(std::integral_constant<int, 16>());
      else
        add_rows(columns - c0);
      for (int64_t c = c0; c < std::min(c0 + 16, columns); c++) sum[c] = some[c - c0];
    }
  }
  for (int64_t g = 0; g < groups; g++)
    for (int64_t c = 0; c < columns; c++) {
      double total = 0;
      for (int64_t b = 0; b < blocks; b++) total += sums[size_t((g * blocks + b) * columns + c)];
      y.template data<T>()[g * columns + c] = T(total);
    }
  return y;
}

// The f of a plain sum.
template <class T>
struct Element {
  const T* x;
  HD T operator()(int64_t i, int64_t) const { return x[i]; }
};

// The f that ends a gradient where a ReLU ended its input, and sums what is left. From y = relu(...):
// dy = y > 0 ? dy : 0, in place.
template <class T>
struct StopAndSum {
  const T* y;
  T* dy;
  HD T operator()(int64_t i, int64_t) const {
    const T gradient = dy[i];
    return dy[i] = y[i] > 0 ? gradient : T(0);
  }
};

}  // namespace acinus
