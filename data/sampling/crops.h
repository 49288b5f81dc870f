// What a classifier sees of a place in a scan: a small stack of planes around it (2.5-D), measured in millimetres.
//
//   CropOptions options;                                            7 planes of 32 x 32 pixels of 1 mm, 2 mm apart
//   std::vector<float> crop(options.values());
//   copy_crop(ct, /*place, mm*/ {-41.5, 12, -180}, options, {}, crop.data());        (32, 32, 7) numbers, 0 to 1
//
// Planes lie parallel to x and y of the patient, one above the other along z (LPS, see data/volume/geometry.h), whatever the
// scan's own axes: so a scan that is stored flipped, obliquely or in other voxels gives the same crop, but for what
// interpolation makes of it.
//
// The image, a place and options are all that goes in. Nothing that anybody knows of the scan, a mask, the lungs, an
// annotation, can get into a crop, so a network that learns from crops cannot learn the answer from there. (The system
// that acinus replaces cut the crops of its training out of the true masks, and had none for a new patient.)
#pragma once
#include "data/sampling/augment.h"
#include "data/dataset/scan.h"

namespace acinus {

struct CropOptions {
  int64_t size = 32;    // pixels, along x and y
  double pixel_mm = 1;  // from one to the next
  int64_t planes = 7;
  double plane_mm = 2;
  HuWindow window = {};

  int64_t values() const { return size * size * planes; }
};
void check_options(const CropOptions& options);  // throws where one makes no sense

// How the patient is put in front of the network: moved, turned about the z axis, mirrored, made larger.
struct CropPose {
  Vec3 shift{};  // mm: the middle of the crop is the place plus this
  double degrees = 0;
  std::array<bool, 3> mirror{};  // of x, y, z
  double zoom = 1;               // things become so many times as large, in plane
};
// Mirrored along each axis, turned and made larger as often and as much as `options` say, and moved by up to shift_mm
// along each axis, evenly: where a place lies in its crop says nothing then.
CropPose random_pose(const AugmentOptions& options, double shift_mm, Random& random);

// Trilinear interpolation between voxels; in the outer half of the outermost voxels their value holds; further out
// there is air. Pixel (column, row, plane) of the identity lies at
//   place + ((column - (size-1)/2) pixel_mm, (row - (size-1)/2) pixel_mm, (plane - (planes-1)/2) plane_mm)
// and goes to out[(row * size + column) * planes + plane]. The image has one channel.
void copy_crop(const ScanView& image, const Vec3& place, const CropOptions& options, const CropPose& pose, float* out);

}  // namespace acinus
