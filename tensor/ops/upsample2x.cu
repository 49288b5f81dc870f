// upsample2x   nearest:   y[n,i,j,c] = x[n, i/2, j/2, c]
//              bilinear:  y[n,i,j,c] = sum over r,q of w(i,r,H) w(j,q,W) x[n,r,q,c]
//              dx[n,r,q,c] += sum over i,j of w(i,r,H) w(j,q,W) dy[n,i,j,c]
//              x (N,H,W,C) -> y (N,2H,2W,C)
//
// w(i, r, H) is the weight of input row r in output row i. The centre of output row i is at (i + 0.5) / 2 - 0.5 in the
// input: a quarter of a pixel from the near row i/2, three quarters from the far one (the row before it for an even i, the
// row after it for an odd i; at the edge the near row again). So w is 3/4 for the near row and 1/4 for the far one;
// for nearest, 1 and 0. (PyTorch's interpolate with align_corners=False.)
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

HD inline int far_row(int i, int size) {
  const int far = i % 2 ? i / 2 + 1 : i / 2 - 1;
  return far < 0 ? 0 : far >= size ? size - 1 : far;
}

template <class T, class C = Compute<T>>
struct Upsample2xForward {  // channels first .. first+n-1 of one output pixel
  Pixels in, out;
  int64_t c;
  C near_weight;
  const T* x;
  T* y;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const Pixels::Pixel to = out[pixel];
    const int r0 = to.i / 2, r1 = far_row(to.i, in.h), q0 = to.j / 2, q1 = far_row(to.j, in.w);
    const auto at = [&](int r, int q) { return load(n, x + in.number(to.image, r, q) * c + first); };
    T* const result = y + pixel * c + first;
    const C a = near_weight, b = 1 - near_weight;
    if (b == 0)  // nearest: a single pixel, as 0 times the NaN of another would be NaN
      return assign(
          n, result, [](C near) { return near; }, at(r0, q0));
    const auto mean = [a, b](C x00, C x01, C x10, C x11) { return a * (a * x00 + b * x01) + b * (a * x10 + b * x11); };
    assign(n, result, mean, at(r0, q0), at(r0, q1), at(r1, q0), at(r1, q1));
  }
};

template <class T, class C = Compute<T>>
struct Upsample2xBackward {  // channels first .. first+n-1 of one input pixel
  Pixels in, out;
  int64_t c;
  C near_weight;
  const T* dy;
  T* dx;
  HD C weight(int i, int r, int size) const {
    return (i / 2 == r ? near_weight : 0) + (far_row(i, size) == r ? 1 - near_weight : 0);
  }
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, r, q] = in[pixel];
    Values<C, Count> sum;
    for (int ch = 0; ch < n; ch++) sum[ch] = 0;
    for (int i = 2 * r - 1; i <= 2 * r + 2; i++)
      for (int j = 2 * q - 1; j <= 2 * q + 2; j++) {
        if (!out.inside(i, j)) continue;
        const C factor = weight(i, r, in.h) * weight(j, q, in.w);
        if (factor == 0) continue;
        const auto from = load(n, dy + out.number(image, i, j) * c + first);
        for (int ch = 0; ch < n; ch++) sum[ch] += factor * from[ch];
      }
    store(n, dx + pixel * c + first, sum);
  }
};

}  // namespace

Tensor upsample2x(const Tensor& x, Upsample mode) {
  check_same_kind("upsample2x", {&x});
  const Shape s = x.shape();
  check(s.rank() == 4, "upsample2x: needs (N,H,W,C), got ", s);
  const float near_weight = mode == Upsample::nearest ? 1 : 0.75f;
  const Pixels in(s[0], s[1], s[2]), out(s[0], 2 * s[1], 2 * s[2]);
  const Tensor y = map_rows<Upsample2xForward>(x, {s[0], out.h, out.w, s[3]}, in, out, s[3], near_weight);
  return record("upsample2x", y, {x}, [=](const Tensor& dy, Inputs& inputs) {
    inputs[0].add_grad(map_rows<Upsample2xBackward>(dy, s, in, out, s[3], near_weight));
  });
}

}  // namespace acinus
