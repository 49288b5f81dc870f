// The same image on another grid.
//
//   Volume<int16_t> ct = read_volume<int16_t>("scan.mhd");                  512x512x141 voxels, 0.76 x 0.76 x 2.5 mm
//   const Grid even = resampled(ct.grid, {1, 1, 1});                        389x389x353 voxels of 1 mm, same extent
//   resample(ct, even, Interpolation::linear, -1000);                       the scan there, air (-1000 HU) around it
//   resample(mask, even, Interpolation::nearest, 0);                        its mask: values remain 0 or 1
//   reoriented(ct, "RAI");                                                  x to the left, y to the back, z to the head
//
// A network learns sizes in voxels, so scans are brought to one spacing; and masks drawn on one grid are compared on
// another. Resampling computes new values; reorienting only rearranges the old ones.
#pragma once
#include <string>
#include <type_traits>

#include "data/volume/volume.h"

namespace acinus {

// linear: a weighted mean of the 8 nearest voxels. nearest: the value of the voxel with the closest centre (of two
// equally close, the one with the higher index), for masks and labels, whose values have no meaningful mean.
// Neither smooths: much larger voxels skip some of the old ones, so noise remains and fine detail may turn into false
// patterns (aliasing). This is hardly visible from 0.7 to 1 mm, but clearly from 0.7 to 3 mm.
enum class Interpolation { nearest, linear };

// The value of `from` at the centre of each voxel of `onto`, a grid of any position and orientation. Where `from` has no
// voxel, the value is `outside`: -1000 HU (air) for a CT, 0 for a mask. The outer half of an outermost voxel has no
// neighbour to interpolate with and takes its value. T is int16_t, uint8_t (both rounded to the nearest integer) or
// float. A NaN spreads to the voxels in whose mean it has a weight.
template <class T>
Volume<T> resample(const Volume<T>& from, const Grid& onto, Interpolation how, std::type_identity_t<T> outside);

// The same voxels at the same positions, stored in another order: index axes are permuted and reversed until
// orientation() is `code` ("RAI", see data/volume/geometry.h). An oblique grid stays oblique: no value is computed.
template <class T>
Volume<T> reoriented(const Volume<T>& volume, const std::string& code);

}  // namespace acinus
