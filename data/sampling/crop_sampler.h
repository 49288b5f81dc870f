// Candidates judged by the annotations, and crops of them to learn from: half nodules, half what looks like one.
//
//   const CropSampler sampler(data, split.train, candidates, excluded, {}, /*seed=*/1);
//   sampler.draw(step * 64, 64, x, t);              x (64,32,32,7) in 0..1, t (64,1): 1 for a nodule, 0 for another
//   place
#pragma once
#include <vector>

#include "data/scoring/candidates.h"
#include "data/sampling/crops.h"
#include "data/dataset/dataset.h"
#include "tensor/tensor.h"

namespace acinus {

enum class Verdict {
  other,    // no nodule
  nodule,   // hits one
  ignored,  // hits a finding that counts neither as a hit nor as an error (annotations_excluded.csv)
};
// Of a place in a scan with these nodules; `excluded` may hold findings of other scans too.
Verdict judge(const Vec3& place, const Scan& scan, const std::vector<Annotation>& excluded);

// The area under the ROC curve: the share of pairs of a nodule and another place of which the nodule has the higher
// score; a tie counts half (Mann and Whitney 1947). NaN where one of the two is empty.
double area_under_roc(const std::vector<double>& nodules, const std::vector<double>& others);

struct CropSamplingOptions {
  CropOptions crop = {};
  double hard = 0.25;   // share of the other places that are not candidates but just dense and in the lungs (kHardHu)
  double shift_mm = 2;  // all are moved by up to so much along each axis, so being in the middle tells nothing
  AugmentOptions augment = {};
};

// Crop number `index` is a function of (seed, index) alone, whatever threads do. The data set must live as long.
class CropSampler {
 public:
  CropSampler(const Dataset& dataset, const std::vector<size_t>& scans, const std::vector<Candidate>& candidates,
              const std::vector<Annotation>& excluded, CropSamplingOptions options, uint64_t seed);
  int64_t nodules() const { return int64_t(nodules_.size()); }
  int64_t hits() const;                                       // candidates that are nodules
  int64_t others() const { return int64_t(others_.size()); }  // candidates that are none
  int64_t hard() const { return int64_t(hard_.size()); }
  Shape image_shape(int64_t n) const;  // (n, size, size, planes)
  // Crops index .. index+n-1: those of even number show nodules, the others do not.
  // parallel: by all threads; false where each thread of a loader draws batches of its own.
  void draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool parallel = true) const;

 private:
  struct Place {
    const Scan* scan;
    Vec3 centre;  // mm
  };
  const Place& place(int64_t index, Random& random) const;

  std::vector<std::vector<Place>> nodules_;  // of each, its annotated centre and the candidates that hit it
  std::vector<Place> others_, hard_;
  CropSamplingOptions options_;
  uint64_t seed_;
};

}  // namespace acinus
