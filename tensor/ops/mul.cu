// mul   y = a * b        da += dy * b,  db += dy * a        a, b, y: one shape
#include "tensor/ops/shared.h"

namespace acinus {

Tensor mul(const Tensor& a, const Tensor& b) {
  check_same_kind("mul", {&a, &b});
  check(a.shape() == b.shape(), "mul: shapes differ: ", a.shape(), " vs ", b.shape(), "; nothing is broadcast");
  return record("mul", map(Multiply{}, a, b), {a, b}, [a = a.detach(), b = b.detach()](const Tensor& dy, Inputs& in) {
    if (in[0].needs_grad()) in[0].add_grad(map(Multiply{}, dy, b));
    if (in[1].needs_grad()) in[1].add_grad(map(Multiply{}, dy, a));
  });
}

}  // namespace acinus
