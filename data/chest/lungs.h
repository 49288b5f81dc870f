// Where the lungs are in a scan of the chest.
//
//   const Lungs lungs = find_lungs(ct);               Hounsfield units
//   lungs.mask.at(x, y, z);                           1 in the lungs, with their vessels and nodules
//   lungs.left_ml + lungs.right_ml;                   5230.0
//   for (const std::string& w : lungs.warnings) ...   "only one lung was found"
//
// Any size, spacing and orientation; scans cropped to the lungs, or cut off above or below. What is as dense as the
// chest wall is lung if a ball outside the lung cannot reach it: one of 30 mm radius on the outer side, of 16 mm on the
// side of the heart. So nodules of up to about 30 mm are kept where they touch the wall, but for a flat dent; so are
// the hilum's vessels. Larger masses at the wall, consolidations of whole lobes and effusions are not.
//
// Trachea and main bronchi are removed where the trachea is seen from above its fork; without it they stay, as do the
// thinner bronchi. Stomach and bowel are told from lungs by their gas, which holds no tissue.
#pragma once
#include <string>
#include <vector>

#include "data/volume/volume.h"

namespace acinus {

struct Lungs {
  Volume<uint8_t> mask;              // on the scan's grid; all 0 where no lung was found
  double left_ml = 0, right_ml = 0;  // of the mask
  std::vector<std::string> warnings;
};

// The same voxels whatever the number of threads, and whichever way the scan is stored.
Lungs find_lungs(const Volume<int16_t>& ct);

}  // namespace acinus
