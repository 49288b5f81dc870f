// avg_pool2d   y[n,i,j,c] = 1/k^2 * sum over a,b < k of x[n, i*s-p+a, j*s-p+b, c]
//              dx[n,r,q,c] += 1/k^2 * sum of dy[n,i,j,c] over the windows (i,j) that hold (r,q)
//              x (N,H,W,C) -> y (N,OH,OW,C),  OH = (H + 2p - k) / s + 1;  outside the image counts as 0
//              Example: x (2,64,64,16), k = s = 2 -> (2,32,32,16)
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
    for (int64_t ch = begin; ch < end; ch++) {
      Compute<T> gradient = 0;
      for (int64_t i = g.first_window(r); i < g.oh && i * g.s - g.p <= r; i++)
        for (int64_t j = g.first_window(q); j < g.ow && j * g.s - g.p <= q; j++)
          gradient += dy[((n * g.oh + i) * g.ow + j) * g.c + ch];
      dx[pixel * g.c + ch] = T(gradient / Compute<T>(g.k * g.k));
    }
  }
};

}  // namespace

Tensor avg_pool2d(const Tensor& x, Pool2dOptions o) {
  const PoolGeometry g = pool_geometry("avg_pool2d", x, o);
  const Tensor y = map_rows<AvgPool2dForward>(x, {g.n, g.oh, g.ow, g.c}, g);
  return record("avg_pool2d", y, {x}, [g](const Tensor& dy, Inputs& in) {
    in[0].add_grad(map_rows<AvgPool2dBackward>(dy, {g.n, g.h, g.w, g.c}, g));
  });
}

}  // namespace acinus
