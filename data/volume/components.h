// The connected components of a mask.
//
//   const Components parts = label_components(mask);
//   parts.count();                      3
//   parts.sizes[1];                     voxels of the largest; sizes[2] of the next; sizes[0] of the background
//   parts.labels.at(x, y, z);           0 outside the mask, else the label of the voxel's component
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

// Labels nonzero voxels from 1 by decreasing size; of two components of the same size the first in memory comes first.
Components label_components(const Volume<uint8_t>& mask, Connectivity connectivity = Connectivity::faces);

}  // namespace acinus
