// dw = patches of x, transposed, * dy, on the GPU; conv_cuda.h.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

template <class C>
struct WeightGradientEpilogue {
  int64_t rows, o;
  C* parts;  // (splits, rows, o)
  HD void operator()(int64_t split, int64_t m, int64_t channel, const C (&sums)[4]) const {
    for (int r = 0; r < 4 && m + r < rows; r++) parts[(split * rows + m + r) * o + channel] = sums[r];
  }
};

template <class C>
struct SumOfParts {
  int64_t size, splits;
  const C* parts;
  C* dw;
  HD void operator()(int64_t i) const {
    C sum = parts[i];
    ACINUS_UNROLL_16
    for (int64_t s = 1; s < splits; s++) sum += parts[s * size + i];
    dw[i] = sum;
  }
};

// Few rows and columns, a long sum: split it, until there are some hundred tiles for the GPU's processors. Into how
// many parts depends on the shapes alone, and they are added in order.
template <class T>
void weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below) {
  using C = Compute<T>;
  const int64_t rows = g.kh * g.kw * g.c, pixels = g.n * g.oh * g.ow,
                tiles = ((rows + 127) / 128) * ((g.o + 127) / 128);
  const int64_t wanted = std::clamp<int64_t>(std::min(512 / std::max<int64_t>(tiles, 1), pixels / 512), 1, 256);
  const int64_t k_each = std::max<int64_t>((pixels / wanted + 31) / 32 * 32, 32);
  const ProductSize size{rows, g.o, pixels, k_each};
  const bool split = size.splits() > 1;
  const Tensor sums = split ? Tensor({size.splits(), rows, g.o}, dw.dtype(), dw.device()) : dw;
  product<T>("conv_weight_gradient", g, size, common_run({g.c, below ? below.shape()[3] : 0, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    return parts(patches_of_x<T, false, v>(g, x, below, /*by_fours=*/false), Rows<T, v>{dy.ptr<T>(), pixels, g.o},
                 WeightGradientEpilogue<C>{rows, g.o, sums.ptr<C>()});
  });
  if (split) for_each(dw.device(), rows * g.o, SumOfParts<C>{rows * g.o, size.splits(), sums.ptr<C>(), dw.ptr<C>()});
}

}  // namespace

void conv_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below) {
  dispatch(x.dtype(), [&](auto zero) { weight_gradient<decltype(zero)>(g, x, dy, dw, below); });
}

}  // namespace acinus::on_gpu
#endif
