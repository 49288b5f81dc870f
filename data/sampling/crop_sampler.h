// Candidates judged by the annotations, and crops around them to learn from: half nodules, half lookalikes.
//
//   const CropSampler sampler(data, split.train, candidates, excluded, {}, /*seed=*/1);
//   sampler.draw(step * 64, 64, x, t);              x (64,32,32,7) in 0..1, t (64,1): 1 for a nodule, else 0
#pragma once
#include <vector>

#include "data/dataset/dataset.h"
#include "data/sampling/crops.h"
#include "data/scoring/candidates.h"
#include "tensor/tensor.h"

namespace acinus {

enum class Verdict {
  other,    // hits no nodule
  nodule,   // hits one
  ignored,  // hits a finding that counts neither as a hit nor as an error (annotations_excluded.csv)
};
// Of a point (mm) in the scan; `excluded` may hold findings of other scans too.
Verdict judge(const Vec3& point, const Scan& scan, const std::vector<Annotation>& excluded);

struct CropSamplingOptions {
  CropOptions crop = {};
  double hard = 0.25;   // fraction of the others that are not candidates but any dense point in the lungs (kHardHu)
  double shift_mm = 2;  // largest random shift along each axis, so that being centred carries no information
  AugmentOptions augment = {};
};

// Crop number `index` is a function of (seed, index) alone, whatever the threads. Keeps pointers into the data set.
class CropSampler {
 public:
  CropSampler(const Dataset& dataset, const std::vector<size_t>& scans, const std::vector<Candidate>& candidates,
              const std::vector<Annotation>& excluded, CropSamplingOptions options, uint64_t seed);
  int64_t nodules() const { return int64_t(nodules_.size()); }
  int64_t hits() const;                                       // candidates that hit a nodule
  int64_t others() const { return int64_t(others_.size()); }  // candidates that do not
  int64_t hard() const { return int64_t(hard_.size()); }
  Shape image_shape(int64_t n) const;  // (n, size, size, planes)
  // Crops index .. index+n-1: even numbers show nodules, odd numbers do not.
  // parallel: use all threads; false where each thread of a loader draws its own batches.
  void draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool parallel = true) const;

 private:
  struct CropCentre {
    const Scan* scan;
    Vec3 point;  // mm
  };
  const CropCentre& draw_centre(int64_t index, Random& random) const;

  std::vector<std::vector<CropCentre>> nodules_;  // of each, its annotated centre and the candidates that hit it
  std::vector<CropCentre> others_, hard_;
  CropSamplingOptions options_;
  uint64_t seed_;
};

}  // namespace acinus
