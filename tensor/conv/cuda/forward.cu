// y = relu(bias + patches of x * w) on the GPU, and the largest of each 2x2; conv_cuda.h.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// y = relu(bias + sum), and the largest of each 2x2.
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
    int64_t places[4];
    order.find_four(m, places);
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      if (m + r >= pixels) break;
      C value = sums[r] + (bias ? bias[channel] : C(0));
      if (relu && value <= 0) value = 0;  // NaN stays NaN
      const T stored = T(value);
      y[places[r] * o + channel] = stored;
      if (r == 0 || stored > largest || stored != stored) largest = stored;  // as max_pool2d does
    }
    if (pooled) pooled[m / 4 * o + channel] = largest;
  }
};

template <class T>
void forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
             const ConvFusion& fusion) {
  using C = Compute<T>;
  const int64_t pixels = g.n * g.oh * g.ow, k = g.kh * g.kw * g.c, below = fusion.below ? fusion.below.shape()[3] : 0;
  product<T>("conv_forward", g, {pixels, g.o, k, k}, common_run({g.c, below, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    const auto a = patches_of_x<T, true, v>(g, x, fusion.below, bool(fusion.pooled));
    return parts(a, Rows<C, v>{w.ptr<C>(), k, g.o},
                 ForwardEpilogue<T>{a.order, pixels, int(g.o), ptr_or_null<C>(bias), fusion.relu, y.ptr<T>(),
                                    ptr_or_null<T>(fusion.pooled)});
  });
}

}  // namespace

void conv_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvFusion& fusion) {
  dispatch(x.dtype(), [&](auto zero) { forward<decltype(zero)>(g, x, w, bias, y, fusion); });
}

}  // namespace acinus::on_gpu
#endif
