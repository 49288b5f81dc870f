// The connected pieces of a mask.
//
//   const Components pieces = label_components(mask);
//   pieces.count();                     3
//   pieces.sizes[1];                    voxels of the largest one; sizes[2] of the next; sizes[0] of the background
//   pieces.labels.at(x, y, z);          0 outside the mask, else the number of the voxel's piece
#pragma once
#include <cstdint>
#include <vector>

#include "data/volume/volume.h"

namespace acinus {

enum class Connectivity {
  faces,   // a voxel's 6 neighbours
  corners  // all 26
};

struct Components {
  Volume<int32_t> labels;
  std::vector<int64_t> sizes;  // by label
  int32_t count() const { return int32_t(sizes.size()) - 1; }
};

// Voxels other than 0, numbered from 1 by falling size; of two equally large pieces the one that comes first in memory.
Components label_components(const Volume<uint8_t>& mask, Connectivity connectivity = Connectivity::faces);

}  // namespace acinus
