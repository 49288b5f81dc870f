// mse_loss   y = 1/n * sum over i of (x[i] - t[i])^2        dx[i] += dy * 2 (x[i] - t[i]) / n
//            x, t: one shape with n elements; y scalar
#include "tensor/ops.h"
#include "tensor/reduce.h"

namespace acinus {
namespace {

struct SquaredError {
  template <class T>
  HD T operator()(T x, T t) const {
    return (x - t) * (x - t);
  }
};
template <class T>
struct MseBackward {
  double n;
  const T* dy;  // scalar
  HD T operator()(T x, T t) const { return *dy * 2 * (x - t) / T(n); }
};

}  // namespace

Tensor mse_loss(const Tensor& x, const Tensor& t) {
  check_precise("mse_loss", {&x, &t});
  check(x.shape() == t.shape(), "mse_loss: shapes differ: x ", x.shape(), " vs t ", t.shape());
  check(x.elements() > 0, "mse_loss: x has no elements: ", x.shape());
  const double n = double(x.elements());
  return record("mse_loss", map(Scale{1 / n}, reduce(SquaredError{}, x, t)), {x},
                [n, x = x.detach(), t = t.detach()](const Tensor& dy, Inputs& in) {
                  in[0].add_grad(dispatch_precise(x.dtype(), [&](auto zero) {
                    using T = decltype(zero);
                    return map(MseBackward<T>{n, dy.ptr<T>()}, x, t);
                  }));
                });
}

}  // namespace acinus
