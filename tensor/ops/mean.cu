// mean   y = sum(x) / n        dx[i] += dy / n        x: any shape with n elements, y: scalar
//
// Composed of two ops: so is the gradient.
#include "tensor/ops.h"

namespace acinus {

Tensor mean(const Tensor& x) {
  check(x && x.elements() > 0, "mean: x has no elements: ", x.shape());
  return scale(sum(x), 1.0 / double(x.elements()));
}

}  // namespace acinus
