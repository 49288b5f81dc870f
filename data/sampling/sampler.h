// Draws training pieces: square parts of slices with their neighbours as channels, changed at random (data/sampling/augment.h),
// and the true classes of their pixels.
//
//   const Sampler sampler(data, split.train, {.size = 64, .planes = 3}, /*seed=*/1);
//   sampler.draw(step * 16, 16, x, t);               x (16,64,64,3) in 0..1, t (16,64,64,1) of 0 and 1
//
// Most of a scan is easy: nine voxels in ten are not even lung. So pieces are drawn in shares: around nodules, at
// places that look like nodules (`hard`), and, the rest, anywhere, mostly in the lungs.
#pragma once
#include <utility>
#include <vector>

#include "data/sampling/augment.h"
#include "data/dataset/dataset.h"
#include "tensor/random.h"
#include "tensor/tensor.h"

namespace acinus {

struct SamplingOptions {
  int64_t size = 96;          // side of the pieces, voxels
  int64_t planes = 3;         // odd
  double foreground = 0.5;    // share of pieces around a nodule
  double hard = 0.2;          // share of pieces on dense voxels in the lungs, or in slices next to a nodule's
  bool whole_slices = false;  // the middle of a slice instead; those with a nodule each once a pass, as the seed system
  HuWindow window = {};
  AugmentOptions augment = {};
};

// Piece number `index` is a function of (seed, index) alone, whatever threads do. The data set must live as long.
class Sampler {
 public:
  Sampler(const Dataset& dataset, const std::vector<size_t>& scans, SamplingOptions options, uint64_t seed);
  // Pieces in one pass over all slices that hold nodules.
  int64_t nodule_slices() const { return int64_t(slices_.size()); }
  Shape image_shape(int64_t n) const;   // (n, size, size, planes * channels)
  Shape target_shape(int64_t n) const;  // (n, size, size, classes)
  // Pieces index .. index+n-1. parallel: by all threads; false where each thread of a loader draws batches of its own.
  void draw(int64_t index, int64_t n, Tensor& x, Tensor& t, bool parallel = true) const;

 private:
  struct Place {
    const Scan* scan;
    int64_t x, y, z;  // the middle of the piece
  };
  using Slice = std::pair<const Scan*, int64_t>;
  struct Target {
    const Scan* scan;
    const Annotation* nodule;  // or null: any foreground of the scan
    size_t first, end;         // the scan's slices in slices_
  };
  Place place(int64_t index, Random& random) const;
  void draw_piece(int64_t index, float* x, float* t) const;

  std::vector<const Scan*> scans_;
  std::vector<Target> nodules_;
  std::vector<Slice> slices_, hard_, lungs_;  // that hold foreground; hard voxels; lungs
  int64_t classes_, channels_;
  SamplingOptions options_;
  uint64_t seed_;
};

}  // namespace acinus
