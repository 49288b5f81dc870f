// dice_loss   y = -(2 I + smooth) / (P + T + smooth),   I = sum(p t), P = sum(p), T = sum(t)
//             dp[i] += dy * (-2 t[i] D + (2 I + smooth)) / D^2,   D = P + T + smooth
//             p, t: one shape, seen as one flat vector; y scalar. -1 is perfect, 0 the worst.
//
// I, P and T are scalars, but they stay in tensors: on a GPU nothing has to be copied to the CPU.
// Quotient rule: d/dp[i] of N/D with dN/dp[i] = 2 t[i] and dD/dp[i] = 1. (Milletari et al. 2016)
#include "tensor/ops/shared.h"

namespace acinus {
namespace {

struct DiceQuotient {
  double smooth;
  template <class T>
  HD T operator()(T overlap, T total) const {
    return -(2 * overlap + T(smooth)) / (total + T(smooth));
  }
};
template <class T>
struct DiceBackward {
  double smooth;
  const T *dy, *overlap, *total;  // scalars
  HD T operator()(T t) const {
    const T d = *total + T(smooth);
    return *dy * (2 * *overlap + T(smooth) - 2 * t * d) / (d * d);
  }
};

}  // namespace

Tensor dice_loss(const Tensor& p, const Tensor& t, double smooth) {
  check_precise("dice_loss", {&p, &t});
  check(p.shape() == t.shape(), "dice_loss: shapes differ: p ", p.shape(), " vs t ", t.shape());
  const Tensor overlap = reduce(Multiply{}, p, t), total = reduce(Add{}, p, t);
  return record("dice_loss", map(DiceQuotient{smooth}, overlap, total), {p},
                [smooth, overlap, total, t = t.detach()](const Tensor& dy, Inputs& in) {
                  in[0].add_grad(dispatch_precise(t.dtype(), [&](auto zero) {
                    using T = decltype(zero);
                    return map(DiceBackward<T>{smooth, dy.ptr<T>(), overlap.ptr<T>(), total.ptr<T>()}, t);
                  }));
                });
}

}  // namespace acinus
