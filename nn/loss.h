// What training makes small: a loss over the logits of a network, at one scale or at several (UNet::all_scales).
//
//   UNet net({.depth = 4, .deep_supervision = 2}, /*seed=*/1);
//   segmentation_loss(net.all_scales(x), t, LossKind::dice_bce, /*smooth=*/1).backward();
//
// t (N,H,W,C) says for each pixel how much of it is class C, 0 to 1; the classes do not exclude each other.
#pragma once
#include <string>
#include <vector>

#include "tensor/names.h"
#include "tensor/tensor.h"

namespace acinus {

enum class LossKind { dice, bce, dice_bce };  // dice_loss of the sigmoid, bce_with_logits, or their sum (ops.h)
inline EnumNames<LossKind> enum_names(LossKind) {
  return {"loss", {{"dice", LossKind::dice}, {"bce", LossKind::bce}, {"dice+bce", LossKind::dice_bce}}};
}

// sum over i of w_i loss(logits[i], t_i),  w_i = 2^-i, divided by their sum -> scalar       (Isensee et al. 2021)
// logits[i] (N, H/2^i, W/2^i, C), rounded up, the finest first. t_i: the mean of t over 2^i x 2^i pixels, so the share
// of a coarse pixel that is nodule. At the bottom and the right, pixels outside the image count as 0, as they do
// where UNet pads it. With one scale this is the loss itself.
Tensor segmentation_loss(const std::vector<Tensor>& logits, const Tensor& t, LossKind kind, double smooth = 1);

}  // namespace acinus
