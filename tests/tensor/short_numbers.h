// Multiples of 1/64 from -limit/64 to limit/64. bfloat16 and TF32 hold them exactly, and float32 their products and the
// sums of many products: so whatever the order of adding, kernels must agree to the last bit.
#pragma once
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

inline Tensor short_numbers(const Shape& shape, uint64_t seed, int limit = 64) {
  Random random(seed);
  std::vector<double> values(size_t(shape.elements()));
  for (double& v : values) v = double(random.below(2 * limit + 1) - limit) / 64;
  return Tensor::from(shape, values);
}

}  // namespace acinus
