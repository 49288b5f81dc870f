#include "data/sampling/crop_sampler.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "data/scoring/matching.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

// Dense points are taken from this many slices of a scan, and about this many from each.
constexpr int64_t kHardSlices = 8, kHardPoints = 16;
// Closer than this to a finding's surface, a dense point may be part of it.
constexpr double kMarginMm = 5;

double distance(const Vec3& a, const Vec3& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

std::vector<Vec3> hard_points(const Scan& scan, const std::vector<Annotation>& excluded, uint64_t seed) {
  std::vector<int64_t> slices;
  for (size_t z = 0; z < scan.slices.size(); z++)
    if (scan.slices[z].hard > 0) slices.push_back(int64_t(z));
  if (slices.empty()) return {};
  const auto near = [](const Vec3& point, const std::vector<Annotation>& findings) {
    return std::ranges::any_of(
        findings, [&](const Annotation& f) { return distance(point, f.centre) < radius_mm(f) + kMarginMm; });
  };
  const Grid& grid = scan.image.grid;
  std::vector<Vec3> points;
  Random random(seed);
  for (int64_t i = 0; i < std::min(kHardSlices, int64_t(slices.size())); i++) {
    const int64_t z = slices[random.below(int64_t(slices.size()))];
    const double probability = double(kHardPoints) / double(scan.slices[z].hard);
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++) {
        if (!scan.is_hard(grid.offset(x, y, z)) || random.uniform() >= probability) continue;
        const Vec3 point = grid.to_world({double(x), double(y), double(z)});
        if (!near(point, scan.nodules) && !near(point, excluded)) points.push_back(point);
      }
  }
  return points;
}

}  // namespace

Verdict judge(const Vec3& point, const Scan& scan, const std::vector<Annotation>& excluded) {
  for (const Annotation& nodule : scan.nodules)
    if (hits(point, nodule)) return Verdict::nodule;
  for (const Annotation& finding : excluded)
    if (finding.seriesuid == scan.id && hits(point, finding)) return Verdict::ignored;
  return Verdict::other;
}

CropSampler::CropSampler(const Dataset& dataset, const std::vector<size_t>& scans,
                         const std::vector<Candidate>& candidates, const std::vector<Annotation>& excluded,
                         CropSamplingOptions options, uint64_t seed)
    : options_(options), seed_(seed) {
  check_options(options_.crop);
  check_options(options_.augment);
  check(options_.hard >= 0 && options_.hard <= 1 && options_.shift_mm >= 0, "CropSampler: a fraction ", options_.hard,
        " of dense points, shifts of ", options_.shift_mm, " mm");
  std::map<std::string, std::vector<Vec3>> points_of;  // by scan
  for (const Candidate& candidate : candidates) points_of[candidate.seriesuid].push_back(candidate.centre);
  std::map<std::string, std::vector<Annotation>> ignored_in;
  for (const Annotation& finding : excluded) ignored_in[finding.seriesuid].push_back(finding);
  for (size_t i : scans) {
    const Scan& scan = dataset.scans[i];
    const std::vector<Annotation>& ignored = ignored_in[scan.id];
    const size_t first = nodules_.size();
    for (const Annotation& nodule : scan.nodules) nodules_.push_back({{&scan, nodule.centre}});
    for (const Vec3& point : points_of[scan.id]) {
      if (judge(point, scan, ignored) == Verdict::other) others_.push_back({&scan, point});
      for (size_t k = 0; k < scan.nodules.size(); k++)
        if (acinus::hits(point, scan.nodules[k])) nodules_[first + k].push_back({&scan, point});
    }
    for (const Vec3& point : hard_points(scan, ignored, random_bits(seed + 1, i))) hard_.push_back({&scan, point});
  }
  if (nodules_.empty())
    fail("none of the ", scans.size(), " training patients has a nodule; there is nothing to learn from");
  if (others_.empty() && hard_.empty())
    fail("the ", scans.size(),
         " training patients have no point that looks like a nodule without being one; there is nothing to tell"
         " nodules from");
}

int64_t CropSampler::hits() const {
  int64_t count = 0;
  for (const auto& centres : nodules_) count += int64_t(centres.size()) - 1;
  return count;
}

Shape CropSampler::image_shape(int64_t n) const {
  return {n, options_.crop.size, options_.crop.size, options_.crop.planes};
}

// Each nodule is drawn equally often, however many candidates hit it.
const CropSampler::CropCentre& CropSampler::draw_centre(int64_t index, Random& random) const {
  const double u = random.uniform();
  const auto choose = [&](const auto& list) -> const auto& { return list[random.below(int64_t(list.size()))]; };
  if (index % 2 == 0) return choose(choose(nodules_));
  return choose(others_.empty() || (u < options_.hard && !hard_.empty()) ? hard_ : others_);
}

void CropSampler::draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool by_all) const {
  x = Tensor(image_shape(n));
  t = Tensor({n, 1});
  float *image = x.data<float>(), *target = t.data<float>();
  const int64_t size = options_.crop.size, values = options_.crop.values();
  parallel(n, by_all, [&](int64_t i) {
    Random random(random_bits(seed_, uint64_t(index + i)));
    const CropCentre& centre = draw_centre(index + i, random);
    const CropPose pose = random_pose(options_.augment, options_.shift_mm, random);
    copy_crop(centre.scan->image, centre.point, options_.crop, pose, image + i * values);
    change_intensities(options_.augment, random, image + i * values, size, size, options_.crop.planes);
    target[i] = (index + i) % 2 == 0;
  });
}

}  // namespace acinus
