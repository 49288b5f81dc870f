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
  int64_t h, w, c, oh, ow, k, s, p;
  const T* x;
  T* y;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (oh * ow), i = pixel / ow % oh, j = pixel % ow;
    for (int64_t ch = begin; ch < end; ch++) {
      Compute<T> total = 0;
      for (int64_t a = 0; a < k; a++)
        for (int64_t b = 0; b < k; b++) {
          const int64_t r = i * s - p + a, q = j * s - p + b;
          if (r >= 0 && r < h && q >= 0 && q < w) total += x[((n * h + r) * w + q) * c + ch];
        }
      y[pixel * c + ch] = T(total / Compute<T>(k * k));
    }
  }
};

template <class T>
struct AvgPool2dBackward {  // channels begin .. end-1 of one input pixel
  int64_t h, w, c, oh, ow, k, s, p;
  const T* dy;
  T* dx;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (h * w), r = pixel / w % h, q = pixel % w;
    // The windows that hold (r,q) are those with i*s-p <= r <= i*s-p+k-1, and the same for j.
    const int64_t i0 = r + p < k ? 0 : (r + p - k) / s + 1, j0 = q + p < k ? 0 : (q + p - k) / s + 1;
    for (int64_t ch = begin; ch < end; ch++) {
      Compute<T> gradient = 0;
      for (int64_t i = i0; i < oh && i * s - p <= r; i++)
        for (int64_t j = j0; j < ow && j * s - p <= q; j++) gradient += dy[((n * oh + i) * ow + j) * c + ch];
      dx[pixel * c + ch] = T(gradient / Compute<T>(k * k));
    }
  }
};

}  // namespace

Tensor avg_pool2d(const Tensor& x, Pool2dOptions o) {
  const Shape sx = x.shape(), sy = pooled_shape("avg_pool2d", x, o);
  Tensor y(sy, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row(
        x.device(), sy[0] * sy[1] * sy[2], sx[3],
        AvgPool2dForward<T>{sx[1], sx[2], sx[3], sy[1], sy[2], o.kernel, o.stride, o.padding, x.ptr<T>(), y.ptr<T>()});
  });
  return record("avg_pool2d", y, {x}, [sx, sy, o](const Tensor& dy, Inputs& in) {
    Tensor dx(sx, dy.dtype(), dy.device());
    dispatch(dy.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each_row(dy.device(), sx[0] * sx[1] * sx[2], sx[3],
                   AvgPool2dBackward<T>{sx[1], sx[2], sx[3], sy[1], sy[2], o.kernel, o.stride, o.padding, dy.ptr<T>(),
                                        dx.ptr<T>()});
    });
    in[0].add_grad(dx);
  });
}

}  // namespace acinus
