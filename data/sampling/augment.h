// Augmentation: training pieces changed at random in the ways in which patients and scanners differ, so that the
// network learns to overlook these. The recipe is nnU-Net's (Isensee et al. 2021).
//
//   Random random(random_bits(seed, index));           // a stream of the piece's own: the same stream, the same piece
//   const Warp warp(options, 64, random);              // where the pixels of a piece of 64 x 64 come from
//   const Rectangle from = warp.bounds();              // fetch from.rows x from.cols pixels of the slice ...
//   warp.sample(image, 3, piece);                      // ... of 3 channels -> 64 x 64 x 3
//   warp.sample_nearest(mask, target);                 // the mask in the same way, without interpolation
//   change_intensities(options, random, piece, 64, 64, 3);
//
// Pixels are row-major, their channels (neighbouring slices) interleaved, image values 0 to 1.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "data/volume/geometry.h"
#include "tensor/random.h"

namespace acinus {

// Happens to a share of the pieces, each time with a number drawn evenly from low to high.
struct RandomChange {
  double probability, low, high;
};

// Shares and ranges are those of nnUNetTrainer.get_training_transforms in nnU-Net 2, for 2D, and so is the order. What
// they mean is taken from the code of its transforms, batchgeneratorsv2; where this differs from them, it is said.
struct AugmentOptions {
  double mirror = 0.5;                  // of x, and of y
  RandomChange rotate{0.2, -180, 180};  // degrees, from x towards y
  RandomChange zoom{0.2, 0.7, 1.4};     // things become so many times as large (there: 1 / so many times)
  // Not in nnU-Net 2's recipe. Points 16 pixels apart move by so many pixels at most, what lies between them smoothly
  // along: the idea of Simard et al. 2003 on the coarse grid of Ronneberger et al. 2015, section 3.1. Cubic B-splines
  // do not fold while no point moves further than 1/2.05 of that distance (Choi and Lee 2000), 7.8 pixels.
  RandomChange elastic{0.1, 2, 5};
  // Standard deviation. There it is up to 0.1 (called a variance, but used as a deviation) of an image of deviation 1;
  // an image of 0 to 1 has about 0.3. In a window of 1400 HU, 0.03 is 42 HU.
  RandomChange noise{0.1, 0, 0.03};
  RandomChange blur{0.2, 0.5, 1};  // sigma, pixels (there, of these pieces, half of the channels)
  // Times the value, so that air stays air (there: the distance from the data set's mean).
  RandomChange brightness{0.15, 0.75, 1.25};
  RandomChange contrast{0.15, 0.75, 1.25};    // times the distance from the piece's mean; within the range there was
  RandomChange low_resolution{0.25, 0.5, 1};  // so many pixels a pixel, and back (there half of the channels, too)
  // value^gamma in the piece's range, whose mean and deviation are kept; or that of 1 - value, and back. (There,
  // numbers below 1 are drawn as often as those above.)
  RandomChange gamma_of_inverse{0.1, 0.7, 1.5}, gamma{0.3, 0.7, 1.5};
};

AugmentOptions no_augmentation();                   // all probabilities 0
bool anything(const AugmentOptions& options);       // is any of them above 0?
void check_options(const AugmentOptions& options);  // throws where one is impossible

// Where the pixels of a square piece come from. Positions are counted in pixels from the middle of the upper left pixel
// of the piece as it would be unchanged, whose pixel (column, row) comes from (column, row). What turns, turns about
// the middle of the piece, ((side-1)/2, (side-1)/2): between two pixels where the side is even. So mirroring takes
// pixel (column, row) from (side-1-column, row).
class Warp {
 public:
  Warp(const AugmentOptions& options, int64_t side, Random& random);

  bool is_identity() const { return !interpolates_ && !flip_x_ && !flip_y_; }
  bool interpolates() const { return interpolates_; }  // false: pixels change place at most
  // The rectangle of the source that sample reads, and that it must be given: rows x cols pixels from (left, top) on.
  // They may be outside of the piece or of the slice; what is there, the caller decides.
  Rectangle bounds() const { return bounds_; }
  std::array<double, 2> source(int64_t column, int64_t row) const;  // x, y

  // side x side pixels, bilinear, or for masks the nearest. source and out must not overlap.
  void sample(const float* source, int64_t channels, float* out) const;
  void sample_nearest(const uint8_t* source, uint8_t* out) const;

 private:
  void positions(int64_t row, int64_t first, float* x, float* y) const;

  int64_t side_;
  bool flip_x_, flip_y_, interpolates_;
  Rectangle bounds_;
  double matrix_[2][2], offset_[2];  // source - (left, top) = matrix * (column, row) + offset
  int64_t points_ = 0;               // of the elastic grid, along each axis; 0: none
  std::vector<float> moves_;         // x of all points, then y
};

// Noise, blur, brightness, contrast, low resolution and gamma. All channels change alike; only noise differs. Values
// are cut to 0..1 at the end, if anything was changed.
void change_intensities(const AugmentOptions& options, Random& random, float* pixels, int64_t rows, int64_t cols,
                        int64_t channels);

}  // namespace acinus
