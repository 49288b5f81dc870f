// concat   y = (a, b) along the channels        da += the first C1 channels of dy,  db += the rest
//          a (N,H,W,C1), b (N,H,W,C2) -> y (N,H,W,C1+C2)
//          Example: (2,64,64,32) and (2,64,64,16) -> (2,64,64,48)
#include "tensor/ops.h"
#include "tensor/rows.h"

namespace acinus {
namespace {

// Channels first .. first+n-1 of one pixel, which has from_c channels in one image and to_c in the other.
template <class T>
struct CopyChannels {
  const T* from;
  int64_t from_c;
  T* to;
  int64_t to_c;
  template <class Count>
  HD void operator()(int64_t pixel, int64_t first, Count n) const {
    assign(
        n, to + pixel * to_c + first, [](T x) { return x; }, load(n, from + pixel * from_c + first));
  }
};

// Channel first_from + c of `from` becomes channel first_to + c of `to`, for c = 0 .. channels-1.
void copy_channels(const Tensor& from, int64_t first_from, Tensor& to, int64_t first_to, int64_t channels) {
  const int64_t from_c = from.shape()[-1], to_c = to.shape()[-1];
  dispatch(from.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row<T>(from.device(), from.elements() / std::max<int64_t>(from_c, 1), channels,
                    CopyChannels<T>{from.ptr<T>() + first_from, from_c, to.ptr<T>() + first_to, to_c},
                    std::gcd(std::gcd(from_c, to_c), std::gcd(first_from, first_to)));
  });
}

Tensor channels_of(const Tensor& x, int64_t first, const Shape& shape) {
  Tensor part(shape, x.dtype(), x.device());
  copy_channels(x, first, part, 0, shape[3]);
  return part;
}

}  // namespace

Tensor concat(const Tensor& a, const Tensor& b) {
  check_same_kind("concat", {&a, &b});
  const Shape sa = a.shape(), sb = b.shape();
  check(sa.rank() == 4 && sb.rank() == 4, "concat: needs two tensors (N,H,W,C), got ", sa, " and ", sb);
  check(sa[0] == sb[0] && sa[1] == sb[1] && sa[2] == sb[2], "concat: N, H or W differ: ", sa, " vs ", sb,
        "; pad or crop one with pad2d");
  Tensor y({sa[0], sa[1], sa[2], sa[3] + sb[3]}, a.dtype(), a.device());
  copy_channels(a, 0, y, 0, sa[3]);
  copy_channels(b, 0, y, sa[3], sb[3]);
  return record("concat", y, {a, b}, [sa, sb](const Tensor& dy, Inputs& in) {
    if (in[0].needs_grad()) in[0].add_grad(channels_of(dy, 0, sa));
    if (in[1].needs_grad()) in[1].add_grad(channels_of(dy, sa[3], sb));
  });
}

}  // namespace acinus
