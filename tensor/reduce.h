// Sums, on every device:
//
//   reduce(f, x, ...)      sum over i of f(x[i], ...), a scalar tensor
//
// f is a functor as in for_each.h; sums of columns are in column_sums.h. Sums are computed over blocks of a *fixed* size,
// and the blocks' sums are then added in order. The blocks do not depend on the number of threads, so neither do the
// results, to the last bit. (On the GPU the blocks differ, and are added in another order; both depend on the sizes alone.)
#pragma once
#include <numeric>
#include <vector>

#include "tensor/for_each.h"

namespace acinus {

#ifdef ACINUS_KERNELS
// Adds up the numbers of all threads of a block, for thread 0: the first half of the threads add the second half's numbers to
// theirs, then the first quarter the second quarter's, and so on. Shared memory: a double for each thread.
__device__ inline double block_sum(double own) {
  auto& sum = shared_memory<double[threads_per_block]>();
  const int t = int(threadIdx.x);
  sum[t] = own;
  for (int half = threads_per_block / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) sum[t] += sum[t + half];
  }
  return sum[0];
}

// sums[block] = a part of the sum over i of f(i). A thread takes 16 bytes at a time, as far apart as there are threads: it adds
// their few terms in their own type, and the result to a double, since many GPUs are slow at double.
template <class Y, class F, class T, int N>
__global__ void sum_kernel(int64_t n, AtElement<F, T, N> f, Y* sums) {
  constexpr Exactly<sixteen_bytes_of<T>> count;
  const int64_t step = gridDim.x * int64_t(blockDim.x) * count;
  double own = 0;
  for (int64_t i = (blockIdx.x * int64_t(blockDim.x) + threadIdx.x) * count; i < n; i += step) {
    decltype(f(i)) few = 0;
    if (i + count <= n) {
      const auto terms = f(i, count);
      for (int k = 0; k < count; k++) few += terms[k];
    } else {
      for (int64_t k = i; k < n; k++) few += f(k);
    }
    own += double(few);
  }
  const double sum = block_sum(own);
  if (threadIdx.x == 0) sums[blockIdx.x] = Y(sum);
}

template <class Y, class F, class T, int N>
void launch_sum(int64_t blocks, int64_t n, const AtElement<F, T, N>& f, const Tensor& sums) {
  launch(typeid(f).name(), sum_kernel<Y, F, T, N>, blocks, threads_per_block, sizeof(double[threads_per_block]), n, f,
         sums.ptr<Y>());
}

template <class Y, class F, class T, int N>
Tensor sum_on_gpu(int64_t n, const AtElement<F, T, N>& f) {
  // At least 16 numbers for each thread, and up to four blocks for each of an H100's 132 processors.
  const int64_t blocks = std::clamp<int64_t>(n / (16 * threads_per_block), 1, 528);
  const Tensor sums({blocks}, DType::f64, Device::cuda), y(Shape{}, dtype_of<Y>(), Device::cuda);
  launch_sum<double>(blocks, n, f, sums);
  if (blocks == 1 && std::is_same_v<Y, double>) return sums.viewed_as({});
  launch_sum<Y>(1, blocks, AtElement<Same, double, 1>{Same(), {sums.ptr<double>()}}, y);
  return y;
}
#endif

// sum over i of f(x[i], more[i]...), a scalar of that type on x's device.
template <class F, class... More>
Tensor reduce_to(DType type, F f, const Tensor& x, const More&... more) {
  check_precise("reduce", {&x, &more...});
  for (const Tensor* t : {&x, &more...})
    check(t->shape() == x.shape(), "reduce: shapes differ: ", x.shape(), " vs ", t->shape());
  const int64_t n = x.elements();
  return dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const AtElement<F, T, 1 + sizeof...(More)> term{f, {x.ptr<T>(), more.template ptr<T>()...}};
#ifdef ACINUS_KERNELS
    if (x.device() == Device::cuda)
      return dispatch_precise(type, [&](auto zero) { return sum_on_gpu<decltype(zero)>(n, term); });
#endif
    const int64_t block = 1 << 14, blocks = (n + block - 1) / block;
    std::vector<double> sums(blocks, 0.0);
#pragma omp parallel for schedule(static) firstprivate(term) if (blocks > 1)
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t begin = b * block, end = std::min(begin + block, n);
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = begin; i < end; i++) sum += double(term(i));
      sums[b] = sum;
    }
    return Tensor::full(Shape{}, std::accumulate(sums.begin(), sums.end(), 0.0), type);
  });
}

// ... in x's type, and in float64.
template <class F, class... More>
Tensor reduce(F f, const Tensor& x, const More&... more) {
  return reduce_to(x.dtype(), f, x, more...);
}
template <class F, class... More>
Tensor reduce_precisely(F f, const Tensor& x, const More&... more) {
  return reduce_to(DType::f64, f, x, more...);
}

}  // namespace acinus
