// sigmoid   y = 1 / (1 + exp(-x))        dx += dy * y * (1 - y)        x, y: any shape
//
// For x = -1000, exp(1000) is infinite and 1 / (1 + infinity) is 0, as it should be: no branch is needed.
// The derivative of y is exp(-x) / (1 + exp(-x))^2 = y * (1 - y).
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {
namespace {

struct SigmoidForward {
  template <class T>
  HD T operator()(T x) const {
    return 1 / (1 + std::exp(-x));
  }
};
struct SigmoidBackward {
  template <class T>
  HD T operator()(T dy, T y) const {
    return dy * y * (1 - y);
  }
};

}  // namespace

Tensor sigmoid(const Tensor& x) {
  check_same_kind("sigmoid", {&x});
  Tensor y = map(SigmoidForward{}, x);
  return record("sigmoid", y, {x},
                [y](const Tensor& dy, Inputs& in) { in[0].add_grad(map(SigmoidBackward{}, dy, y)); });
}

}  // namespace acinus
