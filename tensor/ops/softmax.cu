// softmax   y[r,c] = exp(x[r,c] - m[r]) / sum over k of exp(x[r,k] - m[r]),  m[r] = max over k of x[r,k]
//           dx[r,c] += y[r,c] * (dy[r,c] - sum over k of dy[r,k] y[r,k])        x, y: (...,C), row r, channel c
//
// Subtracting the row's maximum does not change the quotient, and keeps exp from overflowing.
// Gradient: dy[k]/dx[c] = y[k] (1[k=c] - y[c]); summed over k against dy[k].
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {
namespace {

template <class T>
struct SoftmaxForward {  // one row
  int64_t c;
  const T* x;
  T* y;
  HD void operator()(int64_t row) const {
    const T* in = x + row * c;
    T* out = y + row * c;
    T largest = in[0], total = 0;
    for (int64_t k = 1; k < c; k++) largest = in[k] > largest ? in[k] : largest;
    for (int64_t k = 0; k < c; k++) total += out[k] = std::exp(in[k] - largest);
    for (int64_t k = 0; k < c; k++) out[k] /= total;
  }
};

template <class T>
struct SoftmaxBackward {  // one row
  int64_t c;
  const T *dy, *y;
  T* dx;
  HD void operator()(int64_t row) const {
    T dot = 0;
    for (int64_t k = row * c; k < (row + 1) * c; k++) dot += dy[k] * y[k];
    for (int64_t k = row * c; k < (row + 1) * c; k++) dx[k] = y[k] * (dy[k] - dot);
  }
};

}  // namespace

Tensor softmax(const Tensor& x) {
  check_precise("softmax", {&x});
  check(x.shape().rank() >= 1 && x.shape()[-1] > 0, "softmax: needs a last axis to sum over, got ", x.shape());
  const int64_t c = x.shape()[-1], rows = x.elements() / c;
  Tensor y(x.shape(), x.dtype(), x.device());
  dispatch_precise(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), rows, SoftmaxForward<T>{c, x.ptr<T>(), y.ptr<T>()}, c);
  });
  return record("softmax", y, {x}, [y, c, rows](const Tensor& dy, Inputs& in) {
    Tensor dx(y.shape(), y.dtype(), y.device());
    dispatch_precise(y.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each(y.device(), rows, SoftmaxBackward<T>{c, dy.ptr<T>(), y.ptr<T>(), dx.ptr<T>()}, c);
    });
    in[0].add_grad(dx);
  });
}

}  // namespace acinus
