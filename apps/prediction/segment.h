// Where networks and scans meet: a U-Net run over a whole scan, and what comes out judged.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "apps/common/input_format.h"
#include "data/dataset/dataset.h"
#include "nn/checkpoint.h"

namespace acinus {

// A network, and what it was trained to see. The network keeps the mode it is in (eval, that is).
struct Segmenter {
  UNet* net = nullptr;
  InputFormat format;
};
struct SegmentOptions {
  int64_t batch = 1;    // slices at once; several keep a GPU busier
  bool mirror = false;  // the mean over each slice and its three mirror images, in four times the time
  DType activations = DType::f32;  // bfloat16 takes half the memory, and is what tensor cores multiply fastest
};

// Runs networks over a scan, slice by slice, so that memory is bounded by a few slices, and calls see(z, p) for each: p
// are the probabilities of the classes (rows, cols, classes), the background left out, in the mean over all networks.
// labels: those of the scan; where the formats say `lungs`, probabilities outside the lungs are 0, and only a box
// around the lungs is looked at, kLungMargin voxels larger on each side: about half of a chest scan.
// see() returns whether to go on; where it returned false, segment_slices does, too, and the other slices are left out.
constexpr int64_t kLungMargin = 32;
bool segment_slices(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels,
                    const SegmentOptions& options, const std::function<bool(int64_t, const float*)>& see);
inline bool segment_slices(UNet& net, const ScanView& image, const uint8_t* labels, const InputFormat& format,
                           const std::function<bool(int64_t, const float*)>& see) {
  return segment_slices({{&net, format}}, image, labels, {}, see);
}

// The most probable class of each pixel, if its probability is above the threshold; else 0, the background.
void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask);

// Hard Dice, 2 |A and B| / (|A| + |B|), counted slice by slice; 1 where both are empty. Of several classes the mean
// over those that are there, in either.
class DiceCount {
 public:
  explicit DiceCount(int64_t classes) : both_(size_t(classes)), sum_(size_t(classes)) {}
  // `a` and `b`: classes, 0 for the background; other bits than those of kClass are passed over.
  void add(const uint8_t* a, const uint8_t* b, int64_t pixels);
  double dice() const;

 private:
  std::vector<int64_t> both_, sum_;  // by class
};

}  // namespace acinus
