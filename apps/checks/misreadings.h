// Coordinates that mean something else than annotations.csv says: millimetres, LPS, x,y,z.
//
// A list of points says nothing about its frame; only the scan can tell. If hardly any point lies where a nodule can be,
// each misreading in the table is tried, and the one under which most points do is named.
#pragma once
#include <functional>
#include <utility>

#include "data/volume/geometry.h"

namespace acinus {

struct Misreading {
  enum Frame {
    world,         // world coordinates, in another order or with other signs
    indices,       // voxel indices instead of millimetres
    no_direction,  // world coordinates, calculated without the direction in the scan's header
    mirrored       // right, but the scan's voxels are mirrored along the axes with a negative sign
  } frame;
  const char* axes;  // the columns that hold x, y and z, with their signs: "-x-y+z"
  const char *what, *cure;

  Vec3 voxel(const Grid& grid, const Vec3& written) const;  // where the point is then
};

// Of all misreadings, the one under which most of `n` points fit, and how many do; null unless these are more than 2/3
// of them and than the current `share` + 0.3. count(misreading): how many points fit under it.
std::pair<const Misreading*, size_t> best_misreading(size_t n, double share,
                                                     const std::function<size_t(const Misreading&)>& count);

}  // namespace acinus
