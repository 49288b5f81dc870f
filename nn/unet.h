// U-Net (Ronneberger, Fischer and Brox 2015): an encoder that halves the image `depth` times while it doubles the
// channels, and a decoder that goes back up and sees, at each size, what the encoder saw there.
//
//   x --- encoder.0 ------------------- concat -> decoder.1 - head -> logits         width
//            max pool                    up 2x
//             encoder.1 -------- concat -> decoder.0                                  2 width
//                max pool         up 2x
//                 encoder.2 --------                                                  4 width     (depth 2)
//
// Each encoder and decoder is a ConvBlock: conv 3x3, norm, ReLU, twice. The shapes for width 16, depth 2, 64x64 pixels:
//
//   encoder.0   (1,64,64,1)                  -> (1,64,64,16)
//   encoder.1   (1,32,32,16)                 -> (1,32,32,32)
//   encoder.2   (1,16,16,32)                 -> (1,16,16,64)
//   decoder.0   (1,32,32,64) + (1,32,32,32)  -> (1,32,32,32)      upsampled + skip
//   decoder.1   (1,64,64,32) + (1,64,64,16)  -> (1,64,64,16)
//   head        (1,64,64,16)                 -> (1,64,64,1)
#pragma once
#include <memory>
#include <vector>

#include "nn/conv_block.h"

namespace acinus {

struct UNetOptions {
  int64_t in = 1, out = 1;  // channels of the image and of the logits
  int64_t width = 16;       // channels of encoder.0; encoder.i has width * 2^i
  int64_t depth = 3;        // how often the image is halved
  Up up = Up::nearest;
  NormKind norm = NormKind::none;
  int norm_groups = 8;  // for NormKind::group; must divide width
  Init init = Init::he;
  int64_t deep_supervision = 0;  // how many coarser scales have a head too (nn/deep_supervision.h): 0 to depth - 1

  // How the blocks are computed, with the same result; not saved with the network.
  bool fused = true;                    // false: by the plain ConvBlock
  bool gradient_checkpointing = false;  // less memory in training, at the price of one more forward pass
};

void check_options(const UNetOptions& options);  // throws Error if no U-Net can be built from them

class UNet : public Module {
 public:
  UNet(const UNetOptions& options, uint64_t seed);
  // x (N,H,W,in) -> logits (N,H,W,out). Any H and W: x is padded to multiples of 2^depth, and the logits cropped back.
  // Activations have the type of x: cast x to bfloat16 and they take half the memory; the parameters stay float32.
  Tensor operator()(const Tensor& x);
  virtual std::vector<Tensor> all_scales(const Tensor& x) { return {(*this)(x)}; }  // see nn/deep_supervision.h
  const UNetOptions& options() const { return options_; }

 protected:
  Tensor encode(const Tensor& image, std::vector<Tensor>& skips);  // returns the deepest activations
  Tensor decode(int64_t level, const Tensor& deep, std::vector<Tensor>& skips);
  std::unique_ptr<Conv2d> make_head(int64_t level);  // a convolution 1x1: the channels of that level -> logits

  UNetOptions options_;
  Random random_;                                              // draws the initial parameters
  std::vector<std::unique_ptr<ConvBlock>> encoder_, decoder_;  // decoder_[i] is decoder.i: the deepest first
  std::unique_ptr<Conv2d> head_;
};

// x (N,H',W',C) without the padding: its first H rows and W columns, where H and W are those of `image` (N,H,W,...),
// divided by 2^level and rounded up.
Tensor crop_like(const Tensor& x, const Shape& image, int64_t level = 0);

}  // namespace acinus
