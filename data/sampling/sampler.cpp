#include "data/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tensor/parallel.h"

namespace acinus {

// Slices so near to one with foreground are hard ones, when whole slices are drawn.
constexpr int64_t kNear = 3;

Sampler::Sampler(const Dataset& dataset, const std::vector<size_t>& scans, SamplingOptions options, uint64_t seed)
    : classes_(dataset.classes), options_(std::move(options)), seed_(seed) {
  check(options_.size >= 1 && options_.planes >= 1 && options_.planes % 2 == 1, "Sampler: size ", options_.size,
        ", planes ", options_.planes, ": planes must be odd");
  check(options_.foreground >= 0 && options_.hard >= 0 && options_.foreground + options_.hard <= 1, "Sampler: shares ",
        options_.foreground, " of foreground and ", options_.hard, " of hard pieces are more than all");
  check_options(options_.augment);
  check(!scans.empty(), "Sampler: no scans");
  channels_ = dataset.scans[scans[0]].image.channels;
  for (size_t i : scans) {
    const Scan& scan = dataset.scans[i];
    const auto slices = int64_t(scan.slices.size());
    const size_t first = slices_.size();
    for (int64_t z = 0; z < slices; z++) {
      const auto has_foreground = [&](int64_t at) {
        return at >= 0 && at < slices && scan.slices[size_t(at)].foreground > 0;
      };
      bool near = false;
      for (int64_t d = 1; d <= kNear; d++) near = near || has_foreground(z - d) || has_foreground(z + d);
      const SliceCount& count = scan.slices[size_t(z)];
      if (has_foreground(z)) slices_.emplace_back(&scan, z);
      if (options_.whole_slices ? !has_foreground(z) && near : count.hard > 0) hard_.emplace_back(&scan, z);
      if (count.lungs > 0 && !(options_.whole_slices && has_foreground(z))) lungs_.emplace_back(&scan, z);
    }
    scans_.push_back(&scan);
    const Target target{&scan, nullptr, first, slices_.size()};
    for (const Annotation& nodule : scan.nodules) nodules_.push_back(target), nodules_.back().nodule = &nodule;
    // A scan with foreground that no annotation names is drawn as often as one nodule, at any of its voxels.
    if (scan.nodules.empty() && slices_.size() > first) nodules_.push_back(target);
  }
  if (slices_.empty())
    fail("none of the ", scans.size(),
         dataset.pairs ? " training pictures has any foreground" : " training patients has a nodule",
         "; there is nothing to learn from");
}

Shape Sampler::image_shape(int64_t n) const { return {n, options_.size, options_.size, options_.planes * channels_}; }
Shape Sampler::target_shape(int64_t n) const { return {n, options_.size, options_.size, classes_}; }

namespace {

// One of the `count` voxels of slice z that are wanted: its x and y.
template <class Wanted>
std::pair<int64_t, int64_t> any_voxel(const Scan& scan, Random& random, int64_t count, Wanted wanted) {
  const int64_t width = scan.image.grid.size[0], last = width * scan.image.grid.size[1] - 1;
  int64_t at = -1;
  for (int64_t n = 1 + random.below(count); n > 0 && at < last; n--) do {
      at++;
    } while (at < last && !wanted(at));
  return {at % width, at / width};
}

}  // namespace

Sampler::Place Sampler::place(int64_t index, Random& random) const {
  const auto any_of = [&](const std::vector<Slice>& slices) {
    return slices[size_t(random.below(int64_t(slices.size())))];
  };
  const double kind = random.uniform();
  const bool hard = kind >= options_.foreground && kind < options_.foreground + options_.hard && !hard_.empty();
  if (options_.whole_slices) {
    Slice slice;
    if (kind < options_.foreground || (lungs_.empty() && !hard)) {
      // A permutation for each pass over the slices: piece i of the pass takes the slice with the i-th smallest hash.
      const int64_t n = nodule_slices(), pass = index / n;
      std::vector<std::pair<uint64_t, int64_t>> order;
      for (int64_t i = 0; i < n; i++) order.emplace_back(random_bits(seed_ + 1, uint64_t(pass * n + i)), i);
      std::nth_element(order.begin(), order.begin() + index % n, order.end());
      slice = slices_[size_t(order[size_t(index % n)].second)];
    } else {
      slice = any_of(hard ? hard_ : lungs_);
    }
    const Scan* scan = slice.first;
    return {scan, scan->image.grid.size[0] / 2, scan->image.grid.size[1] / 2, slice.second};
  }

  const auto somewhere_near = [&](double at, double by, int64_t size) {
    return std::clamp<int64_t>(std::llround(at + random.uniform(-by, by)), 0, size - 1);
  };
  const double jitter = double(options_.size) * 0.35;
  if (!nodules_.empty() && kind < options_.foreground) {
    const Target& target = nodules_[size_t(random.below(int64_t(nodules_.size())))];
    const Scan& scan = *target.scan;
    const Index3 size = scan.image.grid.size;
    Place place{&scan, 0, 0, 0};
    if (target.nodule) {
      const Vec3 centre = scan.image.grid.to_voxel(target.nodule->centre);
      place.x = std::llround(centre[0]), place.y = std::llround(centre[1]);
      const double reach = target.nodule->diameter_mm / 2 / scan.image.grid.spacing[2];
      place.z = somewhere_near(centre[2], reach, size[2]);
    } else {
      const Slice slice = slices_[target.first + size_t(random.below(int64_t(target.end - target.first)))];
      const uint8_t* labels = scan.labels_of(slice.second);
      std::tie(place.x, place.y) = any_voxel(scan, random, scan.slices[size_t(slice.second)].foreground,
                                             [&](int64_t i) { return (labels[i] & kClass) != 0; });
      place.z = slice.second;
    }
    place.x = somewhere_near(double(place.x), jitter, size[0]);
    place.y = somewhere_near(double(place.y), jitter, size[1]);
    return place;
  }
  if (hard) {
    const auto [scan, z] = any_of(hard_);
    const uint8_t* labels = scan->labels_of(z);
    const ScanView& image = scan->image;
    Place place{scan, 0, 0, z};
    std::tie(place.x, place.y) = any_voxel(*scan, random, scan->slices[size_t(z)].hard,
                                           [width = image.grid.size[0], &image, labels, z = z](int64_t i) {
                                             return labels[i] == kLungs && image.at(i % width, i / width, z) > kHardHu;
                                           });
    place.x = somewhere_near(double(place.x), jitter, image.grid.size[0]);
    place.y = somewhere_near(double(place.y), jitter, image.grid.size[1]);
    return place;
  }
  if (!lungs_.empty() && random.uniform() < 0.9) {
    const auto [scan, z] = any_of(lungs_);
    const uint8_t* labels = scan->labels_of(z);
    Place place{scan, 0, 0, z};
    std::tie(place.x, place.y) = any_voxel(*scan, random, scan->slices[size_t(z)].lungs,
                                           [labels](int64_t i) { return (labels[i] & kLungs) != 0; });
    return place;
  }
  const Scan* scan = scans_[size_t(random.below(int64_t(scans_.size())))];
  const Index3 size = scan->image.grid.size;
  Place place{scan, 0, 0, 0};
  place.x = random.below(size[0]), place.y = random.below(size[1]), place.z = random.below(size[2]);
  return place;
}

void Sampler::draw_piece(int64_t index, float* x, float* t) const {
  Random random(random_bits(seed_, uint64_t(index)));
  const Place at = place(index, random);
  const Warp warp(options_.augment, options_.size, random);
  const int64_t side = options_.size, channels = options_.planes * channels_, width = at.scan->image.grid.size[0],
                height = at.scan->image.grid.size[1];
  const Rectangle from = warp.bounds();
  const int64_t left = at.x - side / 2 + from.left, top = at.y - side / 2 + from.top;

  std::vector<float> pixels(size_t(from.rows * from.cols * channels));
  copy_planes(at.scan->image, at.z, options_.planes, options_.window, left, top, from.cols, from.rows, pixels.data());
  warp.sample(pixels.data(), channels, x);
  change_intensities(options_.augment, random, x, side, side, channels);

  std::vector<uint8_t> labels(size_t(from.rows * from.cols)), piece(size_t(side * side));
  const uint8_t* slice = at.scan->labels_of(at.z);
  for (int64_t r = std::max<int64_t>(0, -top); r < std::min(from.rows, height - top); r++)
    for (int64_t c = std::max<int64_t>(0, -left); c < std::min(from.cols, width - left); c++)
      labels[size_t(r * from.cols + c)] = slice[(top + r) * width + left + c] & kClass;
  warp.sample_nearest(labels.data(), piece.data());
  for (int64_t i = 0; i < side * side; i++)
    for (int64_t k = 0; k < classes_; k++) t[i * classes_ + k] = piece[size_t(i)] == k + 1;
}

void Sampler::draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool by_all) const {
  x = Tensor(image_shape(n));
  t = Tensor(target_shape(n));
  float *image = x.data<float>(), *target = t.data<float>();
  const int64_t image_size = x.elements() / n, target_size = t.elements() / n;
  parallel(n, by_all, [&](int64_t i) { draw_piece(index + i, image + i * image_size, target + i * target_size); });
}

}  // namespace acinus
