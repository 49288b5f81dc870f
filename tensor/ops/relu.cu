// relu   y = max(x, 0)        dx += y > 0 ? dy : 0        x, y: any shape
//
// The gradient needs y, not x, since y > 0 where x > 0. So x need not be kept. NaN stays NaN.
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

struct ReluForward {
  template <class T>
  HD T operator()(T x) const {
    return x <= 0 ? T(0) : x;
  }
};

struct ReluBackward {
  template <class T>
  HD T operator()(T dy, T y) const {
    return y > 0 ? dy : T(0);
  }
};

}  // namespace

Tensor relu_gradient(Tensor dy, const Tensor& y) {
  if (!dy.is_unique()) return map(ReluBackward{}, dy, y);
  map_into(dy, ReluBackward{}, dy, y);
  return dy;
}

Tensor relu(const Tensor& x) {
  check_same_kind("relu", {&x});
  Tensor y = map(ReluForward{}, x);
  const auto backward = [y](Tensor dy, Inputs& in) {
    in[0].add_grad(in.masked ? dy : relu_gradient(std::move(dy), y));
  };
  return record("relu", y, {x}, backward, /*from_relu=*/true);
}

}  // namespace acinus
