#include "apps/segment.h"

#include <algorithm>
#include <cmath>

#include "tensor/file.h"

namespace acinus {

std::map<std::string, std::string> to_metadata(const InputFormat& format) {
  return {{"input.planes", std::to_string(format.planes)},
          {"input.hu_low", shortest(format.window.low)},
          {"input.hu_high", shortest(format.window.high)},
          {"input.threshold", shortest(format.threshold)}};
}

InputFormat input_format(const std::map<std::string, std::string>& metadata, const std::string& source) {
  const auto number = [&](const char* key, auto& value) {
    const auto it = metadata.find(key);
    if (it == metadata.end() || !parse(it->second, value))
      fail(source, ": \"", key, "\" is missing from its metadata or no number; it was not written by ./train");
  };
  InputFormat format;
  number("input.planes", format.planes);
  number("input.hu_low", format.window.low);
  number("input.hu_high", format.window.high);
  number("input.threshold", format.threshold);
  const auto& [low, high] = format.window;
  if (format.planes < 1 || format.planes > 31 || format.planes % 2 == 0 || !(high > low) ||
      !std::isfinite(high - low) || !(format.threshold >= 0 && format.threshold <= 1))
    fail(source, ": ", format.planes, " planes, window ", low, " to ", high, " HU, threshold ", format.threshold,
         ": such metadata make no sense");
  return format;
}

Volume<float> segment(UNet& net, const Volume<int16_t>& ct, const InputFormat& format,
                      const std::function<void(int64_t, int64_t)>& progress) {
  check(net.options().in == format.planes && net.options().out == 1, "segment: the network takes ", net.options().in,
        " channels and gives ", net.options().out, "; the input format has ", format.planes, " planes");
  NoGrad no_grad;
  const Evaluating evaluating(net);
  const Device device = net.parameters()[0].second.device();
  const int64_t cols = ct.grid.size[0], rows = ct.grid.size[1], slices = ct.grid.size[2];
  Volume<float> probability(ct.grid);
  for (int64_t z = 0; z < slices; z++) {
    Tensor x({1, rows, cols, format.planes});
    {
      const Work work("copy_planes");
      copy_planes(ct, z, format.planes, format.window, 0, 0, cols, rows, x.data<float>());
    }
    const Tensor p = sigmoid(net(x.to(device))).to(Device::cpu);
    std::copy_n(p.data<float>(), p.elements(), probability.slice(z));
    if (progress) progress(z + 1, slices);
  }
  return probability;
}

Volume<uint8_t> thresholded(const Volume<float>& probability, double threshold) {
  Volume<uint8_t> mask(probability.grid);
  std::transform(probability.voxels.begin(), probability.voxels.end(), mask.voxels.begin(),
                 [threshold](float p) { return uint8_t(p > threshold); });
  return mask;
}

double dice(const Volume<uint8_t>& a, const Volume<uint8_t>& b) {
  check(a.voxels.size() == b.voxels.size(), "dice: ", a.voxels.size(), " voxels vs ", b.voxels.size());
  int64_t both = 0, sum = 0;
  for (size_t i = 0; i < a.voxels.size(); i++) {
    both += a.voxels[i] && b.voxels[i];
    sum += (a.voxels[i] != 0) + (b.voxels[i] != 0);
  }
  return sum == 0 ? 1 : 2 * double(both) / double(sum);
}

}  // namespace acinus
