// Coordinates that were meant in another way than annotations.csv has them: millimetres, LPS, x,y,z.
//
// A list of places says nothing about its frame; only the scan can tell. If hardly any place lies where a nodule can
// be, each way below is tried, and the one under which most do is named.
#pragma once
#include <string>
#include <vector>

#include "data/volume/geometry.h"

namespace acinus {

struct Misreading {
  const char *what, *cure;
  Vec3 (*voxel)(const Grid& grid, const Vec3& written);  // where the place then lies
};
extern const std::vector<Misreading> kMisreadings;

// The one under which the share of places that fit(place, voxel) is largest, if that is most of them (above 2/3) and
// much more than now (`share_now` + 0.3); null if there is none.
template <class Place, class Fit>
const Misreading* best_misreading(const std::vector<Place>& places, double share_now, size_t& fitting, Fit fit) {
  const Misreading* best = nullptr;
  fitting = 0;
  for (const Misreading& misreading : kMisreadings) {
    size_t n = 0;
    for (const Place& place : places) n += fit(place, misreading.voxel);
    if (n > fitting) fitting = n, best = &misreading;
  }
  const double share = places.empty() ? 0 : double(fitting) / double(places.size());
  return share > 2. / 3 && share > share_now + 0.3 ? best : nullptr;
}

}  // namespace acinus
