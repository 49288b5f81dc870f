#include "apps/checks/misreadings.h"

namespace acinus {
namespace {

constexpr const char* kIndices =
    "multiply them by the spacing and add the origin: world = origin + direction * spacing * index";

// On a grid without a direction some of these are the same; the first in the table is named.
constexpr Misreading kMisreadings[] = {
    {Misreading::world, "-x-y+z", "if the signs of x and y are changed",
     "the list is in RAS (NIfTI, 3D Slicer), LUNA16 is in LPS: negate coordX and coordY"},
    {Misreading::no_direction, "+x+y+z", "if the scans' direction (TransformMatrix) is left out",
     "the program that made the list ignores the direction; make it again from voxel indices with"
     " world = origin + direction * spacing * index"},
    {Misreading::no_direction, "-x-y+z", "if x and y of the scan run the other way",
     "the scan's header has lost its direction: it should say TransformMatrix -1 0 0 0 -1 0 0 0 1"},
    {Misreading::world, "+z+y+x", "if x and z are exchanged",
     "the list is in the order z,y,x of numpy's axes; the columns must be x,y,z"},
    {Misreading::indices, "+x+y+z", "if they are voxel indices", kIndices},
    {Misreading::indices, "+z+y+x", "if they are voxel indices z,y,x", kIndices},
    {Misreading::world, "+x+y-z", "if the sign of z is changed", "negate coordZ: z runs to the head"},
    {Misreading::mirrored, "+x+y-z", "if the slices are in the opposite order",
     "the slices were sorted the wrong way when the scan was written; reverse them, or set the direction of z to -1 and"
     " the origin to the other end"},
    {Misreading::mirrored, "-x-y+z", "if the scan is mirrored along x and y",
     "the voxels were rotated by 180 degrees without the header saying so; rotate them back"},
    {Misreading::mirrored, "-x+y+z", "if the scan is mirrored along x",
     "the voxels were mirrored left-right without the header saying so; mirror them back"},
    {Misreading::mirrored, "+x-y+z", "if the scan is mirrored along y",
     "the voxels were mirrored front-back without the header saying so; mirror them back"},
    {Misreading::world, "+y+x+z", "if x and y are exchanged",
     "rows and columns were exchanged: the columns must be x,y,z"}};

}  // namespace

Vec3 Misreading::voxel(const Grid& grid, const Vec3& written) const {
  Vec3 point, signs;
  for (size_t i = 0; i < 3; i++) {
    signs[i] = axes[2 * i] == '-' ? -1 : 1;
    point[i] = signs[i] * written[axes[2 * i + 1] - 'x'];
  }
  if (frame == world) return grid.to_voxel(point);
  if (frame == indices) return point;
  Vec3 voxel = grid.to_voxel(written);
  for (size_t i = 0; i < 3; i++) {
    if (frame == no_direction) voxel[i] = signs[i] * (written[i] - grid.origin[i]) / grid.spacing[i];
    if (frame == mirrored && signs[i] < 0) voxel[i] = double(grid.size[i] - 1) - voxel[i];
  }
  return voxel;
}

std::pair<const Misreading*, size_t> best_misreading(size_t n, double share,
                                                     const std::function<size_t(const Misreading&)>& count) {
  const Misreading* best = nullptr;
  size_t fitting = 0;
  for (const Misreading& misreading : kMisreadings)
    if (const size_t now = count(misreading); now > fitting) fitting = now, best = &misreading;
  const double fits = double(fitting) / double(n);
  return {fits > 2. / 3 && fits > share + 0.3 ? best : nullptr, fitting};
}

}  // namespace acinus
