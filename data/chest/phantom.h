// Synthetic chest CT with lung nodules: data to learn, test and teach with on a machine that has none.
//
//   Phantom phantom = make_phantom({}, 7);    // (160,160,48) voxels, 2.2 x 2.2 x 3 mm, one to five nodules
//   phantom.ct.at(80, 80, 24);                // Hounsfield units: air -1000, lung about -870, water 0, bone up to 900
//   phantom.nodules[0].centre;                // mm, LPS: spine at +y, heart towards +x
//
// The task is made of what makes the real one hard: nodules are compact blobs among branching tubes (vessels,
// airways) that look the same where a slice cuts them, some touch the chest wall, some are faint, all are blurred.
// The same (options, seed) gives the same voxels, whatever the number of threads.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/volume/volume.h"

namespace acinus {

struct PhantomOptions {
  Index3 size{160, 160, 48};  // voxels. A field of view smaller than the chest is a crop around the lungs
  Vec3 spacing{2.2, 2.2, 3};  // mm
  int min_nodules = 1;        // as many as are drawn and find room
  int max_nodules = 5;
  double min_diameter_mm = 0;  // draws only from the part of LUNA16's distribution above this (they start at 3.25 mm)
  bool flip = false;           // store x and y reversed (TransformMatrix -1 0 0 0 -1 0 0 0 1): same anatomy in mm
  double noise = 18;           // standard deviation, HU
};

struct PhantomNodule {
  enum Kind { solid, part_solid, ground_glass };
  Vec3 centre{};           // mm, LPS
  double diameter_mm = 0;  // of the sphere of the same volume
  Kind kind = solid;
  bool at_wall = false;  // touches the pleura
};

struct Phantom {
  Volume<int16_t> ct;    // HU
  Volume<uint8_t> mask;  // 1 where a nodule fills half of the voxel or more
  std::vector<PhantomNodule> nodules;
  std::vector<PhantomNodule> excluded;  // below 3 mm: seen in the image, not in the mask, neither hit nor error
};

Phantom make_phantom(const PhantomOptions& options, uint64_t seed);

// A diameter in mm from LUNA16's distribution, given that it is at least min_diameter_mm; u uniform in [0, 1).
double nodule_diameter(double u, double min_diameter_mm = 0);

struct PhantomSetOptions {
  int scans = 20;
  uint64_t seed = 1;
  PhantomOptions scan;         // of each, but flip; the noise varies by 40 %
  double vary_spacing = 0.08;  // share by which spacing varies from scan to scan, in plane and along z
  double flipped = 0.25;       // share of the scans that are stored flipped
  bool compressed = false;
};

// Writes scans in LUNA16's form: subset0/<seriesuid>.mhd and .raw, annotations.csv, annotations_excluded.csv and
// seriesuids.csv. annotations.csv comes last: where it is, the set is complete, and is not written again (Error).
void write_phantom_set(const std::string& folder, const PhantomSetOptions& options,
                       const std::function<void(int done, int scans)>& progress = {});

}  // namespace acinus
