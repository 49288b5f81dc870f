// Which tiling of conv3x3.h computes a 3x3 convolution.
#include "tensor/conv/cuda/conv3x3.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// On tensor cores, the fastest first for images that have enough tiles (docs/results/study-nvidia-h200.md). A wide tile
// reads every pixel and weight less often, but most processors should have a tile (0.375: at least 96 tiles, 1: 256).
template <class T>
const Conv3x3Variants<T>& tensor_core_variants() {
  static const Conv3x3Variants<T> all = [] {
    if constexpr (std::is_same_v<T, float>) {
      return Conv3x3Variants<T>{
          conv3x3_variant<T, Taps::four, 4, 32, 8, 3>(0.375),
          conv3x3_variant<T, Taps::nine, 4, 32, 16, 2>(0.375),
          conv3x3_variant<T, Taps::nine, 2, 32, 16, 3>(0),
          conv3x3_variant<T, Taps::sixteen, 2, 32, 8, 2>(0),
      };
    } else {
      Conv3x3Variants<T> all = conv3x3_hopper_variants();
      const Conv3x3Variants<T> others = {
          conv3x3_variant<T, Taps::four, 4, 32, 16, 3>(0.375), conv3x3_variant<T, Taps::nine, 4, 64, 16, 3>(1),
          conv3x3_variant<T, Taps::nine, 4, 32, 32, 2>(0.375), conv3x3_variant<T, Taps::nine, 4, 32, 16, 3>(0.375),
          conv3x3_variant<T, Taps::nine, 2, 32, 32, 3>(0),     conv3x3_variant<T, Taps::sixteen, 2, 32, 16, 2>(0),
      };
      all.insert(all.end(), others.begin(), others.end());
      return all;
    }
  }();
  return all;
}

template <class T>
const Conv3x3Variants<T>& variants_of(ConvAlgorithm algorithm) {
  if constexpr (std::is_same_v<T, float>)
    if (algorithm == ConvAlgorithm::halo) return conv3x3_ffma_variants();
  return tensor_core_variants<T>();
}

// Calls f(part, its first channel) for each sum that one launch computes: mostly `sum` itself, but a data gradient with
// `deep` is two, deep's, of half the size, and skip's. Both go to part.y.skip.
template <class T, class F>
void for_each_part(ConvSum<T> sum, F f) {
  const int64_t deep = sum.y.deep_channels;
  if (deep > 0) {
    ConvSum<T> part = sum;
    part.g.oh /= 2, part.g.ow /= 2, part.g.o = deep;
    part.y.skip = sum.y.deep, part.relu_output.skip = sum.relu_output.deep;
    f(part, 0);
    sum.g.o -= deep, sum.y.deep_channels = 0;
  }
  if (sum.g.o > 0) f(sum, deep);
}

// The variants that can compute such a part.
template <class T>
std::vector<const Conv3x3Variant<T>*> possible(const ConvSum<T>& part) {
  std::vector<const Conv3x3Variant<T>*> found;
  for (const Conv3x3Variant<T>& v : variants_of<T>(part.g.algorithm)) {
    if (part.g.c % v.depth != 0 || part.x.deep_channels % v.depth != 0) continue;
    if ((v.taps == Taps::sixteen) != (part.y.deep_channels > 0)) continue;
    // Four taps are for y's even and odd columns, so padding must be 1; and a lane has no neighbour to pool with.
    if (v.taps == Taps::four && (part.x.deep_channels == 0 || part.g.padding != 1 || part.pooled)) continue;
    found.push_back(&v);
  }
  return found;
}

// Of those whose tiles waste the fewest channels, the first that has enough tiles, or else the one that has the most.
template <class T>
const Conv3x3Variant<T>* choose(const std::vector<const Conv3x3Variant<T>*>& possible, const ConvGeometry& g) {
  const auto channels = [&](const auto* v) { return int64_t(v->tiles(g).channel_blocks) * v->channels; };
  int64_t fewest = INT64_MAX;
  for (const auto* v : possible) fewest = std::min(fewest, channels(v));
  const Conv3x3Variant<T>* most = nullptr;
  for (const auto* v : possible) {
    if (testing::conv3x3_variant == v->name) return v;
    if (channels(v) > fewest) continue;
    if (v->tiles(g).count >= v->enough * testing::min_gpu_tiles) return v;
    if (!most || v->tiles(g).count > most->tiles(g).count) most = v;
  }
  return most;
}

// The variant that a test forces need not be possible for every part of every sum, but it has to exist.
void check_forced_variant() {
  const std::string& forced = testing::conv3x3_variant;
  const auto has_it = [&](const auto& all) {
    return std::any_of(all.begin(), all.end(), [&](const auto& v) { return v.name == forced; });
  };
  check(forced.empty() || has_it(tensor_core_variants<bf16>()) || has_it(tensor_core_variants<float>()) ||
            has_it(conv3x3_ffma_variants()),
        "testing::conv3x3_variant: no variant on this GPU is called \"", forced,
        "\"; conv3x3_variants lists their names");
}

}  // namespace

bool conv3x3_supports(const ConvGeometry& g, int64_t deep_channels_of_x, int64_t deep_channels_of_y) {
  // An int must be able to number pixels, bytes of a row, tiles, and chunks of packed weights.
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
  const int64_t deep = sum.y.deep_channels;
  check(conv3x3_supports(sum.g, sum.x.deep_channels, deep), name, ": not a sum that conv3x3_supports");
  check(deep == 0 || (!sum.bias && !sum.relu && !sum.pooled), name, ": a gradient of deep with bias, ReLU or pooling");
  check_forced_variant();
  for_each_part(sum, [&](const ConvSum<T>& part, int64_t first_channel) {
    choose(possible(part), part.g)->run(name, part, first_channel, sum.g.o);
  });
}

template <class T>
std::vector<std::string> conv3x3_variants(const ConvSum<T>& sum) {
  std::vector<std::string> names;
  for_each_part(sum, [&](const ConvSum<T>& part, int64_t) {
    for (const auto* v : possible(part)) names.push_back(v->name);
  });
  return names;
}

template void conv3x3(const char*, const ConvSum<bf16>&);
template void conv3x3(const char*, const ConvSum<float>&);
template std::vector<std::string> conv3x3_variants(const ConvSum<bf16>&);
template std::vector<std::string> conv3x3_variants(const ConvSum<float>&);

}  // namespace acinus::on_gpu
#endif
