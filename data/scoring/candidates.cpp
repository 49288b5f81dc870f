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
  const auto volume_of = [](double diameter) { return std::numbers::pi / 6 * diameter * diameter * diameter; };

  Volume<uint8_t> mask(grid);
  for (size_t i = 0; i < mask.voxels.size(); i++) mask.voxels[i] = probability.voxels[i] > float(options.threshold);
  const Components pieces = label_components(mask, Connectivity::corners);
  // By falling size: those that are too small come last.
  const double least = volume_of(options.min_diameter_mm) / voxel_mm3 * (1 - 1e-9);
  size_t count = 0;
  while (count + 1 < pieces.sizes.size() && double(pieces.sizes[count + 1]) >= least) count++;

  struct Sum {
    Vec3 place{};
    double weight = 0;
    std::vector<float> values;
  };
  std::vector<Sum> sums(count);
  for (int64_t z = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++) {
        const auto piece = size_t(pieces.labels.at(x, y, z));
        if (piece == 0 || piece > count) continue;
        Sum& sum = sums[piece - 1];
        const float p = probability.at(x, y, z);
        const Vec3 voxel{double(x), double(y), double(z)};
        for (size_t k = 0; k < 3; k++) sum.place[k] += double(p) * voxel[k];
        sum.weight += double(p);
        sum.values.push_back(p);
      }

  std::vector<Candidate> found;
  for (Sum& sum : sums) {
    Candidate candidate{seriesuid};
    for (double& coordinate : sum.place) coordinate /= sum.weight;
    candidate.centre = grid.to_world(sum.place);
    candidate.diameter_mm = std::cbrt(double(sum.values.size()) * voxel_mm3 * 6 / std::numbers::pi);
    const auto core = std::clamp<size_t>(size_t(std::ceil(least)), 1, sum.values.size());
    std::partial_sort(sum.values.begin(), sum.values.begin() + int64_t(core), sum.values.end(), std::greater<>());
    for (size_t i = 0; i < core; i++) candidate.probability += double(sum.values[i]) / double(core);
    found.push_back(candidate);
  }
  std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) { return a.probability > b.probability; });
  if (int64_t(found.size()) > options.most) found.resize(size_t(options.most));
  return found;
}

}  // namespace acinus
