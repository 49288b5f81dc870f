#include "data/sampling/crop_sampler.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "data/scoring/matching.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

// Of each scan, so many of its slices are looked through for dense places, and about so many kept of each.
constexpr int64_t kHardSlices = 8, kHardPlaces = 16;
// Dense places nearer than this to a finding's surface may be part of it.
constexpr double kAway = 5;

double distance(const Vec3& a, const Vec3& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

double radius(const Annotation& finding) { return (finding.diameter_mm < 0 ? 10 : finding.diameter_mm) / 2; }

std::vector<Vec3> hard_places(const Scan& scan, const std::vector<Annotation>& excluded, uint64_t seed) {
  std::vector<int64_t> slices;
  for (size_t z = 0; z < scan.slices.size(); z++)
    if (scan.slices[z].hard > 0) slices.push_back(int64_t(z));
  if (slices.empty()) return {};
  const auto near = [&](const Vec3& at, const std::vector<Annotation>& findings) {
    return std::any_of(findings.begin(), findings.end(),
                       [&](const Annotation& f) { return distance(at, f.centre) < radius(f) + kAway; });
  };
  const int64_t width = scan.image.grid.size[0], pixels = width * scan.image.grid.size[1];
  std::vector<Vec3> places;
  Random random(seed);
  for (int64_t i = 0; i < std::min(kHardSlices, int64_t(slices.size())); i++) {
    const int64_t z = slices[size_t(random.below(int64_t(slices.size())))];
    const double share = double(kHardPlaces) / double(scan.slices[size_t(z)].hard);
    const uint8_t* labels = scan.labels_of(z);
    for (int64_t at = 0; at < pixels; at++) {
      const int64_t x = at % width, y = at / width;
      if (labels[at] != kLungs || scan.image.at(x, y, z) <= kHardHu || random.uniform() >= share) continue;
      const Vec3 place = scan.image.grid.to_world({double(x), double(y), double(z)});
      if (!near(place, scan.nodules) && !near(place, excluded)) places.push_back(place);
    }
  }
  return places;
}

}  // namespace

Verdict judge(const Vec3& place, const Scan& scan, const std::vector<Annotation>& excluded) {
  for (const Annotation& nodule : scan.nodules)
    if (hits(place, nodule)) return Verdict::nodule;
  for (const Annotation& finding : excluded)
    if (finding.seriesuid == scan.id && hits(place, finding)) return Verdict::ignored;
  return Verdict::other;
}

double area_under_roc(const std::vector<double>& nodules, const std::vector<double>& others) {
  if (nodules.empty() || others.empty()) return NAN;
  std::vector<double> sorted = others;
  std::sort(sorted.begin(), sorted.end());
  double won = 0;
  for (double score : nodules) {
    const auto below = std::lower_bound(sorted.begin(), sorted.end(), score);
    const auto above = std::upper_bound(below, sorted.end(), score);
    won += double(below - sorted.begin()) + double(above - below) / 2;
  }
  return won / double(nodules.size()) / double(others.size());
}

CropSampler::CropSampler(const Dataset& dataset, const std::vector<size_t>& scans,
                         const std::vector<Candidate>& candidates, const std::vector<Annotation>& excluded,
                         CropSamplingOptions options, uint64_t seed)
    : options_(options), seed_(seed) {
  check_options(options_.crop);
  check_options(options_.augment);
  check(options_.hard >= 0 && options_.hard <= 1 && options_.shift_mm >= 0, "CropSampler: a share ", options_.hard,
        " of dense places, shifts of ", options_.shift_mm, " mm");
  std::multimap<std::string, const Candidate*> by_scan;
  for (const Candidate& candidate : candidates) by_scan.emplace(candidate.seriesuid, &candidate);
  std::multimap<std::string, Annotation> excluded_by_scan;
  for (const Annotation& finding : excluded) excluded_by_scan.emplace(finding.seriesuid, finding);
  for (size_t i : scans) {
    const Scan& scan = dataset.scans[i];
    std::vector<Annotation> ignored;
    for (auto [at, end] = excluded_by_scan.equal_range(scan.id); at != end; ++at) ignored.push_back(at->second);
    const size_t first = nodules_.size();
    for (const Annotation& nodule : scan.nodules) nodules_.push_back({{&scan, nodule.centre}});
    for (auto [at, end] = by_scan.equal_range(scan.id); at != end; ++at) {
      const Place place{&scan, at->second->centre};
      const Verdict verdict = judge(place.centre, scan, ignored);
      if (verdict == Verdict::other) others_.push_back(place);
      for (size_t k = 0; verdict == Verdict::nodule && k < scan.nodules.size(); k++)
        if (acinus::hits(place.centre, scan.nodules[k])) nodules_[first + k].push_back(place);
    }
    for (const Vec3& place : hard_places(scan, ignored, random_bits(seed + 1, i))) hard_.push_back({&scan, place});
  }
  if (nodules_.empty())
    fail("none of the ", scans.size(), " training patients has a nodule; there is nothing to learn from");
  if (others_.empty() && hard_.empty())
    fail("the ", scans.size(),
         " training patients have no place that looks like a nodule and is none; there is nothing",
         " to tell nodules from");
}

int64_t CropSampler::hits() const {
  int64_t count = 0;
  for (const auto& places : nodules_) count += int64_t(places.size()) - 1;
  return count;
}

Shape CropSampler::image_shape(int64_t n) const {
  return {n, options_.crop.size, options_.crop.size, options_.crop.planes};
}

// Of the nodules each is drawn equally often, however many candidates hit it.
const CropSampler::Place& CropSampler::place(int64_t index, Random& random) const {
  const double kind = random.uniform();
  const auto any_of = [&](const auto& list) -> const auto& { return list[size_t(random.below(int64_t(list.size())))]; };
  if (index % 2 == 0) return any_of(any_of(nodules_));
  return any_of(others_.empty() || (kind < options_.hard && !hard_.empty()) ? hard_ : others_);
}

void CropSampler::draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool by_all) const {
  x = Tensor(image_shape(n));
  t = Tensor({n, 1});
  float *image = x.data<float>(), *target = t.data<float>();
  const int64_t size = options_.crop.size, values = options_.crop.values();
  parallel(n, by_all, [&](int64_t i) {
    Random random(random_bits(seed_, uint64_t(index + i)));
    const Place& at = place(index + i, random);
    const CropPose pose = random_pose(options_.augment, options_.shift_mm, random);
    copy_crop(at.scan->image, at.centre, options_.crop, pose, image + i * values);
    change_intensities(options_.augment, random, image + i * values, size, size, options_.crop.planes);
    target[i] = (index + i) % 2 == 0;
  });
}

}  // namespace acinus
