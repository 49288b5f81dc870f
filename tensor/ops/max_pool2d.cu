// max_pool2d   y[n,i,j,c] = max over a,b < k of x[n, i*s-p+a, j*s-p+b, c]
//              dx[n,r,q,c] += sum of dy[n,i,j,c] over the windows (i,j) whose maximum is at (r,q)
//              x (N,H,W,C) -> y (N,OH,OW,C),  OH = (H + 2p - k) / s + 1;  outside the image counts as -infinity
//              Example: x (2,64,64,16), k = s = 2 -> (2,32,32,16)
//
// Of equal values the first in reading order is the maximum, as in PyTorch. The backward pass does not remember
// where the maxima were: each input pixel looks again at the windows it lies in. So every element of dx is
// computed alone (no atomics), and nothing but x is kept.
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {

template <class T> struct MaxPool2d {
  int64_t h, w, c, oh, ow, k, s, p;
  const T* x;

  // The row and column of the maximum of window (i,j) in channel ch, as row * w + column. NaN wins.
  HD int64_t argmax(int64_t n, int64_t i, int64_t j, int64_t ch) const {
    int64_t best = -1;
    for (int64_t a = 0; a < k; a++)
      for (int64_t b = 0; b < k; b++) {
        const int64_t r = i * s - p + a, q = j * s - p + b;
        if (r < 0 || r >= h || q < 0 || q >= w) continue;
        const T value = at(n, r * w + q, ch);
        if (best < 0 || value > at(n, best, ch) || value != value) best = r * w + q;
      }
    return best;
  }
  HD T at(int64_t n, int64_t pixel, int64_t ch) const { return x[(n * h * w + pixel) * c + ch]; }
};

template <class T> struct MaxPool2dForward {  // one output pixel
  MaxPool2d<T> pool;
  T* y;
  HD void operator()(int64_t pixel) const {
    const int64_t n = pixel / (pool.oh * pool.ow), i = pixel / pool.ow % pool.oh, j = pixel % pool.ow;
    for (int64_t ch = 0; ch < pool.c; ch++) y[pixel * pool.c + ch] = pool.at(n, pool.argmax(n, i, j, ch), ch);
  }
};

template <class T> struct MaxPool2dBackward {  // one input pixel
  MaxPool2d<T> pool;
  const T* dy;
  T* dx;
  HD void operator()(int64_t pixel) const {
    const MaxPool2d<T>& m = pool;
    const int64_t n = pixel / (m.h * m.w), place = pixel % (m.h * m.w), r = place / m.w, q = place % m.w;
    // The windows with i*s-p <= r <= i*s-p+k-1, the same for j.
    const int64_t i0 = r + m.p < m.k ? 0 : (r + m.p - m.k) / m.s + 1,
                  j0 = q + m.p < m.k ? 0 : (q + m.p - m.k) / m.s + 1;
    for (int64_t ch = 0; ch < m.c; ch++) {
      T gradient = 0;
      for (int64_t i = i0; i < m.oh && i * m.s - m.p <= r; i++)
        for (int64_t j = j0; j < m.ow && j * m.s - m.p <= q; j++)
          if (m.argmax(n, i, j, ch) == place) gradient += dy[((n * m.oh + i) * m.ow + j) * m.c + ch];
      dx[pixel * m.c + ch] = gradient;
    }
  }
};

// Shared with avg_pool2d: checks, and the shape of y.
Shape pooled_shape(const char* op, const Tensor& x, Pool2dOptions o) {
  check_same_kind(op, {&x});
  const Shape s = x.shape();
  check(s.rank() == 4, op, ": needs (N,H,W,C), got ", s);
  check(o.kernel >= 1 && o.stride >= 1 && o.padding >= 0 && 2 * o.padding <= o.kernel, op, ": kernel ", o.kernel,
        ", stride ", o.stride, ", padding ", o.padding, ": the padding may be at most half the kernel");
  check(s[1] + 2 * o.padding >= o.kernel && s[2] + 2 * o.padding >= o.kernel, op, ": kernel ", o.kernel,
        " is larger than x ", s, " with padding ", o.padding);
  return {s[0], (s[1] + 2 * o.padding - o.kernel) / o.stride + 1, (s[2] + 2 * o.padding - o.kernel) / o.stride + 1,
          s[3]};
}

Tensor max_pool2d(const Tensor& x, Pool2dOptions o) {
  const Shape sx = x.shape(), sy = pooled_shape("max_pool2d", x, o);
  const auto geometry = [sx, sy, o](auto* data) {
    return MaxPool2d<std::decay_t<decltype(*data)>>{sx[1],    sx[2],    sx[3],     sy[1], sy[2],
                                                    o.kernel, o.stride, o.padding, data};
  };
  Tensor y(sy, x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), sy[0] * sy[1] * sy[2], MaxPool2dForward<T>{geometry(x.data<T>()), y.data<T>()});
  });
  return record("max_pool2d", y, {x}, [x = x.detach(), geometry](const Tensor& dy, Inputs& in) {
    Tensor dx(x.shape(), x.dtype(), x.device());
    dispatch(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each(x.device(), x.shape()[0] * x.shape()[1] * x.shape()[2],
               MaxPool2dBackward<T>{geometry(x.data<T>()), dy.data<T>(), dx.data<T>()});
    });
    in[0].add_grad(dx);
  });
}

}  // namespace acinus
