// The same picture on other voxels.
//
//   Volume<int16_t> ct = read_volume<int16_t>("scan.mhd");                  512x512x141 voxels, 0.76 x 0.76 x 2.5 mm
//   const Grid even = resampled(ct.grid, {1, 1, 1});                        389x389x353 voxels of 1 mm, same extent
//   resample(ct, even, Interpolation::linear, -1000);                       the scan there, air (-1000 HU) around it
//   resample(mask, even, Interpolation::nearest, 0);                        its mask: still 0 or 1, nothing between
//   reoriented(ct, "RAI");                                                  x to the left, y to the back, z to the head
//
// A network learns sizes in voxels, so scans of different spacings are brought to one; and masks drawn on one grid are
// compared on another. Resampling computes new values; reorienting only puts the old ones into another order.
#pragma once
#include <string>
#include <type_traits>

#include "data/volume/volume.h"

namespace acinus {

// linear: a weighted mean of the 8 voxels around. nearest: the value of the one voxel whose centre is closest (of two
// equally close, the one of higher index): for masks and labels, between whose values there is no mean.
// Neither smooths: voxels much larger than the old ones skip some of these, so noise stays and fine detail may turn
// into false patterns (aliasing). From 0.7 to 1 mm that is hardly seen, from 0.7 to 3 mm it is.
enum class Interpolation { nearest, linear };

// The value of `from` at the centre of each voxel of `onto`, which may lie in any way: shifted, flipped, oblique. Where
// `from` has no voxel, `outside`: -1000 HU (air) for a CT, 0 for a mask. In the outer half of its outermost voxels,
// where there is nothing further out to interpolate with, their value holds. T is int16_t, uint8_t (both rounded to the
// nearest number) or float. A NaN spreads to the voxels it has a share in.
template <class T>
Volume<T> resample(const Volume<T>& from, const Grid& onto, Interpolation how, std::type_identity_t<T> outside);

// The same voxels where they are, stored in another order: index axes exchanged and turned round until orientation()
// is `code` ("RAI", see data/volume/geometry.h). On an oblique grid they stay oblique: no value is computed.
template <class T>
Volume<T> reoriented(const Volume<T>& volume, const std::string& code);

}  // namespace acinus
