// The 3x3 convolutions of a U-Net, for the benchmarks of the GPU.
#pragma once
#include <string>
#include <vector>

#include "tensor/conv/conv.h"
#include "tensor/text.h"

namespace acinus {

struct Layer {
  std::string name;
  int64_t size, deep, in, out;  // channels: `deep` of an image of half the size, upsampled; `in` of the skip connection
  bool pool, first;             // first: nobody wants the gradient of its image
};

inline std::vector<Layer> seed_network(int64_t size, int64_t width, int64_t depth) {
  std::vector<Layer> layers;
  for (int64_t level = 0; level <= depth; level++) {
    const int64_t here = size >> level, channels = width << level;
    const std::string block = text("encoder.", level);
    layers.push_back({block + ".conv1", here, 0, level == 0 ? 1 : channels / 2, channels, false, level == 0});
    layers.push_back({block + ".conv2", here, 0, channels, channels, /*pool=*/level < depth, false});
  }
  for (int64_t level = depth - 1; level >= 0; level--) {
    const int64_t here = size >> level, channels = width << level;
    const std::string block = text("decoder.", depth - 1 - level);
    layers.push_back({block + ".conv1", here, 2 * channels, channels, channels, false, false});
    layers.push_back({block + ".conv2", here, 0, channels, channels, false, false});
  }
  return layers;
}

inline ConvGeometry geometry(const Layer& l, int64_t batch, ConvAlgorithm algorithm) {
  return {batch, l.size, l.size, l.deep + l.in, l.size, l.size, l.out, 3, 3, 1, 1, 1, algorithm, Device::cuda};
}
// Of the direct form: a multiplication and an addition for each of the nine taps.
inline double gflop_of(const ConvGeometry& g) {
  return 2e-9 * double(g.n * g.oh * g.ow * g.kh * g.kw) * double(g.c * g.o);
}

}  // namespace acinus
