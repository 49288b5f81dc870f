// mse_loss   y = 1/n * sum over i of (x[i] - t[i])^2        dx[i] += dy * 2 (x[i] - t[i]) / n
//            x, t: one shape with n elements; y scalar
#include "tensor/ops/shared.h"

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

Tensor mse_loss(const Tensor& x, const Tensor& t) { return mean_loss<MseBackward>("mse_loss", SquaredError{}, x, t); }

}  // namespace acinus
