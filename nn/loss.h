// The loss function of a segmentation network: Dice, binary cross-entropy, or their sum.
//
//   segmentation_loss({net(x)}, t, LossKind::dice_bce).backward();
//   segmentation_loss(net.all_scales(x), t, LossKind::dice_bce).backward();     // with deep supervision
//
// The target t (N,H,W,C) holds the fraction of each pixel that belongs to class C, 0 to 1. A pixel may belong to several
// classes.
#pragma once
#include <string>
#include <vector>

#include "tensor/text.h"
#include "tensor/tensor.h"

namespace acinus {

enum class LossKind { dice, bce, dice_bce };  // dice_loss of the sigmoid, bce_with_logits, or their sum (ops.h)
inline EnumNames<LossKind> enum_names(LossKind) {
  return {"loss", {{"dice", LossKind::dice}, {"bce", LossKind::bce}, {"dice+bce", LossKind::dice_bce}}};
}

// sum over i of w_i loss(logits[i], t_i),  w_i = 2^-i, divided by the sum of all w_i -> scalar     (Isensee et al. 2021)
// logits[i] (N, H/2^i, W/2^i, C), sizes rounded up, the finest first; bfloat16 logits are cast to the type of t. t_i is
// the mean of t over 2^i x 2^i pixels: the fraction of a coarse pixel. Pixels beyond the bottom and right edges count as
// 0, as they do where UNet pads the image. With one scale this is the plain loss.
Tensor segmentation_loss(const std::vector<Tensor>& logits, const Tensor& t, LossKind kind, double smooth = 1);

}  // namespace acinus
