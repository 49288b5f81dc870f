#include "nn/unet.h"

#include "tensor/gradient_checkpoint.h"
#include "tensor/trace.h"

namespace acinus {

UNet::Block::Block(int64_t in, int64_t out, const UNetOptions& o, Random& random)
    : conv1(in, out, {.padding = 1, .init = o.init}, random),
      conv2(out, out, {.padding = 1, .init = o.init}, random),
      norm1(o.norm, out, o.norm_groups),
      norm2(o.norm, out, o.norm_groups) {
  child("conv1", conv1);
  child("norm1", norm1);
  child("conv2", conv2);
  child("norm2", norm2);
}

// Convolution, norm, ReLU, twice, of concat(upsample2x(below), x) or of x; and, if wanted, a pooled copy of the result.
// ReLU is the last step of the norm, or where there is none, of the convolution, which then pools as well.
FusedConv2d UNet::Block::operator()(const Tensor& below, const Tensor& x, bool pool) {
  Scope scope(name());
  if (norm1.kind() == NormKind::none)
    return conv2.fused({}, conv1.fused(below, x, /*relu=*/true).y, /*relu=*/true, pool);
  FusedConv2d result;
  result.y = norm1(conv1.fused(below, x, /*relu=*/false).y, /*relu=*/true);
  result.y = norm2(conv2(result.y), /*relu=*/true);
  if (pool) result.pooled = max_pool2d(result.y);
  return result;
}

void check_options(const UNetOptions& o) {
  const auto channels = [](int64_t n) { return n >= 1 && n <= 4096; };
  check(channels(o.in) && channels(o.out) && channels(o.width) && o.depth >= 0 && o.depth <= 8, "UNet: in ", o.in,
        ", out ", o.out, ", width ", o.width, ", depth ", o.depth, ": channels must be 1 to 4096, depth 0 to 8");
  check(o.norm != NormKind::group || (o.norm_groups >= 1 && o.width % o.norm_groups == 0), "UNet: norm_groups ",
        o.norm_groups, " does not divide width ", o.width);
  const int64_t most = std::max<int64_t>(o.depth - 1, 0);
  check(o.deep_supervision >= 0 && o.deep_supervision <= most, "UNet: deep_supervision ", o.deep_supervision,
        ": with depth ", o.depth, " there are 0 to ", most, " decoders below the finest");
}

UNet::UNet(const UNetOptions& o, uint64_t seed) : options_(o) {
  check_options(o);
  Random random(seed);
  const auto channels = [&](int64_t level) { return o.width << level; };
  for (int64_t i = 0; i <= o.depth; i++) {
    encoder_.push_back(std::make_unique<Block>(i == 0 ? o.in : channels(i - 1), channels(i), o, random));
    child("encoder." + std::to_string(i), *encoder_.back());
  }
  for (int64_t i = o.depth - 1; i >= 0; i--) {  // the deepest first
    const bool transpose = o.up == Up::transpose;
    const int64_t from_below = transpose ? channels(i) : channels(i + 1);
    decoder_.push_back(std::make_unique<Block>(from_below + channels(i), channels(i), o, random));
    if (transpose) {
      decoder_.back()->up = std::make_unique<ConvTranspose2d>(channels(i + 1), channels(i), o.init, random);
      decoder_.back()->child("up", *decoder_.back()->up);
    }
    child("decoder." + std::to_string(o.depth - 1 - i), *decoder_.back());
  }
  head_ = std::make_unique<Conv2d>(channels(0), o.out, Conv2dLayerOptions{.kernel = 1, .init = o.init}, random);
  child("head", *head_);
  for (int64_t i = 1; i <= o.deep_supervision; i++) {  // last, so that all others start the same without them
    aux_.push_back(
        std::make_unique<Conv2d>(channels(i), o.out, Conv2dLayerOptions{.kernel = 1, .init = o.init}, random));
    child("aux." + std::to_string(i - 1), *aux_.back());
  }
}

static std::vector<Tensor> tensors_of(const Module& module) {
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : module.parameters()) tensors.push_back(tensor);
  return tensors;
}

FusedConv2d UNet::encode(Block& block, const Tensor& x, bool pool) const {
  if (!recompute_ || NoGrad::is_on() || recomputing()) return block({}, x, pool);
  const auto run = [&block](const std::vector<Tensor>& in) { return block({}, in[0], /*pool=*/false).y; };
  const Tensor y = gradient_checkpoint({x}, tensors_of(block), run);
  return {y, pool ? max_pool2d(y) : Tensor()};
}

Tensor UNet::decode(Block& block, const Tensor& below, const Tensor& skip) const {
  if (recompute_ && !NoGrad::is_on() && !recomputing())
    return gradient_checkpoint({below, skip}, tensors_of(block),
                               [this, &block](const std::vector<Tensor>& in) { return decode(block, in[0], in[1]); });
  if (options_.up == Up::nearest) return block(below, skip, /*pool=*/false).y;
  Tensor joined;
  {
    Scope scope(block.name());
    joined = concat(block.up ? (*block.up)(below) : upsample2x(below, Upsample::bilinear), skip);
  }
  return block({}, joined, /*pool=*/false).y;
}

Tensor UNet::operator()(const Tensor& image) { return run(image, /*coarser=*/0)[0]; }

std::vector<Tensor> UNet::all_scales(const Tensor& image) { return run(image, options_.deep_supervision); }

std::vector<Tensor> UNet::run(const Tensor& image, int64_t coarser) {
  check(image.shape().rank() == 4 && image.elements() > 0 && image.shape()[3] == options_.in, "UNet: needs (N,H,W,",
        options_.in, ") with pixels, got ", image.shape());
  const int64_t multiple = int64_t(1) << options_.depth;
  const int64_t bottom = (multiple - image.shape()[1] % multiple) % multiple;
  const int64_t right = (multiple - image.shape()[2] % multiple) % multiple;
  const bool ragged = bottom > 0 || right > 0;

  // A network that was converted to float64 calculates in that.
  const DType inside = image.dtype() == DType::f32 ? activations_ : image.dtype();
  Tensor x = cast(ragged ? pad2d(image, 0, bottom, 0, right) : image, inside);
  std::vector<Tensor> skips;
  for (auto& block : encoder_) {
    const bool last = block == encoder_.back();
    const FusedConv2d encoded = encode(*block, x, /*pool=*/!last);
    if (!last) skips.push_back(encoded.y);
    x = last ? encoded.y : encoded.pooled;
  }
  // Of the rows of padding, there are bottom >> level whole ones at 2^-level of the size.
  const auto judged = [&](Conv2d& head, int64_t level) {
    const Tensor y = cast(head(x), image.dtype());
    const int64_t rows = bottom >> level, columns = right >> level;
    return rows > 0 || columns > 0 ? pad2d(y, 0, -rows, 0, -columns) : y;
  };
  std::vector<Tensor> logits(size_t(coarser) + 1);
  int64_t level = options_.depth;
  for (auto& block : decoder_) {
    x = decode(*block, x, skips.back());
    skips.pop_back();
    level--;
    if (level > 0 && level <= coarser) logits[size_t(level)] = judged(*aux_[size_t(level) - 1], level);
  }
  logits[0] = judged(*head_, 0);
  return logits;
}

}  // namespace acinus
