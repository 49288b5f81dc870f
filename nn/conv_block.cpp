#include "nn/conv_block.h"

#include "tensor/gradient_checkpoint.h"
#include "tensor/trace.h"

namespace acinus {

ConvBlock::ConvBlock(int64_t in, int64_t out, const ConvBlockOptions& o, Random& random)
    : conv1_(in, out, {.padding = 1, .init = o.init}, random),
      conv2_(out, out, {.padding = 1, .init = o.init}, random),
      norm1_(o.norm, out, o.norm_groups),
      norm2_(o.norm, out, o.norm_groups),
      up_(o.up) {
  child("conv1", conv1_);
  child("norm1", norm1_);
  child("conv2", conv2_);
  child("norm2", norm2_);
  if (o.deep_channels == 0 || up_ != Up::transpose) return;
  transposed_ = std::make_unique<ConvTranspose2d>(o.deep_channels, out, o.init, random);
  child("up", *transposed_);
}

// ---- the plain block ------------------------------------------------------------------------------------------------

ConvBlock::Output ConvBlock::run(const Tensor& deep, const Tensor& x, bool pool) {
  Tensor y = deep ? upsample_and_concat(deep, x) : x;
  Scope scope(name());  // the part's name in messages and profiles
  y = relu(norm1_(conv1_(y)));
  y = relu(norm2_(conv2_(y)));
  return {y, pool ? max_pool2d(y) : Tensor()};
}

Tensor ConvBlock::upsample_and_concat(const Tensor& deep, const Tensor& skip) {
  Scope scope(name());
  if (transposed_) return concat((*transposed_)(deep), skip);
  return concat(upsample2x(deep, up_ == Up::nearest ? Upsample::nearest : Upsample::bilinear), skip);
}

// ---- the fused block ------------------------------------------------------------------------------------------------

// The convolution can upsample, too, but only by nearest neighbour. The norm applies the ReLU in its own pass; without a norm the
// convolution does, and then conv2 can pool as well.
ConvBlock::Output FusedConvBlock::run(const Tensor& deep, const Tensor& x, bool pool) {
  if (deep && up_ != Up::nearest) return FusedConvBlock::run({}, upsample_and_concat(deep, x), pool);
  Scope scope(name());
  const bool normalised = norm1_.kind() != NormKind::none;
  Tensor y = conv1_.fused(deep, x, /*relu=*/!normalised).y;
  if (!normalised) {
    const FusedConv2d last = conv2_.fused({}, y, /*relu=*/true, pool);
    return {last.y, last.pooled};
  }
  y = norm1_(y, /*relu=*/true);
  y = norm2_(conv2_(y), /*relu=*/true);
  return {y, pool ? max_pool2d(y) : Tensor()};
}

// ---- the checkpointed block -----------------------------------------------------------------------------------------

ConvBlock::Output CheckpointedConvBlock::run(const Tensor& deep, const Tensor& x, bool pool) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : parameters()) tensors.push_back(tensor);
  const Tensor y = gradient_checkpoint({deep, x}, tensors, [this](const std::vector<Tensor>& in) {
    return FusedConvBlock::run(in[0], in[1], /*pool=*/false).y;
  });
  return {y, pool ? max_pool2d(y) : Tensor()};
}

}  // namespace acinus
