// Augmentation: pixels come from where they should, each change does what it says, and as often as it was told.
#include <algorithm>
#include <numbers>
#include <numeric>

#include "data/sampling/augment.h"

#include "tests/testing.h"

using namespace acinus;

namespace {

constexpr RandomChange AugmentOptions::*geometry[] = {&AugmentOptions::rotate, &AugmentOptions::zoom,
                                                      &AugmentOptions::elastic};
constexpr RandomChange AugmentOptions::*intensities[] = {
    &AugmentOptions::noise,    &AugmentOptions::blur,           &AugmentOptions::brightness,
    &AugmentOptions::contrast, &AugmentOptions::low_resolution, &AugmentOptions::gamma_of_inverse,
    &AugmentOptions::gamma};

// Nothing but one change, always, by a number from low to high.
AugmentOptions only(RandomChange AugmentOptions::*change, double low, double high) {
  AugmentOptions options = no_augmentation();
  options.*change = {1, low, high};
  return options;
}
AugmentOptions only(RandomChange AugmentOptions::*change, double by) { return only(change, by, by); }

AugmentOptions always_everything() {
  AugmentOptions options;
  for (const auto change : geometry) (options.*change).probability = 1;
  for (const auto change : intensities) (options.*change).probability = 1;
  return options;
}

bool is_enabled(const AugmentOptions& options) {
  const auto happens = [&](auto change) { return (options.*change).probability > 0; };
  return options.mirror > 0 || std::ranges::any_of(geometry, happens) || std::ranges::any_of(intensities, happens);
}

// Does every pixel come from where it is?
bool is_identity(const Warp& warp, int64_t side) {
  for (int64_t r = 0; r < side; r++)
    for (int64_t c = 0; c < side; c++)
      if (warp.source(c, r) != std::array<double, 2>{double(c), double(r)}) return false;
  return true;
}

std::vector<float> random_pixels(int64_t n, uint64_t seed) {
  std::vector<float> pixels(static_cast<size_t>(n));
  for (size_t i = 0; i < pixels.size(); i++) pixels[i] = float(random_uniform(seed, i));
  return pixels;
}

// Pixels of a picture that goes on in all directions.
template <class T, class F>
std::vector<T> fetch(const Rectangle& from, F value) {
  std::vector<T> pixels;
  for (int64_t y = from.top; y < from.top + from.rows; y++)
    for (int64_t x = from.left; x < from.left + from.cols; x++) pixels.push_back(T(value(x, y)));
  return pixels;
}

template <class F>
std::vector<float> sampled(const Warp& warp, int64_t side, F value) {
  std::vector<float> out(size_t(side * side));
  warp.sample(fetch<float>(warp.bounds(), value).data(), 1, out.data());
  return out;
}

std::vector<float> changed(const AugmentOptions& options, std::vector<float> pixels, int64_t side, int64_t channels = 1,
                           uint64_t seed = 1) {
  Random random(seed);
  change_intensities(options, random, pixels.data(), side, side, channels);
  return pixels;
}

double mean_of(const std::vector<float>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / double(values.size());
}
double deviation_of(const std::vector<float>& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (float v : values) sum += (v - mean) * (v - mean);
  return std::sqrt(sum / double(values.size()));
}
double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); i++) most = std::max(most, double(std::abs(a[i] - b[i])));
  return most;
}

// A share of n draws of probability p, within four and a half standard deviations.
bool as_often(int64_t count, int64_t n, double p) {
  return std::abs(double(count) - p * double(n)) <= 4.5 * std::sqrt(double(n) * p * (1 - p));
}

}  // namespace

// ---- where pixels come from -----------------------------------------------------------------------------------------

TEST_CASE("augment: with all probabilities 0 a piece stays as it is, bit for bit", "[augment]") {
  const AugmentOptions none = no_augmentation();
  CHECK(!is_enabled(none));
  CHECK(is_enabled({}));
  for (const auto change : geometry) CHECK(is_enabled(only(change, (AugmentOptions().*change).low)));
  for (const auto change : intensities) CHECK(is_enabled(only(change, (AugmentOptions().*change).low)));
  for (int64_t side : {1, 2, 7, 64}) {
    Random random(5);
    const Warp warp(none, side, random);
    CHECK(is_identity(warp, side));
    const std::vector<float> pixels = random_pixels(side * side * 3, 9);
    std::vector<float> out(pixels.size());
    warp.sample(pixels.data(), 3, out.data());
    CHECK(out == pixels);
    CHECK(changed(none, pixels, side, 3) == pixels);
  }
}

TEST_CASE("augment: mirroring takes each pixel from its mirror image", "[augment]") {
  AugmentOptions options = no_augmentation();
  options.mirror = 0.5;
  for (int64_t side : {1, 2, 3, 8, 33, 64}) {
    bool seen[2][2] = {};
    for (uint64_t seed = 0; seed < 30; seed++) {
      Random random(seed);
      const Warp warp(options, side, random);
      CHECK(!warp.interpolates());
      const Rectangle from = warp.bounds();
      CHECK((from.left == 0 && from.top == 0 && from.cols == side && from.rows == side));
      const std::vector<float> pixels = random_pixels(side * side * 3, 9);
      std::vector<uint8_t> mask(size_t(side * side)), target(mask.size());
      for (size_t i = 0; i < mask.size(); i++) mask[i] = uint8_t(random_bits(8, i));
      std::vector<float> out(pixels.size());
      warp.sample(pixels.data(), 3, out.data());
      warp.sample_nearest(mask.data(), target.data());
      const bool flip_x = warp.source(0, 0)[0] != 0, flip_y = warp.source(0, 0)[1] != 0;
      seen[flip_x][flip_y] = true;
      if (side > 1) CHECK(is_identity(warp, side) == (!flip_x && !flip_y));
      bool exact = true;
      for (int64_t r = 0; r < side; r++)
        for (int64_t c = 0; c < side; c++) {
          const int64_t x = flip_x ? side - 1 - c : c, y = flip_y ? side - 1 - r : r;
          exact = exact && warp.source(c, r) == std::array<double, 2>{double(x), double(y)};
          exact = exact && target[size_t(r * side + c)] == mask[size_t(y * side + x)];
          for (int64_t k = 0; k < 3; k++)
            exact = exact && out[size_t((r * side + c) * 3 + k)] == pixels[size_t((y * side + x) * 3 + k)];
        }
      CHECK(exact);
    }
    if (side > 1) CHECK((seen[0][0] && seen[0][1] && seen[1][0] && seen[1][1]));
  }
}

TEST_CASE("augment: what is turned and zoomed arrives where it should", "[augment]") {
  // A spot at (x, y) from the middle of a piece of odd or even side, and where it is found after each change.
  struct Case {
    double degrees, zoom, x, y, to_x, to_y;
  };
  const double s = std::sqrt(0.5);
  const Case cases[] = {{90, 1, 10, 0, 0, 10},          {-90, 1, 10, 3, 3, -10}, {180, 1, 6, -4, -6, 4},
                        {45, 1, 10, 0, 10 * s, 10 * s}, {0, 1.4, 10, 5, 14, 7},  {0, 0.7, 10, 20, 7, 14},
                        {90, 1.25, 8, 4, -5, 10}};
  for (int64_t side : {63, 64})
    for (const Case& one : cases) {
      AugmentOptions options = only(&AugmentOptions::rotate, one.degrees);
      options.zoom = {1, one.zoom, one.zoom};
      Random random(3);
      const Warp warp(options, side, random);
      CHECK(warp.interpolates());
      const double middle = double(side - 1) / 2;
      const std::vector<float> out = sampled(warp, side, [&](int64_t x, int64_t y) {
        const double dx = double(x) - middle - one.x, dy = double(y) - middle - one.y;
        return std::exp(-(dx * dx + dy * dy) / 8);
      });
      double sum = 0, sum_x = 0, sum_y = 0, sum_square = 0;
      for (int64_t r = 0; r < side; r++)
        for (int64_t c = 0; c < side; c++) {
          const double value = double(out[size_t(r * side + c)]), x = double(c) - middle, y = double(r) - middle;
          sum += value, sum_x += value * x, sum_y += value * y;
          sum_square += value * ((x - one.to_x) * (x - one.to_x) + (y - one.to_y) * (y - one.to_y));
        }
      INFO("side " << side << ", " << one.degrees << " degrees, zoom " << one.zoom);
      CHECK(sum_x / sum == Approx(one.to_x).margin(0.02));
      CHECK(sum_y / sum == Approx(one.to_y).margin(0.02));
      CHECK(sum == Approx(8 * std::numbers::pi * one.zoom * one.zoom).epsilon(0.01));  // the spot's area grows
      CHECK(std::sqrt(sum_square / sum / 8) == Approx(one.zoom).epsilon(0.06));        // interpolation blurs a little
    }
}

TEST_CASE("augment: the image and its mask go the same way", "[augment]") {
  AugmentOptions options = always_everything();
  const auto inside = [](int64_t x, int64_t y) {
    return std::hypot(double(x) - 25, double(y) - 30) < 9 || (x > 40 && x < 48 && y > 10 && y < 55);
  };
  int64_t agree = 0, of = 0, ones = 0;
  for (uint64_t seed = 0; seed < 50; seed++) {
    Random random(seed);
    const Warp warp(options, 64, random);
    std::vector<uint8_t> target(64 * 64);
    warp.sample_nearest(fetch<uint8_t>(warp.bounds(), inside).data(), target.data());
    const std::vector<float> image = sampled(warp, 64, inside);
    for (size_t i = 0; i < target.size(); i++) {
      agree += target[i] == (image[i] > 0.5f), of++, ones += target[i];
      if (image[i] < 0.2f || image[i] > 0.85f) CHECK(target[i] == (image[i] > 0.5f));  // they differ at edges only
    }
  }
  CHECK(double(ones) / double(of) > 0.1);
  CHECK(double(agree) / double(of) > 0.99);
}

TEST_CASE("augment: channels do not mix, and a linear picture is interpolated exactly", "[augment]") {
  for (uint64_t seed = 0; seed < 20; seed++) {
    Random random(seed);
    const Warp warp(always_everything(), 40, random);
    const Rectangle from = warp.bounds();
    std::vector<float> source, out(40 * 40 * 3);
    for (int64_t y = from.top; y < from.top + from.rows; y++)
      for (int64_t x = from.left; x < from.left + from.cols; x++)
        for (float value : {float(x), float(y), 7.f}) source.push_back(value);
    warp.sample(source.data(), 3, out.data());
    double off = 0;
    for (int64_t r = 0; r < 40; r++)
      for (int64_t c = 0; c < 40; c++) {
        const auto [x, y] = warp.source(c, r);
        const float* pixel = &out[size_t((r * 40 + c) * 3)];
        off = std::max({off, std::abs(pixel[0] - x), std::abs(pixel[1] - y), double(std::abs(pixel[2] - 7))});
      }
    CHECK(off < 1e-3);
  }
}

TEST_CASE("augment: nothing is read outside of the rectangle asked for", "[augment]") {
  AugmentOptions options = always_everything();
  options.mirror = 0.5;
  options.zoom = {0.7, 0.25, 4};
  options.elastic = {0.5, 0, 7.8};
  int64_t crossed = 0;
  for (int64_t side : {1, 2, 3, 8, 15, 16, 17, 33, 64})
    for (uint64_t seed = 0; seed < 200; seed++) {
      Random random(random_bits(uint64_t(side), seed));
      const Warp warp(options, side, random);
      const Rectangle from = warp.bounds();
      REQUIRE((from.cols >= 2 && from.rows >= 2));
      for (int64_t r = 0; r < side; r++)
        for (int64_t c = 0; c < side; c++) {
          const auto [x, y] = warp.source(c, r);
          // Rounding to float may cross by a trace, which sample then cuts off.
          const double tiny = 1e-4;
          const bool in_x = x >= double(from.left) - tiny && x < double(from.left + from.cols - 1) + tiny;
          const bool in_y = y >= double(from.top) - tiny && y < double(from.top + from.rows - 1) + tiny;
          crossed += !in_x || !in_y;
        }
      // Vectors of exactly the size: under the address sanitizer a read beyond them ends the test.
      std::vector<float> source(size_t(from.rows * from.cols * 2), 0.25f), out(size_t(side * side * 2));
      std::vector<uint8_t> mask(size_t(from.rows * from.cols), 3), target(size_t(side * side));
      warp.sample(source.data(), 2, out.data());
      warp.sample_nearest(mask.data(), target.data());
      REQUIRE(std::all_of(out.begin(), out.end(), [](float v) { return v == 0.25f; }));
      REQUIRE(std::all_of(target.begin(), target.end(), [](uint8_t v) { return v == 3; }));
    }
  CHECK(crossed == 0);
}

TEST_CASE("augment: the rectangle asked for is no larger than it must be", "[augment]") {
  for (double degrees : {0., 30., 45., 90.}) {
    Random random(1);
    const Rectangle from = Warp(only(&AugmentOptions::rotate, degrees), 64, random).bounds();
    const double angle = degrees * std::numbers::pi / 180;
    const double width = 63 * (std::abs(std::cos(angle)) + std::abs(std::sin(angle)));
    CHECK(double(from.cols) <= width + 3.001);
    CHECK(double(from.rows) <= width + 3.001);
  }
}

TEST_CASE("augment: elastic moves are smooth, as far as they say, and do not fold", "[augment]") {
  const int64_t side = 80;
  double farthest = 0, sum = 0, squares = 0, products = 0, n = 0;
  for (uint64_t seed = 0; seed < 200; seed++) {
    Random random(seed);
    const Warp warp(only(&AugmentOptions::elastic, 7.8), side, random);
    double moved[2][side][side];
    for (int64_t r = 0; r < side; r++)
      for (int64_t c = 0; c < side; c++) {
        const auto [x, y] = warp.source(c, r);
        moved[0][r][c] = x - double(c), moved[1][r][c] = y - double(r);
        farthest = std::max({farthest, std::abs(moved[0][r][c]), std::abs(moved[1][r][c])});
      }
    for (int64_t r = 0; r < side; r += 16)
      for (int64_t c = 0; c < side; c += 16) {
        const double x = moved[0][r][c], y = moved[1][r][c];
        sum += x + y, squares += x * x + y * y, products += x * y, n += 2;
      }
    double roughest = 0, smallest_area = 1;
    for (int64_t r = 1; r + 1 < side; r++)
      for (int64_t c = 1; c + 1 < side; c++) {
        double slope[2][2];
        for (int64_t axis = 0; axis < 2; axis++) {
          const auto& m = moved[axis];
          slope[axis][0] = m[r][c + 1] - m[r][c], slope[axis][1] = m[r + 1][c] - m[r][c];
          roughest = std::max({roughest, std::abs(m[r][c + 1] - 2 * m[r][c] + m[r][c - 1]),
                               std::abs(m[r + 1][c] - 2 * m[r][c] + m[r - 1][c])});
        }
        smallest_area = std::min(smallest_area, (1 + slope[0][0]) * (1 + slope[1][1]) - slope[0][1] * slope[1][0]);
      }
    // The second derivative of a B-spline is the second difference of its points, at most 4 * 7.8 / 16^2 = 0.122.
    CHECK(roughest < 0.123);
    CHECK(smallest_area > 0);
  }
  CHECK(farthest > 4);
  CHECK(farthest <= 7.8);
  // Where a point lies, it has 2/3 of the weight along each axis, its neighbours 1/6: the squares add up to 1/2 for an
  // axis, 1/4 for both. A uniform number up to 7.8 has the deviation 7.8 / sqrt(3).
  const double expected = 7.8 / std::sqrt(3) / 2;
  CHECK(std::sqrt(squares / n) == Approx(expected).epsilon(0.04));
  CHECK(std::abs(sum / n) < 0.05 * expected);
  CHECK(std::abs(products / (n / 2)) < 0.05 * expected * expected);  // x and y are independent
}

// ---- shares ---------------------------------------------------------------------------------------------------------

TEST_CASE("augment: mirrored, turned, zoomed and bent as often and as far as set", "[augment]") {
  const int64_t n = 4000;
  int64_t mirror_x = 0, mirror_y = 0, mirrored = 0, turned = 0, zoomed = 0, bent = 0, both = 0;
  double least_zoom = 9, most_zoom = 0, sum_degrees = 0, most_degrees = 0;
  for (int64_t i = 0; i < n; i++) {
    const auto draw = [&](AugmentOptions options) {
      Random random(random_bits(77, uint64_t(i)));
      return Warp(options, 32, random);
    };
    AugmentOptions options;
    options.elastic.probability = 0;
    const Warp warp = draw(options);
    const auto origin = warp.source(0, 0), right = warp.source(1, 0), down = warp.source(0, 1);
    const double xx = right[0] - origin[0], yx = right[1] - origin[1], xy = down[0] - origin[0],
                 yy = down[1] - origin[1];
    const double zoom = 1 / std::hypot(xx, yx);
    CHECK(zoom == Approx(1 / std::hypot(xy, yy)).epsilon(1e-3));
    const bool zooms = std::abs(zoom - 1) > 1e-4;
    if (zooms) least_zoom = std::min(least_zoom, zoom), most_zoom = std::max(most_zoom, zoom);
    zoomed += zooms;
    mirrored += xx * yy - xy * yx < 0;  // along one axis, not both

    AugmentOptions same = options;  // one change less, and the others stay as they are
    same.zoom.probability = 0, same.rotate.probability = 0;
    const Warp plain = draw(same);
    const bool flip_x = plain.source(0, 0)[0] != 0, flip_y = plain.source(0, 0)[1] != 0;
    CHECK((flip_x != flip_y) == (xx * yy - xy * yx < 0));
    mirror_x += flip_x, mirror_y += flip_y;
    const double degrees = std::atan2((flip_x ? -xy : xy), (flip_x ? -xx : xx)) * 180 / std::numbers::pi;
    const bool turns = std::abs(degrees) > 0.01;
    turned += turns, both += turns && zooms;
    sum_degrees += degrees, most_degrees = std::max(most_degrees, std::abs(degrees));

    AugmentOptions elastic = no_augmentation();
    elastic.elastic.probability = 0.1;
    bent += !is_identity(draw(elastic), 32);
  }
  CHECK(as_often(mirror_x, n, 0.5));
  CHECK(as_often(mirror_y, n, 0.5));
  CHECK(as_often(mirrored, n, 0.5));
  CHECK(as_often(turned, n, 0.2));
  CHECK(as_often(zoomed, n, 0.2));
  CHECK(as_often(both, n, 0.04));
  CHECK(as_often(bent, n, 0.1));
  CHECK((least_zoom > 0.699 && least_zoom < 0.71));
  CHECK((most_zoom < 1.401 && most_zoom > 1.39));
  CHECK(most_degrees > 178);
  CHECK(std::abs(sum_degrees / double(turned)) < 18);  // deviation 104 degrees, of 800: 3.7
}

TEST_CASE("augment: intensities change as often as set, within their ranges", "[augment]") {
  const int64_t n = 3000, side = 8;
  const std::vector<float> pixels = random_pixels(side * side, 4);
  for (const auto change : intensities) {
    AugmentOptions options = no_augmentation();
    options.*change = AugmentOptions().*change;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += changed(options, pixels, side, 1, uint64_t(i)) != pixels;
    CHECK(as_often(count, n, (options.*change).probability));
  }
  // The factor shows in a pixel that is neither cut off nor the mean.
  const std::vector<float> four = {0.1f, 0.4f, 0.6f, 0.7f};  // mean 0.45
  const auto range = [&](RandomChange AugmentOptions::*change, auto factor, double low, double high) {
    double least = 9, most = 0;
    for (uint64_t i = 0; i < 3000; i++) {
      const double by = factor(changed(only(change, low, high), four, 2, 1, i));
      least = std::min(least, by), most = std::max(most, by);
    }
    CHECK((least > low - 1e-5 && least < low + 0.01));
    CHECK((most < high + 1e-5 && most > high - 0.01));
  };
  range(
      &AugmentOptions::brightness, [](const auto& out) { return out[1] / 0.4; }, 0.75, 1.25);
  range(
      &AugmentOptions::contrast, [](const auto& out) { return (out[1] - 0.45) / -0.05; }, 0.75, 1.25);
}

TEST_CASE("augment: the same stream gives the same bits", "[augment]") {
  const std::vector<float> pixels = random_pixels(200 * 200 * 3, 4);
  const auto piece = [&](uint64_t seed) {
    Random random(seed);
    const Warp warp(always_everything(), 32, random);
    std::vector<float> source(size_t(warp.bounds().rows * warp.bounds().cols * 3)), out(32 * 32 * 3);
    REQUIRE(source.size() <= pixels.size());
    std::copy(pixels.begin(), pixels.begin() + int64_t(source.size()), source.begin());
    warp.sample(source.data(), 3, out.data());
    change_intensities(always_everything(), random, out.data(), 32, 32, 3);
    return out;
  };
  CHECK(piece(6) == piece(6));
  CHECK(piece(6) != piece(7));
}

// ---- intensities ----------------------------------------------------------------------------------------------------

TEST_CASE("augment: noise has the mean 0 and the deviation it says, another in each channel", "[augment]") {
  const int64_t side = 256;
  std::vector<float> noise =
      changed(only(&AugmentOptions::noise, 0.03), std::vector<float>(size_t(side * side * 3), 0.5f), side, 3);
  for (float& value : noise) value -= 0.5f;
  CHECK(std::abs(mean_of(noise)) < 4.5 * 0.03 / std::sqrt(double(noise.size())));
  CHECK(deviation_of(noise) == Approx(0.03).epsilon(0.007));
  const auto share = [&](double sigmas) {
    return double(std::count_if(noise.begin(), noise.end(), [&](float v) { return std::abs(v) < 0.03 * sigmas; })) /
           double(noise.size());
  };
  CHECK(share(1) == Approx(0.683).margin(0.02));  // near the normal distribution's
  CHECK(share(2) == Approx(0.954).margin(0.01));
  for (int64_t step : {int64_t(1), int64_t(3), 3 * side}) {  // the next channel, column, row
    double product = 0;
    for (size_t i = 0; i + size_t(step) < noise.size(); i++) product += double(noise[i] * noise[i + size_t(step)]);
    CHECK(std::abs(product / double(noise.size())) < 4.5 * 0.03 * 0.03 / std::sqrt(double(noise.size())));
  }
}

TEST_CASE("augment: blur keeps the mean and spreads a point as far as it says", "[augment]") {
  for (int64_t side : {1, 2, 3, 5, 8, 31}) {
    const std::vector<float> pixels = random_pixels(side * side * 3, 4);
    const std::vector<float> out = changed(only(&AugmentOptions::blur, 1), pixels, side, 3);
    CHECK(mean_of(out) == Approx(mean_of(pixels)).epsilon(1e-6));
    if (side > 1) CHECK(deviation_of(out) < 0.7 * deviation_of(pixels));
  }
  // A Gaussian at whole numbers only is a little narrower than sigma, if that is small.
  for (const auto& [sigma, width] : {std::pair{0.5, 0.464}, {0.8, 0.8}, {1.0, 1.0}}) {
    std::vector<float> point(21 * 21 * 2);
    point[(10 * 21 + 8) * 2 + 1] = 1;  // in the second channel
    const std::vector<float> out = changed(only(&AugmentOptions::blur, sigma), point, 21, 2);
    double sum = 0, x2 = 0, y2 = 0, other = 0;
    for (int64_t r = 0; r < 21; r++)
      for (int64_t c = 0; c < 21; c++) {
        const double value = double(out[size_t((r * 21 + c) * 2 + 1)]);
        sum += value, x2 += value * double((c - 8) * (c - 8)), y2 += value * double((r - 10) * (r - 10));
        other += double(out[size_t((r * 21 + c) * 2)]);
      }
    CHECK(sum == Approx(1));
    CHECK(other == 0);
    CHECK(std::sqrt(x2) == Approx(width).epsilon(0.01));
    CHECK(std::sqrt(y2) == Approx(width).epsilon(0.01));
  }
}

TEST_CASE("augment: contrast keeps the mean and the range", "[augment]") {
  std::vector<float> pixels = random_pixels(16 * 16 * 3, 4);
  for (float& value : pixels) value = 0.3f + 0.4f * value;
  const auto [low, high] = std::minmax_element(pixels.begin(), pixels.end());
  const std::vector<float> less = changed(only(&AugmentOptions::contrast, 0.75), pixels, 16, 3);
  CHECK(mean_of(less) == Approx(mean_of(pixels)).epsilon(1e-6));
  CHECK(deviation_of(less) == Approx(0.75 * deviation_of(pixels)).epsilon(1e-5));
  const std::vector<float> more = changed(only(&AugmentOptions::contrast, 1.25), pixels, 16, 3);
  CHECK(deviation_of(more) > 1.1 * deviation_of(pixels));
  CHECK(*std::min_element(more.begin(), more.end()) == *low);
  CHECK(*std::max_element(more.begin(), more.end()) == *high);
}

TEST_CASE("augment: low resolution is that of fewer pixels, in the same place", "[augment]") {
  // A plane stays a plane, but at the edges, where the outermost pixel left goes on, and by the half pixel by which the
  // nearest pixel lies beside the middle.
  std::vector<float> plane;
  for (int64_t r = 0; r < 32; r++)
    for (int64_t c = 0; c < 32; c++) plane.push_back(float(c) / 64 + float(r) / 128);
  for (double scale : {0.5, 0.7, 1.0}) {
    const std::vector<float> out = changed(only(&AugmentOptions::low_resolution, scale), plane, 32);
    CHECK(largest_difference(out, plane) <= (scale == 1 ? 0 : (1. / 64 + 1. / 128)));
  }
  // A pattern finer than the pixels that are left does not survive, one much coarser does.
  std::vector<float> stripes(32 * 32 * 2);
  for (int64_t i = 0; i < 32 * 32; i++) {
    stripes[size_t(2 * i)] = float(i % 2);
    stripes[size_t(2 * i + 1)] = float(i / 32 / 8 % 2);
  }
  const std::vector<float> out = changed(only(&AugmentOptions::low_resolution, 0.5), stripes, 32, 2);
  std::vector<float> fine, coarse, expected;
  for (size_t i = 0; i < 32 * 32; i++) {
    fine.push_back(out[2 * i]), coarse.push_back(out[2 * i + 1]), expected.push_back(stripes[2 * i + 1]);
  }
  CHECK(deviation_of(fine) == 0);
  CHECK(deviation_of(coarse) > 0.4);
  CHECK(largest_difference(coarse, expected) < 0.8);  // only the edges are soft
}

TEST_CASE("augment: gamma bends the values as its formula says", "[augment]") {
  std::vector<float> pixels = random_pixels(16 * 16 * 3, 4);
  for (float& value : pixels) value = 0.3f + 0.4f * value;
  const auto [low, high] = std::minmax_element(pixels.begin(), pixels.end());
  for (double gamma : {0.7, 1.5})
    for (const bool inverse : {false, true}) {
      std::vector<float> expected = pixels;
      for (float& x : expected) {
        const double t = double(x - *low) / double(*high - *low);
        x = float(double(*low) + double(*high - *low) * (inverse ? 1 - std::pow(1 - t, gamma) : std::pow(t, gamma)));
      }
      const double mean = mean_of(expected), stretch = deviation_of(pixels) / deviation_of(expected);
      for (float& x : expected) x = float(mean_of(pixels) + stretch * (double(x) - mean));
      const std::vector<float> out =
          changed(only(inverse ? &AugmentOptions::gamma_of_inverse : &AugmentOptions::gamma, gamma), pixels, 16, 3);
      CHECK(largest_difference(out, expected) < 0.001);
      CHECK(largest_difference(out, pixels) > 0.01);
      CHECK(mean_of(out) == Approx(mean_of(pixels)).epsilon(1e-5));
      CHECK(deviation_of(out) == Approx(deviation_of(pixels)).epsilon(1e-4));
    }
}

TEST_CASE("augment: changes by nothing change nothing", "[augment]") {
  const std::vector<float> pixels = random_pixels(17 * 17 * 3, 4);
  const auto by = [&](RandomChange AugmentOptions::*change, double number) {
    return largest_difference(changed(only(change, number), pixels, 17, 3), pixels);
  };
  CHECK(by(&AugmentOptions::noise, 0) == 0);
  CHECK(by(&AugmentOptions::blur, 0.1) < 1e-6);
  CHECK(by(&AugmentOptions::brightness, 1) == 0);
  CHECK(by(&AugmentOptions::contrast, 1) < 1e-6);
  CHECK(by(&AugmentOptions::low_resolution, 1) == 0);
  CHECK(by(&AugmentOptions::gamma, 1) < 1e-6);
  CHECK(by(&AugmentOptions::gamma_of_inverse, 1) < 1e-6);
}

TEST_CASE("augment: results are numbers from 0 to 1, of constant and tiny pieces, too", "[augment]") {
  AugmentOptions options = always_everything();
  options.noise = {0.5, 0, 0.3};
  options.blur.probability = 0.5;
  options.contrast = {1, 0, 10};
  options.gamma = {0.7, 0.1, 10};
  bool cut = false;
  for (int64_t side : {1, 2, 3, 8, 19})
    for (uint64_t seed = 0; seed < 100; seed++)
      for (int constant = 0; constant < 5; constant++) {
        std::vector<float> pixels(size_t(side * side * 3), float(constant) / 3);
        if (constant == 4) pixels = random_pixels(side * side * 3, seed);
        for (float value : changed(options, pixels, side, 3, seed)) {
          REQUIRE((value >= 0 && value <= 1));
          cut = cut || value == 1;
        }
      }
  CHECK(cut);
  // One by one on a constant: no division by its deviation 0.
  for (const auto change : intensities)
    for (float value : changed(only(change, (AugmentOptions().*change).high), std::vector<float>(9, 0.6f), 3))
      CHECK(value == Approx(change == &AugmentOptions::brightness ? 0.75 : 0.6)
                         .margin(change == &AugmentOptions::noise ? 0.11 : 1e-6));
}

TEST_CASE("augment: wrong options are refused", "[augment]") {
  const auto error = [](AugmentOptions options) {
    return error_of([&] {
      Random random(1);
      Warp(options, 8, random);
    });
  };
  CHECK(error({}) == "no error");
  CHECK(error(no_augmentation()) == "no error");
  CHECK_THAT(error(only(&AugmentOptions::zoom, 0)), Catch::Contains("zoom from 0 to 0"));
  CHECK_THAT(error(only(&AugmentOptions::rotate, NAN)), Catch::Contains("rotate"));
  CHECK_THAT(error(only(&AugmentOptions::elastic, 2, INFINITY)), Catch::Contains("elastic"));
  CHECK_THAT(error(only(&AugmentOptions::gamma, 2, 1)), Catch::Contains("gamma from 2 to 1"));
  AugmentOptions options;
  options.mirror = 1.5;
  CHECK_THAT(error(options), Catch::Contains("probability 1.5"));
  options.mirror = NAN;
  CHECK_THAT(error(options), Catch::Contains("probability nan"));
  std::vector<float> pixels(1);
  for (const auto change : intensities) {
    CHECK_THAT(error_of([&] { changed(only(change, NAN), pixels, 1); }), Catch::Contains("augmentation"));
    CHECK_THAT(error_of([&] { changed(only(change, -1), pixels, 1); }), Catch::Contains("augmentation"));
  }
  for (int64_t side : {int64_t(0), int64_t(-4), int64_t(1) << 40})
    CHECK_THAT(error_of([&] {
                 Random random(1);
                 Warp({}, side, random);
               }),
               Catch::Contains("Warp"));
  Random random(1);
  CHECK_THAT(error_of([&] { change_intensities({}, random, pixels.data(), 0, 1, 1); }), Catch::Contains("0 x 1"));
}
