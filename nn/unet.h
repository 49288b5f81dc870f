// U-Net (Ronneberger, Fischer and Brox 2015): an encoder that halves the image `depth` times while it doubles the
// channels, and a decoder that goes back up and sees, at each size, what the encoder saw there.
//
//   x --- encoder.0 ------------------- concat -> decoder.1 - head -> logits         width
//            max pool                    up 2x
//             encoder.1 -------- concat -> decoder.0                                  2 width
//                max pool         up 2x
//                 encoder.2 --------                                                  4 width     (depth 2)
//
// Every block is conv 3x3, norm, ReLU, conv 3x3, norm, ReLU. Concatenation is (upsampled, skip).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nn/layers.h"

namespace acinus {

enum class Up { transpose, nearest, bilinear };
inline EnumNames<Up> enum_names(Up) {
  return {"upsampling", {{"transpose", Up::transpose}, {"nearest", Up::nearest}, {"bilinear", Up::bilinear}}};
}

struct UNetOptions {
  int64_t in = 1, out = 1;  // channels of the image and of the result
  int64_t width = 16;       // channels of encoder.0; encoder.i has width * 2^i
  int64_t depth = 3;        // how often the image is halved
  Up up = Up::nearest;
  NormKind norm = NormKind::none;
  int norm_groups = 8;  // for NormKind::group; must divide width
  Init init = Init::he;
  // How many of the decoders below the finest have a head of their own, for training (see all_scales): 0 to depth - 1.
  int64_t deep_supervision = 0;
};

void check_options(const UNetOptions& options);  // Error on what no U-Net can be built from

class UNet : public Module {
 public:
  UNet(const UNetOptions& options, uint64_t seed);
  // x (N,H,W,in) -> logits (N,H,W,out). Any H and W: inside, the image is padded to multiples of 2^depth and the
  // result cropped back.
  Tensor operator()(const Tensor& x);
  // Deep supervision (Lee et al. 2015; in U-Nets Isensee et al. 2021): decoders that end at 1/2, 1/4, ... of the
  // image's size are judged, too, each by a convolution 1x1 of its own, aux.0, aux.1, ..., so that deep layers get a
  // gradient by a short way. Returns the logits of all scales, the finest first: element i is (N, H/2^i, W/2^i, out),
  // rounded up, and element 0 what operator() returns, which leaves the others out. segmentation_loss (loss.h) takes
  // them.
  std::vector<Tensor> all_scales(const Tensor& x);
  // Keep the blocks' inputs and compute the rest once more in backward(): less memory, one more forward pass.
  // The network must then live until backward() has run.
  void set_recompute(bool on) { recompute_ = on; }
  // What activations are held in: bfloat16 takes half the memory, and is what tensor cores multiply fastest. Parameters
  // stay float32; the image comes and the logits go as float32, rounded once. On a GPU; see --precision.
  void set_activations(DType dtype) { activations_ = dtype; }
  const UNetOptions& options() const { return options_; }

 private:
  struct Block : Module {
    Conv2d conv1, conv2;
    Norm norm1, norm2;
    std::unique_ptr<ConvTranspose2d> up;  // decoder with Up::transpose only
    Block(int64_t in, int64_t out, const UNetOptions& options, Random& random);
    FusedConv2d operator()(const Tensor& below, const Tensor& x, bool pool);
  };
  FusedConv2d encode(Block& block, const Tensor& x, bool pool) const;
  Tensor decode(Block& block, const Tensor& below, const Tensor& skip) const;
  std::vector<Tensor> run(const Tensor& x, int64_t coarser);  // the finest logits and those of so many coarser scales

  UNetOptions options_;
  bool recompute_ = false;
  DType activations_ = DType::f32;
  std::vector<std::unique_ptr<Block>> encoder_, decoder_;
  std::unique_ptr<Conv2d> head_;
  std::vector<std::unique_ptr<Conv2d>> aux_;  // at 1/2, 1/4, ... of the size
};

}  // namespace acinus
