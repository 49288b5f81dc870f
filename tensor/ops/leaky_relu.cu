// leaky_relu   y = x > 0 ? x : slope * x        dx += x > 0 ? dy : slope * dy        x, y: any shape
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {
namespace {

struct LeakyReluForward {
  double slope;
  template <class T>
  HD T operator()(T x) const {
    return x > 0 ? x : T(slope) * x;
  }
};
struct LeakyReluBackward {
  double slope;
  template <class T>
  HD T operator()(T dy, T x) const {
    return x > 0 ? dy : T(slope) * dy;
  }
};

}  // namespace

Tensor leaky_relu(const Tensor& x, double slope) {
  check_same_kind("leaky_relu", {&x});
  return record(
      "leaky_relu", map(LeakyReluForward{slope}, x), {x},
      [x = x.detach(), slope](const Tensor& dy, Inputs& in) { in[0].add_grad(map(LeakyReluBackward{slope}, dy, x)); });
}

}  // namespace acinus
