#include "apps/prediction/classifier.h"

#include <algorithm>
#include <functional>

#include "tensor/ops.h"
#include "tensor/parallel.h"
#include "tensor/text.h"

namespace acinus {

Metadata to_metadata(const CropOptions& o) {
  return {{"crop.size", std::to_string(o.size)},     {"crop.pixel_mm", shortest(o.pixel_mm)},
          {"crop.planes", std::to_string(o.planes)}, {"crop.plane_mm", shortest(o.plane_mm)},
          {"crop.hu_low", shortest(o.window.low)},   {"crop.hu_high", shortest(o.window.high)}};
}

LoadedClassifier load_classifier(const std::string& path) {
  LoadedResNet loaded = load_resnet(path);
  CropOptions crop;
  const auto read = [&](const char* key, auto& value) { read_number(loaded.metadata, key, path, value); };
  read("crop.size", crop.size);
  read("crop.pixel_mm", crop.pixel_mm);
  read("crop.planes", crop.planes);
  read("crop.plane_mm", crop.plane_mm);
  read("crop.hu_low", crop.window.low);
  read("crop.hu_high", crop.window.high);
  check_options(crop);
  if (loaded.net->options().in != crop.planes)
    fail(path, ": its network takes ", loaded.net->options().in, " planes, its crops have ", crop.planes);
  return {std::move(loaded.net), crop, std::move(loaded.metadata)};
}

std::vector<double> classify(ResNet& net, const CropOptions& options, const ScanView& image,
                             const std::vector<Vec3>& points) {
  NoGrad no_grad;
  const Device device = net.parameters()[0].second.device();
  const CropPose poses[] = {
      {}, {.mirror = {true, false, false}}, {.mirror = {false, true, false}}, {.mirror = {false, false, true}}};
  constexpr int64_t kPoses = 4, kBatch = 16;  // points per batch
  std::vector<double> probabilities(points.size());
  for (int64_t first = 0; first < int64_t(points.size()); first += kBatch) {
    const int64_t n = std::min(kBatch, int64_t(points.size()) - first) * kPoses;
    Tensor x({n, options.size, options.size, options.planes});
    float* const crops = x.data<float>();
    parallel(n, /*pays=*/true, [&](int64_t i) {
      copy_crop(image, points[first + i / kPoses], options, poses[i % kPoses], crops + i * options.values());
    });
    const Tensor p = sigmoid(net(x.to(device))).to(Device::cpu);
    for (int64_t i = 0; i < n; i++) probabilities[first + i / kPoses] += double(p.data<float>()[i]) / kPoses;
  }
  return probabilities;
}

void classify(const LoadedClassifier& classifier, const ScanView& image, std::vector<Candidate>& candidates) {
  std::vector<Vec3> centres;
  for (const Candidate& candidate : candidates) centres.push_back(candidate.centre);
  const std::vector<double> probabilities = classify(*classifier.net, classifier.crop, image, centres);
  for (size_t i = 0; i < candidates.size(); i++) candidates[i].probability = probabilities[i];
  std::ranges::stable_sort(candidates, std::greater<>(), &Candidate::probability);
}

}  // namespace acinus
