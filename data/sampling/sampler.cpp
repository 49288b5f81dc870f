#include "data/sampling/sampler.h"

#include <algorithm>
#include <cmath>

#include "tensor/parallel.h"

namespace acinus {

// When whole slices are drawn, those within this distance of one with foreground are hard ones.
constexpr int64_t kNearSlices = 3;
// Of the patches that are neither around nodules nor hard, this fraction lies in the lungs.
constexpr double kInLungs = 0.9;
// A nodule lies at most this fraction of the patch's side off its centre, along x and y.
constexpr double kJitter = 0.35;

Sampler::Sampler(const Dataset& dataset, const std::vector<size_t>& scans, SamplingOptions options, uint64_t seed)
    : classes_(dataset.classes), options_(std::move(options)), seed_(seed) {
  check(options_.size >= 1 && options_.planes >= 1 && options_.planes % 2 == 1, "Sampler: size ", options_.size,
        ", planes ", options_.planes, ": planes must be odd");
  check(options_.foreground >= 0 && options_.hard >= 0 && options_.foreground + options_.hard <= 1,
        "Sampler: fractions ", options_.foreground, " of foreground and ", options_.hard,
        " of hard patches are more than all");
  check_options(options_.augment);
  check(!scans.empty(), "Sampler: no scans");
  channels_ = dataset.scans[scans[0]].image.channels;
  for (size_t i : scans) {
    const Scan& scan = dataset.scans[i];
    const auto slices = int64_t(scan.slices.size());
    const size_t first = slices_.size();
    for (int64_t z = 0; z < slices; z++) {
      const auto has_foreground = [&](int64_t i) { return i >= 0 && i < slices && scan.slices[i].foreground > 0; };
      bool near = false;
      for (int64_t d = 1; d <= kNearSlices; d++) near = near || has_foreground(z - d) || has_foreground(z + d);
      const SliceCount& count = scan.slices[z];
      if (has_foreground(z)) slices_.push_back({&scan, z});
      if (options_.whole_slices ? !has_foreground(z) && near : count.hard > 0) hard_.push_back({&scan, z});
      if (count.lungs > 0 && !(options_.whole_slices && has_foreground(z))) lungs_.push_back({&scan, z});
    }
    scans_.push_back(&scan);
    for (const Annotation& nodule : scan.nodules) nodules_.push_back({&scan, &nodule, first, slices_.size()});
    // A scan with foreground but without annotations is drawn as often as one nodule, at any foreground voxel.
    if (scan.nodules.empty() && slices_.size() > first) nodules_.push_back({&scan, nullptr, first, slices_.size()});
  }
  if (slices_.empty())
    fail("none of the ", scans.size(),
         dataset.is_ct() ? " training patients has a nodule" : " training pictures has any foreground",
         "; there is nothing to learn from");
}

Shape Sampler::image_shape(int64_t n) const { return {n, options_.size, options_.size, options_.planes * channels_}; }
Shape Sampler::target_shape(int64_t n) const { return {n, options_.size, options_.size, classes_}; }

namespace {

template <class T>
const T& choose(const std::vector<T>& list, Random& random) {
  return list[random.below(int64_t(list.size()))];
}

// A voxel index up to `reach` from `position`, inside the grid.
int64_t random_near(double position, double reach, int64_t size, Random& random) {
  return std::clamp<int64_t>(std::llround(position + random.uniform(-reach, reach)), 0, size - 1);
}

}  // namespace

bool Sampler::draws_hard(double u) const {
  return u >= options_.foreground && u < options_.foreground + options_.hard && !hard_.empty();
}

// A random voxel of those in the slice for which a member of Scan holds, which its SliceCount counts.
template <auto is, auto count>
Sampler::PatchCentre Sampler::random_voxel(const Slice& slice, Random& random) {
  const auto& [scan, z] = slice;
  const Grid& grid = scan->image.grid;
  const int64_t width = grid.size[0], first = grid.offset(0, 0, z), last = grid.offset(0, 0, z + 1) - 1;
  int64_t i = first, skip = random.below(scan->slices[z].*count);
  while (i < last && !((scan->*is)(i) && skip-- == 0)) i++;
  return {scan, (i - first) % width, (i - first) / width, z};
}

Sampler::PatchCentre Sampler::draw_centre(int64_t index, Random& random) const {
  const double u = random.uniform();
  if (options_.whole_slices) return centre_of_slice(index, u, random);
  if (u < options_.foreground && !nodules_.empty()) return jittered(in_nodule(random), random);
  if (draws_hard(u))
    return jittered(random_voxel<&Scan::is_hard, &SliceCount::hard>(choose(hard_, random), random), random);
  if (!lungs_.empty() && random.uniform() < kInLungs)
    return random_voxel<&Scan::is_in_lungs, &SliceCount::lungs>(choose(lungs_, random), random);
  const Scan* scan = choose(scans_, random);  // anywhere
  const auto [x, y, z] = scan->image.grid.size;
  return {scan, random.below(x), random.below(y), random.below(z)};
}

Sampler::PatchCentre Sampler::centre_of_slice(int64_t index, double u, Random& random) const {
  Slice slice;
  if (u < options_.foreground || (lungs_.empty() && !draws_hard(u))) {
    // A new permutation for each pass over the slices: patch i of the pass takes the slice with the i-th smallest hash.
    const int64_t n = nodule_slices(), pass = index / n;
    std::vector<std::pair<uint64_t, int64_t>> order;
    for (int64_t i = 0; i < n; i++) order.emplace_back(random_bits(seed_ + 1, uint64_t(pass * n + i)), i);
    std::nth_element(order.begin(), order.begin() + index % n, order.end());
    slice = slices_[order[index % n].second];
  } else {
    slice = choose(draws_hard(u) ? hard_ : lungs_, random);
  }
  const Index3& size = slice.scan->image.grid.size;
  return {slice.scan, size[0] / 2, size[1] / 2, slice.z};
}

// In any slice that cuts the nodule.
Sampler::PatchCentre Sampler::in_nodule(Random& random) const {
  const auto& [scan, nodule, first, end] = choose(nodules_, random);
  if (!nodule) {
    const Slice& slice = slices_[first + random.below(int64_t(end - first))];
    return random_voxel<&Scan::is_foreground, &SliceCount::foreground>(slice, random);
  }
  const Grid& grid = scan->image.grid;
  const Vec3 centre = grid.to_voxel(nodule->centre);
  const double reach = nodule->diameter_mm / 2 / grid.spacing[2];
  const int64_t z = random_near(centre[2], reach, grid.size[2], random);
  return {scan, std::llround(centre[0]), std::llround(centre[1]), z};
}

Sampler::PatchCentre Sampler::jittered(PatchCentre centre, Random& random) const {
  const double reach = double(options_.size) * kJitter;
  centre.x = random_near(double(centre.x), reach, centre.scan->image.grid.size[0], random);
  centre.y = random_near(double(centre.y), reach, centre.scan->image.grid.size[1], random);
  return centre;
}

void Sampler::draw_patch(int64_t index, float* x, float* t) const {
  Random random(random_bits(seed_, uint64_t(index)));
  const PatchCentre centre = draw_centre(index, random);
  const Warp warp(options_.augment, options_.size, random);
  const int64_t side = options_.size, channels = options_.planes * channels_;
  const ScanView& image = centre.scan->image;
  const int64_t width = image.grid.size[0], height = image.grid.size[1];
  const Rectangle source = warp.bounds();
  const int64_t left = centre.x - side / 2 + source.left, top = centre.y - side / 2 + source.top;

  std::vector<float> pixels(source.rows * source.cols * channels);
  copy_planes(image, centre.z, options_.planes, options_.window, left, top, source.cols, source.rows, pixels.data());
  warp.sample(pixels.data(), channels, x);
  change_intensities(options_.augment, random, x, side, side, channels);

  std::vector<uint8_t> labels(source.rows * source.cols), patch(side * side);
  const uint8_t* slice = centre.scan->labels_of(centre.z);
  for (int64_t r = std::max<int64_t>(0, -top); r < std::min(source.rows, height - top); r++)
    for (int64_t c = std::max<int64_t>(0, -left); c < std::min(source.cols, width - left); c++)
      labels[r * source.cols + c] = slice[(top + r) * width + left + c] & kClass;
  warp.sample_nearest(labels.data(), patch.data());
  for (int64_t i = 0; i < side * side; i++)
    for (int64_t k = 0; k < classes_; k++) t[i * classes_ + k] = patch[i] == k + 1;
}

void Sampler::draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool by_all) const {
  x = Tensor(image_shape(n));
  t = Tensor(target_shape(n));
  float *image = x.data<float>(), *target = t.data<float>();
  const int64_t image_size = x.elements() / n, target_size = t.elements() / n;
  parallel(n, by_all, [&](int64_t i) { draw_patch(index + i, image + i * image_size, target + i * target_size); });
}

}  // namespace acinus
