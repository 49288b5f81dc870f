// Augmentation: training patches changed at random in the ways in which patients and scanners differ, so that the
// network learns to ignore these. The recipe is nnU-Net's (Isensee et al. 2021).
//
//   Random random(random_bits(seed, index));           // a stream for each patch: the same stream, the same patch
//   const Warp warp(options, 64, random);              // where the pixels of a patch of 64 x 64 come from
//   const Rectangle from = warp.bounds();              // fetch from.rows x from.cols pixels of the slice ...
//   warp.sample(image, 3, patch);                      // ... with 3 channels -> 64 x 64 x 3
//   warp.sample_nearest(mask, target);                 // the mask likewise, without interpolation
//   change_intensities(options, random, patch, 64, 64, 3);
//
// Pixels are row-major, their channels (neighbouring slices) interleaved, image values 0 to 1.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "data/volume/geometry.h"
#include "tensor/random.h"

namespace acinus {

// A transform applied to a fraction of the patches, each time with a parameter drawn uniformly from low to high.
struct RandomChange {
  double probability, low, high;
};

// Probabilities, ranges and order are those of nnUNetTrainer.get_training_transforms in nnU-Net 2, for 2D; their
// meaning is that of its transforms' code, batchgeneratorsv2. Differences are noted.
struct AugmentOptions {
  double mirror = 0.5;                  // of x, and of y
  RandomChange rotate{0.2, -180, 180};  // degrees, from x towards y
  RandomChange zoom{0.2, 0.7, 1.4};     // magnification (there: its inverse)
  // Not in nnU-Net 2's recipe. Control points 16 pixels apart are displaced by at most this many pixels, and what lies
  // between them follows smoothly: the idea of Simard et al. 2003 on the coarse grid of Ronneberger et al. 2015,
  // section 3.1. Cubic B-splines do not fold as long as no point moves further than 1/2.05 of their distance (Choi and
  // Lee 2000), 7.8 pixels.
  RandomChange elastic{0.1, 2, 5};
  // Standard deviation. There it is up to 0.1 (called a variance, but used as a deviation) of an image of deviation 1;
  // an image of 0 to 1 has about 0.3. In a window of 1400 HU, 0.03 is 42 HU.
  RandomChange noise{0.1, 0, 0.03};
  RandomChange blur{0.2, 0.5, 1};  // sigma, pixels (there only half of the channels of such a patch)
  // A factor of the value, so that air stays air (there: of the distance from the data set's mean).
  RandomChange brightness{0.15, 0.75, 1.25};
  RandomChange contrast{0.15, 0.75, 1.25};    // a factor of the distance from the patch's mean; clamped to its range
  RandomChange low_resolution{0.25, 0.5, 1};  // pixels per pixel, and back again (there only half of the channels)
  // value^gamma in the patch's range, keeping its mean and deviation; the inverse acts on 1 - value. (There, values
  // below 1 are drawn as often as values above.)
  RandomChange gamma_of_inverse{0.1, 0.7, 1.5}, gamma{0.3, 0.7, 1.5};
};

AugmentOptions no_augmentation();                   // all probabilities 0
void check_options(const AugmentOptions& options);  // throws Error if a value is out of range

// Whether a change happens, and its parameter. Both numbers are drawn in any case, so that one change more or less
// leaves the others of a patch as they are.
bool draw_change(const RandomChange& change, Random& random, double& parameter);

// The source of each pixel of a square patch. Positions are counted in pixels from the centre of the upper left pixel
// of the unchanged patch, in which pixel (column, row) comes from (column, row). Mirroring, rotation and zoom are about
// the centre of the patch, ((side-1)/2, (side-1)/2), which lies between two pixels if the side is even. So mirroring
// takes pixel (column, row) from (side-1-column, row).
class Warp {
 public:
  Warp(const AugmentOptions& options, int64_t side, Random& random);

  bool interpolates() const { return interpolates_; }  // false: pixels are at most permuted
  // The rectangle of the source that sample reads, and that it must be given: rows x cols pixels from (left, top) on.
  // It may reach beyond the patch or the slice; what is there, the caller decides.
  Rectangle bounds() const { return bounds_; }
  std::array<double, 2> source(int64_t column, int64_t row) const;  // x, y

  // side x side pixels, bilinear; for masks the nearest pixel. source and out must not overlap.
  void sample(const float* source, int64_t channels, float* out) const;
  void sample_nearest(const uint8_t* source, uint8_t* out) const;

 private:
  void positions(int64_t row, int64_t first, float* x, float* y) const;

  int64_t side_;
  bool flip_x_, flip_y_, interpolates_;
  Rectangle bounds_;
  double matrix_[2][2], offset_[2];   // source - (left, top) = matrix * (column, row) + offset
  int64_t points_ = 0;                // control points of the elastic grid along each axis; 0: no elastic deformation
  std::vector<float> displacements_;  // pixels: x of all points, then y
};

// Noise, blur, brightness, contrast, low resolution and gamma. All channels change alike; only noise differs. At the
// end, values are clamped to 0..1.
void change_intensities(const AugmentOptions& options, Random& random, float* pixels, int64_t rows, int64_t cols,
                        int64_t channels);

}  // namespace acinus
