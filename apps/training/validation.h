// A network evaluated on held-out scans, and pictures of where it is right and wrong.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "apps/checks/checks.h"
#include "apps/prediction/segment.h"
#include "apps/report/html.h"
#include "data/dataset/dataset.h"

namespace acinus {

// A slice for the pictures.
struct ShownSlice {
  const Scan* scan = nullptr;
  int64_t z = 0;
  double dice = 0;                 // of this slice
  std::vector<uint8_t> predicted;  // classes
};

// How a network does on held-out scans. `dice` is the mean over those that have nodules.
struct Validation : Outputs {
  std::vector<std::pair<const Scan*, double>> scans;  // of each, over the whole scan
  std::vector<ShownSlice> best, worst, random;        // of the slices with nodules or predictions
  std::vector<ShownSlice> largest;                    // of each scan, the slice with the largest true mask
  bool stopped = false;                               // by after_slice; the other members are then incomplete
};

struct ValidationOptions {
  InputFormat format;
  uint64_t seed = 1;
  DType activations = DType::f32;  // see SegmentOptions
};
// Of the network as it is now, folded (nn/fold.h). after_slice(done, of) is called after each slice, and returns whether
// to go on.
Validation validate(const UNet& net, const Dataset& data, const std::vector<size_t>& scans,
                    const ValidationOptions& options, const std::function<bool(int64_t, int64_t)>& after_slice);

// For report.html: the whole slice and a close-up, both with outlines.
std::vector<PictureGroup> picture_groups(const Validation& validation, const HuWindow& window);
// Up to four scans, a row each: the slice with the largest true mask, and a close-up without and with outlines.
Picture overlay_of(const Validation& validation, const HuWindow& window);

}  // namespace acinus
