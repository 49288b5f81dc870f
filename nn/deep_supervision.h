// Deep supervision (Lee et al. 2015; in U-Nets Isensee et al. 2021): in training, decoders that end at 1/2, 1/4, ... of
// the image's size are given a loss too, each through a head of its own, so that a gradient reaches the deep layers by
// a short path.
//
//   decoder.1 (finest)   head  -> logits[0]  (N,H,W,out)             what operator() returns
//   decoder.0            aux.0 -> logits[1]  (N,H/2,W/2,out)         sizes are rounded up
#pragma once
#include "nn/unet.h"

namespace acinus {

class DeeplySupervisedUNet : public UNet {
 public:
  DeeplySupervisedUNet(const UNetOptions& options, uint64_t seed);
  // The logits of 1 + deep_supervision scales, the finest first, for segmentation_loss (nn/loss.h).
  std::vector<Tensor> all_scales(const Tensor& x) override;

 private:
  std::vector<std::unique_ptr<Conv2d>> aux_;  // aux_[i] sees the decoder at 1/2^(i+1) of the size
};

// A UNet, or a DeeplySupervisedUNet if the options ask for one.
std::unique_ptr<UNet> make_unet(const UNetOptions& options, uint64_t seed);

}  // namespace acinus
