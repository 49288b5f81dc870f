#include "data/dataset/overlay.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>

#include "tensor/check.h"

namespace acinus {

Index3 as_drawn(const Grid& grid, Index3 voxel) {
  for (size_t axis : {0, 1})
    if (grid.direction[axis][axis] < 0) voxel[axis] = grid.size[axis] - 1 - voxel[axis];
  return voxel;
}

Picture overlay(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom,
                const HuWindow& window) {
  return close_up(image, z, truth, predicted, zoom, window, {0, 0, image.grid.size[0], image.grid.size[1]});
}

Picture close_up(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom,
                 const HuWindow& window, const Rectangle& part) {
  const int64_t w = image.grid.size[0], h = image.grid.size[1];
  check(z >= 0 && z < image.grid.size[2], "overlay: slice ", z, " of a scan with ", image.grid.size[2]);
  Picture picture{int(part.cols * zoom), int(part.rows * zoom), 3, {}};
  picture.pixels.resize(int64_t(picture.width) * picture.height * 3);

  // Of a voxel in the mask, the sides where its neighbour is outside, as drawn: left, right, above, below.
  using Sides = std::array<bool, 4>;
  const auto open_sides = [&](const uint8_t* mask, int64_t x, int64_t y) {
    const auto in = [&](int64_t x, int64_t y) {
      if (x < 0 || x >= w || y < 0 || y >= h) return false;
      const Index3 at = as_drawn(image.grid, {x, y, z});
      return mask[at[1] * w + at[0]] != 0;
    };
    if (!mask || !in(x, y)) return Sides{};
    return Sides{!in(x - 1, y), !in(x + 1, y), !in(x, y - 1), !in(x, y + 1)};
  };
  // Each voxel is a square of zoom x zoom pixels; its outermost ones along an open side are the mask's outline.
  const auto on_outline = [&](const Sides& open, int dx, int dy) {
    return (open[0] && dx == 0) || (open[1] && dx == zoom - 1) || (open[2] && dy == 0) || (open[3] && dy == zoom - 1);
  };
  for (int64_t y = std::max<int64_t>(0, part.top); y < std::min(h, part.top + part.rows); y++)
    for (int64_t x = std::max<int64_t>(0, part.left); x < std::min(w, part.left + part.cols); x++) {
      const Index3 at = as_drawn(image.grid, {x, y, z});
      uint8_t colour[3];
      for (int64_t c = 0; c < 3; c++)
        colour[c] = uint8_t(window(image.at(at[0], at[1], z, image.channels >= 3 ? c : 0)) * 255);
      const Sides of_truth = open_sides(truth, x, y), of_predicted = open_sides(predicted, x, y);
      for (int dy = 0; dy < zoom; dy++)
        for (int dx = 0; dx < zoom; dx++) {
          const int64_t row = (y - part.top) * zoom + dy, col = (x - part.left) * zoom + dx;
          uint8_t* const out = &picture.pixels[(row * picture.width + col) * 3];
          const bool is_true = on_outline(of_truth, dx, dy), is_predicted = on_outline(of_predicted, dx, dy);
          if (is_true || is_predicted) {
            out[0] = is_predicted ? 255 : 0;
            out[1] = is_true ? 255 : 0;
            out[2] = 0;
          } else {
            std::copy_n(colour, 3, out);
          }
        }
    }
  return picture;
}

Index3 densest_point(const Volume<uint8_t>& mask) {
  const Index3 size = mask.grid.size;
  Index3 point{size[0] / 2, size[1] / 2, size[2] / 2};
  int64_t max_voxels = 0;
  for (int64_t z = 0; z < size[2]; z++) {
    const int64_t n = std::count_if(mask.slice(z), mask.slice(z) + size[0] * size[1], [](uint8_t v) { return v != 0; });
    if (n > max_voxels) max_voxels = n, point[2] = z;
  }
  if (max_voxels == 0) return point;

  // The mean of all its voxels could lie between two nodules. So: the voxel nearest to that mean, then a few steps of
  // mean shift (the mean of the voxels nearby), which end inside one nodule.
  const auto mean_within = [&](int64_t reach) {
    int64_t n = 0, sum_x = 0, sum_y = 0;
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++)
        if (mask.at(x, y, point[2]) && std::abs(x - point[0]) <= reach && std::abs(y - point[1]) <= reach)
          n++, sum_x += x, sum_y += y;
    return Index3{sum_x / n, sum_y / n, point[2]};
  };
  const auto nearest_voxel = [&](Index3 to) {
    Index3 nearest = to;
    int64_t min_distance = std::numeric_limits<int64_t>::max();
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++) {
        const int64_t distance = (x - to[0]) * (x - to[0]) + (y - to[1]) * (y - to[1]);
        if (mask.at(x, y, to[2]) && distance < min_distance) min_distance = distance, nearest = {x, y, to[2]};
      }
    return nearest;
  };
  point = nearest_voxel(mean_within(std::max(size[0], size[1])));
  for (int step = 0; step < 5; step++) point = nearest_voxel(mean_within(16));
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
