// bce_with_logits   y = 1/n * sum over i of  max(x,0) - x t + log(1 + exp(-|x|))
//                   dx[i] += dy / n * (sigmoid(x[i]) - t[i])
//                   x (logits), t (targets in [0,1]): one shape; y scalar
//
// It equals -t log(sigmoid(x)) - (1-t) log(1-sigmoid(x)). With log(sigmoid(x)) = -log(1 + exp(-x)) and
// log(1-sigmoid(x)) = -x - log(1 + exp(-x)) that is  x - x t + log(1 + exp(-x));  for x < 0,
// log(1 + exp(-x)) = -x + log(1 + exp(x)), so that exp cannot overflow.
#include "tensor/ops.h"
#include "tensor/reduce.h"

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
  check_precise("bce_with_logits", {&x, &t});
  check(x.shape() == t.shape(), "bce_with_logits: shapes differ: x ", x.shape(), " vs t ", t.shape());
  check(x.elements() > 0, "bce_with_logits: x has no elements: ", x.shape());
  const double n = double(x.elements());
  return record("bce_with_logits", map(Scale{1 / n}, reduce(BceForward{}, x, t)), {x},
                [n, x = x.detach(), t = t.detach()](const Tensor& dy, Inputs& in) {
                  in[0].add_grad(dispatch_precise(x.dtype(), [&](auto zero) {
                    using T = decltype(zero);
                    return map(BceBackward<T>{n, dy.ptr<T>()}, x, t);
                  }));
                });
}

}  // namespace acinus
