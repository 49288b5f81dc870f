#include "nn/init.h"

#include <algorithm>
#include <cmath>

namespace acinus {

template <class F>
static Tensor filled(const Shape& shape, F next) {
  Tensor t(shape);
  std::generate_n(t.data<float>(), t.elements(), [&] { return float(next()); });
  return t;
}

Tensor he_normal(const Shape& shape, int64_t fan_in, Random& random) {
  const double deviation = std::sqrt(2.0 / double(std::max<int64_t>(fan_in, 1)));
  return filled(shape, [&] { return deviation * random.normal(); });
}

Tensor glorot_uniform(const Shape& shape, int64_t fan_in, int64_t fan_out, Random& random) {
  const double bound = std::sqrt(6.0 / double(std::max<int64_t>(fan_in + fan_out, 1)));
  return filled(shape, [&] { return random.uniform(-bound, bound); });
}

}  // namespace acinus
