// The position of voxels in the patient. All positions are in millimetres in the LPS frame of DICOM, ITK and LUNA16:
// +x to the patient's left, +y to the back (posterior), +z to the head (superior).
//
//   world = origin + sum over axes i of  index[i] * spacing[i] * direction[i]
//
// direction[i] is the unit vector along which index axis i runs (as ITK interprets TransformMatrix: one row of numbers
// per axis). The *centre* of voxel (0,0,0) is at the origin.
//   Example: direction {{-1,0,0},{0,-1,0},{0,0,1}}, origin (195,195,-378), spacing (0.76,0.76,2.5):
//   index (10,20,3) is at (187.4, 179.8, -370.5).
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>

namespace acinus {

using Vec3 = std::array<double, 3>;
using Index3 = std::array<int64_t, 3>;
using Mat3 = std::array<Vec3, 3>;

// A regular grid of voxels: their number along each axis (x fastest in memory), and their position.
struct Grid {
  Index3 size{0, 0, 0};
  Vec3 spacing{1, 1, 1};  // mm between neighbours along each index axis, > 0
  Vec3 origin{0, 0, 0};   // mm, LPS, centre of voxel (0,0,0)
  Mat3 direction{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};

  int64_t voxels() const { return size[0] * size[1] * size[2]; }
  int64_t offset(int64_t x, int64_t y, int64_t z) const { return (z * size[1] + y) * size[0] + x; }
  bool contains(const Vec3& voxel) const;  // at most half a voxel beyond the centres
  Vec3 to_world(const Vec3& voxel) const;  // voxel index (may be fractional) -> mm
  Vec3 to_voxel(const Vec3& world) const;  // mm -> voxel index (fractional)
  bool operator==(const Grid&) const = default;
};

// Part of a slice, in voxels: columns [left, left + cols), rows [top, top + rows).
struct Rectangle {
  int64_t left, top, cols, rows;
};

// Calls f(x, y, z, offset) for every voxel, in the order of memory.
template <class F>
void for_each_voxel(const Grid& grid, F f) {
  int64_t offset = 0;
  for (int64_t z = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++) f(x, y, z, offset++);
}

// Where the nearest voxel's centre is, inside the grid.
Index3 nearest_voxel(const Grid& grid, const Vec3& voxel);

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

// The same extent, between the outer faces of the outermost voxels, in voxels of another spacing (mm, > 0). The corner
// at voxel (0,0,0) is kept; at the far end up to half a voxel is cut off or added.
//   Example: 512 voxels of 0.7 mm cover 358.4 mm. At 1 mm these are 358 voxels, the first centre 0.15 mm further in:
//   both first voxels begin at -0.35 mm, relative to the old first centre.
Grid resampled(const Grid& grid, const Vec3& spacing);

// The orientation of the index axes: three letters, ITK's "RAI" code. Each names the side that an axis comes *from*: R
// right or L left, A anterior or P posterior, I inferior or S superior. Each world axis occurs once, even on an oblique
// grid.
//   Example: direction {{1,0,0},{0,1,0},{0,0,1}} is "RAI", the flipped one above is "LPI".
std::string orientation(const Grid& grid);

// Throws unless a mask has the size of its image and each of its corners is within half a voxel of the image's: a mask
// that is flipped or shifted would train and score wrong voxels. The paths are for the message.
void check_same_grid(const Grid& mask, const std::string& mask_path, const Grid& image, const std::string& path);

}  // namespace acinus
