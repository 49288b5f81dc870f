#include "apps/checks/misreadings.h"

namespace acinus {

namespace {

// In voxels, counted from the other end of these axes.
Vec3 mirrored(const Grid& grid, Vec3 voxel, bool x, bool y, bool z) {
  const bool turned[] = {x, y, z};
  for (size_t i = 0; i < 3; i++)
    if (turned[i]) voxel[i] = double(grid.size[i] - 1) - voxel[i];
  return voxel;
}

Vec3 without_direction(const Grid& grid, const Vec3& w, double sign) {
  return {sign * (w[0] - grid.origin[0]) / grid.spacing[0], sign * (w[1] - grid.origin[1]) / grid.spacing[1],
          (w[2] - grid.origin[2]) / grid.spacing[2]};
}

constexpr const char* kVoxels =
    "multiply them by the spacing and add the origin: world = origin + direction * spacing * index";

}  // namespace

// On a grid without direction some of these are the same; the first in this list is named.
const std::vector<Misreading> kMisreadings{
    {"if the sign of x and y is changed",
     "the list is in RAS (NIfTI, 3D Slicer), LUNA16's is in LPS: change the sign of coordX and coordY",
     [](const Grid& g, const Vec3& w) {
       return g.to_voxel({-w[0], -w[1], w[2]});
     }},
    {"if the scans' direction (TransformMatrix) is left out",
     "the list was made by a program that ignores the direction; make it again from voxel indices with"
     " world = origin + direction * spacing * index",
     [](const Grid& g, const Vec3& w) { return without_direction(g, w, 1); }},
    {"if x and y of the scan run the other way",
     "the scan's header has lost its direction: it should say TransformMatrix -1 0 0 0 -1 0 0 0 1",
     [](const Grid& g, const Vec3& w) { return without_direction(g, w, -1); }},
    {"if x and z are exchanged", "the list has z,y,x, the order of numpy's axes; the columns must be x,y,z",
     [](const Grid& g, const Vec3& w) {
       return g.to_voxel({w[2], w[1], w[0]});
     }},
    {"if they are voxel indices", kVoxels, [](const Grid&, const Vec3& w) { return w; }},
    {"if they are voxel indices z,y,x", kVoxels,
     [](const Grid&, const Vec3& w) {
       return Vec3{w[2], w[1], w[0]};
     }},
    {"if the sign of z is changed", "change the sign of coordZ: z runs to the head",
     [](const Grid& g, const Vec3& w) {
       return g.to_voxel({w[0], w[1], -w[2]});
     }},
    {"if the slices are in the opposite order",
     "the slices were sorted the wrong way when the scan was written; turn them round, or set the direction of z to -1"
     " and the origin to the other end",
     [](const Grid& g, const Vec3& w) { return mirrored(g, g.to_voxel(w), false, false, true); }},
    {"if the scan is mirrored along x and y",
     "the voxels were turned by 180 degrees without the header saying so; turn them back",
     [](const Grid& g, const Vec3& w) { return mirrored(g, g.to_voxel(w), true, true, false); }},
    {"if the scan is mirrored along x",
     "the voxels were mirrored left-right without the header saying so; mirror them back",
     [](const Grid& g, const Vec3& w) { return mirrored(g, g.to_voxel(w), true, false, false); }},
    {"if the scan is mirrored along y",
     "the voxels were mirrored front-back without the header saying so; mirror them back",
     [](const Grid& g, const Vec3& w) { return mirrored(g, g.to_voxel(w), false, true, false); }},
    {"if x and y are exchanged", "rows and columns were exchanged: the columns must be x,y,z",
     [](const Grid& g, const Vec3& w) {
       return g.to_voxel({w[1], w[0], w[2]});
     }}};

}  // namespace acinus
