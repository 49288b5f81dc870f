// Sums, on every device:
//
//   reduce(f, x, ...)                                      sum over i of f(x[i], ...), a scalar tensor
//   reduce_columns<T>(device, groups, rows, columns, f)    sums over the rows of each (rows x columns) group
//
// f is a functor as in for_each.h. Sums are computed over blocks of a *fixed* size, and the blocks' sums are then added in
// order. The blocks do not depend on the number of threads, so neither do the results, to the last bit. (On the GPU the
// blocks differ, and are added in another order; both depend on the sizes alone.)
#pragma once
#include <numeric>
#include <vector>

#include "tensor/for_each.h"

namespace acinus {

#ifdef ACINUS_KERNELS
// sums[block] = a part of the sum over i of f(i). Each thread sums a strided subset (every gridDim*blockDim-th term); then
// half of the threads add the other half's sums to theirs, a quarter those of the other quarter, and so on.
template <class F>
__global__ void sum_kernel(int64_t n, F f, double* sums) {
  auto& sum = shared_memory<double[threads_per_block]>();
  const int t = int(threadIdx.x);
  double own = 0;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + t; i < n; i += gridDim.x * int64_t(blockDim.x))
    own += double(f(i));
  sum[t] = own;
  for (int half = threads_per_block / 2; half > 0; half /= 2) {
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
  const int64_t blocks = std::clamp<int64_t>(n / (16 * threads_per_block), 1, 1024);
  Tensor sums({blocks}, DType::f64, Device::cuda);
  launch(typeid(F).name(), sum_kernel<F>, blocks, threads_per_block, sizeof(double[threads_per_block]), n, f,
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
    const AtElement<F, T, 1 + sizeof...(More)> term{f, {x.ptr<T>(), more.template ptr<T>()...}};
#ifdef ACINUS_KERNELS
    if (x.device() == Device::cuda) {
      const Tensor sums = sum_on_gpu(n, term);
      return (sums.elements() == 1 ? sums : sum_on_gpu(sums.elements(), BlockSum{sums.ptr<double>()})).viewed_as({});
    }
#endif
    const int64_t block = 1 << 14, blocks = (n + block - 1) / block;
    std::vector<double> sums(blocks, 0.0);
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t begin = b * block, end = std::min(begin + block, n);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = begin; i < end; i++) sum += double(term(i));
      sums[b] = sum;
    }
    return Tensor::full(Shape{}, std::accumulate(sums.begin(), sums.end(), 0.0), DType::f64);
  });
}

// ... in x's type.
template <class F, class... More>
Tensor reduce(F f, const Tensor& x, const More&... more) {
  return reduce_precisely(f, x, more...).to(x.dtype());
}

#ifdef ACINUS_KERNELS
// sums (groups, blocks, columns): a block of threads processes `block` rows of a group and `width` columns, with
// threads_per_block / width threads per column.
template <class T, class F>
__global__ void sum_columns_kernel(int64_t rows, int64_t columns, int64_t block, int64_t blocks, int width, F f,
                                   double* sums) {
  auto& sum = shared_memory<double[threads_per_block]>();
  const int64_t tiles = (columns + width - 1) / width, b = blockIdx.x / tiles % blocks, g = blockIdx.x / tiles / blocks;
  const int64_t c = blockIdx.x % tiles * width + threadIdx.x % width;
  const int at_once = threads_per_block / width;
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
    ACINUS_UNROLL_16  // so that many loads are in flight at once
        for (int64_t b = 0; b < blocks; b++) total += from[b * columns];
    y[i] = T(total);
  }
};

template <class T, class F>
Tensor sum_columns_on_gpu(int64_t groups, int64_t rows, int64_t columns, const F& f) {
  int width = 1;
  while (width < 32 && width < columns) width *= 2;
  const int64_t min_block = 16 * (threads_per_block / width), block = std::max(min_block, (rows + 255) / 256);
  const int64_t blocks = (rows + block - 1) / block, tiles = (columns + width - 1) / width;
  Tensor sums({groups, blocks, columns}, DType::f64, Device::cuda);
  launch(typeid(F).name(), sum_columns_kernel<T, F>, groups * blocks * tiles, threads_per_block,
         sizeof(double[threads_per_block]), rows, columns, block, blocks, width, f, sums.ptr<double>());
  Tensor y(Shape{groups, columns}, dtype_of<T>(), Device::cuda);
  for_each_on_gpu(groups * columns, SumBlocks<T>{blocks, columns, sums.ptr<double>(), y.ptr<T>()});
  return y;
}
#endif

// For each of `groups` blocks of memory that hold (rows x columns) elements: the sum over the rows of f(i, s),
// where i is the linear index of an element and s that of the sum it belongs to, group * columns + column.
// Returns (groups, columns) in type T.
//   Example: the channel sums of x (N,H,W,C): groups 1, rows N*H*W, columns C, f(i, s) = x[i].
template <class T, class F>
Tensor reduce_columns(Device device, int64_t groups, int64_t rows, int64_t columns, F f) {
#ifdef ACINUS_KERNELS
  if (device == Device::cuda) return sum_columns_on_gpu<T>(groups, rows, columns, f);
#endif
  const int64_t block = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(columns, 1));
  const int64_t blocks = (rows + block - 1) / block;
  std::vector<double> sums(groups * blocks * columns, 0.0);
#pragma omp parallel for schedule(static) if (groups * blocks > 1)
  for (int64_t gb = 0; gb < groups * blocks; gb++) {
    const int64_t g = gb / blocks, first = g * rows;
    const int64_t begin = gb % blocks * block, end = std::min(begin + block, rows);
    double* sum = sums.data() + gb * columns;
    // 16 columns at a time, a constant: their sums stay in registers.
    for (int64_t c0 = 0; c0 < columns; c0 += 16) {
      double partial[16] = {};
      const auto add_rows = [&](auto width) {
        for (int64_t r = first + begin; r < first + end; r++) {
          T value[16];  // two loops: a branch in f would keep a single one from being vectorised
#pragma omp simd
          for (int c = 0; c < int(width); c++) value[c] = T(f(r * columns + c0 + c, g * columns + c0 + c));
#pragma omp simd
          for (int c = 0; c < int(width); c++) partial[c] += double(value[c]);
        }
      };
      if (columns - c0 >= 16)
        add_rows(std::integral_constant<int, 16>());
      else
        add_rows(columns - c0);
      for (int64_t c = c0; c < std::min(c0 + 16, columns); c++) sum[c] = partial[c - c0];
    }
  }
  Tensor y(Shape{groups, columns}, dtype_of<T>(), device);
  for (int64_t g = 0; g < groups; g++)
    for (int64_t c = 0; c < columns; c++) {
      double total = 0;
      for (int64_t b = 0; b < blocks; b++) total += sums[(g * blocks + b) * columns + c];
      y.template ptr<T>()[g * columns + c] = T(total);
    }
  return y;
}

}  // namespace acinus
