// Images and masks of tasks other than nodules in CT: .png, .npy, and volumes of one or more channels.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/volume/image.h"
#include "data/volume/volume.h"

namespace acinus {

// Reads .png (without its alpha channel), .npy ((rows, columns) or (slices, rows, columns), either with 3 channels
// last), .mhd, .mha, .nii or .nii.gz. The result always has three dimensions, x, y, z.
Image read_picture(const std::string& path);
Grid picture_grid(ImageInfo image, const std::string& path);  // where it lies; it may have several channels

// The class of each voxel of a mask: class i has the value classes[i] in the file. If `classes` is empty, 0 and 255 (or
// 0 and 1) are background and foreground, and values up to 31 are classes themselves. Other values are an Error that
// lists the values of the file.
Volume<uint8_t> read_mask(const std::string& path, const std::vector<int64_t>& classes);

}  // namespace acinus
