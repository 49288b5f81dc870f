#include "data/dataset/overlay.h"

#include <algorithm>
#include <cstdlib>

#include "tensor/check.h"

namespace acinus {

Index3 as_drawn(const Grid& grid, Index3 voxel) {
  for (size_t axis : {0, 1})
    if (grid.direction[axis][axis] < 0) voxel[axis] = grid.size[axis] - 1 - voxel[axis];
  return voxel;
}

Picture overlay(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom,
                const HuWindow& window, const std::optional<Rectangle>& only) {
  const Index3 size = image.grid.size;
  check(z >= 0 && z < size[2], "overlay: slice ", z, " of a scan with ", size[2]);
  const Rectangle part = only.value_or(Rectangle{0, 0, size[0], size[1]});
  Picture picture{int(part.cols * zoom), int(part.rows * zoom), 3, {}};
  picture.pixels.resize(int64_t(picture.width) * picture.height * 3);

  // The offset in the slice of the voxel that is drawn at a pixel of the whole picture; -1 outside.
  const auto voxel_at = [&](int64_t col, int64_t row) -> int64_t {
    if (col < 0 || col >= size[0] * zoom || row < 0 || row >= size[1] * zoom) return -1;
    const auto [x, y, _] = as_drawn(image.grid, {col / zoom, row / zoom, z});
    return y * size[0] + x;
  };
  // A pixel in the mask, next to one outside.
  const auto on_outline = [&](const uint8_t* mask, int64_t col, int64_t row) {
    const auto in = [&](int64_t col, int64_t row) {
      const int64_t voxel = voxel_at(col, row);
      return voxel >= 0 && mask[voxel] != 0;
    };
    return mask && in(col, row) && !(in(col - 1, row) && in(col + 1, row) && in(col, row - 1) && in(col, row + 1));
  };
  uint8_t* out = picture.pixels.data();
  for (int64_t row = part.top * zoom; row < (part.top + part.rows) * zoom; row++)
    for (int64_t col = part.left * zoom; col < (part.left + part.cols) * zoom; col++, out += 3) {
      const int64_t voxel = voxel_at(col, row);
      if (voxel < 0) continue;
      const bool is_true = on_outline(truth, col, row), is_predicted = on_outline(predicted, col, row);
      if (is_true || is_predicted)
        out[0] = is_predicted ? 255 : 0, out[1] = is_true ? 255 : 0;
      else
        for (int64_t c = 0; c < 3; c++) {
          const double value = image.value(image.grid.offset(0, 0, z) + voxel, image.channels >= 3 ? c : 0);
          out[c] = uint8_t(window(value) * 255);
        }
    }
  return picture;
}

Index3 densest_point(const Volume<uint8_t>& mask) {
  const Index3 size = mask.grid.size;
  std::vector<std::vector<Index3>> by_slice(size[2]);
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t z, int64_t offset) {
    if (mask.voxels[offset]) by_slice[z].push_back({x, y, z});
  });
  const auto& points = *std::ranges::max_element(by_slice, {}, [](const auto& slice) { return slice.size(); });
  if (points.empty()) return {size[0] / 2, size[1] / 2, size[2] / 2};

  // The mean of all its voxels could lie between two nodules. So: the voxel nearest to that mean, then a few steps of
  // mean shift (the mean of the voxels nearby), which end inside one nodule.
  const auto nearest_to_mean = [&](const Index3& centre, int64_t reach) {
    int64_t n = 0, sum_x = 0, sum_y = 0;
    for (const auto& [x, y, z] : points)
      if (std::abs(x - centre[0]) <= reach && std::abs(y - centre[1]) <= reach) n++, sum_x += x, sum_y += y;
    return *std::ranges::min_element(points, {}, [&](const Index3& point) {
      const int64_t dx = point[0] - sum_x / n, dy = point[1] - sum_y / n;
      return dx * dx + dy * dy;
    });
  };
  Index3 point = nearest_to_mean(points[0], std::max(size[0], size[1]));
  for (int step = 0; step < 5; step++) point = nearest_to_mean(point, 16);
  return point;
}

Picture montage(const std::vector<Picture>& pictures, int columns) {
  check(!pictures.empty() && columns >= 1, "montage: no pictures");
  columns = std::min(columns, int(pictures.size()));
  int width = 0, height = 0;
  for (const Picture& p : pictures) {
    check(p.channels == 3, "montage: needs RGB pictures");
    width = std::max(width, p.width);
    height = std::max(height, p.height);
  }
  const int gap = 4, rows = (int(pictures.size()) + columns - 1) / columns;
  Picture all{columns * (width + gap) - gap, rows * (height + gap) - gap, 3, {}};
  all.pixels.resize(int64_t(all.width) * all.height * 3);
  for (size_t i = 0; i < pictures.size(); i++) {
    const Picture& p = pictures[i];
    const int left = int(i) % columns * (width + gap), top = int(i) / columns * (height + gap);
    for (int y = 0; y < p.height; y++)
      std::copy_n(&p.pixels[int64_t(y) * p.width * 3], int64_t(p.width) * 3,
                  &all.pixels[(int64_t(top + y) * all.width + left) * 3]);
  }
  return all;
}

}  // namespace acinus
