// mean   y = sum(x) / n        dx[i] += dy / n        x: any shape with n elements, y: scalar
//
// Composed of two ops, whose gradients compose by themselves.
#include "tensor/ops.h"

namespace acinus {

Tensor mean(const Tensor& x) {
  check(x && x.elements() > 0, "mean: of no elements, shape ", x.shape());
  return scale(sum(x), 1.0 / double(x.elements()));
}

}  // namespace acinus
