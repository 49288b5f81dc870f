#include "nn/loss.h"

#include <cmath>

#include "tensor/ops.h"

namespace acinus {

static Tensor loss_at_one_scale(const Tensor& logits, const Tensor& t, LossKind kind, double smooth) {
  if (kind == LossKind::bce) return bce_with_logits(logits, t);
  const Tensor dice = dice_loss(sigmoid(logits), t, smooth);
  return kind == LossKind::dice ? dice : add(dice, bce_with_logits(logits, t));
}

// The mean over 2 x 2 pixels; sizes are rounded up. Applied twice it is the mean over 4 x 4: the zeros that it adds are
// those that t would have been padded with.
static Tensor halved(const Tensor& t) {
  const int64_t bottom = t.shape()[1] % 2, right = t.shape()[2] % 2;
  return avg_pool2d(bottom || right ? pad2d(t, 0, bottom, 0, right) : t);
}

Tensor segmentation_loss(const std::vector<Tensor>& logits, const Tensor& t, LossKind kind, double smooth) {
  check(!logits.empty(), "segmentation_loss: no logits");
  check(t.shape().rank() == 4 && t.elements() > 0, "segmentation_loss: the target must be (N,H,W,C) with pixels, is ",
        t.shape());
  const double weights = 2 - std::ldexp(1, 1 - int(logits.size()));  // 1 + 1/2 + 1/4 ...
  Tensor total, target = t.detach();
  for (size_t i = 0; i < logits.size(); i++) {
    if (i > 0) target = halved(target);
    check(logits[i].shape() == target.shape(), "segmentation_loss: scale ", i, ": logits ", logits[i].shape(),
          " for a target ", target.shape());
    const Tensor y = logits[i].dtype() == DType::bf16 ? cast(logits[i], target.dtype()) : logits[i];
    const Tensor loss = loss_at_one_scale(y, target, kind, smooth);
    if (logits.size() == 1) return loss;
    const Tensor term = scale(loss, std::ldexp(1, -int(i)) / weights);
    total = total ? add(total, term) : term;
  }
  return total;
}

}  // namespace acinus
