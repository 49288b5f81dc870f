// Growing and shrinking masks by balls whose radius is in millimetres, whatever the voxels' spacing.
//
//   dilated(mask, 3);    all voxels whose centre lies within 3 mm of the centre of a voxel in the mask
//   closed(lung, 10);    the lung with its notches filled that are too narrow for a ball of 10 mm radius
//
// All come from an exact distance transform, so their time does not depend on the radius. Index axes are taken to be at
// right angles.
#pragma once
#include "data/volume/volume.h"

namespace acinus {

// The squared distance in mm^2 from each voxel's centre to that of the nearest voxel other than 0; infinity everywhere
// if there is none. P. Felzenszwalb, D. Huttenlocher, Distance Transforms of Sampled Functions, 2012.
Volume<float> squared_distance(const Volume<uint8_t>& mask);

// Nothing lies outside the grid for these two: it neither grows into the grid nor makes a mask shrink that touches it.
Volume<uint8_t> dilated(const Volume<uint8_t>& mask, double radius_mm);
Volume<uint8_t> eroded(const Volume<uint8_t>& mask, double radius_mm);  // voxels with no 0 within the radius

Volume<uint8_t> opened(const Volume<uint8_t>& mask, double radius_mm);  // what the ball covers while it stays inside
// What the ball cannot reach while it stays outside. The mask goes on beyond the grid as it is at its border, so a
// lung that the scan cuts off stays cut off there straight.
Volume<uint8_t> closed(const Volume<uint8_t>& mask, double radius_mm);

}  // namespace acinus
