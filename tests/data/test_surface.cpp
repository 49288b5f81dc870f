// The distance between surfaces, and run-length encoding.
#include <algorithm>

#include "data/scoring/rle.h"
#include "data/scoring/surface.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

using Mask = Volume<uint8_t>;

Mask random_mask(const Grid& grid, uint64_t seed, double share) {
  Mask mask(grid);
  Random random(seed);
  for (uint8_t& v : mask.voxels) v = random.uniform() < share ? 255 : 0;
  return mask;
}

// The definition, by all pairs of surface voxels.
double slow_hausdorff(const Mask& a, const Mask& b, double share) {
  const auto surface = [](const Mask& m) {
    std::vector<Vec3> points;
    const Index3 n = m.grid.size;
    for (int64_t z = 0; z < n[2]; z++)
      for (int64_t y = 0; y < n[1]; y++)
        for (int64_t x = 0; x < n[0]; x++) {
          bool open = false;
          for (const Index3 d : {Index3{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}, {0, 0, -1}}) {
            const Index3 q{x + d[0], y + d[1], z + d[2]};
            bool inside = true;
            for (size_t k = 0; k < 3; k++) inside = inside && q[k] >= 0 && q[k] < n[k];
            open = open || !inside || !m.at(q[0], q[1], q[2]);
          }
          if (m.at(x, y, z) && open) points.push_back({double(x), double(y), double(z)});
        }
    return points;
  };
  const auto directed = [&](const std::vector<Vec3>& from, const std::vector<Vec3>& to) {
    std::vector<double> distances;
    for (const Vec3& p : from) {
      double least = INFINITY;
      for (const Vec3& q : to) {
        double sum = 0;
        for (size_t k = 0; k < 3; k++) sum += std::pow((p[k] - q[k]) * a.grid.spacing[k], 2);
        least = std::min(least, std::sqrt(sum));
      }
      distances.push_back(least);
    }
    std::sort(distances.begin(), distances.end());
    const double place = share * double(distances.size() - 1);
    const auto i = size_t(place);
    return i + 1 < distances.size() ? distances[i] * (1 - (place - double(i))) + distances[i + 1] * (place - double(i))
                                    : distances[i];
  };
  const auto s = surface(a), t = surface(b);
  return std::max(directed(s, t), directed(t, s));
}

}  // namespace

TEST_CASE("surface: against all pairs of voxels, on grids that are not cubes") {
  for (uint64_t seed = 0; seed < 12; seed++) {
    Grid grid{{7, 5, 6}};
    grid.spacing = {0.7, 1.3, 2.5};
    const Mask a = random_mask(grid, seed, seed % 3 == 0 ? 0.03 : 0.6), b = random_mask(grid, seed + 100, 0.4);
    for (double share : {0.0, 0.5, 0.95, 1.0}) {
      CAPTURE(seed, share);
      CHECK(hausdorff_mm(a, b, share) == Approx(slow_hausdorff(a, b, share)).epsilon(1e-6));
      CHECK(hausdorff_mm(a, b, share) == hausdorff_mm(b, a, share));
    }
    CHECK(hausdorff_mm(a, a) == 0);
  }
}

TEST_CASE("surface: known distances, and masks that are empty") {
  Grid grid{{30, 20, 10}};
  grid.spacing = {0.5, 1, 3};
  Mask a(grid), b(grid);
  CHECK(hausdorff_mm(a, b) == 0);
  a.at(4, 5, 6) = 1;
  CHECK(hausdorff_mm(a, b) == INFINITY);
  CHECK(hausdorff_mm(b, a) == INFINITY);
  b.at(10, 9, 6) = 1;
  CHECK(hausdorff_mm(a, b) == Approx(5));  // 3 and 4
  // 40 voxels on each other and one far away: of one direction it is among the 5 % that are left out, not of 100 %.
  for (int64_t x = 0; x < 30; x++) a.at(x, 0, 0) = b.at(x, 0, 0) = 1;
  a.at(4, 5, 6) = b.at(10, 9, 6) = 0;
  b.at(0, 0, 9) = 1;
  CHECK(hausdorff_mm(a, b) == 0);
  CHECK(hausdorff_mm(a, b, 1) == Approx(27));
  grid.spacing[0] = 1;
  CHECK_THAT(error_of([&] { hausdorff_mm(a, Mask(grid)); }), Catch::Contains("different grids"));
}

TEST_CASE("rle: columns first, counted from 1, and back") {
  const uint8_t mask[] = {0, 1, 1,  //
                          1, 1, 0};
  CHECK(run_lengths(mask, 3, 2) == "2 4");
  const uint8_t apart[] = {7, 0, 0,  //
                           0, 0, 9};
  CHECK(run_lengths(apart, 3, 2) == "1 1 6 1");
  CHECK(run_lengths(apart, 0, 0) == "");
  CHECK(from_run_lengths("1 1 6 1", 3, 2) == std::vector<uint8_t>{1, 0, 0, 0, 0, 1});
  CHECK(from_run_lengths("", 2, 1) == std::vector<uint8_t>{0, 0});
  for (uint64_t seed = 0; seed < 20; seed++) {
    Mask m = random_mask(Grid{{int64_t(1 + seed % 7), int64_t(1 + seed % 5), 1}}, seed, 0.5);
    for (uint8_t& v : m.voxels) v = v != 0;
    CHECK(from_run_lengths(run_lengths(m.slice(0), m.grid.size[0], m.grid.size[1]), m.grid.size[0], m.grid.size[1]) ==
          m.voxels);
  }
  for (const char* wrong : {"0 1", "1 0", "1 7", "7 1", "6 2", "1 -1", "-1 1", "1 x", "1.5 1", "3 2 4 1", "3 1 1 1",
                            "1 9223372036854775807", "9223372036854775807 1"})
    CHECK_THAT(error_of([&] { from_run_lengths(wrong, 3, 2); }), Catch::Contains("run lengths: the pair"));
  CHECK_THAT(error_of([] { from_run_lengths("1 1 3", 3, 2); }), Catch::Contains("3 numbers"));
}
