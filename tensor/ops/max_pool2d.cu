// max_pool2d   y[n,i,j,c] = max over a,b < k of x[n, i*s-p+a, j*s-p+b, c]
//              dx[n,r,q,c] += sum of dy[n,i,j,c] over the windows (i,j) whose maximum is at (r,q)
//              x (N,H,W,C) -> y (N,OH,OW,C),  OH = (H + 2p - k) / s + 1;  outside the image counts as -infinity
//              Example: x (2,64,64,16), k = s = 2 -> (2,32,32,16)
//
// Of equal values the first in reading order is the maximum, as in PyTorch. A NaN is the maximum of its windows, which then
// pass no gradient on. The positions of the maxima are not saved: in the backward pass each input pixel compares itself
// with the others in its windows. So every element of dx is computed alone (no atomics), and only x is kept. Both bodies
// process the channels of one pixel, which are adjacent in memory, in their innermost loops.
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

template <class T, class C = Compute<T>>
struct MaxPool2dForward {  // channels first .. first+n-1 of one output pixel
  PoolGeometry g;
  const T* x;
  T* y;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, i, j] = g.y[pixel];
    Values<C, Count> largest;
    for (int ch = 0; ch < n; ch++) largest[ch] = -INFINITY;
    for (int a = 0; a < g.k; a++)
      for (int b = 0; b < g.k; b++) {
        const int r = i * g.s - g.p + a, q = j * g.s - g.p + b;
        if (!g.x.inside(r, q)) continue;
        const auto in = load(n, x + g.x.number(image, r, q) * g.c + first);
        for (int ch = 0; ch < n; ch++)  // in != in: NaN wins, and stays
          largest[ch] = in[ch] > largest[ch] || in[ch] != in[ch] ? C(in[ch]) : largest[ch];
      }
    store(n, y + pixel * g.c + first, largest);
  }
};

template <class T, class C = Compute<T>>
struct MaxPool2dBackward {  // channels first .. first+n-1 of one input pixel
  PoolGeometry g;
  const T *x, *dy;
  T* dx;
  bool add;  // to the gradient in dx, instead of 0
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, r, q] = g.x[pixel];
    const int64_t at = pixel * g.c + first;
    const auto own = load(n, x + at);
    Values<C, Count> sum, gradient;
    for (int ch = 0; ch < n; ch++) sum[ch] = 0;
    if (add) {
      const auto before = load(n, dx + at);
      for (int ch = 0; ch < n; ch++) sum[ch] = before[ch];
    }
    for (int i = g.first_window(r); i < g.y.h && i * g.s - g.p <= r; i++)
      for (int j = g.first_window(q); j < g.y.w && j * g.s - g.p <= q; j++) {
        const auto upstream = load(n, dy + g.y.number(image, i, j) * g.c + first);
        for (int ch = 0; ch < n; ch++) gradient[ch] = upstream[ch];
        for (int a = 0; a < g.k; a++)
          for (int b = 0; b < g.k; b++) {
            const int row = i * g.s - g.p + a, col = j * g.s - g.p + b;
            if (!g.x.inside(row, col) || (row == r && col == q)) continue;
            // This pixel is the window's maximum if it is larger than all pixels before it, and not smaller than any after it.
            const auto other = load(n, x + g.x.number(image, row, col) * g.c + first);
            if (row < r || (row == r && col < q))
              for (int ch = 0; ch < n; ch++) gradient[ch] = other[ch] < own[ch] ? gradient[ch] : C(0);
            else
              for (int ch = 0; ch < n; ch++) gradient[ch] = other[ch] <= own[ch] ? gradient[ch] : C(0);
          }
        for (int ch = 0; ch < n; ch++) sum[ch] = T(sum[ch] + gradient[ch]);
      }
    store(n, dx + at, sum);
  }
};

// The same for windows of 2x2 that cover x side by side: channels first .. first+n-1 of one window, whose four pixels are
// read once.
template <class T, class C = Compute<T>>
struct MaxPool2x2Backward {
  PoolGeometry g;
  const T *x, *dy;
  T* dx;
  bool add;
  template <class Count>
  HD void operator()(int64_t window, int64_t first, Count n) const {
    const auto [image, i, j] = g.y[window];
    const int64_t at = g.x.number(image, 2 * i, 2 * j) * g.c + first, down = g.x.w * g.c;
    const auto a = load(n, x + at), b = load(n, x + at + g.c), c = load(n, x + at + down),
               d = load(n, x + at + down + g.c), upstream = load(n, dy + window * g.c + first);
    // The maximum is larger than the pixels before it, and not smaller than those after it.
    const auto pass = [&](int64_t to, auto is_maximum) {
      const auto gradient = [=](C dy, C a, C b, C c, C d) { return is_maximum(a, b, c, d) ? dy : C(0); };
      if (!add) return assign(n, dx + to, gradient, upstream, a, b, c, d);
      const auto sum = [=](C before, C dy, C a, C b, C c, C d) { return before + gradient(dy, a, b, c, d); };
      assign(n, dx + to, sum, load(n, dx + to), upstream, a, b, c, d);
    };
    pass(at, [](C a, C b, C c, C d) { return (b <= a) & (c <= a) & (d <= a); });
    pass(at + g.c, [](C a, C b, C c, C d) { return (a < b) & (c <= b) & (d <= b); });
    pass(at + down, [](C a, C b, C c, C d) { return (a < c) & (b < c) & (d <= c); });
    pass(at + down + g.c, [](C a, C b, C c, C d) { return (a < d) & (b < d) & (c < d); });
  }
};

}  // namespace

PoolGeometry pool_geometry(const char* op, const Tensor& x, Pool2dOptions o) {
  check_same_kind(op, {&x});
  const Shape s = x.shape();
  check(s.rank() == 4 && s[1] > 0 && s[2] > 0, op, ": needs (N,H,W,C) with rows and columns, got ", s);
  check(o.kernel >= 1 && o.stride >= 1 && o.padding >= 0 && 2 * o.padding <= o.kernel, op, ": kernel ", o.kernel,
        ", stride ", o.stride, ", padding ", o.padding, ": the padding may be at most half the kernel");
  const int64_t last_row = s[1] + 2 * o.padding - o.kernel, last_column = s[2] + 2 * o.padding - o.kernel;
  check(last_row >= 0 && last_column >= 0, op, ": kernel ", o.kernel, " is larger than x ", s, " with padding ",
        o.padding);
  const int64_t oh = last_row / o.stride + 1, ow = last_column / o.stride + 1;
  return {s[3], {s[0], s[1], s[2]}, {s[0], oh, ow}, int(o.kernel), int(o.padding), o.stride};
}

Tensor record_max_pool2d(const Tensor& x, const Tensor& y, Pool2dOptions o, bool from_relu) {
  const PoolGeometry g = pool_geometry("max_pool2d", x, o);
  const auto backward = [g, x = x.detach()](const Tensor& dy, Inputs& in) {
    // In a U-Net x is also a skip connection, and the decoder's gradient is there already: added to in place. If dy is masked,
    // so is dx, since a maximum that is not positive is that of a window without positive pixels.
    Tensor dx = in[0].grad_buffer(in.masked);
    const bool add = bool(dx);
    if (!add) dx = Tensor(x.shape(), x.dtype(), x.device());
    dispatch(x.dtype(), [&](auto zero) {
      using T = decltype(zero);
      if (g.k == 2 && g.s == 2 && g.p == 0 && g.x.h == 2 * g.y.h && g.x.w == 2 * g.y.w)
        return for_each_row<T>(x.device(), dy.elements() / std::max<int64_t>(g.c, 1), g.c,
                               MaxPool2x2Backward<T>{g, x.ptr<T>(), dy.ptr<T>(), dx.ptr<T>(), add});
      for_each_row<T>(x.device(), x.elements() / std::max<int64_t>(g.c, 1), g.c,
                      MaxPool2dBackward<T>{g, x.ptr<T>(), dy.ptr<T>(), dx.ptr<T>(), add});
    });
    if (!add) in[0].add_grad(std::move(dx), in.masked);
  };
  return record("max_pool2d", y, {x}, backward, from_relu);
}

Tensor max_pool2d(const Tensor& x, Pool2dOptions o) {
  const PoolGeometry g = pool_geometry("max_pool2d", x, o);
  return record_max_pool2d(x, map_rows<MaxPool2dForward>(x, {x.shape()[0], g.y.h, g.y.w, g.c}, g), o);
}

}  // namespace acinus
