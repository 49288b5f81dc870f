#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/sampling/augment.h"
#include "tensor/check.h"

namespace acinus {

namespace {

// Pixels between two control points of the elastic grid. Positions are computed for kCell pixels of a row at a time.
constexpr int64_t kCell = 16;

// The uniform cubic B-spline: the weights of the four nearest control points at t = i/kCell of the way from the second
// to the third of them. They add up to 1, so nothing moves further than the points do.
//   w0 = (1-t)^3 / 6   w1 = (3 t^3 - 6 t^2 + 4) / 6   w2 = (3 (1-t)^3 - 6 (1-t)^2 + 4) / 6   w3 = t^3 / 6
constexpr std::array<std::array<float, kCell>, 4> kSpline = [] {
  std::array<std::array<float, kCell>, 4> weights{};
  for (int64_t i = 0; i < kCell; i++) {
    const double t = double(i) / kCell, s = 1 - t;
    weights[0][i] = float(s * s * s / 6);
    weights[1][i] = float((3 * t * t * t - 6 * t * t + 4) / 6);
    weights[2][i] = float((3 * s * s * s - 6 * s * s + 4) / 6);
    weights[3][i] = float(t * t * t / 6);
  }
  return weights;
}();

template <class T>
void copy_mirrored(const T* source, int64_t side, int64_t channels, bool flip_x, bool flip_y, T* out) {
  for (int64_t r = 0; r < side; r++) {
    const T* row = source + (flip_y ? side - 1 - r : r) * side * channels;
    T* to = out + r * side * channels;
    if (!flip_x)
      std::copy(row, row + side * channels, to);
    else
      for (int64_t c = 0; c < side; c++)
        for (int64_t k = 0; k < channels; k++) to[c * channels + k] = row[(side - 1 - c) * channels + k];
  }
}

// Rounding may have put a position marginally outside of the rectangle.
float clamped(float position, float last) { return position < 0 ? 0 : position > last ? last : position; }

}  // namespace

Warp::Warp(const AugmentOptions& options, int64_t side, Random& random) : side_(side) {
  check_options(options);
  check(side >= 1 && side <= 16384, "Warp: a patch of ", side, " x ", side, " pixels; 1 to 16384 are possible");
  flip_x_ = random.uniform() < options.mirror, flip_y_ = random.uniform() < options.mirror;
  double degrees, zoom, reach;  // reach: the largest displacement, pixels
  const bool rotated = draw_change(options.rotate, random, degrees), zoomed = draw_change(options.zoom, random, zoom);
  const bool deformed = draw_change(options.elastic, random, reach);
  const uint64_t seed = uint64_t(random.uniform() * 0x1p53);
  interpolates_ = rotated || zoomed || deformed;
  if (!rotated) degrees = 0;
  if (!zoomed) zoom = 1;
  if (!deformed) reach = 0;

  // From a pixel of the patch back to its source: first the elastic displacement, then mirroring, rotation by -angle
  // and division by zoom. In this order the deformation looks the same in the patch, whatever the others do:
  //   source = M (pixel + displacement - middle) + middle,   M = diag(+-1, +-1) R(-angle) / zoom
  const double angle = degrees * std::numbers::pi / 180, cosine = std::cos(angle) / zoom, sine = std::sin(angle) / zoom;
  const double x = flip_x_ ? -1 : 1, y = flip_y_ ? -1 : 1;
  matrix_[0][0] = x * cosine, matrix_[0][1] = x * sine;
  matrix_[1][0] = y * -sine, matrix_[1][1] = y * cosine;
  const double middle = double(side - 1) / 2;
  bounds_ = {0, 0, side, side};
  for (int64_t axis = 0; axis < 2; axis++) {
    const double* row = matrix_[axis];
    offset_[axis] = middle - (row[0] + row[1]) * middle;
    if (!interpolates_) continue;
    // One pixel beyond the last position, to interpolate with.
    const double extent = (std::abs(row[0]) + std::abs(row[1])) * (middle + reach);
    const int64_t first = int64_t(std::floor(middle - extent)), last = int64_t(std::floor(middle + extent)) + 1;
    (axis == 0 ? bounds_.left : bounds_.top) = first;
    (axis == 0 ? bounds_.cols : bounds_.rows) = last - first + 1;
    offset_[axis] -= double(first);
  }
  if (!deformed) return;
  points_ = (side + kCell - 1) / kCell + 3;  // beginning one before the patch
  displacements_.resize(2 * points_ * points_);
  for (size_t i = 0; i < displacements_.size(); i++)
    displacements_[i] = float(reach * (2 * random_uniform(seed, i) - 1));
}

// Source positions of kCell pixels of a row, the first of which begins a cell; relative to the corner of bounds().
void Warp::positions(int64_t row, int64_t first, float* x, float* y) const {
  const auto along = [&](int axis, double r) { return float(matrix_[axis][1] * r + offset_[axis]); };
  const float x0 = along(0, double(row)), y0 = along(1, double(row));
  const float xu = float(matrix_[0][0]), yu = float(matrix_[1][0]), xv = float(matrix_[0][1]),
              yv = float(matrix_[1][1]);
  if (points_ == 0) {
    for (int64_t k = 0; k < kCell; k++) {
      const float u = float(first + k);
      x[k] = xu * u + x0, y[k] = yu * u + y0;
    }
    return;
  }
  // The displacement in this row of the four columns of control points around this cell: x, then y.
  float moved[2][4];
  for (int64_t axis = 0; axis < 2; axis++)
    for (int64_t i = 0; i < 4; i++) {
      const float* point = displacements_.data() + (axis * points_ + row / kCell) * points_ + first / kCell + i;
      float sum = 0;
      for (int64_t j = 0; j < 4; j++) sum += kSpline[j][row % kCell] * point[j * points_];
      moved[axis][i] = sum;
    }
  for (int64_t k = 0; k < kCell; k++) {
    float u = float(first) + float(k), v = 0;
    for (int i = 0; i < 4; i++) u += kSpline[i][k] * moved[0][i], v += kSpline[i][k] * moved[1][i];
    x[k] = xu * u + xv * v + x0, y[k] = yu * u + yv * v + y0;
  }
}

std::array<double, 2> Warp::source(int64_t column, int64_t row) const {
  check(column >= 0 && column < side_ && row >= 0 && row < side_, "Warp: pixel (", column, ",", row, ") of ", side_,
        " x ", side_);
  float x[kCell], y[kCell];
  positions(row, column / kCell * kCell, x, y);
  return {double(x[column % kCell]) + double(bounds_.left), double(y[column % kCell]) + double(bounds_.top)};
}

void Warp::sample(const float* source, int64_t channels, float* out) const {
  if (!interpolates_) return copy_mirrored(source, side_, channels, flip_x_, flip_y_, out);
  const int64_t below = bounds_.cols * channels;
  const float last_x = float(bounds_.cols - 1), last_y = float(bounds_.rows - 1);
  const int last_column = int(bounds_.cols - 2), last_row = int(bounds_.rows - 2);  // the last ones with a neighbour
  for (int64_t r = 0; r < side_; r++)
    for (int64_t first = 0; first < side_; first += kCell) {
      float x[kCell], y[kCell];
      int column[kCell], row[kCell];
      positions(r, first, x, y);
      for (int64_t k = 0; k < kCell; k++) {
        x[k] = clamped(x[k], last_x), y[k] = clamped(y[k], last_y);
        column[k] = std::min(int(x[k]), last_column), row[k] = std::min(int(y[k]), last_row);
        x[k] -= float(column[k]), y[k] -= float(row[k]);
      }
      float* to = out + (r * side_ + first) * channels;
      for (int64_t k = 0; k < std::min(kCell, side_ - first); k++) {
        const float* from = source + (row[k] * bounds_.cols + column[k]) * channels;
        for (int64_t c = 0; c < channels; c++, from++) {
          const float upper = from[0] + x[k] * (from[channels] - from[0]);
          const float lower = from[below] + x[k] * (from[below + channels] - from[below]);
          *to++ = upper + y[k] * (lower - upper);
        }
      }
    }
}

void Warp::sample_nearest(const uint8_t* source, uint8_t* out) const {
  if (!interpolates_) return copy_mirrored(source, side_, 1, flip_x_, flip_y_, out);
  const float last_x = float(bounds_.cols - 1), last_y = float(bounds_.rows - 1);
  for (int64_t r = 0; r < side_; r++)
    for (int64_t first = 0; first < side_; first += kCell) {
      float x[kCell], y[kCell];
      int column[kCell], row[kCell];
      positions(r, first, x, y);
      for (int64_t k = 0; k < kCell; k++)
        column[k] = int(clamped(x[k], last_x) + 0.5f), row[k] = int(clamped(y[k], last_y) + 0.5f);
      uint8_t* to = out + r * side_ + first;
      for (int64_t k = 0; k < std::min(kCell, side_ - first); k++) to[k] = source[row[k] * bounds_.cols + column[k]];
    }
}

}  // namespace acinus
