// Where networks and scans meet: a U-Net run over a whole scan, and what comes out judged.
#pragma once
#include <functional>
#include <string>

#include "data/dataset.h"
#include "nn/checkpoint.h"

namespace acinus {

// What a network was trained to see; stored in the metadata of its file.
struct InputFormat {
  int64_t planes = 3;    // neighbouring slices as channels
  int64_t channels = 1;  // of each: 3 of colour pictures
  HuWindow window = {};
  double threshold = 0.5;  // of the probability, for the mask
  bool lungs = false;      // outside the lungs nothing is predicted
};
std::map<std::string, std::string> to_metadata(const InputFormat& format);
InputFormat input_format(const std::map<std::string, std::string>& metadata, const std::string& source);

// Runs a network over a scan, slice by slice, so that memory is bounded by one slice, and calls see(z, p) for each: p
// are the probabilities of the classes (rows, cols, classes), the background left out. labels: those of the scan; where
// format.lungs holds, probabilities outside the lungs become 0. The network keeps the mode it is in (eval, that is).
void segment_slices(UNet& net, const ScanView& image, const uint8_t* labels, const InputFormat& format,
                    const std::function<void(int64_t, const float*)>& see);

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
