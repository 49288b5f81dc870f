// The voxels of a grid around a point.
#pragma once
#include <algorithm>
#include <cmath>

#include "data/volume/geometry.h"

namespace acinus {

// Where the nearest voxel's centre is, inside the grid.
inline Index3 nearest_voxel(const Grid& grid, const Vec3& voxel) {
  Index3 nearest;
  for (size_t i = 0; i < 3; i++) nearest[i] = std::clamp<int64_t>(std::llround(voxel[i]), 0, grid.size[i] - 1);
  return nearest;
}

// Calls f(x, y, z, mm) for the voxels up to `max_mm` from a point (in voxels), with their distance, 0 for the nearest
// one; until f returns true, and then returns true.
template <class F>
bool any_voxel_near(const Grid& grid, const Vec3& point, double max_mm, F f) {
  const Index3 nearest = nearest_voxel(grid, point);
  Index3 low, high;
  for (size_t i = 0; i < 3; i++) {
    low[i] = std::clamp<int64_t>(std::ceil(point[i] - max_mm / grid.spacing[i]), 0, nearest[i]);
    high[i] = std::clamp<int64_t>(std::floor(point[i] + max_mm / grid.spacing[i]), nearest[i], grid.size[i] - 1);
  }
  for (int64_t z = low[2]; z <= high[2]; z++)
    for (int64_t y = low[1]; y <= high[1]; y++)
      for (int64_t x = low[0]; x <= high[0]; x++) {
        const double mm = std::hypot((double(x) - point[0]) * grid.spacing[0], (double(y) - point[1]) * grid.spacing[1],
                                     (double(z) - point[2]) * grid.spacing[2]);
        const bool is_nearest = Index3{x, y, z} == nearest;
        if ((is_nearest || mm <= max_mm) && f(x, y, z, is_nearest ? 0 : mm)) return true;
      }
  return false;
}

}  // namespace acinus
