// How far apart the surfaces of two masks lie: the Hausdorff distance without its outliers.
//
//   hausdorff_mm(predicted, truth)            in 95 of 100 places, of either surface, the other one is no further away
//   hausdorff_mm(predicted, truth, 1)         the Hausdorff distance itself
//
// Surface voxels are those of a mask with a face that touches what is not in it, or the grid's end. From each one's
// centre the distance to the centre of the nearest surface voxel of the other mask is taken, and of these the
// percentile, between two values in proportion; the result is the larger of the two directions (as MONAI has it;
// pooling both before the percentile gives another number). Index axes are taken to be at right angles.
#pragma once
#include "data/volume/volume.h"

namespace acinus {

// Both on one grid. 0 where both are empty, infinity where one is.
double hausdorff_mm(const Volume<uint8_t>& a, const Volume<uint8_t>& b, double share = 0.95);

}  // namespace acinus
