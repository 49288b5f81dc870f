#include "apps/checks/misreadings.h"

namespace acinus {
namespace {

constexpr const char* kIndices =
    "multiply them by the spacing and add the origin: world = origin + direction * spacing * index";

// On a grid without a direction some of these are the same; the first in the table is named.
constexpr Misreading kTable[] = {
    {Misreading::world,
     {0, 1, 2},
     {-1, -1, 1},
     "if the signs of x and y are changed",
     "the list is in RAS (NIfTI, 3D Slicer), LUNA16 is in LPS: negate coordX and coordY"},
    {Misreading::no_direction,
     {0, 1, 2},
     {1, 1, 1},
     "if the scans' direction (TransformMatrix) is left out",
     "the program that made the list ignores the direction; make it again from voxel indices with"
     " world = origin + direction * spacing * index"},
    {Misreading::no_direction,
     {0, 1, 2},
     {-1, -1, 1},
     "if x and y of the scan run the other way",
     "the scan's header has lost its direction: it should say TransformMatrix -1 0 0 0 -1 0 0 0 1"},
    {Misreading::world,
     {2, 1, 0},
     {1, 1, 1},
     "if x and z are exchanged",
     "the list is in the order z,y,x of numpy's axes; the columns must be x,y,z"},
    {Misreading::indices, {0, 1, 2}, {1, 1, 1}, "if they are voxel indices", kIndices},
    {Misreading::indices, {2, 1, 0}, {1, 1, 1}, "if they are voxel indices z,y,x", kIndices},
    {Misreading::world, {0, 1, 2}, {1, 1, -1}, "if the sign of z is changed", "negate coordZ: z runs to the head"},
    {Misreading::mirrored,
     {0, 1, 2},
     {1, 1, -1},
     "if the slices are in the opposite order",
     "the slices were sorted the wrong way when the scan was written; reverse them, or set the direction of z to -1 and"
     " the origin to the other end"},
    {Misreading::mirrored,
     {0, 1, 2},
     {-1, -1, 1},
     "if the scan is mirrored along x and y",
     "the voxels were rotated by 180 degrees without the header saying so; rotate them back"},
    {Misreading::mirrored,
     {0, 1, 2},
     {-1, 1, 1},
     "if the scan is mirrored along x",
     "the voxels were mirrored left-right without the header saying so; mirror them back"},
    {Misreading::mirrored,
     {0, 1, 2},
     {1, -1, 1},
     "if the scan is mirrored along y",
     "the voxels were mirrored front-back without the header saying so; mirror them back"},
    {Misreading::world,
     {1, 0, 2},
     {1, 1, 1},
     "if x and y are exchanged",
     "rows and columns were exchanged: the columns must be x,y,z"}};

}  // namespace

const std::span<const Misreading> kMisreadings = kTable;

Vec3 Misreading::voxel(const Grid& grid, const Vec3& written) const {
  Vec3 point;
  for (size_t i = 0; i < 3; i++) point[i] = signs[i] * written[axes[i]];
  if (frame == world) return grid.to_voxel(point);
  if (frame == indices) return point;
  Vec3 voxel = grid.to_voxel(written);
  for (size_t i = 0; i < 3; i++) {
    if (frame == no_direction) voxel[i] = signs[i] * (written[i] - grid.origin[i]) / grid.spacing[i];
    if (frame == mirrored && signs[i] < 0) voxel[i] = double(grid.size[i] - 1) - voxel[i];
  }
  return voxel;
}

}  // namespace acinus
