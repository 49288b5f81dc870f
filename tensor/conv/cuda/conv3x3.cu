// Which tiling of conv3x3.h computes a 3x3 convolution. Measured on an H200: docs/results/study-nvidia-h200.md.
#include "tensor/conv/cuda/conv3x3.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// In the order of their speed for images that have enough tiles. A large tile reads its pixels and weights more often
// from shared memory, and less often from memory; but every processor should have one.
template <class T>
std::vector<Conv3x3Variant<T>> make_variants() {
  if constexpr (std::is_same_v<T, float>)
    return {conv3x3_variant<Conv3x3Tiling<float, 4, 32, 16, 2>>("256x32-c16-s2", 0.375),
            conv3x3_variant<Conv3x3Tiling<float, 2, 32, 16, 3>>("128x32-c16-s3", 0)};
  else {
    std::vector<Conv3x3Variant<bf16>> variants = conv3x3_hopper_variants();
    variants.push_back(conv3x3_variant<Conv3x3Tiling<bf16, 4, 64, 16, 3>>("256x64-c16-s3", 1));
    variants.push_back(conv3x3_variant<Conv3x3Tiling<bf16, 4, 32, 32, 2>>("256x32-c32-s2", 0.375));
    variants.push_back(conv3x3_variant<Conv3x3Tiling<bf16, 4, 32, 16, 3>>("256x32-c16-s3", 0.375));
    variants.push_back(conv3x3_variant<Conv3x3Tiling<bf16, 2, 32, 32, 3>>("128x32-c32-s3", 0));
    return variants;
  }
}

template <class T>
const std::vector<Conv3x3Variant<T>>& variants() {
  static const std::vector<Conv3x3Variant<T>> all = make_variants<T>();
  return all;
}

// Of those whose tiles have the fewest channels that y has not, the first with enough tiles, or else the one with the most.
template <class T>
const Conv3x3Variant<T>& choose(const ConvGeometry& g, int64_t deep_channels) {
  std::vector<const Conv3x3Variant<T>*> possible;
  for (const auto& v : variants<T>())
    if (g.c % v.depth == 0 && deep_channels % v.depth == 0) possible.push_back(&v);
  int64_t fewest = INT64_MAX;
  const auto channels = [&](const auto* v) { return int64_t(v->tiles(g).channel_blocks) * v->channels; };
  for (const auto* v : possible) fewest = std::min(fewest, channels(v));
  const Conv3x3Variant<T>* most = nullptr;
  for (const auto* v : possible) {
    if (testing::conv3x3_variant == v->name) return *v;
    if (channels(v) > fewest || !testing::conv3x3_variant.empty()) continue;
    if (v->tiles(g).count >= v->enough * testing::min_gpu_tiles) return *v;
    if (!most || v->tiles(g).count > most->tiles(g).count) most = v;
  }
  check(most, "conv3x3: the variant ", testing::conv3x3_variant, " cannot compute this shape");
  return *most;
}

}  // namespace

template <class T>
bool conv3x3_supports(const ConvGeometry& g, int64_t deep_channels_of_x, int64_t deep_channels_of_y) {
  const auto small = [](int64_t n) { return n < (int64_t(1) << 31) - 1024; };
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.c > 0 && g.c % 16 == 0 &&
         deep_channels_of_x % 16 == 0 && g.o > 0 && g.o % 8 == 0 && deep_channels_of_y % 8 == 0 &&
         small(g.n * g.h * g.w) && small(g.n * g.oh * g.ow * (g.o / 32 + 1)) && small(g.w * g.c * 4) &&
         small(9 * (g.c + 128) * (g.o + 128));
}

template <class T>
void conv3x3(const char* name, const ConvSum<T>& sum) {
  check(conv3x3_supports<T>(sum.g, sum.x.deep_channels, sum.y.deep_channels), name,
        ": conv3x3 cannot compute this; ask conv3x3_supports");
  choose<T>(sum.g, sum.x.deep_channels).run(name, sum);
}

template <class T>
std::vector<std::string> conv3x3_variants(const ConvGeometry& g, int64_t deep_channels_of_x) {
  std::vector<std::string> names;
  for (const auto& v : variants<T>())
    if (g.c % v.depth == 0 && deep_channels_of_x % v.depth == 0) names.push_back(v.name);
  return names;
}

template bool conv3x3_supports<bf16>(const ConvGeometry&, int64_t, int64_t);
template bool conv3x3_supports<float>(const ConvGeometry&, int64_t, int64_t);
template void conv3x3(const char*, const ConvSum<bf16>&);
template void conv3x3(const char*, const ConvSum<float>&);
template std::vector<std::string> conv3x3_variants<bf16>(const ConvGeometry&, int64_t);
template std::vector<std::string> conv3x3_variants<float>(const ConvGeometry&, int64_t);

}  // namespace acinus::on_gpu
#endif
