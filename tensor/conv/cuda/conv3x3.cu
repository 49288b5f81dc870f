// Which tiling of conv3x3.h computes a 3x3 convolution.
#include "tensor/conv/cuda/conv3x3.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// The fastest first, for images that have enough tiles (docs/results/study-nvidia-h200.md). A wide tile reads every
// pixel and weight less often, but each processor should have a tile, or two.
template <class T>
std::vector<Conv3x3Variant<T>> make_variants() {
  using V = Conv3x3Variant<T>;
  if constexpr (std::is_same_v<T, float>)
    return {conv3x3_variant<Conv3x3Tiling<T, Taps::four, 4, 32, 8, 3>>("four taps 512x32-c8-s3", 0.375),
            conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 4, 32, 16, 2>>("256x32-c16-s2", 0.375),
            conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 2, 32, 16, 3>>("128x32-c16-s3", 0),
            conv3x3_variant<Conv3x3Tiling<T, Taps::sixteen, 2, 32, 8, 2>>("sixteen taps 128x32-c8-s2", 0)};
  else {
    std::vector<V> all = conv3x3_hopper_variants();
    for (const V& v : {conv3x3_variant<Conv3x3Tiling<T, Taps::four, 4, 32, 16, 3>>("four taps 512x32-c16-s3", 0.375),
                       conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 4, 64, 16, 3>>("256x64-c16-s3", 1),
                       conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 4, 32, 32, 2>>("256x32-c32-s2", 0.375),
                       conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 4, 32, 16, 3>>("256x32-c16-s3", 0.375),
                       conv3x3_variant<Conv3x3Tiling<T, Taps::nine, 2, 32, 32, 3>>("128x32-c32-s3", 0),
                       conv3x3_variant<Conv3x3Tiling<T, Taps::sixteen, 2, 32, 16, 2>>("sixteen taps 128x32-c16-s2", 0)})
      all.push_back(v);
    return all;
  }
}

// The tilings that can compute this sum; with y.deep, its part for deep.
template <class T>
std::vector<Conv3x3Variant<T>> possible(const std::vector<Conv3x3Variant<T>>& all, const ConvSum<T>& sum) {
  std::vector<Conv3x3Variant<T>> some;
  for (const Conv3x3Variant<T>& v : all) {
    if (sum.g.c % v.depth != 0 || sum.x.deep_channels % v.depth != 0) continue;
    if ((v.taps == Taps::sixteen) != (sum.y.deep_channels > 0)) continue;
    if (v.taps == Taps::four && (sum.x.deep_channels == 0 || sum.g.padding != 1 || sum.pooled)) continue;
    some.push_back(v);
  }
  return some;
}

// Of those whose tiles waste the fewest channels, the first that has enough tiles, or else the one that has the most.
template <class T>
Conv3x3Variant<T> choose(const std::vector<Conv3x3Variant<T>>& possible, const ConvGeometry& g) {
  const auto channels = [&](const auto& v) { return int64_t(v.tiles(g).channel_blocks) * v.channels; };
  int64_t fewest = INT64_MAX;
  for (const auto& v : possible) fewest = std::min(fewest, channels(v));
  const Conv3x3Variant<T>* most = nullptr;
  for (const auto& v : possible) {
    if (testing::conv3x3_variant == v.name) return v;
    if (channels(v) > fewest) continue;
    if (v.tiles(g).count >= v.enough * testing::min_gpu_tiles) return v;
    if (!most || v.tiles(g).count > most->tiles(g).count) most = &v;
  }
  return *most;
}

// A data gradient with `deep` is two sums: deep's, of half the size, and skip's.
template <class T>
ConvSum<T> deep_part(ConvSum<T> sum) {
  sum.g.oh /= 2, sum.g.ow /= 2, sum.g.o = sum.y.deep_channels;
  sum.y = {sum.y.deep, nullptr, 0}, sum.relu_output = {sum.relu_output.deep, nullptr, 0};
  return sum;
}
template <class T>
ConvSum<T> skip_part(ConvSum<T> sum) {
  sum.g.o -= sum.y.deep_channels;
  sum.y.deep_channels = sum.relu_output.deep_channels = 0;
  return sum;
}

template <class T>
void compute(const std::vector<Conv3x3Variant<T>>& all, const char* name, const ConvSum<T>& sum) {
  const int64_t deep = sum.y.deep_channels, channels = sum.g.o;
  check(conv3x3_supports(sum.g, sum.x.deep_channels, deep), name, ": not a sum that conv3x3_supports");
  if (deep == 0) return choose(possible(all, sum), sum.g).run(name, sum, 0, channels);
  check(!sum.bias && !sum.relu && !sum.pooled, name, ": a gradient of deep with bias, ReLU or pooling");
  ConvSum<T> part = deep_part(sum);
  choose(possible(all, sum), part.g).run(name, part, 0, channels);
  if (deep == channels) return;
  part = skip_part(sum);
  choose(possible(all, part), part.g).run(name, part, deep, channels);
}

template <class T>
std::vector<std::string> names(const std::vector<Conv3x3Variant<T>>& all, const ConvSum<T>& sum) {
  std::vector<std::string> found;
  for (const auto& v : possible(all, sum)) found.push_back(v.name);
  if (sum.y.deep_channels > 0 && sum.y.deep_channels < sum.g.o)
    for (const std::string& name : names(all, skip_part(sum))) found.push_back(name);
  return found;
}

template <class T>
const std::vector<Conv3x3Variant<T>>& tensor_core_variants() {
  static const std::vector<Conv3x3Variant<T>> all = make_variants<T>();
  return all;
}
const std::vector<Conv3x3Variant<float>>& ffma_variants() {
  static const std::vector<Conv3x3Variant<float>> all = conv3x3_ffma_variants();
  return all;
}

}  // namespace

bool conv3x3_supports(const ConvGeometry& g, int64_t deep_channels_of_x, int64_t deep_channels_of_y) {
  const auto small = [](int64_t n) { return n < (int64_t(1) << 31) - 1024; };
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.c > 0 && g.c % 16 == 0 && g.o > 0 &&
         g.o % 8 == 0 && deep_channels_of_x % 16 == 0 && deep_channels_of_y % 8 == 0 &&
         (deep_channels_of_x == 0 || (deep_channels_of_y == 0 && g.h % 2 == 0 && g.w % 2 == 0)) &&
         (deep_channels_of_y == 0 || (g.oh % 2 == 0 && g.ow % 2 == 0)) && small(g.n * g.h * g.w) &&
         small(g.w * g.c * 4) && small((g.n * g.oh + 16) * g.ow * (g.o / 32 + 1)) &&
         small(4 * (g.c + 128) * (g.o + 128));
}

template <class T>
void conv3x3(const char* name, const ConvSum<T>& sum) {
  compute(tensor_core_variants<T>(), name, sum);
}
template <class T>
std::vector<std::string> conv3x3_variants(const ConvSum<T>& sum) {
  return names(tensor_core_variants<T>(), sum);
}

void conv3x3_f32(const char* name, const ConvSum<float>& sum) { compute(ffma_variants(), name, sum); }
std::vector<std::string> conv3x3_f32_variants(const ConvSum<float>& sum) { return names(ffma_variants(), sum); }

template void conv3x3(const char*, const ConvSum<bf16>&);
template void conv3x3(const char*, const ConvSum<float>&);
template std::vector<std::string> conv3x3_variants(const ConvSum<bf16>&);
template std::vector<std::string> conv3x3_variants(const ConvSum<float>&);

}  // namespace acinus::on_gpu
#endif
