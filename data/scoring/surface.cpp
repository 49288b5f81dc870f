#include "data/scoring/surface.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/volume/morphology.h"
#include "tensor/check.h"

namespace acinus {
namespace {

Volume<uint8_t> surface_within(const Volume<uint8_t>& mask, const Box& box) {
  Grid grid = mask.grid;
  for (int k = 0; k < 3; k++) grid.size[k] = box.high[k] - box.low[k] + 1;
  const Index3 size = mask.grid.size;
  const auto inside = [&](int64_t x, int64_t y, int64_t z) {
    return x >= 0 && y >= 0 && z >= 0 && x < size[0] && y < size[1] && z < size[2] && mask.at(x, y, z);
  };
  Volume<uint8_t> surface(grid);
  for_each_voxel(grid, [&](int64_t i, int64_t j, int64_t k, int64_t offset) {
    const int64_t x = box.low[0] + i, y = box.low[1] + j, z = box.low[2] + k;
    const bool enclosed = inside(x - 1, y, z) && inside(x + 1, y, z) && inside(x, y - 1, z) && inside(x, y + 1, z) &&
                          inside(x, y, z - 1) && inside(x, y, z + 1);
    surface.voxels[offset] = mask.at(x, y, z) && !enclosed;
  });
  return surface;
}

// A quantile, 0 to 1, of the distances from one surface's voxels to the other surface.
double distance_quantile(const Volume<uint8_t>& from, const Volume<uint8_t>& to, double quantile) {
  const Volume<float> squared = squared_distance(to);
  std::vector<float> values;
  for (size_t i = 0; i < from.voxels.size(); i++)
    if (from.voxels[i]) values.push_back(squared.voxels[i]);
  std::ranges::sort(values);
  const double rank = quantile * double(values.size() - 1);
  const auto below = size_t(rank);
  const double low = std::sqrt(double(values[below])),
               high = std::sqrt(double(values[std::min(below + 1, values.size() - 1)]));
  return low + (rank - double(below)) * (high - low);
}

}  // namespace

double hausdorff_mm(const Volume<uint8_t>& a, const Volume<uint8_t>& b, double quantile) {
  check(quantile >= 0 && quantile <= 1, "hausdorff_mm: a quantile of ", quantile, "; it must lie between 0 and 1");
  check(a.grid.size == b.grid.size && a.grid.spacing == b.grid.spacing && a.voxels.size() == b.voxels.size(),
        "hausdorff_mm: the masks lie on different grids");
  const Box box_a = bounding_box(a), box_b = bounding_box(b);
  const int empty = (box_a.high[0] < 0) + (box_b.high[0] < 0);
  if (empty > 0) return empty == 2 ? 0 : std::numeric_limits<double>::infinity();
  Box box;  // holds both masks: a nodule is small, a scan is not
  for (int k = 0; k < 3; k++) {
    box.low[k] = std::min(box_a.low[k], box_b.low[k]);
    box.high[k] = std::max(box_a.high[k], box_b.high[k]);
  }
  const Volume<uint8_t> surface_a = surface_within(a, box), surface_b = surface_within(b, box);
  return std::max(distance_quantile(surface_a, surface_b, quantile), distance_quantile(surface_b, surface_a, quantile));
}

}  // namespace acinus
