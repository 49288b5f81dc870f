// What parameters start as. fan_in: how many inputs one output sums; fan_out: how many outputs one input feeds.
// Both keep the variance of the signal from layer to layer: of a convolution w (KH,KW,C,O), fan_in = KH*KW*C.
#pragma once
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

// Normal with variance 2 / fan_in: for layers followed by ReLU, which halves the signal (He et al. 2015).
Tensor he_normal(const Shape& shape, int64_t fan_in, Random& random);
// Uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); what the seed system used.
Tensor glorot_uniform(const Shape& shape, int64_t fan_in, int64_t fan_out, Random& random);

}  // namespace acinus
