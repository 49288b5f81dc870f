// The page that explains how one formula runs on every device.
//
// An op writes its formula once, as a *functor*: a struct with an operator(), which may also hold parameters.
//
//   struct SigmoidForward { template <class T> HD T operator()(T x) const { return 1 / (1 + exp(-x)); } };
//
//   map(SigmoidForward{}, x)                   y[i] = f(x[i]),      for tensors of one shape
//   for_each(device, n, body)                  body(i) for i = 0 .. n-1, in any order, none depending on another
//   for_each_row(device, rows, columns, body)  for each row body(row, begin, end), for columns begin .. end-1
//   reduce(f, x, ...)                          sum over i of f(x[i], ...), a scalar tensor
//   reduce_columns<T>(device, groups, rows, columns, f)    sums over the rows of each (rows x columns) group
//
// On the CPU these are loops shared by all threads and vectorised by the compiler. On the GPU the same functor runs in
// a kernel, an element a thread. HD marks what must compile for both. (Functors have names because they must: nvcc
// turns a lambda for both sides into a call through a pointer on the CPU's.) A functor of map or reduce is given what T
// is calculated in, float for bfloat16.
//
// Sums are made over blocks of a *fixed* size, and the blocks' sums are then added in order. The blocks do
// not depend on the number of threads, so neither do the results, to the last bit. (On the GPU the shares are others,
// and added in another order; both depend on the sizes alone.)
#pragma once
#include <algorithm>
#include <cmath>
#include <typeinfo>
#include <utility>
#include <vector>

#include "tensor/cuda/kernel.h"
#include "tensor/tensor.h"

namespace acinus {

// ---- for_each -------------------------------------------------------------------------------------------------

#ifdef ACINUS_KERNELS
constexpr int threads_a_block = 256;

template <class F>
__global__ void for_each_kernel(int64_t n, F f) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < n) f(i);
}

template <class F>
void for_each_on_gpu(int64_t n, const F& f) {
  launch(typeid(F).name(), for_each_kernel<F>, (n + threads_a_block - 1) / threads_a_block, threads_a_block, 0, n, f);
}
#else
template <class F>
void for_each_on_gpu(int64_t, const F&) {
  fail("an op on the GPU must stand in a .cu file, in a build with CUDA");
}
#endif

// Waking the other threads takes some microseconds, so little work is left to one: `elements_each` says how many
// elements a call of f goes through.
template <class F>
void for_each(Device device, int64_t n, F f, [[maybe_unused]] int64_t elements_each = 1) {
  if (device == Device::cuda) return for_each_on_gpu(n, f);
#pragma omp parallel for simd schedule(static) if (n * elements_each > 1 << 15)
  for (int64_t i = 0; i < n; i++) f(i);
}

// Images: a row is a pixel, its columns are the channels, which lie together. The CPU does a pixel at a time, and
// vectorises over its channels. On the GPU a thread does four channels: finding out where a pixel's neighbours are
// takes longer than adding them up, and threads side by side read what lies side by side.
#ifdef __CUDA_ARCH__
constexpr int64_t columns_at_once = 4;  // what a body that keeps a number for each column in an array should do at once
#else
constexpr int64_t columns_at_once = 64;
#endif

template <class F>
struct RowBody {
  static constexpr int64_t some = 4;
  int64_t columns, pieces;  // pieces of a row
  F f;
  HD void operator()(int64_t i) const {
    const int64_t begin = i % pieces * some, end = begin + some;
    f(i / pieces, begin, end < columns ? end : columns);
  }
};

template <class F>
void for_each_row(Device device, int64_t rows, int64_t columns, F f) {
  if (device == Device::cuda) {
    const int64_t pieces = (columns + RowBody<F>::some - 1) / RowBody<F>::some;
    return for_each_on_gpu(rows * pieces, RowBody<F>{columns, pieces, f});
  }
#pragma omp parallel for schedule(static) if (rows * columns > 1 << 15)
  for (int64_t row = 0; row < rows; row++) f(row, 0, columns);
}

// ---- map ------------------------------------------------------------------------------------------------------

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
    y[i] = T(f(Compute<T>(x[K][i])...));
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
             MapBody<F, T, 1 + sizeof...(More)>{f, y.ptr<T>(), {x.ptr<T>(), more.template ptr<T>()...}});
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

// What is summed: f of element i of each input.
template <class F, class T, int N>
struct ReduceBody {
  F f;
  const T* x[N];
  HD double operator()(int64_t i) const { return apply(i, std::make_integer_sequence<int, N>()); }
  template <int... K>
  HD double apply(int64_t i, std::integer_sequence<int, K...>) const {
    return double(f(Compute<T>(x[K][i])...));
  }
};

#ifdef ACINUS_KERNELS
// sums[block] = the block's share of the sum over i of f(i). Each thread sums every so-manieth term; then half of the
// threads add the other half's sums to theirs, a quarter those of the other quarter, and so on.
template <class F>
__global__ void sum_kernel(int64_t n, F f, double* sums) {
  auto& sum = shared_memory<double[threads_a_block]>();
  const int t = int(threadIdx.x);
  double own = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + t; i < n; i += gridDim.x * int64_t(blockDim.x)) own += f(i);
  sum[t] = own;
  for (int half = threads_a_block / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) sum[t] += sum[t + half];
  }
  if (t == 0) sums[blockIdx.x] = sum[0];
}

struct BlockSum {
  const double* sums;
  HD double operator()(int64_t block) const { return sums[block]; }
};

template <class F>
Tensor sum_on_gpu(int64_t n, const F& f) {
  const int64_t blocks = std::clamp<int64_t>(n / (16 * threads_a_block), 1, 1024);
  Tensor sums({blocks}, DType::f64, Device::cuda);
  launch(typeid(F).name(), sum_kernel<F>, blocks, threads_a_block, sizeof(double[threads_a_block]), n, f,
         sums.ptr<double>());
  return sums;
}
#endif

// sum over i of f(x[i], more[i]...), in float64, a scalar on x's device.
template <class F, class... More>
Tensor reduce_precisely(F f, const Tensor& x, const More&... more) {
  check_precise("reduce", {&x, &more...});
  for (const Tensor* t : {&x, &more...})
    check(t->shape() == x.shape(), "reduce: shapes differ: ", x.shape(), " vs ", t->shape());
  const int64_t n = x.elements();
  return dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const ReduceBody<F, T, 1 + sizeof...(More)> body{f, {x.ptr<T>(), more.template ptr<T>()...}};
#ifdef ACINUS_KERNELS
    if (x.device() == Device::cuda) {
      const Tensor sums = sum_on_gpu(n, body);
      return (sums.elements() == 1 ? sums : sum_on_gpu(sums.elements(), BlockSum{sums.ptr<double>()})).viewed_as({});
    }
#endif
    const int64_t block = 1 << 14, blocks = (n + block - 1) / block;
    std::vector<double> sums(size_t(blocks), 0.0);
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t begin = b * block, end = std::min(begin + block, n);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = begin; i < end; i++) sum += body(i);
      sums[size_t(b)] = sum;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    return Tensor::full(Shape{}, total, DType::f64);
  });
}

// The same in x's type.
template <class F, class... More>
Tensor reduce(F f, const Tensor& x, const More&... more) {
  return reduce_precisely(f, x, more...).to(x.dtype());
}

#ifdef ACINUS_KERNELS
// sums (groups, blocks, columns): a block of threads takes `block` rows of a group and `width` columns, and has
// threads_a_block / width threads for each column.
template <class T, class F>
__global__ void sum_columns_kernel(int64_t rows, int64_t columns, int64_t block, int64_t blocks, int width, F f,
                                   double* sums) {
  auto& sum = shared_memory<double[threads_a_block]>();
  const int64_t tiles = (columns + width - 1) / width, b = blockIdx.x / tiles % blocks, g = blockIdx.x / tiles / blocks;
  const int64_t c = blockIdx.x % tiles * width + threadIdx.x % width;
  const int at_once = threads_a_block / width;
  const int64_t end = (b + 1) * block < rows ? (b + 1) * block : rows;
  double own = 0;
  if (c < columns)
    for (int64_t r = b * block + threadIdx.x / width; r < end; r += at_once)
      own += double(T(f((g * rows + r) * columns + c, g * columns + c)));
  sum[threadIdx.x] = own;
  __syncthreads();
  if (int(threadIdx.x) >= width || c >= columns) return;
  for (int k = 1; k < at_once; k++) own += sum[k * width + threadIdx.x];
  sums[(g * blocks + b) * columns + c] = own;
}

template <class T>
struct SumBlocks {
  int64_t blocks, columns;
  const double* sums;
  T* y;
  HD void operator()(int64_t i) const {
    const double* from = sums + i / columns * blocks * columns + i % columns;
    double total = 0;
    ACINUS_UNROLL_16  // so that many loads are under way at once
        for (int64_t b = 0; b < blocks; b++) total += from[b * columns];
    y[i] = T(total);
  }
};

template <class T, class F>
void sum_columns_on_gpu(int64_t groups, int64_t rows, int64_t columns, const F& f, Tensor& y) {
  int width = 1;
  while (width < 32 && width < columns) width *= 2;
  const int64_t least = 16 * (threads_a_block / width), block = std::max(least, (rows + 255) / 256);
  const int64_t blocks = (rows + block - 1) / block, tiles = (columns + width - 1) / width;
  Tensor sums({groups, blocks, columns}, DType::f64, Device::cuda);
  launch(typeid(F).name(), sum_columns_kernel<T, F>, groups * blocks * tiles, threads_a_block,
         sizeof(double[threads_a_block]), rows, columns, block, blocks, width, f, sums.ptr<double>());
  for_each_on_gpu(groups * columns, SumBlocks<T>{blocks, columns, sums.ptr<double>(), y.ptr<T>()});
}
#endif

// For each of `groups` blocks of memory that hold (rows x columns) elements: the sum over the rows of f(i, s),
// where i is the linear index of an element and s that of the sum it belongs to, group * columns + column.
// Returns (groups, columns) in type T.
//   Example: the channel sums of x (N,H,W,C): groups 1, rows N*H*W, columns C, f(i, s) = x[i].
template <class T, class F>
Tensor reduce_columns(Device device, int64_t groups, int64_t rows, int64_t columns, F f) {
  Tensor y(Shape{groups, columns}, DTypeOf<T>::value, device);
#ifdef ACINUS_KERNELS
  if (device == Device::cuda) {
    sum_columns_on_gpu<T>(groups, rows, columns, f, y);
    return y;
  }
#endif
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
      y.template ptr<T>()[g * columns + c] = T(total);
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
    return dy[i] = y[i] > T(0) ? gradient : T(0);
  }
};

}  // namespace acinus
