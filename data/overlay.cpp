#include "data/overlay.h"

#include <algorithm>
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
  picture.pixels.resize(size_t(picture.width) * size_t(picture.height) * 3);

  // A pixel lies on the outline of a mask if its voxel is in the mask and it touches a side behind which none is.
  const auto voxel = [&](int64_t px, int64_t py) { return as_drawn(image.grid, {px / zoom, py / zoom, z}); };
  const auto on_outline = [&](const uint8_t* mask, int64_t px, int64_t py) {
    if (!mask) return false;
    const auto in = [&](int64_t x, int64_t y) {
      if (x < 0 || x >= w * zoom || y < 0 || y >= h * zoom) return false;
      const Index3 at = voxel(x, y);
      return mask[at[1] * w + at[0]] != 0;
    };
    return in(px, py) && (!in(px - 1, py) || !in(px + 1, py) || !in(px, py - 1) || !in(px, py + 1));
  };
  const int64_t left = part.left * zoom, top = part.top * zoom;  // px and py count from the slice's corner
  for (int64_t py = std::max<int64_t>(0, top); py < std::min(h * zoom, top + picture.height); py++)
    for (int64_t px = std::max<int64_t>(0, left); px < std::min(w * zoom, left + picture.width); px++) {
      uint8_t* const out = &picture.pixels[size_t(((py - top) * picture.width + px - left) * 3)];
      const Index3 at = voxel(px, py);
      for (int64_t c = 0; c < 3; c++)
        out[c] = uint8_t(window(image.at(at[0], at[1], z, image.channels >= 3 ? c : 0)) * 255);
      const bool is_true = on_outline(truth, px, py), is_predicted = on_outline(predicted, px, py);
      if (is_true || is_predicted) {
        out[0] = is_predicted ? 255 : 0;
        out[1] = is_true ? 255 : 0;
        out[2] = 0;
      }
    }
  return picture;
}

Index3 densest_place(const Volume<uint8_t>& mask) {
  const Index3 size = mask.grid.size;
  Index3 place{size[0] / 2, size[1] / 2, size[2] / 2};
  int64_t most = 0;
  for (int64_t z = 0; z < size[2]; z++) {
    int64_t n = 0;
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++) n += mask.at(x, y, z) != 0;
    if (n > most) most = n, place[2] = z;
  }
  if (most == 0) return place;

  // The mean of all its voxels could lie between two nodules. So: the voxel nearest to that mean, then a few times the
  // mean of what is near (mean shift), which ends inside one nodule.
  const auto mean_within = [&](int64_t reach) {
    int64_t n = 0, sum_x = 0, sum_y = 0;
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++)
        if (mask.at(x, y, place[2]) && std::abs(x - place[0]) <= reach && std::abs(y - place[1]) <= reach)
          n++, sum_x += x, sum_y += y;
    return Index3{sum_x / n, sum_y / n, place[2]};
  };
  const auto nearest_voxel = [&](Index3 to) {
    Index3 nearest = to;
    int64_t least = std::numeric_limits<int64_t>::max();
    for (int64_t y = 0; y < size[1]; y++)
      for (int64_t x = 0; x < size[0]; x++) {
        const int64_t distance = (x - to[0]) * (x - to[0]) + (y - to[1]) * (y - to[1]);
        if (mask.at(x, y, to[2]) && distance < least) least = distance, nearest = {x, y, to[2]};
      }
    return nearest;
  };
  place = nearest_voxel(mean_within(std::max(size[0], size[1])));
  for (int round = 0; round < 5; round++) place = nearest_voxel(mean_within(16));
  return place;
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
  all.pixels.resize(size_t(all.width) * size_t(all.height) * 3);
  for (size_t i = 0; i < pictures.size(); i++) {
    const Picture& p = pictures[i];
    const int left = int(i) % columns * (width + gap), top = int(i) / columns * (height + gap);
    for (int y = 0; y < p.height; y++)
      std::copy_n(&p.pixels[size_t(y) * size_t(p.width) * 3], size_t(p.width) * 3,
                  &all.pixels[(size_t(top + y) * size_t(all.width) + size_t(left)) * 3]);
  }
  return all;
}

}  // namespace acinus
