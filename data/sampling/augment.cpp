#include "data/sampling/augment.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

#include "tensor/check.h"

namespace acinus {

namespace {

struct Limits {
  const char* name;
  RandomChange AugmentOptions::*change;
  double min, max;  // of its parameter
};
constexpr Limits kChanges[] = {
    {"rotate", &AugmentOptions::rotate, -360, 360},
    {"zoom", &AugmentOptions::zoom, 0.25, 4},
    {"elastic", &AugmentOptions::elastic, 0, 7.8},
    {"noise", &AugmentOptions::noise, 0, 1},
    {"blur", &AugmentOptions::blur, 0.1, 1.5},
    {"brightness", &AugmentOptions::brightness, 0, 10},
    {"contrast", &AugmentOptions::contrast, 0, 10},
    {"low_resolution", &AugmentOptions::low_resolution, 0.01, 1},
    {"gamma_of_inverse", &AugmentOptions::gamma_of_inverse, 0.1, 10},
    {"gamma", &AugmentOptions::gamma, 0.1, 10},
};

void check_change(const char* name, const RandomChange& change, double min, double max) {
  check(change.probability >= 0 && change.probability <= 1, "augmentation: ", name, " has the probability ",
        change.probability, "; it must be between 0 and 1");
  check(min <= change.low && change.low <= change.high && change.high <= max, "augmentation: ", name, " from ",
        change.low, " to ", change.high, ": must be a range between ", min, " and ", max);
}

}  // namespace

AugmentOptions no_augmentation() {
  AugmentOptions none;
  none.mirror = 0;
  for (const Limits& limits : kChanges) (none.*limits.change).probability = 0;
  return none;
}

void check_options(const AugmentOptions& options) {
  check_change("mirror", {options.mirror, 0, 0}, 0, 0);
  for (const auto& [name, change, min, max] : kChanges) check_change(name, options.*change, min, max);
}

bool draw_change(const RandomChange& change, Random& random, double& parameter) {
  const double u = random.uniform();
  parameter = random.uniform(change.low, change.high);
  return u < change.probability;
}

// ---- intensities ----------------------------------------------------------------------------------------------------

namespace {

float clamped(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

struct Patch {
  std::span<float> pixels;
  int64_t rows, cols, channels;
};

// Sums and extremes keep this many partial results, so that the compiler can vectorise them: the order in which numbers
// are added is written down, and not the compiler's choice.
constexpr int64_t kLanes = 16;

template <class F>
double sum(std::span<const float> x, F value) {
  const auto n = int64_t(x.size());
  float sums[kLanes] = {};
  for (int64_t i = 0; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; k++) sums[k] += value(x[i + k]);
  double total = 0;
  for (int64_t i = n / kLanes * kLanes; i < n; i++) total += double(value(x[i]));
  for (float part : sums) total += double(part);
  return total;
}

double mean_of(std::span<const float> x) { return sum(x, std::identity()) / double(x.size()); }

struct Range {
  float low, high;
};
Range range_of(std::span<const float> x) {
  const auto n = int64_t(x.size());
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

// x + n, n nearly normal with mean 0 and this standard deviation.
void add_noise(std::span<float> x, float deviation, uint64_t seed) {
  const float scale = deviation * std::sqrt(3.f) / 65536;
  for (size_t i = 0; i < x.size(); i++) x[i] += scale * float(sum_of_four(random_bits(seed, i)) - 2 * 65535);
}

// Index i of n rows or columns, reflected at the edges: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ... With this padding a blur
// keeps the mean.
int64_t reflected(int64_t i, int64_t n) {
  while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
  return i;
}

// Convolves with a Gaussian, w_k ~ exp(-k^2 / (2 sigma^2)), cut off at 3 pixels, which are 2 sigma or more: along y
// into a row with a margin, then along x. sigma in pixels.
void blur(const Patch& patch, double sigma) {
  constexpr int64_t radius = 3;
  float weights[2 * radius + 1];
  double total = 0;
  for (int64_t k = -radius; k <= radius; k++) total += std::exp(-double(k * k) / (2 * sigma * sigma));
  for (int64_t k = -radius; k <= radius; k++)
    weights[k + radius] = float(std::exp(-double(k * k) / (2 * sigma * sigma)) / total);

  const int64_t channels = patch.channels, n = patch.cols * channels;
  const std::vector<float> before(patch.pixels.begin(), patch.pixels.end());
  std::vector<float> wide(n + 2 * radius * channels);
  float* const middle = wide.data() + radius * channels;
  for (int64_t r = 0; r < patch.rows; r++) {
    const float* from[2 * radius + 1];
    for (int64_t k = -radius; k <= radius; k++) from[k + radius] = before.data() + reflected(r + k, patch.rows) * n;
    for (int64_t i = 0; i < n; i++) {
      float value = 0;
      for (int64_t k = 0; k <= 2 * radius; k++) value += weights[k] * from[k][i];
      middle[i] = value;
    }
    for (int64_t k = 1; k <= radius; k++)
      for (int64_t c = 0; c < channels; c++) {
        middle[-k * channels + c] = middle[reflected(-k, patch.cols) * channels + c];
        middle[(patch.cols - 1 + k) * channels + c] = middle[reflected(patch.cols - 1 + k, patch.cols) * channels + c];
      }
    float* const to = patch.pixels.data() + r * n;
    for (int64_t i = 0; i < n; i++) {
      float value = 0;
      for (int64_t k = 0; k <= 2 * radius; k++) value += weights[k] * wide[i + k * channels];
      to[i] = value;
    }
  }
}

// mean + factor * (x - mean), clamped to the range of x.
void change_contrast(std::span<float> pixels, float factor) {
  const Range range = range_of(pixels);
  const float mean = float(mean_of(pixels));
  for (float& x : pixels) x = clamped(mean + factor * (x - mean), range.low, range.high);
}

// Subsampling of n pixels to n * scale (nearest) and linear interpolation back to n: pixel i becomes
// x[low] + t * (x[high] - x[low]).
struct Interpolation {
  int64_t low, high;
  float t;
};
std::vector<Interpolation> coarsened(int64_t n, double scale) {
  const int64_t coarse = std::max<int64_t>(1, std::llround(double(n) * scale));
  const auto kept = [&](int64_t i) { return (2 * i + 1) * n / (2 * coarse); };  // the pixel nearest to coarse pixel i
  std::vector<Interpolation> result;
  for (int64_t i = 0; i < n; i++) {
    const double position = std::clamp((double(i) + 0.5) * double(coarse) / double(n) - 0.5, 0., double(coarse - 1));
    const int64_t low = int64_t(position), high = std::min(low + 1, coarse - 1);
    result.push_back({kept(low), kept(high), float(position - double(low))});
  }
  return result;
}

// Subsamples to rows * scale by cols * scale pixels, and interpolates back.
void lower_resolution(const Patch& patch, double scale) {
  const int64_t channels = patch.channels, n = patch.cols * channels;
  const std::vector<Interpolation> rows = coarsened(patch.rows, scale), cols = coarsened(patch.cols, scale);
  const std::vector<float> before(patch.pixels.begin(), patch.pixels.end());
  std::vector<float> row(n);
  float* to = patch.pixels.data();
  for (const Interpolation& y : rows) {
    const float *upper = before.data() + y.low * n, *lower = before.data() + y.high * n;
    for (int64_t i = 0; i < n; i++) row[i] = upper[i] + y.t * (lower[i] - upper[i]);
    for (const Interpolation& x : cols) {
      const float *left = row.data() + x.low * channels, *right = row.data() + x.high * channels;
      for (int64_t c = 0; c < channels; c++) *to++ = left[c] + x.t * (right[c] - left[c]);
    }
  }
}

// y = t^gamma, or of the inverse 1 - (1-t)^gamma, where t is x with its range stretched to 0..1; then y is given the
// mean and standard deviation of t, and stretched back to the range of x.
void change_gamma(std::span<float> pixels, double gamma, bool inverse) {
  const Range range = range_of(pixels);
  const float width = range.high - range.low;
  if (!(width > 1e-6f)) return;  // constant

  // pow is slow; linear interpolation in a table is off by 0.002 at worst, near 0.
  constexpr int steps = 512;
  float curve[steps + 1];
  for (int i = 0; i <= steps; i++) {
    const double t = double(i) / steps;
    curve[i] = float(inverse ? 1 - std::pow(1 - t, gamma) : std::pow(t, gamma));
  }
  for (float& x : pixels) x = (x - range.low) / width;
  const auto deviation = [&](float mean) {
    return std::sqrt(sum(pixels, [mean](float x) { return (x - mean) * (x - mean); }) / double(pixels.size()));
  };
  const double mean = mean_of(pixels), spread = deviation(float(mean));
  for (float& x : pixels) {
    const float position = x * steps;
    const int low = std::min(int(position), steps - 1);
    x = curve[low] + (position - float(low)) * (curve[low + 1] - curve[low]);
  }
  const float curved_mean = float(mean_of(pixels)), stretch = float(width * spread / deviation(curved_mean));
  const float offset = float(range.low + width * mean);
  for (float& x : pixels) x = offset + stretch * (x - curved_mean);
}

}  // namespace

void change_intensities(const AugmentOptions& options, Random& random, float* pixels, int64_t rows, int64_t cols,
                        int64_t channels) {
  check_options(options);
  check(rows >= 1 && cols >= 1 && channels >= 1, "change_intensities: a patch of ", rows, " x ", cols, " pixels of ",
        channels, " channels");
  const std::span<float> all(pixels, rows * cols * channels);
  const Patch patch{all, rows, cols, channels};
  double value;
  const auto happens = [&](const RandomChange& change) { return draw_change(change, random, value); };
  const uint64_t seed = uint64_t(random.uniform() * 0x1p53);
  if (happens(options.noise)) add_noise(all, float(value), seed);
  if (happens(options.blur)) blur(patch, value);
  if (happens(options.brightness))
    for (float& x : all) x *= float(value);
  if (happens(options.contrast)) change_contrast(all, float(value));
  if (happens(options.low_resolution)) lower_resolution(patch, value);
  if (happens(options.gamma_of_inverse)) change_gamma(all, value, /*inverse=*/true);
  if (happens(options.gamma)) change_gamma(all, value, /*inverse=*/false);
  for (float& x : all) x = clamped(x, 0, 1);
}

}  // namespace acinus
