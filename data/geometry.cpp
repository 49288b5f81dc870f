#include "data/geometry.h"

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

}  // namespace acinus
