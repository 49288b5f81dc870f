// What the benchmarks share.
#pragma once
#include <algorithm>
#include <vector>

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

// In [-1, 1). Zeros would not do: a processor that multiplies nothing but zeros is cooler, and faster.
inline Tensor random_values(const Shape& shape, uint64_t seed) {
  Tensor t(shape);
  float* const values = t.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < t.elements(); i++) values[i] = float(2 * random_uniform(seed, uint64_t(i)) - 1);
  return t;
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

}  // namespace acinus
