// 3x3 convolutions with a quarter of the multiplications; winograd.cpp tells how.
#pragma once
#include "tensor/conv.h"

namespace acinus {

// The three sums of conv.h, for a 3x3 kernel, stride 1, dilation 1, padding 0 to 2. Results do not depend on the number
// of threads, to the last bit.
template <class T>
void winograd_forward(const ConvGeometry& g, const T* x, const T* w, const T* bias, T* y);
template <class T>
void winograd_data_gradient(const ConvGeometry& g, const T* dy, const T* w, const T* bias, T* dx);
template <class T>
void winograd_weight_gradient(const ConvGeometry& g, const T* x, const T* dy, T* dw);

}  // namespace acinus
