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

Tensor ConvBlock::operator()(const Tensor& x) {
  Scope scope(name());
  const Tensor y = relu(norm1_(conv1_(x)));
  return relu(norm2_(conv2_(y)));
}

ConvBlock::Encoded ConvBlock::encode(const Tensor& x) {
  const Tensor y = (*this)(x);
  return {y, max_pool2d(y)};
}

Tensor ConvBlock::decode(const Tensor& deep, const Tensor& skip) { return (*this)(upsample_and_concat(deep, skip)); }

Tensor ConvBlock::upsample_and_concat(const Tensor& deep, const Tensor& skip) {
  Scope scope(name());
  if (transposed_) return concat((*transposed_)(deep), skip);
  return concat(upsample2x(deep, up_ == Up::nearest ? Upsample::nearest : Upsample::bilinear), skip);
}

// ---- the fused block ------------------------------------------------------------------------------------------------

// y = block(concat(upsample2x(deep), x)), or block(x) if `deep` is empty; and with `pool`, max_pool2d(y). The norm
// applies the ReLU in its own pass. Without a norm the convolution does, and then conv2 can pool as well.
FusedConv2d FusedConvBlock::run(const Tensor& deep, const Tensor& x, bool pool) {
  Scope scope(name());
  if (norm1_.kind() == NormKind::none) {
    const Tensor y = conv1_.fused(deep, x, /*relu=*/true).y;
    return conv2_.fused({}, y, /*relu=*/true, pool);
  }
  Tensor y = norm1_(conv1_.fused(deep, x, /*relu=*/false).y, /*relu=*/true);
  y = norm2_(conv2_(y), /*relu=*/true);
  return {y, pool ? max_pool2d(y) : Tensor()};
}

Tensor FusedConvBlock::operator()(const Tensor& x) { return run({}, x, /*pool=*/false).y; }

ConvBlock::Encoded FusedConvBlock::encode(const Tensor& x) {
  const FusedConv2d result = run({}, x, /*pool=*/true);
  return {result.y, result.pooled};
}

Tensor FusedConvBlock::decode(const Tensor& deep, const Tensor& skip) {
  if (up_ != Up::nearest) return ConvBlock::decode(deep, skip);
  return run(deep, skip, /*pool=*/false).y;
}

// ---- the checkpointed block -----------------------------------------------------------------------------------------

static std::vector<Tensor> tensors_of(const Module& module) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : module.parameters()) tensors.push_back(tensor);
  return tensors;
}

Tensor CheckpointedConvBlock::operator()(const Tensor& x) {
  return gradient_checkpoint({x}, tensors_of(*this),
                             [this](const std::vector<Tensor>& in) { return FusedConvBlock::operator()(in[0]); });
}

ConvBlock::Encoded CheckpointedConvBlock::encode(const Tensor& x) { return ConvBlock::encode(x); }

Tensor CheckpointedConvBlock::decode(const Tensor& deep, const Tensor& skip) {
  return gradient_checkpoint({deep, skip}, tensors_of(*this),
                             [this](const std::vector<Tensor>& in) { return FusedConvBlock::decode(in[0], in[1]); });
}

}  // namespace acinus
