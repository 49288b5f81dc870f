// The forward pass on the GPU; implicit_gemm.h says how it becomes a matrix product.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// y = relu(bias + sum), and the maximum of each 2x2.
template <class T, class C = Compute<T>>
struct ForwardEpilogue {
  PixelOrder order;
  int64_t pixels;
  int o;
  const C* bias;
  bool relu;
  T *y, *pooled;
  HD void operator()(int64_t, int64_t m, int64_t channel, const C (&sums)[4]) const {
    T largest = T(0);
    int64_t pixel[4];
    order.find_four(m, pixel);
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      if (m + r >= pixels) break;
      C value = sums[r] + (bias ? bias[channel] : C(0));
      if (relu && value <= 0) value = 0;  // NaN stays NaN
      const T stored = T(value);
      y[pixel[r] * o + channel] = stored;
      if (r == 0 || stored > largest || stored != stored) largest = stored;  // as max_pool2d does
    }
    if (pooled) pooled[m / 4 * o + channel] = largest;
  }
};

}  // namespace

template <class T, class C>
void gemm_forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const C* w, const C* bias, bool relu, T* y,
                  T* pooled) {
  const int64_t pixels = g.n * g.oh * g.ow, k = g.kh * g.kw * g.c;
  product<T>("conv_forward", g, {pixels, g.o, k, k}, common_alignment({g.c, x.deep_channels, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    const auto a = patches_of_x<T, true, v>(g, x, /*by_fours=*/bool(pooled));
    return std::make_tuple(a, Rows<C, v>{w, k, g.o},
                           ForwardEpilogue<T>{a.order, pixels, int(g.o), bias, relu, y, pooled});
  });
}

template void gemm_forward(const ConvGeometry&, const SkipConcatData<const float>&, const float*, const float*, bool,
                           float*, float*);
template void gemm_forward(const ConvGeometry&, const SkipConcatData<const double>&, const double*, const double*, bool,
                           double*, double*);
template void gemm_forward(const ConvGeometry&, const SkipConcatData<const bf16>&, const float*, const float*, bool,
                           bf16*, bf16*);

}  // namespace acinus::on_gpu
#endif
