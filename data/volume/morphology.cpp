#include "data/volume/morphology.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

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

// The columns that along_axis takes together: a few vectors, so that all rows of them stay in the cache.
constexpr int64_t kGroup = 32;

// Without a way out of the loop, so that compilers make vectors of it.
template <class Test>
bool any_of(const float* values, Test test) {
  int any = 0;
  for (int64_t x = 0; x < kGroup; x++) any |= test(values[x]);
  return any;
}

// In place: f(i, x) = min over j of f(j, x) + (spacing (i - j))^2, for n rows of `width` voxels, `step` apart. Steps k
// = |i - j| go outwards from each row, and end where the square of k steps alone exceeds all that was found, or the
// limit. So near the mask there are few, and all columns of a group take them together.
void along_axis(float* first, int64_t width, int64_t n, int64_t step, double spacing, float limit, float* copy) {
  for (int64_t begin = 0; begin < width; begin += kGroup) {
    const int64_t group = std::min(kGroup, width - begin);
    int64_t low = n, high = -1;  // rows with a finite value
    std::fill_n(copy, n * kGroup, kFar);
    for (int64_t i = 0; i < n; i++) {
      const float* const from = first + i * step + begin;
      for (int64_t x = 0; x < group; x++) copy[i * kGroup + x] = from[x];
      if (any_of(copy + i * kGroup, [](float f) { return f != kFar; })) low = std::min(low, i), high = i;
    }
    if (high < 0) continue;
    for (int64_t i = 0; i < n; i++) {
      float best[kGroup];
      std::copy_n(copy + i * kGroup, kGroup, best);
      for (int64_t k = 1; k <= std::max(i - low, high - i); k++) {
        const float square = float(spacing * double(k) * spacing * double(k));
        if (square > limit || !any_of(best, [&](float f) { return f > square; })) break;
        const auto look_at = [&](const float* row) {
          for (int64_t x = 0; x < kGroup; x++) best[x] = std::min(best[x], row[x] + square);
        };
        if (i - k >= low && i - k <= high) look_at(copy + (i - k) * kGroup);
        if (i + k >= low && i + k <= high) look_at(copy + (i + k) * kGroup);
      }
      float* const to = first + i * step + begin;
      for (int64_t x = 0; x < group; x++) to[x] = best[x];  // faster than a copy of so few
    }
  }
}

// The squared distance of each voxel of a row to the nearest that is (or is not) in the mask: steps since the last one,
// from both ends. square_of: of 0 .. 2 nx steps, of which nx and more mean that there is none.
void along_row(const uint8_t* in, bool inside, int64_t nx, const float* square_of, int32_t* steps, float* out) {
  int32_t since = int32_t(nx);
  for (int64_t x = 0; x < nx; x++) steps[x] = since = (in[x] != 0) == inside ? 0 : since + 1;
  since = int32_t(nx);
  for (int64_t x = nx - 1; x >= 0; x--) out[x] = square_of[since = std::min(steps[x], since + 1)];
}

// The squared distance to the nearest voxel inside the mask, or to the nearest outside. What is beyond the limit may be
// any value above it.
Volume<float> squared_distance_to(const Volume<uint8_t>& mask, bool inside, float limit) {
  const auto [nx, ny, nz] = mask.grid.size;
  const Vec3 spacing = mask.grid.spacing;
  Volume<float> result(mask.grid);
  const int64_t scratch = std::max(nx, std::max(ny, nz) * kGroup);
  std::vector<float> square_of(2 * nx + 1, kFar);
  for (int64_t steps = 0; steps < nx; steps++) {
    const float distance = float(double(steps) * spacing[0]);
    square_of[steps] = distance * distance;
  }
  parallel<float>(nz, /*pays=*/nx * ny > 1000, scratch, [&, nx = nx, ny = ny](int64_t z, float* memory) {
    for (int64_t y = 0; y < ny; y++)
      along_row(mask.slice(z) + y * nx, inside, nx, square_of.data(), reinterpret_cast<int32_t*>(memory),
                result.slice(z) + y * nx);
    along_axis(result.slice(z), nx, ny, nx, spacing[1], limit, memory);
  });
  if (nz > 1)
    parallel<float>(ny, /*pays=*/nx * nz > 1000, scratch, [&, nx = nx, ny = ny, nz = nz](int64_t y, float* memory) {
      along_axis(result.voxels.data() + y * nx, nx, nz, nx * ny, spacing[2], limit, memory);
    });
  return result;
}

// Dilates, or erodes. A voxel at exactly the radius, up to rounding, is within it.
Volume<uint8_t> within(const char* who, const Volume<uint8_t>& mask, double radius_mm, bool dilate) {
  check_mask(who, mask, radius_mm);
  const float limit = float(radius_mm * radius_mm * (1 + 1e-6));
  const Volume<float> squared = squared_distance_to(mask, dilate, limit);
  Volume<uint8_t> result(mask.grid);
  parallel(mask.grid.size[2], /*pays=*/mask.grid.voxels() > 100000, [&](int64_t z) {
    std::transform(squared.slice(z), squared.slice(z + 1), result.slice(z),
                   [&](float f) { return uint8_t((f <= limit) == dilate); });
  });
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
  return squared_distance_to(mask, true, kFar);
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
