// dropout   y = keep[i] * x / (1 - p)        dx += keep[i] * dy / (1 - p)        x, y: any shape
//
// keep[i] is 1 with probability 1 - p. Dividing by 1 - p preserves the expected value, so that nothing has to be done at
// inference ("inverted" dropout; Srivastava et al. 2014). keep[i] is a hash of (seed, i): the backward pass computes it
// again instead of storing it.
#include "tensor/for_each.h"
#include "tensor/ops.h"
#include "tensor/random.h"

namespace acinus {
namespace {

template <class T>
struct DropoutBody {
  double p;
  uint64_t seed;
  const T* x;
  T* y;
  HD void operator()(int64_t i) const {
    y[i] = random_uniform(seed, uint64_t(i)) < p ? T(0) : T(x[i] * Compute<T>(1 / (1 - p)));
  }
};

Tensor apply_dropout(const Tensor& x, double p, uint64_t seed) {
  Tensor y(x.shape(), x.dtype(), x.device());
  dispatch(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(x.device(), x.elements(), DropoutBody<T>{p, seed, x.ptr<T>(), y.ptr<T>()});
  });
  return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, uint64_t seed) {
  check_same_kind("dropout", {&x});
  check(p >= 0 && p < 1, "dropout: p is ", p, "; it must be at least 0 and less than 1");
  return record("dropout", apply_dropout(x, p, seed), {x},
                [p, seed](const Tensor& dy, Inputs& in) { in[0].add_grad(apply_dropout(dy, p, seed)); });
}

}  // namespace acinus
