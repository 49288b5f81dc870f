// A scan, a mask or a probability map: voxels on a grid, x fastest.
//   Volume<int16_t> ct: Hounsfield units (air -1000, water 0);  Volume<uint8_t> mask: 0 or 1.
// Files of them: data/formats/volume_io.h.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/volume/geometry.h"
#include "tensor/check.h"

namespace acinus {

template <class T>
struct Volume {
  Grid grid;
  std::vector<T> voxels;

  Volume() = default;
  explicit Volume(const Grid& grid, T value = T()) : grid(grid), voxels(grid.voxels(), value) {}
  T& at(int64_t x, int64_t y, int64_t z) { return voxels[grid.offset(x, y, z)]; }
  const T& at(int64_t x, int64_t y, int64_t z) const { return voxels[grid.offset(x, y, z)]; }
  // The z-th slice: size[1] rows of size[0] voxels.
  T* slice(int64_t z) { return voxels.data() + grid.offset(0, 0, z); }
  const T* slice(int64_t z) const { return voxels.data() + grid.offset(0, 0, z); }
};

// Throws unless there are as many voxels as the grid says; `who` begins the message.
template <class T>
void check_volume(const std::string& who, const Volume<T>& volume) {
  check(int64_t(volume.voxels.size()) == volume.grid.voxels(), who, ": ", volume.voxels.size(), " voxels on a grid of ",
        volume.grid.voxels());
}

}  // namespace acinus
