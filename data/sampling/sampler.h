// Draws training patches: square parts of slices with their neighbours as channels, augmented
// (data/sampling/augment.h), and the true classes of their pixels.
//
//   const Sampler sampler(data, split.train, {.size = 64, .planes = 3}, /*seed=*/1);
//   sampler.draw(step * 16, 16, x, t);               x (16,64,64,3) in 0..1, t (16,64,64,1) of 0 and 1
//
// Most of a scan is easy: nine voxels in ten are not even lung. So fixed fractions of the patches are drawn around
// nodules and at lookalikes (`hard`), and the rest anywhere, mostly in the lungs.
#pragma once
#include <vector>

#include "data/dataset/dataset.h"
#include "data/sampling/augment.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

struct SamplingOptions {
  int64_t size = 96;          // side of the patches, voxels
  int64_t planes = 3;         // odd
  double foreground = 0.5;    // fraction of patches around a nodule
  double hard = 0.2;          // fraction of patches on dense voxels in the lungs (whole slices: next to a nodule's)
  bool whole_slices = false;  // centred in the slice; those with a nodule come once per pass, as in the seed system
  HuWindow window = {};
  AugmentOptions augment = {};
};

// Patch number `index` is a function of (seed, index) alone, whatever the threads. Keeps pointers into the data set.
class Sampler {
 public:
  Sampler(const Dataset& dataset, const std::vector<size_t>& scans, SamplingOptions options, uint64_t seed);
  // Patches in one pass over all slices that hold nodules.
  int64_t nodule_slices() const { return int64_t(slices_.size()); }
  Shape image_shape(int64_t n) const;   // (n, size, size, planes * channels)
  Shape target_shape(int64_t n) const;  // (n, size, size, classes)
  // Patches index .. index+n-1. parallel: use all threads; false where each thread of a loader draws its own batches.
  void draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool parallel = true) const;

 private:
  struct PatchCentre {
    const Scan* scan;
    int64_t x, y, z;
  };
  struct Slice {
    const Scan* scan;
    int64_t z;
  };
  struct Target {
    const Scan* scan;
    const Annotation* nodule;  // or null: any foreground of the scan
    size_t first, end;         // the scan's slices in slices_
  };
  PatchCentre draw_centre(int64_t index, Random& random) const;
  PatchCentre centre_of_slice(int64_t index, double u, Random& random) const;
  PatchCentre in_nodule(Random& random) const;
  PatchCentre jittered(PatchCentre centre, Random& random) const;
  template <auto is, auto count>
  static PatchCentre random_voxel(const Slice& slice, Random& random);
  bool draws_hard(double u) const;
  void draw_patch(int64_t index, float* x, float* t) const;

  std::vector<const Scan*> scans_;
  std::vector<Target> nodules_;
  std::vector<Slice> slices_, hard_, lungs_;  // that hold foreground; hard voxels; lungs
  int64_t classes_, channels_;
  SamplingOptions options_;
  uint64_t seed_;
};

}  // namespace acinus
