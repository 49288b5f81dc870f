// Slices as pictures for people: the scan in a grey window, the outline of the truth in green, of the prediction in red,
// and of both in yellow.
#pragma once
#include <algorithm>
#include <optional>
#include <vector>

#include "data/dataset/scan.h"
#include "data/formats/png.h"
#include "data/volume/geometry.h"

namespace acinus {

// Slice z, each voxel `zoom` x `zoom` pixels. `truth` and `predicted` are that slice of a mask, or null; any value but 0
// is in the mask. Values from window.low to window.high become black to white. However the scan is stored, the patient's
// right is drawn on the left and the front on top, as radiologists see them. `part`, in voxels as drawn, is a part of
// that picture; black outside the slice.
Picture overlay(const ScanView& image, int64_t z, const uint8_t* truth, const uint8_t* predicted, int zoom = 2,
                const HuWindow& window = {}, const std::optional<Rectangle>& part = {});
inline Picture overlay(const ScanView& image, const Volume<uint8_t>* truth, const Volume<uint8_t>* predicted, int64_t z,
                       int zoom = 2) {
  return overlay(image, z, truth ? truth->slice(z) : nullptr, predicted ? predicted->slice(z) : nullptr, zoom);
}

// The position at which a voxel is drawn, in voxels from the upper left corner: x and y count from the other end if their
// axis runs to the patient's right or front.
Index3 as_drawn(const Grid& grid, Index3 voxel);
// So that small slices are magnified to 512 pixels or so.
inline int picture_zoom(const Grid& grid) {
  return int(std::max<int64_t>(1, 512 / std::max(grid.size[0], grid.size[1])));
}

// A point inside the mask, in the slice that holds most of it: (x, y, z). The centre of the grid if the mask is empty.
Index3 densest_point(const Volume<uint8_t>& mask);

// Pictures in a grid of `columns` columns, on black.
Picture montage(const std::vector<Picture>& pictures, int columns);

}  // namespace acinus
