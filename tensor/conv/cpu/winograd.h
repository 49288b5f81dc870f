// 3x3 convolutions with a quarter of the multiplications; winograd.cpp tells how.
#pragma once
#include "tensor/conv/conv.h"

namespace acinus {

// An image read or written as concat(upsample2x(below), beside); see ConvFusion. `below` has whole vectors of channels.
template <class T>
struct Joint {
  T* beside;
  T* below = nullptr;
  int64_t below_channels = 0;
};

// The three sums of conv.h, for a 3x3 kernel, stride 1, dilation 1, padding 0 to 2. `pooled` may be null. Results do
// not depend on the number of threads, to the last bit.
template <class T>
void winograd_forward(const ConvGeometry& g, Joint<const T> x, const T* w, const T* bias, bool relu, T* pooled, T* y);
template <class T>
void winograd_data_gradient(const ConvGeometry& g, const T* dy, const T* w, const T* bias, Joint<T> dx);
template <class T>
void winograd_weight_gradient(const ConvGeometry& g, Joint<const T> x, const T* dy, T* dw);

}  // namespace acinus
