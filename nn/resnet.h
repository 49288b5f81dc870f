// A small residual network (He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition") that says of a
// picture as a whole how much it looks like one: one logit.
//
//   x -- stem -- block.0 -- block.1 -- ... -- mean over the pixels -- head -> logits
//
//   block:   x -- conv1, norm1, ReLU -- conv2, norm2 -- + -- ReLU           the paper's basic block, ReLU after the sum
//             \____________ shortcut _________________/
//
// Stages of `blocks` blocks follow one another. The first block of each but the first halves the image (conv1 has
// stride 2) and doubles the channels, so its shortcut is a convolution 1x1 of stride 2 with a norm of its own; the
// others' is x itself.
//
//   ResNet net({.in = 7, .width = 16, .stages = 3, .blocks = 1}, /*seed=*/1);     blocks with 16, 32 and 64 channels
//   net(x);                                                                       x (64,32,32,7) -> logits (64,1)
#pragma once
#include <memory>
#include <vector>

#include "nn/layers.h"

namespace acinus {

struct ResNetOptions {
  int64_t in = 1;      // channels of the image
  int64_t width = 16;  // channels of the first stage; stage i has width * 2^i
  int64_t stages = 3;  // the image is halved between two stages
  int64_t blocks = 1;  // of each stage
  NormKind norm = NormKind::batch;
  int norm_groups = 8;  // for NormKind::group; must divide width
};

void check_options(const ResNetOptions& options);  // Error on what no network can be built from

class ResNet : public Module {
 public:
  ResNet(const ResNetOptions& options, uint64_t seed);
  Tensor operator()(const Tensor& x);  // x (N,H,H,in), any H -> logits (N,1)
  const ResNetOptions& options() const { return options_; }

 private:
  struct Block : Module {
    Conv2d conv1, conv2;
    Norm norm1, norm2;
    std::unique_ptr<Conv2d> shortcut;  // where the channels change
    std::unique_ptr<Norm> norm3;       // ... and its norm
    Block(int64_t in, int64_t out, const ResNetOptions& options, Random& random);
    Tensor operator()(const Tensor& x);
  };

  ResNetOptions options_;
  std::unique_ptr<Conv2d> stem_;
  std::unique_ptr<Norm> stem_norm_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::unique_ptr<Linear> head_;
};

}  // namespace acinus
