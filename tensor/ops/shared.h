// What several ops share; internal to ops/.
#pragma once
#include "tensor/column_sums.h"
#include "tensor/conv/conv.h"
#include "tensor/ops.h"
#include "tensor/rows.h"

namespace acinus {

struct Multiply {
  template <class T>
  HD T operator()(T a, T b) const {
    return a * b;
  }
};

// y of `shape`, with x's type and device: Body<T>{parameters..., x, y} computes each row of the last axis (for_each_row).
template <template <class...> class Body, class... P>
Tensor map_rows(const Tensor& x, const Shape& shape, const P&... parameters) {
  Tensor y(shape, x.dtype(), x.device());
  const int64_t columns = shape[-1];
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row<T>(x.device(), y.elements() / std::max<int64_t>(columns, 1), columns,
                    Body<T>{parameters..., x.ptr<T>(), y.ptr<T>()});
  });
  return y;
}

// The mean over i of f(x[i], t[i]), with the gradient dx[i] = Gradient<T>{n, dy}(x[i], t[i]); dy is a scalar.
template <template <class> class Gradient, class F>
Tensor mean_loss(const char* op, F f, const Tensor& x, const Tensor& t) {
  check_precise(op, {&x, &t});
  check(x.shape() == t.shape(), op, ": shapes differ: x ", x.shape(), " vs t ", t.shape());
  check(x.elements() > 0, op, ": x has no elements: ", x.shape());
  const double n = double(x.elements());
  return record(op, map(Scale{1 / n}, reduce(f, x, t)), {x},
                [n, x = x.detach(), t = t.detach()](const Tensor& dy, Inputs& in) {
                  in[0].add_grad(dispatch_precise(x.dtype(), [&](auto zero) {
                    using T = decltype(zero);
                    return map(Gradient<T>{n, dy.ptr<T>()}, x, t);
                  }));
                });
}

// conv2d.cu: checks the arguments and chooses the algorithm. sx is the shape of the image: in conv2d_fused that of
// concat(upsample2x(deep), x).
ConvGeometry conv2d_geometry(const char* op, const Tensor& x, const Shape& sx, const Tensor& w, const Tensor& b,
                             Conv2dOptions options);
// conv2d.cu: db[o] = sum over n,i,j of dy[n,i,j,o]
Tensor bias_gradient(const Tensor& dy);
// conv2d.cu: the gradients of w and b, where they are wanted, in one pass over dy where the algorithm can.
void add_parameter_gradients(const ConvGeometry& g, const SkipConcat& x, const Tensor& dy, Input& w, Input& b);
// relu.cu: y = relu(x), hence dx = y > 0 ? dy : 0; in place, unless somebody else holds dy, too.
Tensor relu_gradient(Tensor dy, const Tensor& y);
// max_pool2d.cu: the gradient alone, for a y that has been computed; from_relu: x is the result of a ReLU, and so is y.
Tensor record_max_pool2d(const Tensor& x, const Tensor& y, Pool2dOptions options, bool from_relu = false);
// The sizes of max_pool2d and avg_pool2d, checked.
struct PoolGeometry {
  int64_t c;
  Pixels x, y;
  int k, p;
  Divisor s;
  // The first window, of rows or of columns alike, that holds row r: those with i*s-p <= r <= i*s-p+k-1 do.
  HD int first_window(int r) const { return r + p < k ? 0 : s.quotient(r + p - k) + 1; }
};
PoolGeometry pool_geometry(const char* op, const Tensor& x, Pool2dOptions options);

}  // namespace acinus
