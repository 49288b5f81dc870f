#include "nn/resnet.h"

#include "tensor/trace.h"

namespace acinus {

namespace {

// A norm has a bias of its own, and would take one before it away again.
Conv2dLayerOptions convolution(int kernel, int stride, const ResNetOptions& o) {
  return {.kernel = kernel, .stride = stride, .padding = kernel / 2, .bias = o.norm == NormKind::none};
}

}  // namespace

ResNet::Block::Block(int64_t in, int64_t out, const ResNetOptions& o, Random& random)
    : conv1(in, out, convolution(3, in == out ? 1 : 2, o), random),
      conv2(out, out, convolution(3, 1, o), random),
      norm1(o.norm, out, o.norm_groups),
      norm2(o.norm, out, o.norm_groups) {
  child("conv1", conv1);
  child("norm1", norm1);
  child("conv2", conv2);
  child("norm2", norm2);
  if (in == out) return;
  shortcut = std::make_unique<Conv2d>(in, out, convolution(1, 2, o), random);
  norm3 = std::make_unique<Norm>(o.norm, out, o.norm_groups);
  child("shortcut", *shortcut);
  child("norm3", *norm3);
}

Tensor ResNet::Block::operator()(const Tensor& x) {
  Scope scope(name());
  const Tensor y = norm2(conv2(norm1(conv1(x), /*relu=*/true)));
  return relu(add(y, shortcut ? (*norm3)((*shortcut)(x)) : x));
}

void check_options(const ResNetOptions& o) {
  const auto within = [](int64_t n, int64_t most) { return n >= 1 && n <= most; };
  check(within(o.in, 4096) && within(o.width, 4096) && within(o.stages, 8) && within(o.blocks, 64), "ResNet: in ", o.in,
        ", width ", o.width, ", stages ", o.stages, ", blocks ", o.blocks,
        ": channels must be 1 to 4096, stages 1 to 8, blocks 1 to 64");
  check(o.norm != NormKind::group || (o.norm_groups >= 1 && o.width % o.norm_groups == 0), "ResNet: norm_groups ",
        o.norm_groups, " does not divide width ", o.width);
}

ResNet::ResNet(const ResNetOptions& o, uint64_t seed) : options_(o) {
  check_options(o);
  Random random(seed);
  stem_ = std::make_unique<Conv2d>(o.in, o.width, convolution(3, 1, o), random);
  stem_norm_ = std::make_unique<Norm>(o.norm, o.width, o.norm_groups);
  child("stem", *stem_);
  child("stem_norm", *stem_norm_);
  int64_t channels = o.width;
  for (int64_t i = 0; i < o.stages * o.blocks; i++) {
    const int64_t out = o.width << (i / o.blocks);
    blocks_.push_back(std::make_unique<Block>(channels, out, o, random));
    child("block." + std::to_string(i), *blocks_.back());
    channels = out;
  }
  head_ = std::make_unique<Linear>(channels, 1, random);
  child("head", *head_);
}

Tensor ResNet::operator()(const Tensor& image) {
  const Shape& shape = image.shape();
  check(shape.rank() == 4 && image.elements() > 0 && shape[1] == shape[2] && shape[3] == options_.in,
        "ResNet: needs (N,H,H,", options_.in, ") with pixels, got ", shape);
  Tensor x = (*stem_norm_)((*stem_)(image), /*relu=*/true);
  for (auto& block : blocks_) x = (*block)(x);
  const int side = int(x.shape()[1]);
  return (*head_)(reshape(avg_pool2d(x, {side, side}), {shape[0], x.shape()[3]}));
}

}  // namespace acinus
