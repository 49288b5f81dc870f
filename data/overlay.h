// Slices as pictures that people can judge: the scan in a grey window, what is true outlined in green, what was
// predicted in red, where both agree in yellow.
#pragma once
#include <vector>

#include "data/png.h"
#include "data/volume.h"

namespace acinus {

// Slice z, each voxel `zoom` x `zoom` pixels; masks may be null. HU from low to high become black to white.
Picture overlay(const Volume<int16_t>& ct, const Volume<uint8_t>* truth, const Volume<uint8_t>* predicted, int64_t z,
                int zoom = 2, double low = -1000, double high = 400);

// Pictures side by side, `columns` in a row, on black.
Picture montage(const std::vector<Picture>& pictures, int columns);

}  // namespace acinus
