// avg_pool2d   y[n,i,j,c] = 1/k^2 * sum over a,b < k of x[n, i*s-p+a, j*s-p+b, c]
//              dx[n,r,q,c] += 1/k^2 * sum of dy[n,i,j,c] over the windows (i,j) that hold (r,q)
//              x (N,H,W,C) -> y (N,OH,OW,C),  OH = (H + 2p - k) / s + 1;  outside the image counts as 0
//              Example: x (2,64,64,16), k = s = 2 -> (2,32,32,16)
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

template <class T, class C = Compute<T>>
struct AvgPool2dForward {  // channels first .. first+n-1 of one output pixel
  PoolGeometry g;
  const T* x;
  T* y;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, i, j] = g.y[pixel];
    Values<C, Count> total;
    for (int ch = 0; ch < n; ch++) total[ch] = 0;
    for (int a = 0; a < g.k; a++)
      for (int b = 0; b < g.k; b++) {
        const int r = i * g.s - g.p + a, q = j * g.s - g.p + b;
        if (!g.x.inside(r, q)) continue;
        const auto in = load(n, x + g.x.number(image, r, q) * g.c + first);
        for (int ch = 0; ch < n; ch++) total[ch] += in[ch];
      }
    for (int ch = 0; ch < n; ch++) total[ch] /= C(g.k * g.k);
    store(n, y + pixel * g.c + first, total);
  }
};

template <class T, class C = Compute<T>>
struct AvgPool2dBackward {  // channels first .. first+n-1 of one input pixel
  PoolGeometry g;
  const T* dy;
  T* dx;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, r, q] = g.x[pixel];
    Values<C, Count> gradient;
    for (int ch = 0; ch < n; ch++) gradient[ch] = 0;
    for (int i = g.first_window(r); i < g.y.h && i * g.s - g.p <= r; i++)
      for (int j = g.first_window(q); j < g.y.w && j * g.s - g.p <= q; j++) {
        const auto upstream = load(n, dy + g.y.number(image, i, j) * g.c + first);
        for (int ch = 0; ch < n; ch++) gradient[ch] += upstream[ch];
      }
    for (int ch = 0; ch < n; ch++) gradient[ch] /= C(g.k * g.k);
    store(n, dx + pixel * g.c + first, gradient);
  }
};

}  // namespace

Tensor avg_pool2d(const Tensor& x, Pool2dOptions o) {
  const PoolGeometry g = pool_geometry("avg_pool2d", x, o);
  const Tensor y = map_rows<AvgPool2dForward>(x, {x.shape()[0], g.y.h, g.y.w, g.c}, g);
  return record("avg_pool2d", y, {x}, [g, s = x.shape()](const Tensor& dy, Inputs& in) {
    in[0].add_grad(map_rows<AvgPool2dBackward>(dy, s, g));
  });
}

}  // namespace acinus
