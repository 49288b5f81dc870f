// scale   y = factor * x        dx += factor * dy        x, y: any shape
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {

Tensor scale(const Tensor& x, double factor) {
  check_same_kind("scale", {&x});
  return record("scale", map(Scale{factor}, x), {x},
                [factor](const Tensor& dy, Inputs& in) { in[0].add_grad(map(Scale{factor}, dy)); });
}

}  // namespace acinus
