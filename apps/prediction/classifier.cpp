#include "apps/prediction/classifier.h"

#include <algorithm>

#include "apps/common/input_format.h"
#include "tensor/ops.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {

std::map<std::string, std::string> to_metadata(const CropOptions& o) {
  return {{"crop.size", std::to_string(o.size)},     {"crop.pixel_mm", shortest(o.pixel_mm)},
          {"crop.planes", std::to_string(o.planes)}, {"crop.plane_mm", shortest(o.plane_mm)},
          {"crop.hu_low", shortest(o.window.low)},   {"crop.hu_high", shortest(o.window.high)}};
}

CropOptions crop_options(const std::map<std::string, std::string>& metadata, const std::string& source) {
  const auto number = [&](const char* key, auto& value) { read_number(metadata, key, source, value); };
  CropOptions options;
  number("crop.size", options.size);
  number("crop.pixel_mm", options.pixel_mm);
  number("crop.planes", options.planes);
  number("crop.plane_mm", options.plane_mm);
  number("crop.hu_low", options.window.low);
  number("crop.hu_high", options.window.high);
  check_options(options);
  return options;
}

LoadedClassifier load_classifier(const std::string& path) {
  LoadedResNet loaded = load_resnet(path);
  const CropOptions crop = crop_options(loaded.metadata, path);
  if (loaded.net->options().in != crop.planes)
    fail(path, ": its network takes ", loaded.net->options().in, " planes, its crops have ", crop.planes);
  return {std::move(loaded.net), crop, std::move(loaded.metadata)};
}

std::vector<double> classify(ResNet& net, const CropOptions& options, const ScanView& image,
                             const std::vector<Vec3>& places) {
  NoGrad no_grad;
  const Device device = net.parameters()[0].second.device();
  const CropPose views[] = {
      {}, {.mirror = {true, false, false}}, {.mirror = {false, true, false}}, {.mirror = {false, false, true}}};
  constexpr int64_t kViews = 4, kBatch = 16;  // places at once
  std::vector<double> probabilities(places.size());
  for (int64_t first = 0; first < int64_t(places.size()); first += kBatch) {
    const int64_t n = std::min(kBatch, int64_t(places.size()) - first);
    Tensor x({n * kViews, options.size, options.size, options.planes});
    float* const crops = x.data<float>();
    parallel(n * kViews, /*pays=*/true, [&](int64_t i) {
      copy_crop(image, places[size_t(first + i / kViews)], options, views[i % kViews], crops + i * options.values());
    });
    const Tensor p = sigmoid(net(x.to(device))).to(Device::cpu);
    for (int64_t i = 0; i < n * kViews; i++)
      probabilities[size_t(first + i / kViews)] += double(p.data<float>()[i]) / kViews;
  }
  return probabilities;
}

void classify(LoadedClassifier& classifier, const ScanView& image, std::vector<Candidate>& candidates) {
  std::vector<Vec3> places;
  for (const Candidate& candidate : candidates) places.push_back(candidate.centre);
  const std::vector<double> probabilities = classify(*classifier.net, classifier.crop, image, places);
  for (size_t i = 0; i < candidates.size(); i++) candidates[i].probability = probabilities[i];
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.probability > b.probability; });
}

}  // namespace acinus
