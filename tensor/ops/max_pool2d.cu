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

template <class T>
struct MaxPool2dForward {  // channels begin .. end-1 of one output pixel
  PoolGeometry g;
  const T* x;
  T* y;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (g.oh * g.ow), i = pixel / g.ow % g.oh, j = pixel % g.ow;
    T* out = y + pixel * g.c;
    bool first = true;
    for (int64_t a = 0; a < g.k; a++)
      for (int64_t b = 0; b < g.k; b++) {
        const int64_t r = i * g.s - g.p + a, q = j * g.s - g.p + b;
        if (!g.inside(r, q)) continue;
        const T* in = x + ((n * g.h + r) * g.w + q) * g.c;
        for (int64_t ch = begin; ch < end; ch++)  // in != in: NaN wins, and stays
          out[ch] = first || in[ch] > out[ch] || in[ch] != in[ch] ? in[ch] : out[ch];
        first = false;
      }
  }
};

template <class T>
struct MaxPool2dBackward {  // channels begin .. end-1 of one input pixel
  PoolGeometry g;
  const T *x, *dy;
  T* dx;
  bool add;  // to the gradient in dx, instead of 0
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (g.h * g.w), r = pixel / g.w % g.h, q = pixel % g.w;
    if (!add)
      for (int64_t ch = begin; ch < end; ch++) dx[pixel * g.c + ch] = T(0);
    for (int64_t i = g.first_window(r); i < g.oh && i * g.s - g.p <= r; i++)
      for (int64_t j = g.first_window(q); j < g.ow && j * g.s - g.p <= q; j++)
        for (int64_t first = begin; first < end; first += columns_at_once)
          add_window(pixel, n, r, q, i, j, first, end - first < columns_at_once ? end - first : columns_at_once);
  }

  // dx += dy of window (i,j) in those channels where pixel (r,q) is its maximum: larger than all pixels before it, and not
  // smaller than any after it.
  HD void add_window(int64_t pixel, int64_t n, int64_t r, int64_t q, int64_t i, int64_t j, int64_t first,
                     int64_t channels) const {
    const T *own = x + pixel * g.c + first, *upstream = dy + ((n * g.oh + i) * g.ow + j) * g.c + first;
    T gradient[columns_at_once];
    for (int64_t ch = 0; ch < channels; ch++) gradient[ch] = upstream[ch];
    for (int64_t a = 0; a < g.k; a++)
      for (int64_t b = 0; b < g.k; b++) {
        const int64_t row = i * g.s - g.p + a, col = j * g.s - g.p + b;
        if (!g.inside(row, col) || (row == r && col == q)) continue;
        const T* other = x + ((n * g.h + row) * g.w + col) * g.c + first;
        if (row < r || (row == r && col < q))
          for (int64_t ch = 0; ch < channels; ch++) gradient[ch] = other[ch] < own[ch] ? gradient[ch] : T(0);
        else
          for (int64_t ch = 0; ch < channels; ch++) gradient[ch] = other[ch] <= own[ch] ? gradient[ch] : T(0);
      }
    for (int64_t ch = 0; ch < channels; ch++) {
      T& sum = dx[pixel * g.c + first + ch];
      sum = T(Compute<T>(sum) + Compute<T>(gradient[ch]));
    }
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
  return {s[0], s[1], s[2], s[3], last_row / o.stride + 1, last_column / o.stride + 1, o.kernel, o.stride, o.padding};
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
      for_each_row(x.device(), g.n * g.h * g.w, g.c,
                   MaxPool2dBackward<T>{g, x.ptr<T>(), dy.ptr<T>(), dx.ptr<T>(), add});
    });
    if (!add) in[0].add_grad(std::move(dx), in.masked);
  };
  return record("max_pool2d", y, {x}, backward, from_relu);
}

Tensor max_pool2d(const Tensor& x, Pool2dOptions o) {
  const PoolGeometry g = pool_geometry("max_pool2d", x, o);
  return record_max_pool2d(x, map_rows<MaxPool2dForward>(x, {g.n, g.oh, g.ow, g.c}, g), o);
}

}  // namespace acinus
