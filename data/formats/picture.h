// Images and masks for tasks other than nodules in CT: .png, .npy, and volumes of one or more channels.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/volume/image.h"
#include "data/volume/volume.h"

namespace acinus {

// Reads one of the files that pairs are made of: .png (alpha is dropped), .npy ((rows, columns), (slices, rows,
// columns), or with 3 channels last), .mhd, .mha, .nii, .nii.gz. Always of three dimensions, x, y, z.
Image read_picture(const std::string& path);
Grid picture_grid(ImageInfo image, const std::string& path);  // where it lies, however many channels it has

// The classes of a mask from its values. If `classes` is empty, 0 and 255, or 0 and 1, are background and foreground,
// and numbers up to 31 are classes as they are; anything else is an Error that says which values there are.
Volume<uint8_t> read_mask(const std::string& path, const std::vector<int64_t>& classes);

}  // namespace acinus
