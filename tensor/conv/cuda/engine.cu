// Which kernel computes a convolution on the GPU (kernels.h lists them), for the algorithms tiled, halo and tensor.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/kernel.h"

#ifdef ACINUS_KERNELS
namespace acinus {
namespace on_gpu {

namespace {

enum class Kernel { first_layer, head, conv3x3, general };

// The kernel of a layer. Its weight gradient is left to the general kernel where the 3x3 one, which needs multiples of
// 32 channels, cannot compute it. A layer with `deep` needs all three sums from the 3x3 kernels, because the general ones
// cannot read it.
Kernel kernel_of(const ConvGeometry& g, int64_t deep_channels) {
  if (g.algorithm == ConvAlgorithm::tiled) return Kernel::general;  // float64 always is
  if (deep_channels == 0 && first_layer_supports(g)) return Kernel::first_layer;
  if (deep_channels == 0 && head_supports(g)) return Kernel::head;
  if (deep_channels > 0 && !conv3x3_weight_gradient_supports(g, deep_channels)) return Kernel::general;
  const bool is_3x3 = conv3x3_supports(g, deep_channels, 0) && conv3x3_supports(g.transposed(), 0, deep_channels);
  return is_3x3 ? Kernel::conv3x3 : Kernel::general;
}

// The engine of the general kernels, Tiled or ImplicitGemm.
template <template <class> class Kernels, class T, class C = Compute<T>>
ConvEngine<T> engine_of() {
  return {[](const ConvGeometry& g, const SkipConcatData<const T>& x, const C* w, const C* bias, bool relu, T* y, T*) {
            Kernels<T>::forward(g, x.skip, w, bias, relu, y);
          },
          [](const ConvGeometry& g, const T* dy, const C* w, const C* bias, const SkipConcatData<T>& dx,
             const SkipConcatData<const T>&) { Kernels<T>::data_gradient(g, dy, w, bias, dx.skip); },
          [](const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, C* dw, C*) {
            Kernels<T>::weight_gradient(g, x.skip, dy, dw);
          }};
}

// The rest is for float32 and bfloat16.

// Computes what no other kernel does: an implicit GEMM if the algorithm is `tensor` and it supports g, otherwise tiled.
template <class T>
ConvEngine<T> general(const ConvGeometry& g) {
  const bool tensor = g.algorithm == ConvAlgorithm::tensor && implicit_gemm_supports(g);
  return tensor ? engine_of<ImplicitGemm, T>() : engine_of<Tiled, T>();
}

template <class T>
void forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const float* w, const float* bias, bool relu,
             T* y, T* pooled) {
  const Kernel kernel = kernel_of(g, x.deep_channels);
  if (kernel == Kernel::first_layer) return FirstLayer<T>::forward(g, x.skip, w, bias, relu, y);
  if (kernel == Kernel::head) return Head<T>::forward(g, x.skip, w, bias, relu, y);
  if (kernel == Kernel::general) return general<T>(g).forward(g, x, w, bias, relu, y, pooled);
  ConvSum<T> sum{g, x, w};
  sum.bias = bias, sum.relu = relu, sum.y = {y, nullptr, 0}, sum.pooled = pooled;
  conv3x3("conv_forward", sum);
}

template <class T>
void data_gradient(const ConvGeometry& g, const T* dy, const float* w, const float* bias, const SkipConcatData<T>& dx,
                   const SkipConcatData<const T>& relu_output) {
  const Kernel kernel = kernel_of(g, dx.deep_channels);
  if (kernel == Kernel::head && !bias) return Head<T>::data_gradient(g, dy, w, relu_output.skip, dx.skip);
  if (kernel != Kernel::conv3x3) return general<T>(g).data_gradient(g, dy, w, bias, dx, relu_output);
  ConvSum<T> sum{g.transposed(), {dy, nullptr, 0}, w, /*transposed_weights=*/true, bias};
  sum.y = dx, sum.relu_output = relu_output;
  conv3x3("conv_data_gradient", sum);
}

template <class T>
void weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw, float* db) {
  const Kernel kernel = kernel_of(g, x.deep_channels);
  if (kernel == Kernel::first_layer) return FirstLayer<T>::weight_gradient(g, x.skip, dy, dw, db);
  if (kernel == Kernel::head) return Head<T>::weight_gradient(g, x.skip, dy, dw, db);
  if (kernel == Kernel::general || !conv3x3_weight_gradient_supports(g, x.deep_channels))
    return general<T>(g).weight_gradient(g, x, dy, dw, db);
  conv3x3_weight_gradient(g, x, dy, dw, db);
}

}  // namespace
}  // namespace on_gpu

template <class T>
ConvEngine<T> gpu_engine() {
  if constexpr (std::is_same_v<T, double>)
    return on_gpu::engine_of<on_gpu::Tiled, T>();
  else
    return {on_gpu::forward<T>, on_gpu::data_gradient<T>, on_gpu::weight_gradient<T>};
}

template <class T>
ConvFusions gpu_fusions(const ConvGeometry& g, int64_t deep_channels) {
  using on_gpu::Kernel;
  const Kernel kernel = on_gpu::kernel_of(g, deep_channels);
  const bool is_3x3 = kernel == Kernel::conv3x3;
  const bool is_narrow = kernel == Kernel::first_layer || kernel == Kernel::head;
  ConvFusions f;
  f.skip_concat = is_3x3;
  f.pooling = is_3x3 && g.oh % 2 == 0 && g.ow % 2 == 0;
  f.relu_gradient = is_3x3 || kernel == Kernel::head;
  f.bias_gradient = is_narrow || (is_3x3 && on_gpu::conv3x3_weight_gradient_supports(g, deep_channels));
  return f;
}

template ConvEngine<float> gpu_engine();
template ConvEngine<double> gpu_engine();
template ConvEngine<bf16> gpu_engine();
template ConvFusions gpu_fusions<float>(const ConvGeometry&, int64_t);
template ConvFusions gpu_fusions<double>(const ConvGeometry&, int64_t);
template ConvFusions gpu_fusions<bf16>(const ConvGeometry&, int64_t);

}  // namespace acinus
#endif
