// What the algorithms of a convolution provide, and conv.cpp calls: each the three sums of conv.h.
#pragma once
#include "tensor/conv/conv.h"

namespace acinus {

// A SkipConcat as loops and kernels see it.
template <class T>
struct SkipConcatData {
  T *skip, *deep;
  int64_t deep_channels;
};

// For elements of type T; weights and biases are of the type of its arithmetic, C. A bias that is null counts as 0.
// What ConvFusions says that an algorithm cannot do is null: pooled, relu_output, db, and `deep`.
template <class T, class C = Compute<T>>
struct ConvEngine {
  void (*forward)(const ConvGeometry& g, const SkipConcatData<const T>& x, const C* w, const C* bias, bool relu, T* y,
                  T* pooled);
  void (*data_gradient)(const ConvGeometry& g, const T* dy, const C* w, const C* bias, const SkipConcatData<T>& dx,
                        const SkipConcatData<const T>& relu_output);
  void (*weight_gradient)(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, C* dw, C* db);
};

template <class T>
ConvEngine<T> direct_engine();  // direct.cu
template <class T>
ConvEngine<T> im2col_engine();  // cpu/im2col.cpp
template <class T>
ConvEngine<T> winograd_engine();  // cpu/winograd.cpp
template <class T>
ConvEngine<T> gpu_engine();  // cuda/engine.cu, in a build with CUDA
template <class T>
ConvFusions gpu_fusions(const ConvGeometry& g, int64_t deep_channels);

// The sub-pixel (polyphase) decomposition of a data gradient. Forward, output pixel i sees row i*s - p + a*d through
// tap a; so row r of x was seen through tap a by output pixel (r + p - a*d) / s, if that is a whole number. Which taps
// those are depends on r mod s alone, the row's *phase*. All rows of one phase, r = r'*s + phase, see the same taps, a
// = first + t*every for t = 0 .. count-1, and hence the output pixels
//
//   r' + origin - t*step,    origin = (phase + p - first*d) / s,    step = every*d / s
//
// which makes the gradient of each phase an ordinary convolution of dy, with stride 1 and no multiplications by zero
// (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?"). Columns alike.
struct PhaseTaps {
  int64_t first = 0, every = 1, count = 0, origin = 0, step = 1;
  PhaseTaps(int64_t phase, int64_t kernel, const ConvGeometry& g) {
    const auto sees = [&](int64_t a) { return (phase + g.padding - a * g.dilation) % g.stride == 0; };
    while (first < kernel && !sees(first)) first++;
    if (first == kernel) return;
    while (first + every < kernel && !sees(first + every)) every++;
    count = (kernel - first + every - 1) / every;
    origin = (phase + g.padding - first * g.dilation) / g.stride;
    if (count > 1) step = every * g.dilation / g.stride;
  }
};

// On the GPU, tiles of a matrix product are made narrower until there are this many: two for each of a large GPU's
// processors, of which the H100 has 132. Tests, whose images are small, lower it to reach the wide tiles.
namespace testing {
inline int64_t min_gpu_tiles = 256;
}

}  // namespace acinus
