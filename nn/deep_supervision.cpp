#include "nn/deep_supervision.h"

namespace acinus {

// The heads are made last, so that the other parameters start as they would without them.
DeeplySupervisedUNet::DeeplySupervisedUNet(const UNetOptions& o, uint64_t seed) : UNet(o, seed) {
  for (int64_t level = 1; level <= o.deep_supervision; level++) {
    aux_.push_back(make_head(level));
    child("aux." + std::to_string(level - 1), *aux_.back());
  }
}

std::vector<Tensor> DeeplySupervisedUNet::all_scales(const Tensor& image) {
  std::vector<Tensor> skips, logits(1 + options_.deep_supervision);
  Tensor x = encode(image, skips);
  for (int64_t level = options_.depth - 1; level >= 0; level--) {
    x = decode(level, x, skips);
    if (level > 0 && level <= options_.deep_supervision)
      logits[level] = crop_like((*aux_[level - 1])(x), image.shape(), level);
  }
  logits[0] = crop_like((*head_)(x), image.shape());
  return logits;
}

std::unique_ptr<UNet> make_unet(const UNetOptions& o, uint64_t seed) {
  if (o.deep_supervision > 0) return std::make_unique<DeeplySupervisedUNet>(o, seed);
  return std::make_unique<UNet>(o, seed);
}

}  // namespace acinus
