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
  // All numbers are drawn in any case, as in data/sampling/augment.cpp.
  const double rotates = random.uniform(), degrees = random.uniform(options.rotate.low, options.rotate.high);
  const double zooms = random.uniform(), zoom = random.uniform(options.zoom.low, options.zoom.high);
  if (rotates < options.rotate.probability) pose.degrees = degrees;
  if (zooms < options.zoom.probability) pose.zoom = zoom;
  return pose;
}

namespace {

// Along one axis of `size` voxels: a position between the voxels `low` and `high`, `share` of the way.
struct Between {
  int64_t low, high;
  double share;
};
// False outside the voxels' boxes. A rounding error is not yet outside: a crop that ends where the scan does, does so
// on whichever axis of the scan.
bool between(double at, int64_t size, Between& to) {
  const double last = double(size - 1);
  if (!(at >= -0.5 - 1e-9 && at <= last + 0.5 + 1e-9)) return false;
  at = std::clamp(at, 0.0, last);
  to.low = int64_t(at);
  to.high = std::min(to.low + 1, size - 1);
  to.share = at - double(to.low);
  return true;
}

double value_at(const ScanView& image, const Vec3& voxel) {
  Between x, y, z;
  if (!between(voxel[0], image.grid.size[0], x) || !between(voxel[1], image.grid.size[1], y) ||
      !between(voxel[2], image.grid.size[2], z))
    return image.outside;
  const auto row = [&](int64_t y, int64_t z) {
    const double low = image.at(x.low, y, z);
    return low + x.share * (image.at(x.high, y, z) - low);
  };
  const auto plane = [&](int64_t z) {
    const double low = row(y.low, z);
    return low + y.share * (row(y.high, z) - low);
  };
  const double low = plane(z.low);
  return low + z.share * (plane(z.high) - low);
}

}  // namespace

void copy_crop(const ScanView& image, const Vec3& place, const CropOptions& options, const CropPose& pose, float* out) {
  check_options(options);
  check(image.channels == 1, "crops: are of scans, with one channel; this image has ", image.channels);
  check(pose.zoom > 0, "crops: a zoom of ", pose.zoom);
  // From the crop back to the patient: made smaller, turned back, mirrored. The crop's three axes as steps between
  // voxels; what is linear needs no more than that.
  const double angle = pose.degrees * std::numbers::pi / 180, step = options.pixel_mm / pose.zoom;
  const double cosine = step * std::cos(angle), sine = step * std::sin(angle);
  const double side[3] = {pose.mirror[0] ? -1. : 1., pose.mirror[1] ? -1. : 1., pose.mirror[2] ? -1. : 1.};
  const Vec3 axes[3] = {{side[0] * cosine, side[1] * -sine, 0},
                        {side[0] * sine, side[1] * cosine, 0},
                        {0, 0, side[2] * options.plane_mm}};
  Vec3 middle{}, steps[3];
  for (size_t k = 0; k < 3; k++) middle[k] = place[k] + pose.shift[k];
  const Vec3 centre = image.grid.to_voxel(middle);
  for (size_t axis = 0; axis < 3; axis++) {
    Vec3 end{};
    for (size_t k = 0; k < 3; k++) end[k] = middle[k] + axes[axis][k];
    const Vec3 voxel = image.grid.to_voxel(end);
    for (size_t k = 0; k < 3; k++) steps[axis][k] = voxel[k] - centre[k];
  }
  const double half = double(options.size - 1) / 2, half_planes = double(options.planes - 1) / 2;
  for (int64_t r = 0; r < options.size; r++)
    for (int64_t c = 0; c < options.size; c++)
      for (int64_t p = 0; p < options.planes; p++) {
        const double by[3] = {double(c) - half, double(r) - half, double(p) - half_planes};
        Vec3 voxel = centre;
        for (size_t axis = 0; axis < 3; axis++)
          for (size_t k = 0; k < 3; k++) voxel[k] += by[axis] * steps[axis][k];
        *out++ = options.window(value_at(image, voxel));
      }
}

}  // namespace acinus
