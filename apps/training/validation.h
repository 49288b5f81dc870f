// A network judged on scans that were held out, and pictures of where it is right and wrong.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "apps/prediction/segment.h"
#include "apps/checks/checks.h"
#include "apps/report/html.h"
#include "data/dataset/dataset.h"

namespace acinus {

// A slice to be looked at.
struct ShownSlice {
  const Scan* scan = nullptr;
  int64_t z = 0;
  double dice = 0;                 // of this slice
  std::vector<uint8_t> predicted;  // classes
};

struct Validation {
  double dice = 0;                                    // mean over the scans that have nodules
  std::vector<std::pair<const Scan*, double>> scans;  // of each, over the whole scan
  double predicted_share = 0, mean_probability = 0;   // of all voxels looked at
  double extreme_share = 0;                           // of them, those with a probability below 1e-6 or above 1 - 1e-6
  double lowest = 1, highest = 0;                     // probability, where nodules may be predicted
  std::vector<ShownSlice> best, worst, random, largest;  // slices with nodules, or with predictions; of the largest:
                                                         // one a scan, the slice with most of its true mask
  bool stopped = false;                                  // by after_slice; then the rest is not to be used
};

struct ValidationOptions {
  InputFormat format;
  uint64_t seed = 1;
  DType activations = DType::f32;  // see SegmentOptions
};
// after_slice(done, of) is called after each slice, and returns whether to go on.
Validation validate(UNet& net, const Dataset& data, const std::vector<size_t>& scans, const ValidationOptions& options,
                    const std::function<bool(int64_t, int64_t)>& after_slice);

Outputs outputs_of(const Validation& validation);  // for check_outputs

// For report.html: the whole slice and a close-up, outlined.
std::vector<PictureGroup> picture_groups(const Validation& validation, const HuWindow& window);
// Up to four scans in rows: the slice with most nodule in it, and a close-up without and with the outlines.
Picture overlay_of(const Validation& validation, const HuWindow& window);

}  // namespace acinus
