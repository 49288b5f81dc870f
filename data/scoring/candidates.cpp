#include "data/scoring/candidates.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/volume/components.h"

namespace acinus {

std::vector<Candidate> find_candidates(const Volume<float>& probability, const std::string& seriesuid,
                                       const CandidateOptions& options) {
  const Grid& grid = probability.grid;
  const double voxel_mm3 = grid.spacing[0] * grid.spacing[1] * grid.spacing[2];

  Volume<uint8_t> mask(grid);
  for (size_t i = 0; i < mask.voxels.size(); i++) mask.voxels[i] = probability.voxels[i] > float(options.threshold);
  const Components components = label_components(mask, Connectivity::corners);
  // They are sorted by size: those that are too small come last.
  const double diameter = options.min_diameter_mm;
  const double min_voxels = std::numbers::pi / 6 * diameter * diameter * diameter / voxel_mm3 * (1 - 1e-9);
  size_t count = 0;
  while (count + 1 < components.sizes.size() && double(components.sizes[count + 1]) >= min_voxels) count++;

  struct Sum {
    Vec3 position{};  // voxels, weighted by their probability
    double weight = 0;
    std::vector<float> values;
  };
  std::vector<Sum> sums(count);
  for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    const size_t label = components.labels.voxels[i];
    if (label == 0 || label > count) return;
    Sum& sum = sums[label - 1];
    const float p = probability.voxels[i];
    const Vec3 voxel{double(x), double(y), double(z)};
    for (int k = 0; k < 3; k++) sum.position[k] += double(p) * voxel[k];
    sum.weight += double(p);
    sum.values.push_back(p);
  });

  std::vector<Candidate> found;
  for (Sum& sum : sums) {
    Candidate candidate{seriesuid};
    for (double& coordinate : sum.position) coordinate /= sum.weight;
    candidate.centre = grid.to_world(sum.position);
    candidate.diameter_mm = std::cbrt(double(sum.values.size()) * voxel_mm3 * 6 / std::numbers::pi);
    const auto core = std::clamp<int64_t>(int64_t(std::ceil(min_voxels)), 1, int64_t(sum.values.size()));
    std::ranges::partial_sort(sum.values, sum.values.begin() + core, std::greater<>());
    for (int64_t i = 0; i < core; i++) candidate.probability += double(sum.values[i]) / double(core);
    found.push_back(candidate);
  }
  std::ranges::stable_sort(found, std::greater<>(), &Candidate::probability);
  if (int64_t(found.size()) > options.max_count) found.resize(options.max_count);
  return found;
}

}  // namespace acinus
