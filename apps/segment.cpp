#include "apps/segment.h"

#include <algorithm>
#include <cmath>

#include "tensor/file.h"

namespace acinus {

std::map<std::string, std::string> to_metadata(const InputFormat& format) {
  return {{"input.planes", std::to_string(format.planes)},     {"input.hu_low", shortest(format.window.low)},
          {"input.hu_high", shortest(format.window.high)},     {"input.threshold", shortest(format.threshold)},
          {"input.channels", std::to_string(format.channels)}, {"input.lungs", format.lungs ? "1" : "0"}};
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
  int64_t lungs = 0;
  number("input.channels", format.channels);
  number("input.lungs", lungs);
  format.lungs = lungs != 0;
  const auto& [low, high] = format.window;
  if (format.planes < 1 || format.planes > 31 || format.planes % 2 == 0 || format.channels < 1 || format.channels > 4 ||
      !(high > low) || !std::isfinite(high - low) || !(format.threshold >= 0 && format.threshold <= 1))
    fail(source, ": ", format.planes, " planes, window ", low, " to ", high, " HU, threshold ", format.threshold,
         ": such metadata make no sense");
  return format;
}

void segment_slices(UNet& net, const ScanView& image, const uint8_t* labels, const InputFormat& format,
                    const std::function<void(int64_t, const float*)>& see) {
  check(net.options().in == format.planes * image.channels, "segment: the network takes ", net.options().in,
        " channels; ", format.planes, " planes of a scan with ", image.channels, " channels do not fit it");
  check(!format.lungs || labels, "segment: the lungs are needed, and not given");
  NoGrad no_grad;
  const Device device = net.parameters()[0].second.device();
  const int64_t cols = image.grid.size[0], rows = image.grid.size[1], classes = net.options().out;
  for (int64_t z = 0; z < image.grid.size[2]; z++) {
    Tensor x({1, rows, cols, net.options().in});
    {
      const Work work("copy_planes");
      copy_planes(image, z, format.planes, format.window, 0, 0, cols, rows, x.data<float>());
    }
    const Tensor p = sigmoid(net(x.to(device))).to(Device::cpu);
    for (int64_t i = 0; format.lungs && i < rows * cols; i++)
      if (!(labels[z * rows * cols + i] & kLungs)) std::fill_n(p.data<float>() + i * classes, classes, 0.f);
    see(z, p.data<float>());
  }
}

void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask) {
  for (int64_t i = 0; i < pixels; i++) {
    const float* const most = std::max_element(p + i * classes, p + (i + 1) * classes);
    mask[i] = *most > threshold ? uint8_t(most - (p + i * classes) + 1) : 0;
  }
}

void DiceCount::add(const uint8_t* a, const uint8_t* b, int64_t pixels) {
  for (int64_t i = 0; i < pixels; i++) {
    const size_t in_a = a[i] & kClass, in_b = b[i] & kClass;
    if (in_a > 0 && in_a <= sum_.size()) sum_[in_a - 1]++;
    if (in_b > 0 && in_b <= sum_.size()) sum_[in_b - 1]++;
    if (in_a == in_b && in_a > 0 && in_a <= sum_.size()) both_[in_a - 1]++;
  }
}

double DiceCount::dice() const {
  double total = 0;
  int64_t present = 0;
  for (size_t c = 0; c < sum_.size(); c++)
    if (sum_[c] > 0) total += 2 * double(both_[c]) / double(sum_[c]), present++;
  return present == 0 ? 1 : total / double(present);
}

}  // namespace acinus
