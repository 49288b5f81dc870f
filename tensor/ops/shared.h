// What several ops share; internal to ops/.
#pragma once
#include "tensor/conv/conv.h"
#include "tensor/hd.h"
#include "tensor/ops.h"

namespace acinus {

struct Add {
  template <class T>
  HD T operator()(T a, T b) const {
    return a + b;
  }
};
struct Multiply {
  template <class T>
  HD T operator()(T a, T b) const {
    return a * b;
  }
};

// For reduce_columns: a plain sum of x.
template <class T>
struct ValueAt {
  const T* x;
  HD T operator()(int64_t i, int64_t) const { return x[i]; }
};

// ... and a sum of the gradient before a ReLU, computed in place of dy. forward: y = relu(x), hence dx = y > 0 ? dy : 0.
template <class T>
struct ReluGradientAt {
  const T* y;
  T* dy;
  HD T operator()(int64_t i, int64_t) const {
    const T gradient = dy[i];
    return dy[i] = y[i] > T(0) ? gradient : T(0);
  }
};

// conv2d.cu: checks the arguments and chooses the algorithm. sx is the shape of the image: in conv2d_fused that of
// concat(upsample2x(deep), x).
ConvGeometry conv2d_geometry(const char* op, const Tensor& x, const Shape& sx, const Tensor& w, const Tensor& b,
                             Conv2dOptions options);
// conv2d.cu: db[o] = sum over n,i,j of dy[n,i,j,o]. With y = relu(...), dy is first set to 0 where y is 0, in place.
Tensor bias_gradient(const Tensor& dy, const Tensor& y = {});
// max_pool2d.cu: the gradient alone, for a y that has been computed.
Tensor record_max_pool2d(const Tensor& x, const Tensor& y, Pool2dOptions options);
// The sizes of max_pool2d and avg_pool2d, checked.
struct PoolGeometry {
  int64_t n, h, w, c, oh, ow, k, s, p;
  HD bool inside(int64_t row, int64_t column) const { return row >= 0 && row < h && column >= 0 && column < w; }
};
PoolGeometry pool_geometry(const char* op, const Tensor& x, Pool2dOptions options);

}  // namespace acinus
