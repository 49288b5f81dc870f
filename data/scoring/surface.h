// The distance between the surfaces of two masks: the Hausdorff distance, or the 95th percentile in its stead, which a
// few outliers do not decide.
//
//   hausdorff_mm(predicted, truth)            of either surface, 95 % lies no further than this from the other one
//   hausdorff_mm(predicted, truth, 1)         the Hausdorff distance itself
//
// Surface voxels are those of a mask with a face that borders on a voxel outside the mask, or on the end of the grid.
// For each, the distance between centres to the nearest surface voxel of the other mask is taken; of these the
// percentile, linearly interpolated. The result is the larger of the two directions, as in MONAI; pooling both before
// taking the percentile gives another number. Index axes are assumed to be orthogonal.
#pragma once
#include "data/volume/volume.h"

namespace acinus {

// Both on one grid, else Error. 0 if both are empty, infinity if one is.
double hausdorff_mm(const Volume<uint8_t>& a, const Volume<uint8_t>& b, double quantile = 0.95);

}  // namespace acinus
