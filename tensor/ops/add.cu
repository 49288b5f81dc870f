// add   y = a + b        da += dy,  db += dy        a, b, y: one shape
#include "tensor/ops/shared.h"

namespace acinus {

Tensor add(const Tensor& a, const Tensor& b) {
  check_same_kind("add", {&a, &b});
  check(a.shape() == b.shape(), "add: shapes differ: ", a.shape(), " vs ", b.shape(), "; nothing is broadcast");
  return record("add", map(Add{}, a, b), {a, b}, [](const Tensor& dy, Inputs& in) {
    in[0].add_grad(dy);
    in[1].add_grad(dy);
  });
}

}  // namespace acinus
