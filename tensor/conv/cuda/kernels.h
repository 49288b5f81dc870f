// The kernels of a convolution on the GPU, and what each is for; engine.cu chooses. From the most general, and slowest,
// to the most specialised:
//
//   tiled.cu                  everything, in the numbers' own type: a tile of a matrix product in shared memory
//   implicit_gemm.cu          bfloat16 and TF32 on tensor cores: any kernel size, stride and dilation
//   conv3x3.h, conv3x3.cu     3x3, stride 1: a tile with its halo, and which tiling; forward and data gradient
//   conv3x3_hopper.cu             ... its tilings for Hopper's warp groups
//   conv3x3_weight_gradient.h, .cu    ... weight and bias gradient
//   conv3x3_f32.cu                ... how all three multiply in float32 without tensor cores
//   few_channels.cu           the first layer (1 to 4 channels in) and the head (1x1, one channel out)
//
// docs/kernels.md leads from one to the next.
#pragma once
#include <string>
#include <vector>

#include "tensor/conv/engine.h"

namespace acinus {

namespace testing {
inline std::string conv3x3_variant;  // computes every conv3x3 that it can; empty: the rule chooses
}

namespace on_gpu {

// y = epilogue(bias + the forward sum of conv.h over x). The data gradient with stride 1 is the same sum, of dy, with
// geometry g.transposed() and the weights transposed: tap (kh-1-a, kw-1-b), and the two channel axes exchanged.
template <class T, class C = Compute<T>>
struct ConvSum {
  ConvGeometry g;             // x (n,h,w,c) -> y (n,oh,ow,o)
  SkipConcatData<const T> x;  // with `deep`, the image concat(upsample2x(deep), skip)
  const C* w;                 // the layer's own weights, (kh,kw,c,o), or (kh,kw,o,c) if they are to be transposed
  bool transposed_weights = false;
  const C* bias = nullptr;  // (o)
  bool relu = false;
  // With `deep`, for a data gradient, the first deep_channels go there, the sum of each 2x2.
  SkipConcatData<T> y{nullptr, nullptr, 0};
  T* pooled = nullptr;  // (n,oh/2,ow/2,o): the maximum of each 2x2 of y
  // Shaped as y, or null. For a data gradient: the layer's x, if a ReLU made it. Where that is not positive, y is 0,
  // which is the gradient of that ReLU.
  SkipConcatData<const T> relu_output{nullptr, nullptr, 0};
};

// 3x3, on tensor cores, or, if g.algorithm is `halo`, in float32 without them. Can these kernels compute such a sum? It
// needs stride and dilation 1, and multiples of 16 channels in, of 8 out.
bool conv3x3_supports(const ConvGeometry& g, int64_t deep_channels_of_x, int64_t deep_channels_of_y);
template <class T>
void conv3x3(const char* name, const ConvSum<T>& sum);
// The names of its variants (conv3x3.cu) that can compute it on this GPU.
template <class T>
std::vector<std::string> conv3x3_variants(const ConvSum<T>& sum);

// dw (3,3,c,o), and db (o) unless it is null, of y = bias + forward sum (g), for the gradient dy of y. It needs
// multiples of 32 channels.
bool conv3x3_weight_gradient_supports(const ConvGeometry& g, int64_t deep_channels);
template <class T>
void conv3x3_weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw,
                             float* db);

// Every layer.
template <class T>
struct Tiled {
  using C = Compute<T>;
  static void forward(const ConvGeometry& g, const T* x, const C* w, const C* bias, bool relu, T* y);
  static void data_gradient(const ConvGeometry& g, const T* dy, const C* w, const C* bias, T* dx);
  static void weight_gradient(const ConvGeometry& g, const T* x, const T* dy, C* dw);
};

// On tensor cores, TF32 for float: any stride, padding and dilation, kernels up to 32x32, and multiples of 8 channels.
bool implicit_gemm_supports(const ConvGeometry& g);
template <class T>
struct ImplicitGemm {
  static void forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y);
  static void data_gradient(const ConvGeometry& g, const T* dy, const float* w, const float* bias, T* dx);
  static void weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw);
};

// The first layer, 3x3 with stride 1, of 1 to 4 channels into a multiple of 8. (The general kernel computes its data
// gradient, which a network does not need.) db may be null.
bool first_layer_supports(const ConvGeometry& g);
template <class T>
struct FirstLayer {
  static void forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y);
  static void weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw, float* db);
};

// The head, 1x1 of a multiple of 8 channels into one. relu_output is x, if a ReLU made it, as in ConvSum, or null; and
// db may be null.
bool head_supports(const ConvGeometry& g);
template <class T>
struct Head {
  static void forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y);
  static void data_gradient(const ConvGeometry& g, const T* dy, const float* w, const T* relu_output, T* dx);
  static void weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw, float* db);
};

}  // namespace on_gpu

namespace testing {
// Sums over all pixels are split for this many processors, those of an H100, so that every GPU gives the same results.
// Tests, whose images are small, lower it.
inline int64_t gpu_processors = 132;
inline int64_t weight_gradient_channels = 0;      // of a block, 32 or 64; 0: by the shape
inline int64_t shared_bytes_a_block = 227 << 10;  // as if the GPU had no more
}  // namespace testing

}  // namespace acinus
