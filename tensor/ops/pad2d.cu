// pad2d   y[n,i,j,c] = x[n, i-top, j-left, c], or 0 outside x        dx[n,i,j,c] += dy[n, i+top, j+left, c], or 0
//         x (N,H,W,C) -> y (N, top+H+bottom, left+W+right, C); negative numbers crop
//
// Cropping is padding by a negative amount, so the gradient is the op itself with opposite signs.
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

template <class T>
struct Pad2dBody {  // channels first .. first+n-1 of one output pixel
  Pixels in, out;
  int top, left;
  int64_t c;
  const T* x;
  T* y;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    const auto [image, i, j] = out[pixel];
    T* const to = y + pixel * c + first;
    if (in.inside(i - top, j - left))
      return assign(
          n, to, [](T from) { return from; }, load(n, x + in.number(image, i - top, j - left) * c + first));
    Values<T, Count> zeros;
    for (int k = 0; k < n; k++) zeros[k] = 0;
    store(n, to, zeros);
  }
};

Tensor padded(const Tensor& x, int64_t top, int64_t bottom, int64_t left, int64_t right) {
  const Shape s = x.shape();
  const int64_t oh = top + s[1] + bottom, ow = left + s[2] + right;
  return map_rows<Pad2dBody>(x, {s[0], oh, ow, s[3]}, Pixels(s[0], s[1], s[2]), Pixels(s[0], oh, ow), int(top),
                             int(left), s[3]);
}

}  // namespace

Tensor pad2d(const Tensor& x, int64_t top, int64_t bottom, int64_t left, int64_t right) {
  check_same_kind("pad2d", {&x});
  check(x.shape().rank() == 4, "pad2d: needs (N,H,W,C), got ", x.shape());
  check(top + x.shape()[1] + bottom >= 0 && left + x.shape()[2] + right >= 0, "pad2d: cannot crop ", x.shape(),
        " by top ", top, ", bottom ", bottom, ", left ", left, ", right ", right,
        ": fewer than 0 rows or columns would remain");
  return record("pad2d", padded(x, top, bottom, left, right), {x},
                [=](const Tensor& dy, Inputs& in) { in[0].add_grad(padded(dy, -top, -bottom, -left, -right)); });
}

}  // namespace acinus
