// Slices as pictures that people can judge: the scan in a grey window, what is true outlined in green, what was
// predicted in red, where both agree in yellow.
#pragma once
#include <algorithm>
#include <vector>

#include "data/dataset/scan.h"
#include "data/formats/png.h"
#include "data/volume/geometry.h"

namespace acinus {

// Slice z, each voxel `zoom` x `zoom` pixels. `truth` and `predicted` are that slice of a mask, or null; whatever is
// not 0 counts as in it. Values from window.low to window.high become black to white. However the scan is stored, the
// patient's right is drawn on the left and the front on top, as radiologists see them.
Picture overlay(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom = 2,
                const HuWindow& window = {});
inline Picture overlay(const ScanView& image, const Volume<uint8_t>* truth, const Volume<uint8_t>* predicted, int64_t z,
                       int zoom = 2) {
  return overlay(image, z, truth ? truth->slice(z) : nullptr, predicted ? predicted->slice(z) : nullptr, zoom);
}

// Where a voxel is drawn, in voxels from the upper left corner: x and y count from the other end where their axis runs
// to the patient's right or front.
Index3 as_drawn(const Grid& grid, Index3 voxel);
inline int picture_zoom(const Grid& grid) {
  return int(std::max<int64_t>(1, 512 / std::max(grid.size[0], grid.size[1])));
}  // small ones larger

// A part of the same picture, given in voxels as they are drawn; black outside the slice.
Picture close_up(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom,
                 const HuWindow& window, const Rectangle& part);

// The slice that holds most of a mask, and the middle of what it holds there: (x, y, z). The middle of the grid if
// the mask is empty.
Index3 densest_place(const Volume<uint8_t>& mask);

// Pictures side by side, `columns` in a row, on black.
Picture montage(const std::vector<Picture>& pictures, int columns);

}  // namespace acinus
