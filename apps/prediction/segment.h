// Semantic segmentation of a whole scan by one U-Net or several, and the Dice score of the result.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "apps/common/input_format.h"
#include "data/dataset/dataset.h"
#include "nn/checkpoint.h"

namespace acinus {

// A network and what it was trained to see. The network keeps its mode, which should be eval.
struct Segmenter {
  UNet* net = nullptr;
  InputFormat format;
};
struct SegmentOptions {
  int64_t batch = 0;               // slices at once; 0: as many as pay, with the same bits as one by one
  bool mirror = false;             // average over each slice and its three mirror images, in four times the time
  DType activations = DType::f32;  // bfloat16 takes half the memory, and is what tensor cores multiply fastest
};

// Runs the networks slice by slice, so that a few slices bound the memory, and calls use_slice(z, p) for each slice: p
// (rows, cols, classes) are the probabilities of the classes without the background, averaged over the networks.
//
// `labels` are the scan's. If the formats say `lungs`, probabilities outside the lungs are 0, and the networks see only
// a box around the lungs with a margin of kLungMargin voxels: about half of a chest scan.
//
// Stops when use_slice returns false, and then returns false itself.
constexpr int64_t kLungMargin = 32;
using UseSlice = std::function<bool(int64_t z, const float* p)>;
bool segment_slices(const std::vector<Segmenter>& networks, const ScanView& image, const uint8_t* labels,
                    const SegmentOptions& options, const UseSlice& use_slice);
inline bool segment_slices(UNet& net, const ScanView& image, const uint8_t* labels, const InputFormat& format,
                           const UseSlice& use_slice) {
  return segment_slices({{&net, format}}, image, labels, {}, use_slice);
}

// The most probable class of each pixel if its probability exceeds the threshold, else 0, the background.
void classes_of(const float* p, int64_t pixels, int64_t classes, double threshold, uint8_t* mask);

// The Dice score of two masks, 2 |A and B| / (|A| + |B|), counted slice by slice; 1 if both are empty. With several
// classes, the mean over those that occur in either mask.
class DiceCount {
 public:
  explicit DiceCount(int64_t classes) : both_(classes), sum_(classes) {}
  // `a` and `b`: classes, 0 for the background; bits other than those of kClass are ignored.
  void add(const uint8_t* a, const uint8_t* b, int64_t pixels);
  double dice() const;

 private:
  std::vector<int64_t> both_, sum_;  // |A and B| and |A| + |B|, by class
};

}  // namespace acinus
