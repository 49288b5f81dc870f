#include "data/volume/mask.h"

#include <algorithm>
#include <cmath>

namespace acinus {

Volume<uint8_t> sphere_mask(const Grid& grid, const std::vector<Annotation>& nodules) {
  Volume<uint8_t> mask(grid, 0);
  for (const Annotation& nodule : nodules) {
    const Vec3 centre = grid.to_voxel(nodule.centre);
    if (nodule.diameter_mm < 0 || !grid.contains(centre)) continue;
    const double radius = nodule.diameter_mm / 2;
    // A box that contains the sphere: a step along index axis i is spacing[i] mm. Oblique axes are unit vectors at right
    // angles too, so the box has the same size for them.
    Index3 low, high;
    for (int i = 0; i < 3; i++) {
      const double reach = radius / grid.spacing[i] + 1;
      low[i] = std::max<int64_t>(0, int64_t(std::floor(centre[i] - reach)));
      high[i] = std::min<int64_t>(grid.size[i] - 1, int64_t(std::ceil(centre[i] + reach)));
    }
    for (int64_t z = low[2]; z <= high[2]; z++)
      for (int64_t y = low[1]; y <= high[1]; y++)
        for (int64_t x = low[0]; x <= high[0]; x++) {
          const Vec3 point = grid.to_world({double(x), double(y), double(z)});
          double squared = 0;
          for (int i = 0; i < 3; i++) squared += (point[i] - nodule.centre[i]) * (point[i] - nodule.centre[i]);
          if (squared <= radius * radius) mask.at(x, y, z) = 1;
        }
    const auto [x, y, z] = nearest_voxel(grid, centre);
    mask.at(x, y, z) = 1;
  }
  return mask;
}

Volume<uint8_t> reader_mask(const Volume<uint8_t>& readers, int min_readers) {
  Volume<uint8_t> mask(readers.grid);
  for (size_t i = 0; i < mask.voxels.size(); i++) mask.voxels[i] = readers.voxels[i] >= min_readers;
  return mask;
}

}  // namespace acinus
