// bce_with_logits   y = 1/n * sum over i of  max(x,0) - x t + log(1 + exp(-|x|))
//                   dx[i] += dy / n * (sigmoid(x[i]) - t[i])
//                   x (logits), t (targets in [0,1]): one shape; y scalar
//
// It equals -t log(sigmoid(x)) - (1-t) log(1-sigmoid(x)). With log(sigmoid(x)) = -log(1 + exp(-x)) and
// log(1-sigmoid(x)) = -x - log(1 + exp(-x)) that is  x - x t + log(1 + exp(-x));  for x < 0,
// log(1 + exp(-x)) = -x + log(1 + exp(x)), so that exp cannot overflow.
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

struct BceForward {
  template <class T>
  HD T operator()(T x, T t) const {
    return (x > 0 ? x : T(0)) - x * t + std::log1p(std::exp(-std::abs(x)));
  }
};
template <class T>
struct BceBackward {
  double n;
  const T* dy;  // scalar
  HD T operator()(T x, T t) const { return *dy / T(n) * (1 / (1 + std::exp(-x)) - t); }
};

}  // namespace

Tensor bce_with_logits(const Tensor& x, const Tensor& t) {
  return mean_loss<BceBackward>("bce_with_logits", BceForward{}, x, t);
}

}  // namespace acinus
