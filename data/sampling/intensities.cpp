#include <algorithm>
#include <cmath>

#include "data/sampling/augment.h"
#include "tensor/check.h"

namespace acinus {

namespace {

float clamped(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

struct Patch {
  float* pixels;
  int64_t rows, cols, channels;
  int64_t row_values() const { return cols * channels; }
  int64_t values() const { return rows * cols * channels; }
};

// Sums and extremes keep this many partial results, so that the compiler can vectorise them: the order in which numbers
// are added is written down, and not the compiler's choice.
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

double mean_of(const Patch& patch) {
  return sum(patch.values(), [x = patch.pixels](int64_t i) { return x[i]; }) / double(patch.values());
}

struct Range {
  float low, high;
};
Range range_of(const Patch& patch) {
  const float* x = patch.pixels;
  const int64_t n = patch.values();
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
void add_noise(const Patch& patch, float deviation, uint64_t seed) {
  const float scale = deviation * std::sqrt(3.f) / 65536;
  for (int64_t i = 0; i < patch.values(); i++) {
    patch.pixels[i] += scale * float(sum_of_four(random_bits(seed, i)) - 2 * 65535);
  }
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

  const int64_t n = patch.row_values(), channels = patch.channels;
  const std::vector<float> before(patch.pixels, patch.pixels + patch.values());
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
    float* const to = patch.pixels + r * n;
    for (int64_t i = 0; i < n; i++) {
      float value = 0;
      for (int64_t k = 0; k <= 2 * radius; k++) value += weights[k] * wide[i + k * channels];
      to[i] = value;
    }
  }
}

// factor * x
void change_brightness(const Patch& patch, float factor) {
  for (int64_t i = 0; i < patch.values(); i++) patch.pixels[i] *= factor;
}

// mean + factor * (x - mean), clamped to the range of x.
void change_contrast(const Patch& patch, float factor) {
  float* const x = patch.pixels;
  const Range range = range_of(patch);
  const float mean = float(mean_of(patch));
  for (int64_t i = 0; i < patch.values(); i++) {
    x[i] = clamped(mean + factor * (x[i] - mean), range.low, range.high);
  }
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
  const int64_t n = patch.row_values(), channels = patch.channels;
  const std::vector<Interpolation> rows = coarsened(patch.rows, scale), cols = coarsened(patch.cols, scale);
  const std::vector<float> before(patch.pixels, patch.pixels + patch.values());
  std::vector<float> row(n);
  float* to = patch.pixels;
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
void change_gamma(const Patch& patch, double gamma, bool inverse) {
  float* const x = patch.pixels;
  const Range range = range_of(patch);
  const float width = range.high - range.low;
  if (!(width > 1e-6f)) return;  // constant

  // pow is slow; linear interpolation in a table is off by 0.002 at worst, near 0.
  constexpr int steps = 512;
  float curve[steps + 1];
  for (int i = 0; i <= steps; i++) {
    const double t = double(i) / steps;
    curve[i] = float(inverse ? 1 - std::pow(1 - t, gamma) : std::pow(t, gamma));
  }
  const int64_t n = patch.values();
  for (int64_t i = 0; i < n; i++) x[i] = (x[i] - range.low) / width;
  const auto deviation = [&](double mean) {
    return std::sqrt(sum(n, [&](int64_t i) { return (x[i] - float(mean)) * (x[i] - float(mean)); }) / double(n));
  };
  const double mean = mean_of(patch), spread = deviation(mean);
  for (int64_t i = 0; i < n; i++) {
    const float position = x[i] * steps;
    const int low = std::min(int(position), steps - 1);
    x[i] = curve[low] + (position - float(low)) * (curve[low + 1] - curve[low]);
  }
  const double curved_mean = mean_of(patch);
  const float stretch = float(width * spread / deviation(curved_mean));
  const float offset = float(range.low + width * mean), from = float(curved_mean);
  for (int64_t i = 0; i < n; i++) x[i] = offset + stretch * (x[i] - from);
}

}  // namespace

void change_intensities(const AugmentOptions& options, Random& random, float* pixels, int64_t rows, int64_t cols,
                        int64_t channels) {
  check_options(options);
  check(rows >= 1 && cols >= 1 && channels >= 1, "change_intensities: a patch of ", rows, " x ", cols, " pixels of ",
        channels, " channels");
  const Patch patch{pixels, rows, cols, channels};
  bool changed = false;
  double value;
  const auto drawn = [&](const RandomChange& change) {
    const bool happens = draw_change(change, random, value);
    changed |= happens;
    return happens;
  };
  const uint64_t seed = uint64_t(random.uniform() * 0x1p53);
  if (drawn(options.noise)) add_noise(patch, float(value), seed);
  if (drawn(options.blur)) blur(patch, value);
  if (drawn(options.brightness)) change_brightness(patch, float(value));
  if (drawn(options.contrast)) change_contrast(patch, float(value));
  if (drawn(options.low_resolution)) lower_resolution(patch, value);
  if (drawn(options.gamma_of_inverse)) change_gamma(patch, value, /*inverse=*/true);
  if (drawn(options.gamma)) change_gamma(patch, value, /*inverse=*/false);
  if (!changed) return;
  for (int64_t i = 0; i < patch.values(); i++) pixels[i] = clamped(pixels[i], 0, 1);
}

}  // namespace acinus
