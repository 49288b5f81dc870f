#include "apps/training/validation.h"

#include <algorithm>

#include "data/dataset/overlay.h"
#include "nn/fold.h"
#include "tensor/random.h"
#include "tensor/text.h"

namespace acinus {

namespace {

constexpr size_t kShown = 4;  // slices of each kind

// Inserts a slice if it is among the first kShown in order. At most max_of_scan are kept of one scan, since neighbours
// look alike. Most slices are not among the first, and are not copied.
template <class Before>
void keep(std::vector<ShownSlice>& shown, const ShownSlice& slice, size_t max_of_scan, Before before) {
  const auto position = std::upper_bound(shown.begin(), shown.end(), slice, before);
  if (position == shown.end() && shown.size() == kShown) return;
  shown.insert(position, slice);
  const auto of_scan = [&](const ShownSlice& s) { return s.scan == slice.scan; };
  if (size_t(std::ranges::count_if(shown, of_scan)) > max_of_scan)
    shown.erase(std::next(std::find_if(shown.rbegin(), shown.rend(), of_scan)).base());
  if (shown.size() > kShown) shown.pop_back();
}

// A slice's probabilities: their sums, to be divided by the number of voxels, and extremes.
void add_probabilities(Validation& v, const float* p, const uint8_t* labels, int64_t pixels, int64_t classes,
                       bool lungs) {
  for (int64_t k = 0; k < pixels * classes; k++) {
    v.mean_probability += double(p[k]) / double(classes);
    v.extreme_share += (p[k] < 1e-6f || p[k] > 1 - 1e-6f) / double(classes);
    if (lungs && !(labels[k / classes] & kLungs)) continue;
    v.lowest = std::min(v.lowest, double(p[k])), v.highest = std::max(v.highest, double(p[k]));
  }
}

}  // namespace

Validation validate(const UNet& net, const Dataset& data, const std::vector<size_t>& scans,
                    const ValidationOptions& options, const std::function<bool(int64_t, int64_t)>& after_slice) {
  const auto fast = folded(net);
  Validation v;
  const size_t max_of_scan = (kShown + scans.size() - 1) / std::max<size_t>(scans.size(), 1);
  int64_t slices = 0, done = 0, with_nodules = 0;
  for (size_t i : scans) slices += data.scans[i].image.grid.size[2];
  const auto hash = [&](const ShownSlice& s) {
    uint64_t bits = options.seed;
    for (char c : s.scan->id) bits = random_bits(bits, uint64_t(c));
    return random_bits(bits, uint64_t(s.z));
  };
  const std::vector<Segmenter> network{{fast.get(), options.format}};
  const SegmentOptions segment{.activations = options.activations};
  for (size_t i : scans) {
    const Scan& scan = data.scans[i];
    const int64_t pixels = scan.image.grid.size[0] * scan.image.grid.size[1], classes = data.classes;
    const auto fullest = std::ranges::max_element(scan.slices, {}, &SliceCount::foreground) - scan.slices.begin();
    DiceCount whole(classes);
    v.stopped = !segment_slices(network, scan.image, scan.labels, segment, [&](int64_t z, const float* p) {
      if (!after_slice(++done, slices)) return false;
      ShownSlice slice{&scan, z, 0, std::vector<uint8_t>(size_t(pixels))};
      classes_of(p, pixels, classes, options.format.threshold, slice.predicted.data());
      const uint8_t* labels = scan.labels_of(z);
      whole.add(labels, slice.predicted.data(), pixels);
      DiceCount alone(classes);
      alone.add(labels, slice.predicted.data(), pixels);
      slice.dice = alone.dice();
      const auto predicted = pixels - std::ranges::count(slice.predicted, uint8_t(0));
      v.predicted_share += double(predicted);
      add_probabilities(v, p, labels, pixels, classes, options.format.lungs);
      const int64_t foreground = scan.slices[z].foreground;
      if (foreground + predicted == 0) return true;
      if (foreground > 0) {
        if (z == fullest && v.largest.size() < kShown) v.largest.push_back(slice);
        keep(v.best, slice, max_of_scan, [](auto& a, auto& b) { return a.dice > b.dice; });
      }
      keep(v.worst, slice, max_of_scan, [](auto& a, auto& b) { return a.dice < b.dice; });
      keep(v.random, slice, max_of_scan, [&](auto& a, auto& b) { return hash(a) < hash(b); });
      return true;
    });
    if (v.stopped) return v;
    v.scans.emplace_back(&scan, whole.dice());
    v.voxels += double(scan.image.grid.voxels());
    v.true_voxels += double(scan.foreground);
    for (const SliceCount& slice : scan.slices) v.lung_voxels += double(slice.lungs);
    if (scan.foreground == 0) continue;
    v.dice += v.scans.back().second;
    with_nodules++;
  }
  v.dice /= double(std::max<int64_t>(with_nodules, 1));
  for (double* mean : {&v.predicted_share, &v.mean_probability, &v.extreme_share}) *mean /= std::max(v.voxels, 1.0);
  return v;
}

namespace {

// The whole slice with outlines, and a square of 60 mm around its nodule, without and with outlines.
std::vector<Picture> pictures_of(const ShownSlice& shown, const HuWindow& window) {
  const ScanView& image = shown.scan->image;
  const Index3 size = image.grid.size;
  Volume<uint8_t> slice(Grid{{size[0], size[1], 1}});
  const uint8_t* labels = shown.scan->labels_of(shown.z);
  for (size_t i = 0; i < slice.voxels.size(); i++) slice.voxels[i] = labels[i] & kClass;
  const Volume<uint8_t> truth = slice;
  if (shown.scan->slices[shown.z].foreground == 0) slice.voxels = shown.predicted;
  const Index3 middle = as_drawn(image.grid, densest_point(slice));
  const auto half = int64_t(std::clamp(30 / image.grid.spacing[0], 4., 100.));
  const int zoom = picture_zoom(image.grid), close_zoom = std::max(int(size[0]) * zoom / int(2 * half), 1);
  std::vector<Picture> pictures{overlay(image, shown.z, truth.slice(0), shown.predicted.data(), zoom, window)};
  for (const bool outlines : {false, true})
    pictures.push_back(overlay(image, shown.z, outlines ? truth.slice(0) : nullptr,
                               outlines ? shown.predicted.data() : nullptr, close_zoom, window,
                               Rectangle{middle[0] - half, middle[1] - half, 2 * half, 2 * half}));
  return pictures;
}

}  // namespace

std::vector<PictureGroup> picture_groups(const Validation& v, const HuWindow& window) {
  std::vector<PictureGroup> groups;
  const auto add = [&](const char* heading, const char* about, const std::vector<ShownSlice>& slices) {
    groups.push_back({heading, about, {}});
    for (const ShownSlice& slice : slices) {
      std::vector<Picture> pictures = pictures_of(slice, window);
      pictures.erase(pictures.begin() + 1);
      groups.back().pictures.push_back(
          {text(slice.scan->id, ", slice ", slice.z, ", Dice ", fixed(slice.dice, 3)), montage(pictures, 2)});
    }
  };
  add("Worst slices", "Of those with nodules or predictions.", v.worst);
  add("Random slices", "The same slices after each epoch, unless they are empty.", v.random);
  add("Best slices", "Of those with nodules.", v.best);
  return groups;
}

Picture overlay_of(const Validation& v, const HuWindow& window) {
  std::vector<Picture> pictures;
  for (const ShownSlice& slice : v.largest.empty() ? v.worst : v.largest)
    for (Picture& picture : pictures_of(slice, window)) pictures.push_back(std::move(picture));
  if (pictures.empty()) pictures.push_back({1, 1, 3, std::vector<uint8_t>(3)});
  return montage(pictures, 3);
}

}  // namespace acinus
