// cast   y = x, rounded to another type        dx += dy, rounded to x's type        x, y: any shape
//
// So a network computes in bfloat16 between an image and a loss that are float32.
#include "tensor/ops.h"

namespace acinus {

Tensor cast(const Tensor& x, DType dtype) {
  check(bool(x), "cast: the input is empty");
  if (x.dtype() == dtype) return x;
  return record("cast", x.to(dtype), {x},
                [before = x.dtype()](const Tensor& dy, Inputs& in) { in[0].add_grad(dy.to(before)); });
}

}  // namespace acinus
