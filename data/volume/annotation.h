// A nodule that someone has marked in a scan.
#pragma once
#include <string>

#include "data/volume/geometry.h"

namespace acinus {

// A nodule as LUNA16's annotations.csv has it: seriesuid,coordX,coordY,coordZ,diameter_mm.
struct Annotation {
  std::string seriesuid;
  Vec3 centre{};           // mm, LPS
  double diameter_mm = 0;  // -1 in annotations_excluded.csv: unknown
  bool operator==(const Annotation&) const = default;
};

}  // namespace acinus
