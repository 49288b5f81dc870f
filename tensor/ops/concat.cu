// concat   y = (a, b) along the channels        da += the first C1 channels of dy,  db += the rest
//          a (N,H,W,C1), b (N,H,W,C2) -> y (N,H,W,C1+C2)
//          Example: (2,64,64,32) and (2,64,64,16) -> (2,64,64,48)
#include "tensor/for_each.h"
#include "tensor/ops.h"

namespace acinus {
namespace {

// One pixel, which has from_c channels in one image and to_c in the other: channel from_at + c becomes channel to_at + c.
template <class T>
struct CopyChannels {
  const T* from;
  int64_t from_c, from_at;
  T* to;
  int64_t to_c, to_at;
  HD void operator()(int64_t pixel, int64_t begin, int64_t end) const {
    const T* source = from + pixel * from_c + from_at;
    T* target = to + pixel * to_c + to_at;
    for (int64_t c = begin; c < end; c++) target[c] = source[c];
  }
};

void copy_channels(const Tensor& from, int64_t from_at, Tensor& to, int64_t to_at, int64_t channels) {
  dispatch(from.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each_row(from.device(), from.elements() / std::max<int64_t>(from.shape()[-1], 1), channels,
                 CopyChannels<T>{from.ptr<T>(), from.shape()[-1], from_at, to.ptr<T>(), to.shape()[-1], to_at});
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
