#include "nn/unet.h"

#include <utility>

namespace acinus {

// ---- the network ----------------------------------------------------------------------------------------------------

static Tensor pad_to_multiple(const Tensor& image, int64_t multiple) {  // with zeros, at the bottom and the right
  const int64_t bottom = -image.shape()[1] & (multiple - 1), right = -image.shape()[2] & (multiple - 1);
  return bottom || right ? pad2d(image, 0, bottom, 0, right) : image;
}

Tensor crop_like(const Tensor& x, const Shape& image, int64_t level) {
  const int64_t round_up = (int64_t(1) << level) - 1;
  const int64_t rows = (image[1] + round_up) >> level, columns = (image[2] + round_up) >> level;
  const int64_t bottom = x.shape()[1] - rows, right = x.shape()[2] - columns;
  return bottom || right ? pad2d(x, 0, -bottom, 0, -right) : x;
}

Tensor UNet::operator()(const Tensor& image) {
  std::vector<Tensor> skips;
  Tensor x = encode(image, skips);
  for (int64_t level = options_.depth - 1; level >= 0; level--) x = decode(level, x, skips);
  return crop_like((*head_)(x), image.shape());
}

Tensor UNet::encode(const Tensor& image, std::vector<Tensor>& skips) {
  check(image.shape().rank() == 4 && image.elements() > 0 && image.shape()[3] == options_.in, "UNet: needs (N,H,W,",
        options_.in, ") with pixels, got ", image.shape());
  Tensor x = pad_to_multiple(image, int64_t(1) << options_.depth);
  for (int64_t level = 0; level < options_.depth; level++) {
    auto [skip, pooled] = encoder_[level]->run(/*deep=*/{}, x, /*pool=*/true);
    skips.push_back(skip);
    x = pooled;
  }
  return (*encoder_[options_.depth])(x);
}

Tensor UNet::decode(int64_t level, const Tensor& deep, std::vector<Tensor>& skips) {
  const Tensor skip = std::exchange(skips[level], {});  // let go of: its memory is free when predicting
  return decoder_[options_.depth - 1 - level]->run(deep, skip, /*pool=*/false).y;
}

// ---- how it is built ------------------------------------------------------------------------------------------------

static std::unique_ptr<ConvBlock> make_block(int64_t in, int64_t out, int64_t deep, const UNetOptions& o,
                                             Random& random) {
  const ConvBlockOptions options{o.norm, o.norm_groups, o.init, deep, o.up};
  if (o.gradient_checkpointing) return std::make_unique<CheckpointedConvBlock>(in, out, options, random);
  if (o.fused) return std::make_unique<FusedConvBlock>(in, out, options, random);
  return std::make_unique<ConvBlock>(in, out, options, random);
}

UNet::UNet(const UNetOptions& o, uint64_t seed) : options_(o), random_(seed) {
  check_options(o);
  const auto channels = [&](int64_t level) { return o.width << level; };
  for (int64_t level = 0; level <= o.depth; level++) {
    const int64_t in = level == 0 ? o.in : channels(level - 1);
    encoder_.push_back(make_block(in, channels(level), /*deep=*/0, o, random_));
    child("encoder." + std::to_string(level), *encoder_.back());
  }
  for (int64_t level = o.depth - 1; level >= 0; level--) {
    const int64_t deep = channels(level + 1), upsampled = o.up == Up::transpose ? channels(level) : deep;
    decoder_.push_back(make_block(upsampled + channels(level), channels(level), deep, o, random_));
    child("decoder." + std::to_string(o.depth - 1 - level), *decoder_.back());
  }
  head_ = make_head(0);
  child("head", *head_);
}

std::unique_ptr<Conv2d> UNet::make_head(int64_t level) {
  const Conv2dLayerOptions options{.kernel = 1, .init = options_.init};
  return std::make_unique<Conv2d>(options_.width << level, options_.out, options, random_);
}

void check_options(const UNetOptions& o) {
  const auto channels = [](int64_t n) { return n >= 1 && n <= 4096; };
  check(channels(o.in) && channels(o.out) && channels(o.width) && o.depth >= 0 && o.depth <= 8, "UNet: in ", o.in,
        ", out ", o.out, ", width ", o.width, ", depth ", o.depth, ": channels must be 1 to 4096, depth 0 to 8");
  check(o.norm != NormKind::group || (o.norm_groups >= 1 && o.width % o.norm_groups == 0), "UNet: norm_groups ",
        o.norm_groups, " does not divide width ", o.width);
  const int64_t max_scales = std::max<int64_t>(o.depth - 1, 0);
  check(o.deep_supervision >= 0 && o.deep_supervision <= max_scales, "UNet: deep_supervision ", o.deep_supervision,
        ": with depth ", o.depth, " there are 0 to ", max_scales, " decoders below the finest");
}

}  // namespace acinus
