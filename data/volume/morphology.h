// Morphology of masks: the structuring element is a ball with a radius in millimetres, whatever the spacing of voxels.
//
//   dilated(mask, 3);    all voxels whose centre lies within 3 mm of the centre of a voxel in the mask
//   closed(lung, 10);    the lung with all notches filled that are too narrow for a ball of 10 mm radius
//
// All use a distance transform, exact up to float's rounding, that looks no further than the nearest voxel found so far,
// nor than the radius (T. Saito, J. Toriwaki, New Algorithms for Euclidean Distance Transformation of an n-Dimensional
// Digitized Picture, 1994). Index axes are assumed to be at right angles.
#pragma once
#include "data/volume/volume.h"

namespace acinus {

// The smallest box that holds a mask, both ends included. `high` is -1 if the mask is empty.
struct Box {
  Index3 low, high;
};
Box bounding_box(const Volume<uint8_t>& mask);

// The squared distance in mm^2 from each voxel's centre to that of the nearest nonzero voxel; infinity everywhere if
// there is none.
Volume<float> squared_distance(const Volume<uint8_t>& mask);

// The outside of the grid is ignored: nothing grows in from there, and a mask that touches the border does not shrink.
Volume<uint8_t> dilated(const Volume<uint8_t>& mask, double radius_mm);
Volume<uint8_t> eroded(const Volume<uint8_t>& mask, double radius_mm);  // voxels with no 0 within the radius

Volume<uint8_t> opened(const Volume<uint8_t>& mask, double radius_mm);  // what the ball covers while inside the mask
// What the ball cannot reach while outside the mask. Beyond the grid the mask continues as at the border, so a lung that
// the scan cuts off keeps a straight cut there.
Volume<uint8_t> closed(const Volume<uint8_t>& mask, double radius_mm);

}  // namespace acinus
