// Nodules and their masks: from a list of centres and diameters as spheres, or from outlines that radiologists drew.
#pragma once
#include <string>
#include <vector>

#include "data/volume/volume.h"

namespace acinus {

// A nodule that someone has marked in a scan, as in LUNA16's annotations.csv.
struct Annotation {
  std::string seriesuid;
  Vec3 centre{};           // mm, LPS
  double diameter_mm = 0;  // -1 in annotations_excluded.csv: unknown
  bool operator==(const Annotation&) const = default;
};

constexpr int64_t kMaxClasses = 32;  // of a mask, the background included

// 1 in every voxel whose centre is within diameter/2 (in mm) of a nodule's centre, in all slices that the sphere cuts; 0
// elsewhere. A nodule too small to contain a voxel's centre still gets the nearest voxel. Nodules with a diameter < 0
// (unknown) or outside the grid are skipped.
Volume<uint8_t> sphere_mask(const Grid& grid, const std::vector<Annotation>& nodules);

// 1 where at least `min_readers` of four readers outlined the voxel (values 0..4; two is the usual consensus).
Volume<uint8_t> reader_mask(const Volume<uint8_t>& readers, int min_readers = 2);

}  // namespace acinus
