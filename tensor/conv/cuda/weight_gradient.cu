// dw = patches of x, transposed, * dy, on the GPU; implicit_gemm.h.
#include "tensor/conv/cuda/implicit_gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

template <class C>
struct WeightGradientEpilogue {
  int64_t rows, o;
  C* sums;  // (splits, rows, o)
  HD void operator()(int64_t split, int64_t m, int64_t channel, const C (&values)[4]) const {
    for (int r = 0; r < 4 && m + r < rows; r++) sums[(split * rows + m + r) * o + channel] = values[r];
  }
};

template <class C>
struct SumOfSplits {
  int64_t size, splits;
  const C* sums;
  C* dw;
  HD void operator()(int64_t i) const {
    C sum = sums[i];
    ACINUS_UNROLL_16
    for (int64_t s = 1; s < splits; s++) sum += sums[s * size + i];
    dw[i] = sum;
  }
};

}  // namespace

// A small matrix with a long sum: it is split ("split-K") until there are some hundred tiles for the GPU's processors.
// How often depends on the shapes alone, and the splits are added in order.
template <class T, class C>
void gemm_weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, C* dw) {
  const int64_t rows = g.kh * g.kw * g.c, pixels = g.n * g.oh * g.ow,
                tiles = ((rows + 127) / 128) * ((g.o + 127) / 128);
  const int64_t wanted = std::clamp<int64_t>(std::min(512 / std::max<int64_t>(tiles, 1), pixels / 512), 1, 256);
  const int64_t k_each = std::max<int64_t>((pixels / wanted + 31) / 32 * 32, 32);
  const ProductSize size{rows, g.o, pixels, k_each};
  const bool split = size.splits() > 1;
  const Tensor partial({split ? size.splits() : 0, rows, g.o}, dtype_of<C>(), Device::cuda);
  C* const sums = split ? partial.ptr<C>() : dw;
  product<T>("conv_weight_gradient", g, size, common_alignment({g.c, x.deep_channels, g.o}), [&](auto vector) {
    constexpr bool v = decltype(vector)::value;
    return std::make_tuple(patches_of_x<T, false, v>(g, x, /*by_fours=*/false), Rows<T, v>{dy, pixels, g.o},
                           WeightGradientEpilogue<C>{rows, g.o, sums});
  });
  if (split) for_each(Device::cuda, rows * g.o, SumOfSplits<C>{rows * g.o, size.splits(), sums, dw});
}

template void gemm_weight_gradient(const ConvGeometry&, const SkipConcatData<const float>&, const float*, float*);
template void gemm_weight_gradient(const ConvGeometry&, const SkipConcatData<const double>&, const double*, double*);
template void gemm_weight_gradient(const ConvGeometry&, const SkipConcatData<const bf16>&, const bf16*, float*);

}  // namespace acinus::on_gpu
#endif
