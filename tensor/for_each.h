// The page that explains how one formula runs on every device.
//
// An op writes its formula once, as a *functor*: a struct with an operator(), which may also hold parameters.
//
//   struct SigmoidForward { template <class T> HD T operator()(T x) const { return 1 / (1 + exp(-x)); } };
//
//   map(SigmoidForward{}, x)                   y[i] = f(x[i]),      for tensors of one shape
//   for_each(device, n, body)                  body(i) for i = 0 .. n-1, in any order, none depending on another
//
// On the CPU these are loops shared by all threads and vectorised by the compiler. On the GPU the same functor runs in
// a kernel: one element a thread, or as many as 16 bytes hold (pack.h). HD marks what must compile for both. (Functors
// have names because they must: nvcc turns a lambda for both sides into a call through a pointer on the CPU.) A functor
// of map gets the type in which arithmetic on the elements is performed, float for bfloat16. Loops over pixels are in
// rows.h, sums in reduce.h.
#pragma once
#include <algorithm>
#include <cmath>
#include <typeinfo>
#include <utility>

#include "tensor/cuda/kernel.h"
#include "tensor/pack.h"
#include "tensor/tensor.h"

namespace acinus {

// ---- for_each -------------------------------------------------------------------------------------------------

#ifdef ACINUS_KERNELS
constexpr int threads_per_block = 256;

template <class F>
__global__ void for_each_kernel(int64_t n, F f) {
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i < n) f(i);
}

template <class F>
void for_each_on_gpu(int64_t n, const F& f) {
  launch(typeid(F).name(), for_each_kernel<F>, (n + threads_per_block - 1) / threads_per_block, threads_per_block, 0, n,
         f);
}
#else
template <class F>
void for_each_on_gpu(int64_t, const F&) {
  fail("an op on the GPU must be in a .cu file, in a build with CUDA");
}
#endif

// Waking the other threads takes some microseconds, so a little work is done by one thread. `elements_each`: how many
// elements one call of f processes. firstprivate: only of a copy of its own does the compiler know that f stays as it is, and
// keeps the pointers in it in registers; without, no loop is vectorised.
template <class F>
void for_each_on_cpu(int64_t n, F f, [[maybe_unused]] int64_t elements_each = 1) {
#pragma omp parallel for simd schedule(static) firstprivate(f) if (n * elements_each > 1 << 15)
  for (int64_t i = 0; i < n; i++) f(i);
}

template <class F>
void for_each(Device device, int64_t n, const F& f, int64_t elements_each = 1) {
  device == Device::cuda ? for_each_on_gpu(n, f) : for_each_on_cpu(n, f, elements_each);
}

// ---- map ------------------------------------------------------------------------------------------------------

// f of element i of each of N inputs, or of elements i .. i+n-1. (An array of pointers can be copied to a GPU.)
template <class F, class T, int N>
struct AtElement {
  F f;
  const T* x[N];
  HD auto operator()(int64_t i) const { return one(i, std::make_integer_sequence<int, N>()); }
  template <class Count>
  HD auto operator()(int64_t i, Count n) const {
    return several(i, n, std::make_integer_sequence<int, N>());
  }

  template <int... K>
  HD auto one(int64_t i, std::integer_sequence<int, K...>) const {
    return f(Compute<T>(x[K][i])...);
  }
  template <class Count, int... K>
  HD auto several(int64_t i, Count n, std::integer_sequence<int, K...>) const {
    return each(f, load(n, x[K] + i)...);
  }
};

// What map does to one element.
template <class F, class T, int N, class Y = T>
struct MapBody {
  AtElement<F, T, N> f;
  Y* y;
  HD void operator()(int64_t i) const { y[i] = Y(Compute<Y>(f(i))); }
};

template <class F, class T, int N, class Y>
void for_each(Device device, int64_t elements, const MapBody<F, T, N, Y>& body) {
  constexpr int n = std::max(sixteen_bytes_of<T>, sixteen_bytes_of<Y>);
  if (device == Device::cuda)
    for_each_on_gpu((elements + n - 1) / n, MapSixteenBytes<MapBody<F, T, N, Y>, n>{body, elements});
  else
    for_each_on_cpu(elements, body);
}

// y[i] = f(x[i], more[i]...), written into an existing tensor, which may be one of the inputs.
template <class F, class... More>
void map_into(Tensor& y, F f, const Tensor& x, const More&... more) {
  check_same_kind("map", {&y, &x, &more...});
  for (const Tensor* t : {&x, &more...})
    check(t->shape() == y.shape(), "map: shapes differ: ", y.shape(), " vs ", t->shape());
  y.mark_overwritten();
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), x.elements(),
             MapBody<F, T, 1 + sizeof...(More)>{{f, {x.ptr<T>(), more.template ptr<T>()...}}, y.ptr<T>()});
  });
}

template <class F, class... More>
Tensor map(F f, const Tensor& x, const More&... more) {
  Tensor y(x.shape(), x.dtype(), x.device());
  map_into(y, f, x, more...);
  return y;
}

// Functors that several ops share.
struct Same {
  template <class T>
  HD T operator()(T x) const {
    return x;
  }
};
struct Add {
  template <class T>
  HD T operator()(T a, T b) const {
    return a + b;
  }
};
struct Scale {
  double factor;
  template <class T>
  HD T operator()(T x) const {
    return T(factor) * x;
  }
};

}  // namespace acinus
