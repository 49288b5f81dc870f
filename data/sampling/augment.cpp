#include "data/sampling/augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace acinus {

namespace {

// Both numbers are drawn in any case, so that one change more or less leaves the others of a piece as they are.
bool draw(const RandomChange& change, Random& random, double& by) {
  const double chance = random.uniform();
  by = random.uniform(change.low, change.high);
  return chance < change.probability;
}

void check_change(const char* name, const RandomChange& change, double least, double most) {
  check(change.probability >= 0 && change.probability <= 1, "augmentation: ", name, " has the probability ",
        change.probability, "; it must be between 0 and 1");
  check(least <= change.low && change.low <= change.high && change.high <= most, "augmentation: ", name, " from ",
        change.low, " to ", change.high, ": must be a range between ", least, " and ", most);
}

}  // namespace

AugmentOptions no_augmentation() {
  AugmentOptions none;
  none.mirror = 0;
  for (RandomChange* change : {&none.rotate, &none.zoom, &none.elastic, &none.noise, &none.blur, &none.brightness,
                               &none.contrast, &none.low_resolution, &none.gamma_of_inverse, &none.gamma})
    change->probability = 0;
  return none;
}

bool anything(const AugmentOptions& o) {
  return o.mirror > 0 ||
         std::max({o.rotate.probability, o.zoom.probability, o.elastic.probability, o.noise.probability,
                   o.blur.probability, o.brightness.probability, o.contrast.probability, o.low_resolution.probability,
                   o.gamma_of_inverse.probability, o.gamma.probability}) > 0;
}

void check_options(const AugmentOptions& o) {
  check_change("mirror", {o.mirror, 0, 0}, 0, 0);
  check_change("rotate", o.rotate, -360, 360);
  check_change("zoom", o.zoom, 0.25, 4);
  check_change("elastic", o.elastic, 0, 7.8);
  check_change("noise", o.noise, 0, 1);
  check_change("blur", o.blur, 0.1, 1.5);
  check_change("brightness", o.brightness, 0, 10);
  check_change("contrast", o.contrast, 0, 10);
  check_change("low_resolution", o.low_resolution, 0.01, 1);
  check_change("gamma_of_inverse", o.gamma_of_inverse, 0.1, 10);
  check_change("gamma", o.gamma, 0.1, 10);
}

// ---- where pixels come from ----------------------------------------------------------------------------------------

namespace {

// Pixels between two points of the elastic grid. Positions are computed for so many pixels of a row at once.
constexpr int64_t kCell = 16;

// What the four points around have to say to a place t/16 of the way from the second to the third of them: the uniform
// cubic B-spline. The four add up to 1, so nothing moves further than they do.
constexpr std::array<std::array<float, kCell>, 4> kSpline = [] {
  std::array<std::array<float, kCell>, 4> weights{};
  for (int64_t i = 0; i < kCell; i++) {
    const double t = double(i) / kCell, s = 1 - t;
    weights[0][size_t(i)] = float(s * s * s / 6);
    weights[1][size_t(i)] = float((3 * t * t * t - 6 * t * t + 4) / 6);
    weights[2][size_t(i)] = float((3 * s * s * s - 6 * s * s + 4) / 6);
    weights[3][size_t(i)] = float(t * t * t / 6);
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

// 0 to last, also where rounding has put a position a trace outside of the rectangle.
float within(float at, float last) { return at < 0 ? 0 : at > last ? last : at; }

}  // namespace

Warp::Warp(const AugmentOptions& options, int64_t side, Random& random) : side_(side) {
  check_options(options);
  check(side >= 1 && side <= 16384, "Warp: a piece of ", side, " x ", side, " pixels; 1 to 16384 are possible");
  flip_x_ = random.uniform() < options.mirror, flip_y_ = random.uniform() < options.mirror;
  double degrees, zoom, reach;
  const bool rotates = draw(options.rotate, random, degrees), zooms = draw(options.zoom, random, zoom);
  const bool bends = draw(options.elastic, random, reach);
  const uint64_t seed = uint64_t(random.uniform() * 0x1p53);
  interpolates_ = rotates || zooms || bends;
  if (!rotates) degrees = 0;
  if (!zooms) zoom = 1;
  if (!bends) reach = 0;

  // From the picture that is made back to the one there is: first bent, then mirrored, turned back and made smaller, so
  // that the bending stays as it is in the piece, whatever the others do.
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
    // One pixel more than the last position, to interpolate with.
    const double extent = (std::abs(row[0]) + std::abs(row[1])) * (middle + reach);
    const int64_t first = int64_t(std::floor(middle - extent)), last = int64_t(std::floor(middle + extent)) + 1;
    (axis == 0 ? bounds_.left : bounds_.top) = first;
    (axis == 0 ? bounds_.cols : bounds_.rows) = last - first + 1;
    offset_[axis] -= double(first);
  }
  if (!bends) return;
  points_ = (side + kCell - 1) / kCell + 3;  // from one before the piece on
  moves_.resize(size_t(2 * points_ * points_));
  for (size_t i = 0; i < moves_.size(); i++) moves_[i] = float(reach * (2 * random_uniform(seed, i) - 1));
}

// Of kCell pixels of a row, the first of which begins a cell; counted from the corner of bounds().
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
  // How far the four columns of points around this cell move in this row: x, then y.
  float moved[2][4];
  for (int64_t axis = 0; axis < 2; axis++)
    for (int64_t i = 0; i < 4; i++) {
      const float* point = moves_.data() + (axis * points_ + row / kCell) * points_ + first / kCell + i;
      float sum = 0;
      for (int64_t j = 0; j < 4; j++) sum += kSpline[size_t(j)][size_t(row % kCell)] * point[j * points_];
      moved[axis][i] = sum;
    }
  for (size_t k = 0; k < size_t(kCell); k++) {
    float u = float(first) + float(k), v = 0;
    for (size_t i = 0; i < 4; i++) u += kSpline[i][k] * moved[0][i], v += kSpline[i][k] * moved[1][i];
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
  const int last_column = int(bounds_.cols - 2), last_row = int(bounds_.rows - 2);  // that have one behind them
  for (int64_t r = 0; r < side_; r++)
    for (int64_t first = 0; first < side_; first += kCell) {
      float x[kCell], y[kCell];
      int column[kCell], row[kCell];
      positions(r, first, x, y);
      for (int64_t k = 0; k < kCell; k++) {
        x[k] = within(x[k], last_x), y[k] = within(y[k], last_y);
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
        column[k] = int(within(x[k], last_x) + 0.5f), row[k] = int(within(y[k], last_y) + 0.5f);
      uint8_t* to = out + r * side_ + first;
      for (int64_t k = 0; k < std::min(kCell, side_ - first); k++) to[k] = source[row[k] * bounds_.cols + column[k]];
    }
}

// ---- intensities ---------------------------------------------------------------------------------------------------

namespace {

struct Piece {
  float* pixels;
  int64_t rows, cols, channels;
  int64_t row_values() const { return cols * channels; }
  int64_t values() const { return rows * cols * channels; }
};

// Sums and extremes have so many partial results each, so that the compiler may use vectors without changing the order
// in which we say that numbers are added.
constexpr int64_t kLanes = 16;

template <class F>
double sum(int64_t n, F value) {
  float sums[kLanes] = {};
  for (int64_t i = 0; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; k++) sums[k] += value(i + k);
  double total = 0;
  for (int64_t i = n / kLanes * kLanes; i < n; i++) total += double(value(i));
  for (float part : sums) total += double(part);
  return total;
}

struct Range {
  float low, high;
};
Range range_of(const Piece& piece) {
  const float* x = piece.pixels;
  const int64_t n = piece.values();
  float low[kLanes], high[kLanes];
  std::fill(low, low + kLanes, x[0]), std::fill(high, high + kLanes, x[0]);
  const auto take = [&](int64_t k, float value) {
    low[k] = value < low[k] ? value : low[k];
    high[k] = value > high[k] ? value : high[k];
  };
  for (int64_t i = 0; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; k++) take(k, x[i + k]);
  for (int64_t i = n / kLanes * kLanes; i < n; i++) take(0, x[i]);
  return {*std::min_element(low, low + kLanes), *std::max_element(high, high + kLanes)};
}

// Nearly normal numbers: the sum of four uniform ones, 16 bits each.
void add_noise(const Piece& piece, float deviation, uint64_t seed) {
  const float scale = deviation * std::sqrt(3.f) / 65536;
  for (int64_t i = 0; i < piece.values(); i++) {
    const uint64_t bits = random_bits(seed, uint64_t(i)), halves = 0x0000ffff0000ffff;
    const uint64_t pairs = (bits & halves) + (bits >> 16 & halves);
    const int32_t four = int32_t(pairs & 0xffffffff) + int32_t(pairs >> 32);
    piece.pixels[i] += scale * float(four - 2 * 65535);
  }
}

// The row or column that stands for number i where there are n: behind the edge it goes back. So what a blur takes
// beyond an edge from the one it gives back to the other, and the mean stays.
int64_t reflected(int64_t i, int64_t n) {
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

// Gaussian, cut off at 3 pixels, which are 3 sigma or more: along y into a row with a margin, then along x.
void blur(const Piece& piece, double sigma) {
  constexpr int64_t radius = 3;
  float weights[2 * radius + 1];
  double total = 0;
  for (int64_t k = -radius; k <= radius; k++) total += std::exp(-double(k * k) / (2 * sigma * sigma));
  for (int64_t k = -radius; k <= radius; k++)
    weights[k + radius] = float(std::exp(-double(k * k) / (2 * sigma * sigma)) / total);

  const int64_t n = piece.row_values(), channels = piece.channels;
  const std::vector<float> before(piece.pixels, piece.pixels + piece.values());
  std::vector<float> wide(size_t(n + 2 * radius * channels));
  float* const middle = wide.data() + radius * channels;
  for (int64_t r = 0; r < piece.rows; r++) {
    const float* from[2 * radius + 1];
    for (int64_t k = -radius; k <= radius; k++) from[k + radius] = before.data() + reflected(r + k, piece.rows) * n;
    for (int64_t i = 0; i < n; i++) {
      float value = 0;
      for (int64_t k = 0; k <= 2 * radius; k++) value += weights[k] * from[k][i];
      middle[i] = value;
    }
    for (int64_t k = 1; k <= radius; k++)
      for (int64_t c = 0; c < channels; c++) {
        middle[-k * channels + c] = middle[reflected(-k, piece.cols) * channels + c];
        middle[(piece.cols - 1 + k) * channels + c] = middle[reflected(piece.cols - 1 + k, piece.cols) * channels + c];
      }
    float* const to = piece.pixels + r * n;
    for (int64_t i = 0; i < n; i++) {
      float value = 0;
      for (int64_t k = 0; k <= 2 * radius; k++) value += weights[k] * wide[size_t(i + k * channels)];
      to[i] = value;
    }
  }
}

void change_brightness(const Piece& piece, float by) {
  for (int64_t i = 0; i < piece.values(); i++) piece.pixels[i] *= by;
}

// mean + by (x - mean), within the range there was.
void change_contrast(const Piece& piece, float by) {
  float* const x = piece.pixels;
  const Range range = range_of(piece);
  const float mean = float(sum(piece.values(), [&](int64_t i) { return x[i]; }) / double(piece.values()));
  for (int64_t i = 0; i < piece.values(); i++) {
    const float value = mean + by * (x[i] - mean);
    x[i] = value < range.low ? range.low : value > range.high ? range.high : value;
  }
}

// For each of n pixels in a row, the two of the `small` remaining ones that it lies between, and how far from the
// first: as where the same width is cut into `small` pixels. Which of the n remain: those nearest to these.
struct Between {
  int64_t low, high;
  float share;
};
std::vector<Between> coarse(int64_t n, double scale) {
  const int64_t small = std::max<int64_t>(1, std::llround(double(n) * scale));
  const auto kept = [&](int64_t i) { return (2 * i + 1) * n / (2 * small); };
  std::vector<Between> all;
  for (int64_t i = 0; i < n; i++) {
    const double at = std::clamp((double(i) + 0.5) * double(small) / double(n) - 0.5, 0., double(small - 1));
    const int64_t low = int64_t(at), high = std::min(low + 1, small - 1);
    all.push_back({kept(low), kept(high), float(at - double(low))});
  }
  return all;
}

void lower_resolution(const Piece& piece, double scale) {
  const int64_t n = piece.row_values(), channels = piece.channels;
  const std::vector<Between> rows = coarse(piece.rows, scale), cols = coarse(piece.cols, scale);
  const std::vector<float> before(piece.pixels, piece.pixels + piece.values());
  std::vector<float> row(static_cast<size_t>(n));
  float* to = piece.pixels;
  for (const Between& y : rows) {
    const float *upper = before.data() + y.low * n, *lower = before.data() + y.high * n;
    for (int64_t i = 0; i < n; i++) row[size_t(i)] = upper[i] + y.share * (lower[i] - upper[i]);
    for (const Between& x : cols) {
      const float *left = row.data() + x.low * channels, *right = row.data() + x.high * channels;
      for (int64_t c = 0; c < channels; c++) *to++ = left[c] + x.share * (right[c] - left[c]);
    }
  }
}

// y = t^gamma, or 1 - (1-t)^gamma, where t is x with its range stretched to 0..1; then y is given the mean and standard
// deviation of t, and the range of x.
void change_gamma(const Piece& piece, double gamma, bool inverse) {
  float* const x = piece.pixels;
  const Range range = range_of(piece);
  const float width = range.high - range.low;
  if (!(width > 1e-6f)) return;  // constant

  // pow is slow; straight lines between points are off by 0.002 at worst, near 0.
  constexpr int steps = 512;
  float curve[steps + 1];
  for (int i = 0; i <= steps; i++) {
    const double t = double(i) / steps;
    curve[i] = float(inverse ? 1 - std::pow(1 - t, gamma) : std::pow(t, gamma));
  }
  const int64_t n = piece.values();
  for (int64_t i = 0; i < n; i++) x[i] = (x[i] - range.low) / width;
  const auto deviation = [&](double mean) {
    return std::sqrt(sum(n, [&](int64_t i) { return (x[i] - float(mean)) * (x[i] - float(mean)); }) / double(n));
  };
  const double mean = sum(n, [&](int64_t i) { return x[i]; }) / double(n), spread = deviation(mean);
  for (int64_t i = 0; i < n; i++) {
    const float at = x[i] * steps;
    const int low = std::min(int(at), steps - 1);
    x[i] = curve[low] + (at - float(low)) * (curve[low + 1] - curve[low]);
  }
  const double curved_mean = sum(n, [&](int64_t i) { return x[i]; }) / double(n);
  const float stretch = float(width * spread / deviation(curved_mean));
  const float offset = float(range.low + width * mean), from = float(curved_mean);
  for (int64_t i = 0; i < n; i++) x[i] = offset + stretch * (x[i] - from);
}

}  // namespace

void change_intensities(const AugmentOptions& options, Random& random, float* pixels, int64_t rows, int64_t cols,
                        int64_t channels) {
  check_options(options);
  check(rows >= 1 && cols >= 1 && channels >= 1, "change_intensities: a piece of ", rows, " x ", cols, " pixels of ",
        channels, " channels");
  const Piece piece{pixels, rows, cols, channels};
  bool changed = false;
  double by;
  const auto drawn = [&](const RandomChange& change) {
    const bool happens = draw(change, random, by);
    changed |= happens;
    return happens;
  };
  const uint64_t seed = uint64_t(random.uniform() * 0x1p53);
  if (drawn(options.noise)) add_noise(piece, float(by), seed);
  if (drawn(options.blur)) blur(piece, by);
  if (drawn(options.brightness)) change_brightness(piece, float(by));
  if (drawn(options.contrast)) change_contrast(piece, float(by));
  if (drawn(options.low_resolution)) lower_resolution(piece, by);
  if (drawn(options.gamma_of_inverse)) change_gamma(piece, by, true);
  if (drawn(options.gamma)) change_gamma(piece, by, false);
  if (!changed) return;
  for (int64_t i = 0; i < piece.values(); i++) pixels[i] = within(pixels[i], 1);
}

}  // namespace acinus
