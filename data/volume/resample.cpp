#include "data/volume/resample.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tensor/check.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

void check_not_empty(const char* who, const Index3& size) {
  check(size[0] > 0 && size[1] > 0 && size[2] > 0, who, ": a grid of ", size[0], "x", size[1], "x", size[2],
        " voxels is empty");
}

// In voxels. Rounding errors of positions are about 1e-12; positions closer than this to a voxel's centre are taken to
// be there. So a volume resampled onto its own grid keeps every bit, with no trace of neighbours, not even of NaN.
constexpr double kTolerance = 1e-9;

// A position along an axis of `size` voxels: from voxel `low` on, by `fraction` of the step to voxel `high`.
struct AxisPosition {
  int64_t low = 0, high = 0, nearest = 0;
  double fraction = 0;
  bool inside = false;  // at most half a voxel beyond the centres; false for NaN

  AxisPosition(double position, int64_t size) {
    const double last = double(size - 1);
    if (!(position >= -0.5 - kTolerance && position <= last + 0.5 + kTolerance)) return;
    inside = true;
    position = std::clamp(position, 0.0, last);
    low = int64_t(position + kTolerance);
    fraction = std::max(position - double(low), 0.0);
    if (fraction < kTolerance) fraction = 0;
    high = std::min(low + 1, size - 1);
    nearest = fraction >= 0.5 - kTolerance ? high : low;
  }
};

// Unlike std::lerp, independent of b if the fraction is 0, even if b is NaN.
double lerp(double a, double b, double fraction) { return fraction == 0 ? a : a + fraction * (b - a); }

template <class T>
T rounded(double value) {
  if constexpr (std::is_integral_v<T>)
    return T(std::floor(value + 0.5));  // fits T, being between the smallest and largest of 8 values of T
  else
    return T(value);
}

template <class T>
T linear(const Volume<T>& from, const AxisPosition& x, const AxisPosition& y, const AxisPosition& z) {
  const auto along_x = [&](int64_t y, int64_t z) {
    return lerp(from.at(x.low, y, z), from.at(x.high, y, z), x.fraction);
  };
  const auto along_xy = [&](int64_t z) { return lerp(along_x(y.low, z), along_x(y.high, z), y.fraction); };
  return rounded<T>(lerp(along_xy(z.low), along_xy(z.high), z.fraction));
}

}  // namespace

template <class T>
Volume<T> resample(const Volume<T>& from, const Grid& onto, Interpolation how, std::type_identity_t<T> outside) {
  check_volume("resample", from);
  for (const Index3& size : {from.grid.size, onto.size}) check_not_empty("resample", size);
  from.grid.to_voxel(onto.origin);  // refuses a singular matrix now: an Error must not leave the threads below
  Volume<T> to(onto, outside);
  const double last = double(std::max<int64_t>(onto.size[0] - 1, 1));
#pragma omp parallel for schedule(static)
  for (int64_t k = 0; k < onto.size[2]; k++)
    for (int64_t j = 0; j < onto.size[1]; j++) {
      // Both ends of the row, as voxel indices of `from`. Positions between are computed from both ends: adding up steps
      // would add up rounding errors too.
      const Vec3 begin = from.grid.to_voxel(onto.to_world({0, double(j), double(k)}));
      const Vec3 end = from.grid.to_voxel(onto.to_world({last, double(j), double(k)}));
      T* row = &to.at(0, j, k);
      for (int64_t i = 0; i < onto.size[0]; i++) {
        const auto along = [&](int axis) {
          return AxisPosition(begin[axis] + double(i) / last * (end[axis] - begin[axis]), from.grid.size[axis]);
        };
        const AxisPosition x = along(0), y = along(1), z = along(2);
        if (!x.inside || !y.inside || !z.inside) continue;
        row[i] = how == Interpolation::linear ? linear(from, x, y, z) : from.at(x.nearest, y.nearest, z.nearest);
      }
    }
  return to;
}

template <class T>
Volume<T> reoriented(const Volume<T>& volume, const std::string& code) {
  check_volume("reoriented", volume);
  check_not_empty("reoriented", volume.grid.size);
  const Grid& grid = volume.grid;
  const auto names_a_side = [&](const char* two) { return code.find_first_of(two) != code.npos; };
  check(code.size() == 3 && names_a_side("RL") && names_a_side("AP") && names_a_side("IS"), "reoriented: \"", code,
        "\" is not an orientation such as \"RAI\": one letter each of R L, A P and I S");

  const std::string now = orientation(grid);
  const auto world_axis = [](char letter) { return std::string("RLAPIS").find(letter) / 2; };
  const int64_t steps[3] = {1, grid.size[0], grid.size[0] * grid.size[1]};
  Grid turned;
  Vec3 corner{};                    // the old index of the new voxel (0,0,0)
  int64_t first = 0, step[3] = {};  // its place in memory; from there to the next along each new axis
  for (size_t i = 0; i < 3; i++) {
    size_t axis = 0;  // the old one that becomes axis i
    while (world_axis(now[axis]) != world_axis(code[i])) axis++;
    turned.size[i] = grid.size[axis];
    turned.spacing[i] = grid.spacing[axis];
    turned.direction[i] = grid.direction[axis];
    step[i] = steps[axis];
    if (now[axis] == code[i]) continue;
    for (double& d : turned.direction[i]) d = 0 - d;  // -d would make -0 of 0
    corner[axis] = double(grid.size[axis] - 1);
    first += (grid.size[axis] - 1) * steps[axis];
    step[i] = -steps[axis];
  }
  turned.origin = grid.to_world(corner);
  Volume<T> out(turned);
  parallel(turned.size[2], /*pays=*/turned.voxels() > 100000, [&](int64_t k) {
    for (int64_t j = 0; j < turned.size[1]; j++) {
      const T* from = volume.voxels.data() + first + j * step[1] + k * step[2];
      T* row = &out.at(0, j, k);
      for (int64_t i = 0; i < turned.size[0]; i++) row[i] = from[i * step[0]];
    }
  });
  return out;
}

template Volume<int16_t> resample(const Volume<int16_t>&, const Grid&, Interpolation, int16_t);
template Volume<uint8_t> resample(const Volume<uint8_t>&, const Grid&, Interpolation, uint8_t);
template Volume<float> resample(const Volume<float>&, const Grid&, Interpolation, float);
template Volume<int16_t> reoriented(const Volume<int16_t>&, const std::string&);
template Volume<uint8_t> reoriented(const Volume<uint8_t>&, const std::string&);
template Volume<float> reoriented(const Volume<float>&, const std::string&);

}  // namespace acinus
