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

HD inline int64_t far_row(int64_t i, int64_t size) {
  const int64_t far = i % 2 ? i / 2 + 1 : i / 2 - 1;
  return far < 0 ? 0 : far >= size ? size - 1 : far;
}

template <class T>
struct Upsample2xForward {  // channels begin .. end-1 of one output pixel
  int64_t h, w, c;
  Compute<T> near_weight;
  const T* x;
  T* y;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (4 * h * w), i = pixel / (2 * w) % (2 * h), j = pixel % (2 * w);
    const int64_t r0 = i / 2, r1 = far_row(i, h), q0 = j / 2, q1 = far_row(j, w);
    const Compute<T> a = near_weight, b = 1 - near_weight;
    if (b == 0) {  // nearest: a single pixel, as 0 times the NaN of another would be NaN
      const T* near = x + ((n * h + r0) * w + q0) * c;
      for (int64_t ch = begin; ch < end; ch++) y[pixel * c + ch] = near[ch];
      return;
    }
    for (int64_t ch = begin; ch < end; ch++) {
      const T* image = x + n * h * w * c + ch;
      y[pixel * c + ch] = T(a * (a * image[(r0 * w + q0) * c] + b * image[(r0 * w + q1) * c]) +
                            b * (a * image[(r1 * w + q0) * c] + b * image[(r1 * w + q1) * c]));
    }
  }
};

template <class T>
struct Upsample2xBackward {  // channels begin .. end-1 of one input pixel
  int64_t h, w, c;
  Compute<T> near_weight;
  const T* dy;
  T* dx;
  HD Compute<T> weight(int64_t i, int64_t r, int64_t size) const {
    return (i / 2 == r ? near_weight : 0) + (far_row(i, size) == r ? 1 - near_weight : 0);
  }
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const int64_t n = pixel / (h * w), r = pixel / w % h, q = pixel % w;
    for (int64_t first = begin; first < end; first += columns_at_once)
      add_block(pixel, n, r, q, first, end - first < columns_at_once ? end - first : columns_at_once);
  }
  HD void add_block(int64_t pixel, int64_t n, int64_t r, int64_t q, int64_t first, int64_t channels) const {
    Compute<T> sum[columns_at_once];
    for (int64_t ch = 0; ch < channels; ch++) sum[ch] = 0;
    for (int64_t i = 2 * r - 1; i <= 2 * r + 2; i++)
      for (int64_t j = 2 * q - 1; j <= 2 * q + 2; j++) {
        if (i < 0 || i >= 2 * h || j < 0 || j >= 2 * w) continue;
        const Compute<T> factor = weight(i, r, h) * weight(j, q, w);
        if (factor == 0) continue;
        const T* from = dy + ((n * 2 * h + i) * 2 * w + j) * c + first;
        for (int64_t ch = 0; ch < channels; ch++) sum[ch] += factor * from[ch];
      }
    for (int64_t ch = 0; ch < channels; ch++) dx[pixel * c + first + ch] = T(sum[ch]);
  }
};

}  // namespace

Tensor upsample2x(const Tensor& x, Upsample mode) {
  check_same_kind("upsample2x", {&x});
  const Shape s = x.shape();
  check(s.rank() == 4, "upsample2x: needs (N,H,W,C), got ", s);
  const float near_weight = mode == Upsample::nearest ? 1 : 0.75f;
  const Tensor y = map_rows<Upsample2xForward>(x, {s[0], 2 * s[1], 2 * s[2], s[3]}, s[1], s[2], s[3], near_weight);
  return record("upsample2x", y, {x}, [s, near_weight](const Tensor& dy, Inputs& in) {
    in[0].add_grad(map_rows<Upsample2xBackward>(dy, s, s[1], s[2], s[3], near_weight));
  });
}

}  // namespace acinus
