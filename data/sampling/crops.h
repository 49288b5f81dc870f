// The input of a classifier: a small stack of planes (2.5-D) around a point of a scan, measured in millimetres.
//
//   CropOptions options;                                            7 planes of 32 x 32 pixels of 1 mm, 2 mm apart
//   std::vector<float> crop(options.values());
//   copy_crop(ct, /*centre, mm*/ {-41.5, 12, -180}, options, {}, crop.data());       (32, 32, 7) numbers, 0 to 1
//
// Planes are parallel to the patient's x and y, stacked along z (LPS, see data/volume/geometry.h), whatever the scan's
// own axes: a scan stored flipped, obliquely or with other voxels gives the same crop up to interpolation.
//
// The only inputs are the image, a point and options. Nothing else known about the scan (a mask, the lungs, an
// annotation) can leak into a crop, so a network cannot learn the answer from it. (The system that acinus replaces cut
// its training crops out of the true masks, and had none for a new patient.)
#pragma once
#include "data/dataset/scan.h"
#include "data/sampling/augment.h"

namespace acinus {

struct CropOptions {
  int64_t size = 32;    // pixels, along x and y
  double pixel_mm = 1;  // between neighbours
  int64_t planes = 7;
  double plane_mm = 2;
  HuWindow window = {};

  int64_t values() const { return size * size * planes; }
};
void check_options(const CropOptions& options);  // throws Error if a value is out of range

// How the patient is presented to the network: shifted, rotated about the z axis, mirrored, magnified.
struct CropPose {
  Vec3 shift{};  // mm: the centre of the crop is the given point plus this
  double degrees = 0;
  std::array<bool, 3> mirror{};  // of x, y, z
  double zoom = 1;               // magnification in plane
};
// Mirrored along each axis, rotated and magnified as often and as much as `options` say, and shifted along each axis by
// a uniform random number up to shift_mm, so that the position within the crop carries no information.
CropPose random_pose(const AugmentOptions& options, double shift_mm, Random& random);

// Trilinear interpolation between voxels; constant in the outer half of the outermost voxels; air beyond. Without a
// pose, pixel (column, row, plane) lies at
//   centre + ((column - (size-1)/2) pixel_mm, (row - (size-1)/2) pixel_mm, (plane - (planes-1)/2) plane_mm)
// and goes to out[(row * size + column) * planes + plane]. The image has one channel.
void copy_crop(const ScanView& image, const Vec3& centre, const CropOptions& options, const CropPose& pose, float* out);

}  // namespace acinus
