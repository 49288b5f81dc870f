// Slices as pictures that people can judge: the scan in a grey window, what is true outlined in green, what was
// predicted in red, where both agree in yellow.
#pragma once
#include <algorithm>
#include <vector>

#include "data/png.h"
#include "data/volume.h"

namespace acinus {

// Slice z, each voxel `zoom` x `zoom` pixels; masks may be null. HU from low to high become black to white. However the
// scan is stored, the patient's right is drawn on the left and the front on top, as radiologists see them.
Picture overlay(const Volume<int16_t>& ct, const Volume<uint8_t>* truth, const Volume<uint8_t>* predicted, int64_t z,
                int zoom = 2, double low = -1000, double high = 400);

// Where a voxel is drawn, in voxels from the upper left corner: x and y count from the other end where their axis runs
// to the patient's right or front.
Index3 as_drawn(const Grid& grid, Index3 voxel);
inline int picture_zoom(const Grid& grid) {
  return int(std::max<int64_t>(1, 512 / grid.size[0]));
}  // small ones larger

// The square of `side` pixels whose upper left corner is (left, top); black outside the picture.
Picture close_up(const Picture& picture, int64_t left, int64_t top, int64_t side);

// The slice that holds most of a mask, and the middle of what it holds there: (x, y, z). The middle of the grid if
// the mask is empty.
Index3 densest_place(const Volume<uint8_t>& mask);

// Pictures side by side, `columns` in a row, on black.
Picture montage(const std::vector<Picture>& pictures, int columns);

}  // namespace acinus
