#include "data/sampling/crops.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace acinus {

void check_options(const CropOptions& o) {
  check(o.size >= 1 && o.size <= 256 && o.planes >= 1 && o.planes <= 64, "crops: ", o.size, " pixels and ", o.planes,
        " planes; 1 to 256 and 1 to 64 are possible");
  check(o.pixel_mm > 0 && o.pixel_mm <= 1000 && o.plane_mm > 0 && o.plane_mm <= 1000, "crops: pixels of ", o.pixel_mm,
        " mm, planes ", o.plane_mm, " mm apart; each must be above 0 and 1000 at most");
  check(o.window.high > o.window.low && std::isfinite(o.window.high - o.window.low), "crops: a window from ",
        o.window.low, " to ", o.window.high, " HU");
}

CropPose random_pose(const AugmentOptions& options, double shift_mm, Random& random) {
  CropPose pose;
  for (double& shift : pose.shift) shift = random.uniform(-shift_mm, shift_mm);
  for (bool& mirror : pose.mirror) mirror = random.uniform() < options.mirror;
  double value;
  if (draw_change(options.rotate, random, value)) pose.degrees = value;
  if (draw_change(options.zoom, random, value)) pose.zoom = value;
  return pose;
}

namespace {

// Linear interpolation along one axis: a + t * (b - a), a and b the values at voxels `low` and `high`.
struct Interpolation {
  int64_t low, high;
  double t;
};
// False outside the voxels' boxes. A rounding error does not count as outside: a crop that ends where the scan does
// must do so along every axis of the scan.
bool interpolation_at(double position, int64_t size, Interpolation& result) {
  const double last = double(size - 1);
  if (!(position >= -0.5 - 1e-9 && position <= last + 0.5 + 1e-9)) return false;
  position = std::clamp(position, 0.0, last);
  const int64_t low = int64_t(position);
  result = {low, std::min(low + 1, size - 1), position - double(low)};
  return true;
}

double value_at(const ScanView& image, const Vec3& voxel) {
  Interpolation x, y, z;
  const Index3& size = image.grid.size;
  if (!interpolation_at(voxel[0], size[0], x) || !interpolation_at(voxel[1], size[1], y) ||
      !interpolation_at(voxel[2], size[2], z))
    return image.outside;
  const auto row = [&](int64_t y, int64_t z) {
    const double low = image.at(x.low, y, z);
    return low + x.t * (image.at(x.high, y, z) - low);
  };
  const auto plane = [&](int64_t z) {
    const double low = row(y.low, z);
    return low + y.t * (row(y.high, z) - low);
  };
  const double low = plane(z.low);
  return low + z.t * (plane(z.high) - low);
}

}  // namespace

void copy_crop(const ScanView& image, const Vec3& centre, const CropOptions& options, const CropPose& pose,
               float* out) {
  check_options(options);
  check(image.channels == 1, "crops: the image must have one channel; it has ", image.channels);
  check(pose.zoom > 0, "crops: a zoom of ", pose.zoom);
  // From the crop back to the patient: divided by zoom, rotated back, mirrored. The map is affine, so it is given by
  // the voxel of the crop's centre and the steps in voxels along the crop's three axes.
  const double angle = pose.degrees * std::numbers::pi / 180, step = options.pixel_mm / pose.zoom;
  const double cosine = step * std::cos(angle), sine = step * std::sin(angle);
  const double sign[3] = {pose.mirror[0] ? -1. : 1., pose.mirror[1] ? -1. : 1., pose.mirror[2] ? -1. : 1.};
  const Vec3 axes[3] = {{sign[0] * cosine, sign[1] * -sine, 0},
                        {sign[0] * sine, sign[1] * cosine, 0},
                        {0, 0, sign[2] * options.plane_mm}};
  const auto sum = [](const Vec3& a, const Vec3& b) { return Vec3{a[0] + b[0], a[1] + b[1], a[2] + b[2]}; };
  const Vec3 middle = sum(centre, pose.shift), origin = image.grid.to_voxel(middle);
  Vec3 steps[3];
  for (int axis = 0; axis < 3; axis++) {
    steps[axis] = image.grid.to_voxel(sum(middle, axes[axis]));
    for (int k = 0; k < 3; k++) steps[axis][k] -= origin[k];
  }
  const double half = double(options.size - 1) / 2, half_planes = double(options.planes - 1) / 2;
  for (int64_t r = 0; r < options.size; r++)
    for (int64_t c = 0; c < options.size; c++)
      for (int64_t p = 0; p < options.planes; p++) {
        const double by[3] = {double(c) - half, double(r) - half, double(p) - half_planes};
        Vec3 voxel = origin;
        for (int axis = 0; axis < 3; axis++)
          for (int k = 0; k < 3; k++) voxel[k] += by[axis] * steps[axis][k];
        *out++ = options.window(value_at(image, voxel));
      }
}

}  // namespace acinus
