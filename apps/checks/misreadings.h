// Coordinates that mean something else than annotations.csv says: millimetres, LPS, x,y,z.
//
// A list of points says nothing about its frame; only the scan can tell. If hardly any point lies where a nodule can be,
// each misreading in the table is tried, and the one under which most points do is named.
#pragma once
#include <array>
#include <span>

#include "data/volume/geometry.h"

namespace acinus {

struct Misreading {
  enum Frame {
    world,         // world coordinates, in another order or with other signs
    indices,       // voxel indices instead of millimetres
    no_direction,  // world coordinates, calculated without the direction in the scan's header
    mirrored       // right, but the scan's voxels are mirrored along the axes with a negative sign
  } frame;
  std::array<int, 3> axes;  // the column that holds x, y and z
  Vec3 signs;
  const char *what, *cure;

  Vec3 voxel(const Grid& grid, const Vec3& written) const;  // where the point is then
};
extern const std::span<const Misreading> kMisreadings;

// The misreading under which the largest fraction of points fits, if that is more than 2/3 of them and than the
// current `fraction` + 0.3; else null. fit(point, misreading) says whether a point does. `fitting`: how many do.
template <class Points, class Fit>
const Misreading* best_misreading(const Points& points, double fraction, size_t& fitting, Fit fit) {
  const Misreading* best = nullptr;
  fitting = 0;
  for (const Misreading& misreading : kMisreadings) {
    size_t n = 0;
    for (const auto& point : points) n += fit(point, misreading);
    if (n > fitting) fitting = n, best = &misreading;
  }
  const double now = points.empty() ? 0 : double(fitting) / double(points.size());
  return now > 2. / 3 && now > fraction + 0.3 ? best : nullptr;
}

}  // namespace acinus
