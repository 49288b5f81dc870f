// The block that a U-Net is made of: a convolution 3x3, a norm and a ReLU, twice.
//
//   x (N,H,W,in) -- conv1 - norm1 - ReLU -- conv2 - norm2 - ReLU -- y (N,H,W,out)
//
// Three classes compute it, with the same result:
//
//   ConvBlock               plainly: the one to read
//   FusedConvBlock          fast: ReLU, max pooling and upsampling happen inside the convolutions and norms
//   CheckpointedConvBlock   in little memory: backward() computes the activations inside the block a second time
//                           instead of keeping them (gradient checkpointing, Chen et al. 2016)
#pragma once
#include <memory>

#include "nn/layers.h"

namespace acinus {

enum class Up { transpose, nearest, bilinear };
inline EnumNames<Up> enum_names(Up) {
  return {"upsampling", {{"transpose", Up::transpose}, {"nearest", Up::nearest}, {"bilinear", Up::bilinear}}};
}

struct ConvBlockOptions {
  NormKind norm = NormKind::none;
  int norm_groups = 8;  // for NormKind::group
  Init init = Init::he;
  // In a decoder only: the channels of `deep`, and how it is upsampled to the size of the skip connection.
  int64_t deep_channels = 0;
  Up up = Up::nearest;
};

class ConvBlock : public Module {
 public:
  ConvBlock(int64_t in, int64_t out, const ConvBlockOptions& options, Random& random);

  // y = block(x), or in a decoder block(concat(upsample(deep), x)); with `pool`, in an encoder, also max_pool2d(y).
  // x (N,H,W,C), deep (N,H/2,W/2,deep_channels) or empty -> y (N,H,W,out), pooled (N,H/2,W/2,out) or empty
  struct Output {
    Tensor y, pooled;
  };
  virtual Output run(const Tensor& deep, const Tensor& x, bool pool);
  Tensor operator()(const Tensor& x) { return run({}, x, /*pool=*/false).y; }

 protected:
  Tensor upsample_and_concat(const Tensor& deep, const Tensor& skip);

  Conv2d conv1_, conv2_;
  Norm norm1_, norm2_;
  Up up_;
  std::unique_ptr<ConvTranspose2d> transposed_;  // in a decoder with Up::transpose
};

class FusedConvBlock : public ConvBlock {
 public:
  using ConvBlock::ConvBlock;
  Output run(const Tensor& deep, const Tensor& x, bool pool) override;
};

class CheckpointedConvBlock : public FusedConvBlock {
 public:
  using FusedConvBlock::FusedConvBlock;
  Output run(const Tensor& deep, const Tensor& x, bool pool) override;
};

}  // namespace acinus
