#include "data/scoring/surface.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "data/volume/morphology.h"
#include "tensor/check.h"

namespace acinus {
namespace {

// Both masks' surfaces on the smallest grid that holds them: a nodule is small, and a scan is not.
struct Box {
  Index3 low, high;  // inclusive; empty: low > high
};

Box box_around(const Volume<uint8_t>& a, const Volume<uint8_t>& b) {
  const Index3 size = a.grid.size;
  Box box{size, {-1, -1, -1}};
  for (int64_t z = 0, i = 0; z < size[2]; z++)
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++, i++) {
        if (!a.voxels[size_t(i)] && !b.voxels[size_t(i)]) continue;
        const Index3 at{x, y, z};
        for (size_t k = 0; k < 3; k++)
          box.low[k] = std::min(box.low[k], at[k]), box.high[k] = std::max(box.high[k], at[k]);
      }
  return box;
}

Volume<uint8_t> surface_within(const Volume<uint8_t>& mask, const Box& box) {
  Grid grid = mask.grid;
  for (size_t k = 0; k < 3; k++) grid.size[k] = box.high[k] - box.low[k] + 1;
  const Index3 size = mask.grid.size;
  const auto is_in = [&](int64_t x, int64_t y, int64_t z) {
    return x >= 0 && y >= 0 && z >= 0 && x < size[0] && y < size[1] && z < size[2] && mask.at(x, y, z);
  };
  Volume<uint8_t> surface(grid);
  for (int64_t z = box.low[2]; z <= box.high[2]; z++)
    for (int64_t y = box.low[1]; y <= box.high[1]; y++)
      for (int64_t x = box.low[0]; x <= box.high[0]; x++) {
        const bool inside = is_in(x - 1, y, z) && is_in(x + 1, y, z) && is_in(x, y - 1, z) && is_in(x, y + 1, z) &&
                            is_in(x, y, z - 1) && is_in(x, y, z + 1);
        surface.at(x - box.low[0], y - box.low[1], z - box.low[2]) = mask.at(x, y, z) && !inside;
      }
  return surface;
}

// Of the distances from one surface's voxels to the other surface.
double percentile(const Volume<uint8_t>& from, const Volume<uint8_t>& to, double share) {
  const Volume<float> squared = squared_distance(to);
  std::vector<float> values;
  for (size_t i = 0; i < from.voxels.size(); i++)
    if (from.voxels[i]) values.push_back(squared.voxels[i]);
  std::ranges::sort(values);
  const double place = share * double(values.size() - 1);
  const auto below = size_t(place);
  const double low = std::sqrt(double(values[below])),
               high = std::sqrt(double(values[std::min(below + 1, values.size() - 1)]));
  return low + (place - double(below)) * (high - low);
}

}  // namespace

double hausdorff_mm(const Volume<uint8_t>& a, const Volume<uint8_t>& b, double share) {
  check(share >= 0 && share <= 1, "hausdorff_mm: a share of ", share, "; it must lie between 0 and 1");
  check(a.grid.size == b.grid.size && a.grid.spacing == b.grid.spacing && a.voxels.size() == b.voxels.size(),
        "hausdorff_mm: the masks lie on two grids");
  const auto is_empty = [](const Volume<uint8_t>& mask) {
    return std::ranges::all_of(mask.voxels, [](uint8_t v) { return v == 0; });
  };
  const int empty = is_empty(a) + is_empty(b);
  if (empty > 0) return empty == 2 ? 0 : std::numeric_limits<double>::infinity();
  const Box box = box_around(a, b);
  const Volume<uint8_t> surface_a = surface_within(a, box), surface_b = surface_within(b, box);
  return std::max(percentile(surface_a, surface_b, share), percentile(surface_b, surface_a, share));
}

}  // namespace acinus
