#include "data/volume/morphology.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/check.h"
#include "tensor/parallel.h"

namespace acinus {

namespace {

constexpr float kFar = std::numeric_limits<float>::infinity();

void check_mask(const char* who, const Volume<uint8_t>& mask, double radius_mm = 0) {
  check_volume(who, mask);
  for (const double spacing : mask.grid.spacing)
    check(std::isfinite(spacing) && spacing > 0, who, ": spacing ", spacing, " mm; it must be above 0");
  check(std::isfinite(radius_mm) && radius_mm >= 0, who, ": a radius of ", radius_mm, " mm; it must not be negative");
}

// A segment of a lower envelope.
struct Parabola {
  double from;    // where it begins to be the lowest
  double height;  // f + (spacing q)^2, which the intersections need
  float f;
  int32_t q;
};

// In place: f[p] = min over q of f[q] + (spacing (p - q))^2, for a line of n values. Each f[q] is the lowest
// point of a parabola at q; the envelope of all is found from left to right, then read off.
void lower_envelope(float* f, int64_t n, double spacing, Parabola* envelope) {
  const double square = spacing * spacing;
  int64_t last = -1;
  for (int64_t q = 0; q < n; q++) {
    if (f[q] == kFar) continue;
    const double height = f[q] + square * double(q) * double(q);
    double from = -std::numeric_limits<double>::infinity();
    while (last >= 0) {
      from = (height - envelope[last].height) / (2 * square * double(q - envelope[last].q));  // where the two meet
      if (from > envelope[last].from) break;
      last--;
    }
    if (last < 0) from = -std::numeric_limits<double>::infinity();
    envelope[++last] = {from, height, f[q], int32_t(q)};
  }
  if (last < 0) return;
  int64_t k = 0;
  for (int64_t p = 0; p < n; p++) {
    while (k < last && envelope[k + 1].from < double(p)) k++;
    const double steps = double(p - envelope[k].q);
    f[p] = float(envelope[k].f + square * steps * steps);
  }
}

// The same along an axis whose neighbours are `step` apart in memory, for `lines` lines that begin side by side. They
// are copied out in groups, so that whole cache lines are used.
constexpr int64_t kGroup = 16;
void along_lines(float* first, int64_t lines, int64_t n, int64_t step, double spacing, Parabola* scratch) {
  float* copy = reinterpret_cast<float*>(scratch + n);
  for (int64_t begin = 0; begin < lines; begin += kGroup) {
    const int64_t group = std::min(kGroup, lines - begin);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < group; j++) copy[j * n + i] = first[i * step + begin + j];
    for (int64_t j = 0; j < group; j++) lower_envelope(copy + j * n, n, spacing, scratch);
    for (int64_t i = 0; i < n; i++)
      for (int64_t j = 0; j < group; j++) first[i * step + begin + j] = copy[j * n + i];
  }
}

// The squared distance to the nearest voxel inside the mask, or to the nearest outside.
Volume<float> squared_distance_to(const Volume<uint8_t>& mask, bool inside) {
  const auto size = mask.grid.size;
  const auto spacing = mask.grid.spacing;
  const int64_t nx = size[0], ny = size[1], nz = size[2];
  Volume<float> result(mask.grid);
  const int64_t longest = std::max(ny, nz);
  const int64_t scratch = longest + (kGroup * longest * 4 + 23) / int64_t(sizeof(Parabola));
  parallel<Parabola>(nz, /*pays=*/nx * ny > 1000, scratch, [&](int64_t z, Parabola* memory) {
    for (int64_t y = 0; y < ny; y++) {  // along x: steps since the last voxel of the set, from both sides
      const uint8_t* in = mask.slice(z) + y * nx;
      float* out = result.slice(z) + y * nx;
      int64_t steps = -1;
      const auto walk = [&](int64_t x) {
        if ((in[x] != 0) == inside)
          steps = 0;
        else if (steps >= 0)
          steps++;
        const float distance = float(double(steps) * spacing[0]);
        return steps < 0 ? kFar : distance * distance;
      };
      for (int64_t x = 0; x < nx; x++) out[x] = walk(x);
      steps = -1;
      for (int64_t x = nx - 1; x >= 0; x--) out[x] = std::min(out[x], walk(x));
    }
    if (ny > 1) along_lines(result.slice(z), nx, ny, nx, spacing[1], memory);
  });
  if (nz > 1)
    parallel<Parabola>(ny, /*pays=*/nx * nz > 1000, scratch, [&](int64_t y, Parabola* memory) {
      along_lines(result.voxels.data() + y * nx, nx, nz, nx * ny, spacing[2], memory);
    });
  return result;
}

// Dilates, or erodes. A voxel at exactly the radius, up to rounding, is within it.
Volume<uint8_t> within(const char* who, const Volume<uint8_t>& mask, double radius_mm, bool dilate) {
  check_mask(who, mask, radius_mm);
  const Volume<float> squared = squared_distance_to(mask, dilate);
  const float limit = float(radius_mm * radius_mm * (1 + 1e-6));
  Volume<uint8_t> result(mask.grid);
  for (size_t i = 0; i < result.voxels.size(); i++) result.voxels[i] = (squared.voxels[i] <= limit) == dilate;
  return result;
}

}  // namespace

Box bounding_box(const Volume<uint8_t>& mask) {
  Box box{mask.grid.size, {-1, -1, -1}};
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t z, int64_t i) {
    if (!mask.voxels[i]) return;
    box.low = {std::min(box.low[0], x), std::min(box.low[1], y), std::min(box.low[2], z)};
    box.high = {std::max(box.high[0], x), std::max(box.high[1], y), z};
  });
  return box;
}

Volume<float> squared_distance(const Volume<uint8_t>& mask) {
  check_mask("squared_distance", mask);
  return squared_distance_to(mask, true);
}

Volume<uint8_t> dilated(const Volume<uint8_t>& mask, double radius_mm) {
  return within("dilated", mask, radius_mm, true);
}

Volume<uint8_t> eroded(const Volume<uint8_t>& mask, double radius_mm) {
  return within("eroded", mask, radius_mm, false);
}

Volume<uint8_t> opened(const Volume<uint8_t>& mask, double radius_mm) {
  return dilated(eroded(mask, radius_mm), radius_mm);
}

Volume<uint8_t> closed(const Volume<uint8_t>& mask, double radius_mm) {
  check_mask("closed", mask, radius_mm);
  // Only the box around the mask can change. A margin of the radius leaves room to grow; beyond the grid the margin
  // repeats the border.
  const Index3 size = mask.grid.size;
  auto [low, high] = bounding_box(mask);
  if (high[2] < 0) return mask;
  Grid box = mask.grid;
  for (int i = 0; i < 3; i++) {
    check(radius_mm / box.spacing[i] < 10000, "closed: a radius of ", radius_mm, " mm with voxels of ", box.spacing[i],
          " mm; it must be less than 10000 voxels");
    const int64_t margin = int64_t(std::ceil(radius_mm / box.spacing[i])) + 1;
    low[i] -= margin, high[i] += margin;
    box.size[i] = high[i] - low[i] + 1;
  }
  Volume<uint8_t> padded(box);
  const auto nearest = [&, low = low](int axis, int64_t i) {
    return std::clamp<int64_t>(low[axis] + i, 0, size[axis] - 1);
  };
  for (int64_t z = 0; z < box.size[2]; z++)
    for (int64_t y = 0; y < box.size[1]; y++) {
      const uint8_t* from = &mask.at(0, nearest(1, y), nearest(2, z));
      uint8_t* to = &padded.at(0, y, z);
      for (int64_t x = 0; x < box.size[0]; x++) to[x] = from[nearest(0, x)];
    }
  padded = eroded(dilated(padded, radius_mm), radius_mm);
  Volume<uint8_t> result = mask;
  for (int64_t z = std::max<int64_t>(low[2], 0); z <= std::min(high[2], size[2] - 1); z++)
    for (int64_t y = std::max<int64_t>(low[1], 0); y <= std::min(high[1], size[1] - 1); y++)
      for (int64_t x = std::max<int64_t>(low[0], 0); x <= std::min(high[0], size[0] - 1); x++)
        result.at(x, y, z) = padded.at(x - low[0], y - low[1], z - low[2]);
  return result;
}

}  // namespace acinus
