// Which voxels are nodule: spheres from a list of centres and diameters, or the outlines radiologists drew.
#pragma once
#include <vector>

#include "data/volume/annotation.h"
#include "data/volume/volume.h"

namespace acinus {

constexpr int64_t kMaxClasses = 32;  // of a mask, the background included

// 1 in every voxel whose centre lies within diameter/2 of a nodule's centre, in millimetres, in every slice the
// sphere cuts, all nodules in one mask; 0 elsewhere. A nodule between all voxel centres still gets the nearest one.
// Diameters < 0 (unknown) and nodules outside the grid are passed over.
Volume<uint8_t> sphere_mask(const Grid& grid, const std::vector<Annotation>& nodules);

// 1 where at least `least` of four readers outlined the voxel (values 0..4; two is the usual consensus).
Volume<uint8_t> reader_mask(const Volume<uint8_t>& readers, int least = 2);

}  // namespace acinus
