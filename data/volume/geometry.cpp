#include "data/volume/geometry.h"

#include <algorithm>
#include <cmath>

#include "tensor/check.h"

namespace acinus {

bool Grid::contains(const Vec3& voxel) const {
  for (int i = 0; i < 3; i++)
    if (!(voxel[i] >= -0.5 && voxel[i] <= double(size[i]) - 0.5)) return false;
  return true;
}

Vec3 Grid::to_world(const Vec3& voxel) const {
  Vec3 world = origin;
  for (int axis = 0; axis < 3; axis++)
    for (int i = 0; i < 3; i++) world[i] += voxel[axis] * spacing[axis] * direction[axis][i];
  return world;
}

// Solves to_world(voxel) = world by Cramer's rule; direction need not be orthonormal, only invertible.
Vec3 Grid::to_voxel(const Vec3& world) const {
  const auto cross = [](const Vec3& a, const Vec3& b) {
    return Vec3{a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
  };
  const auto dot = [](const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; };
  const Mat3& d = direction;
  const double determinant = dot(d[0], cross(d[1], d[2]));
  check(std::abs(determinant) > 1e-9, "to_voxel: the direction matrix is singular");
  const Vec3 t{world[0] - origin[0], world[1] - origin[1], world[2] - origin[2]};
  return {dot(t, cross(d[1], d[2])) / determinant / spacing[0], dot(t, cross(d[2], d[0])) / determinant / spacing[1],
          dot(t, cross(d[0], d[1])) / determinant / spacing[2]};
}

Index3 nearest_voxel(const Grid& grid, const Vec3& voxel) {
  Index3 nearest;
  for (size_t i = 0; i < 3; i++) nearest[i] = std::clamp<int64_t>(std::llround(voxel[i]), 0, grid.size[i] - 1);
  return nearest;
}

Grid resampled(const Grid& grid, const Vec3& spacing) {
  Grid result = grid;
  result.spacing = spacing;
  Vec3 first{};       // the new first centre, as a voxel index of the old grid
  double voxels = 1;  // not int64_t, which a spacing of 1e-9 mm would overflow
  for (int i = 0; i < 3; i++) {
    check(std::isfinite(spacing[i]) && spacing[i] > 0, "resampled: spacing ", spacing[i], " mm along axis ", i,
          "; it must be above 0");
    const double size = std::max(1.0, std::round(double(grid.size[i]) * grid.spacing[i] / spacing[i]));
    first[i] = (spacing[i] / grid.spacing[i] - 1) / 2;
    voxels *= size;
    check(voxels < 0x1p40, "resampled: ", spacing[0], " x ", spacing[1], " x ", spacing[2], " mm cut ", grid.size[0],
          "x", grid.size[1], "x", grid.size[2], " voxels of ", grid.spacing[0], " x ", grid.spacing[1], " x ",
          grid.spacing[2], " mm into more than 2^40 voxels; choose a larger spacing");
    result.size[i] = int64_t(size);
  }
  result.origin = grid.to_world(first);
  return result;
}

// Assigns each index axis the world axis that it is closest to, each only once: of the six permutations, the one with
// the largest product of |cosines|. (It is not 0: a determinant is the signed sum of these products.)
std::string orientation(const Grid& grid) {
  std::array<int, 3> along{0, 1, 2}, best = along;
  double largest = 0;
  do {
    double product = 1;
    for (int i = 0; i < 3; i++) product *= std::abs(grid.direction[i][along[i]]);
    if (product > largest) largest = product, best = along;
  } while (std::next_permutation(along.begin(), along.end()));
  std::string code;
  for (int i = 0; i < 3; i++) code += (grid.direction[i][best[i]] > 0 ? "RAI" : "LPS")[best[i]];
  return code;
}

void check_same_grid(const Grid& mask, const std::string& mask_path, const Grid& image, const std::string& path) {
  if (mask.size != image.size)
    fail(mask_path, ": ", mask.size[0], "x", mask.size[1], "x", mask.size[2], " voxels, but ", path, " has ",
         image.size[0], "x", image.size[1], "x", image.size[2]);
  for (int corner = 0; corner < 8; corner++) {
    Vec3 voxel{};
    for (int i = 0; i < 3; i++) voxel[i] = corner >> i & 1 ? double(mask.size[i] - 1) : 0;
    const Vec3 other = image.to_voxel(mask.to_world(voxel));
    for (int i = 0; i < 3; i++)
      if (!(std::abs(other[i] - voxel[i]) < 0.5))
        fail(mask_path, ": its voxel (", voxel[0], ", ", voxel[1], ", ", voxel[2], ") lies at (", other[0], ", ",
             other[1], ", ", other[2], ") of ", path, "; their origin, spacing or direction differ");
  }
}

}  // namespace acinus
