// avg_pool2d   y[n,i,j,c] = 1/k^2 * sum over a,b < k of x[n, i*s-p+a, j*s-p+b, c]
//              dx[n,r,q,c] += 1/k^2 * sum of dy[n,i,j,c] over the windows (i,j) that hold (r,q)
//              x (N,H,W,C) -> y (N,OH,OW,C),  OH = (H + 2p - k) / s + 1;  outside the image counts as 0
//              Example: x (2,64,64,16), k = s = 2 -> (2,32,32,16)
#include "tensor/for_each.h"
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

template <class T>
struct AvgPool2dForward {  // channels begin .. end-1 of one output pixel
  PoolGeometry g;
  const T* x;
  T* y;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (g.oh * g.ow), i = pixel / g.ow % g.oh, j = pixel % g.ow;
    for (int64_t ch = begin; ch < end; ch++) {
      Compute<T> total = 0;
      for (int64_t a = 0; a < g.k; a++)
        for (int64_t b = 0; b < g.k; b++) {
          const int64_t r = i * g.s - g.p + a, q = j * g.s - g.p + b;
          if (g.inside(r, q)) total += x[((n * g.h + r) * g.w + q) * g.c + ch];
        }
      y[pixel * g.c + ch] = T(total / Compute<T>(g.k * g.k));
    }
  }
};

template <class T>
struct AvgPool2dBackward {  // channels begin .. end-1 of one input pixel
  PoolGeometry g;
  const T* dy;
  T* dx;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (g.h * g.w), r = pixel / g.w % g.h, q = pixel % g.w;
    // The windows that hold (r,q) are those with i*s-p <= r <= i*s-p+k-1, and the same for j.
    const int64_t i0 = r + g.p < g.k ? 0 : (r + g.p - g.k) / g.s + 1;
    const int64_t j0 = q + g.p < g.k ? 0 : (q + g.p - g.k) / g.s + 1;
    for (int64_t ch = begin; ch < end; ch++) {
      Compute<T> gradient = 0;
      for (int64_t i = i0; i < g.oh && i * g.s - g.p <= r; i++)
        for (int64_t j = j0; j < g.ow && j * g.s - g.p <= q; j++)
          gradient += dy[((n * g.oh + i) * g.ow + j) * g.c + ch];
      dx[pixel * g.c + ch] = T(gradient / Compute<T>(g.k * g.k));
    }
  }
};

}  // namespace

Tensor avg_pool2d(const Tensor& x, Pool2dOptions o) {
  const PoolGeometry g = pool_geometry("avg_pool2d", x, o);
  Tensor y({g.n, g.oh, g.ow, g.c}, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row(x.device(), g.n * g.oh * g.ow, g.c, AvgPool2dForward<T>{g, x.ptr<T>(), y.ptr<T>()});
  });
  return record("avg_pool2d", y, {x}, [g, shape = x.shape()](const Tensor& dy, Inputs& in) {
    Tensor dx(shape, dy.dtype(), dy.device());
    dispatch(dy.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each_row(dy.device(), g.n * g.h * g.w, g.c, AvgPool2dBackward<T>{g, dy.ptr<T>(), dx.ptr<T>()});
    });
    in[0].add_grad(dx);
  });
}

}  // namespace acinus
