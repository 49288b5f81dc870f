// Where voxels lie: grids, masks of spheres, resampling and reorienting.
#include <algorithm>
#include <limits>

#include "data/volume/mask.h"
#include "data/volume/resample.h"

#include "tests/testing.h"

using namespace acinus;

namespace {

double distance(const Vec3& a, const Vec3& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

const Mat3 straight{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, flipped{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
// Index x runs to the head, y to the right, z to the front.
const Mat3 permuted{{{0, 0, 1}, {-1, 0, 0}, {0, -1, 0}}};
// Turned about x by 36.9 degrees, and about all axes (rows at right angles, of length 1).
const Mat3 tilted{{{1, 0, 0}, {0, 0.8, 0.6}, {0, -0.6, 0.8}}};
const Mat3 oblique{{{2. / 3, -1. / 3, 2. / 3}, {2. / 3, 2. / 3, -1. / 3}, {-1. / 3, 2. / 3, 2. / 3}}};

// Any rotation, by a unit quaternion; every second one mirrored.
Mat3 random_direction(Random& random) {
  double w = random.normal(), x = random.normal(), y = random.normal(), z = random.normal();
  const double length = std::hypot(std::hypot(w, x), std::hypot(y, z));
  w /= length, x /= length, y /= length, z /= length;
  Mat3 d{{{1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)},
          {2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)},
          {2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)}}};
  if (random.uniform() < 0.5)
    for (double& number : d[2]) number = -number;
  return d;
}

Grid random_grid(Random& random, const Index3& size, const Mat3& direction) {
  Grid grid{size, {}, {}, direction};
  for (size_t i = 0; i < 3; i++) grid.spacing[i] = random.uniform(0.5, 3), grid.origin[i] = random.uniform(-400, 400);
  return grid;
}

std::vector<Mat3> directions(Random& random) {
  std::vector<Mat3> all{straight, flipped, permuted, tilted, oblique};
  for (int i = 0; i < 5; i++) all.push_back(random_direction(random));
  return all;
}

// Another grid over about the same place: other spacing, turned, moved by up to 3 mm along each axis.
Grid nearby(Random& random, const Grid& grid, const Index3& size) {
  Grid other{size, {}, {}, random_direction(random)};
  for (double& s : other.spacing) s = random.uniform(0.5, 3);
  const Vec3 middle =
      grid.to_world({double(grid.size[0] - 1) / 2, double(grid.size[1] - 1) / 2, double(grid.size[2] - 1) / 2});
  const Vec3 off = other.to_world({double(size[0] - 1) / 2, double(size[1] - 1) / 2, double(size[2] - 1) / 2});
  for (size_t i = 0; i < 3; i++) other.origin[i] = middle[i] - off[i] + random.uniform(-3, 3);
  return other;
}

template <class T>
Volume<T> noise(const Grid& grid, Random& random, double low, double high) {
  Volume<T> volume(grid);
  for (T& value : volume.voxels) value = T(random.uniform(low, high));
  return volume;
}

template <class F>
void for_each_point(const Grid& grid, F f) {
  for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, int64_t) {
    f(x, y, z, grid.to_world({double(x), double(y), double(z)}));
  });
}

}  // namespace

// ---- geometry -------------------------------------------------------------------------------------------------------

TEST_CASE("geometry: the example of a flipped scan", "[geometry]") {
  const Grid grid{{512, 512, 141}, {0.76, 0.76, 2.5}, {195, 195, -378}, flipped};
  const Vec3 world = grid.to_world({10, 20, 3});
  CHECK(world[0] == Approx(187.4));
  CHECK(world[1] == Approx(179.8));
  CHECK(world[2] == Approx(-370.5));
  CHECK(distance(grid.to_voxel({187.4, 179.8, -370.5}), {10, 20, 3}) < 1e-9);
  CHECK(grid.to_world({0, 0, 0}) == Vec3{195, 195, -378});
  // Row i of the matrix is the direction of index axis i: one step along z moves by (0, -0.6, 0.8) * 2.
  const Grid turned{{4, 4, 4}, {1, 1, 2}, {0, 0, 0}, tilted};
  CHECK(distance(turned.to_world({0, 0, 1}), {0, -1.2, 1.6}) < 1e-12);
  CHECK(distance(turned.to_world({0, 1, 0}), {0, 0.8, 0.6}) < 1e-12);
  CHECK((grid.voxels() == 512 * 512 * 141 && grid.offset(1, 2, 3) == (3 * 512 + 2) * 512 + 1));
}

TEST_CASE("geometry: to_voxel undoes to_world on any grid", "[geometry]") {
  Random random(1);
  std::vector<Mat3> all = directions(random);
  all.push_back({{{1, 0, 0}, {0.3, 0.9, 0}, {0, 0.1, 1}}});  // not at right angles
  for (const Mat3& direction : all)
    for (int i = 0; i < 50; i++) {
      Grid grid{{9, 8, 7}, {}, {}, direction};
      Vec3 voxel, world;
      for (size_t k = 0; k < 3; k++) {
        grid.spacing[k] = random.uniform(0.3, 5);
        grid.origin[k] = random.uniform(-400, 400);
        voxel[k] = random.uniform(-5, 600);
        world[k] = random.uniform(-400, 400);
      }
      CHECK(distance(grid.to_voxel(grid.to_world(voxel)), voxel) < 1e-9);
      CHECK(distance(grid.to_world(grid.to_voxel(world)), world) < 1e-9);
    }
  const Grid flat{{1, 1, 1}, {1, 1, 1}, {}, {{{1, 0, 0}, {1, 0, 0}, {0, 0, 1}}}};
  CHECK_THAT(error_of([&] { flat.to_voxel({0, 0, 0}); }), Catch::Contains("singular"));
}

TEST_CASE("geometry: a grid reaches half a voxel around its centres", "[geometry]") {
  const Grid grid{{4, 3, 2}};
  for (const Vec3& in : {Vec3{0, 0, 0}, {3, 2, 1}, {-0.5, -0.5, -0.5}, {3.5, 2.5, 1.5}}) CHECK(grid.contains(in));
  for (const Vec3& out : {Vec3{-0.51, 0, 0}, {3.51, 0, 0}, {0, 2.51, 0}, {0, 0, -0.51}, {0, 0, 1.51}, {NAN, 0, 0}})
    CHECK_FALSE(grid.contains(out));
}

TEST_CASE("geometry: another spacing over the same extent", "[geometry]") {
  const Grid example = resampled({{512, 512, 141}, {0.7, 0.7, 2.5}}, {1, 1, 1});
  CHECK(example.size == Index3{358, 358, 353});
  CHECK(distance(example.origin, {0.15, 0.15, -0.75}) < 1e-12);

  Random random(2);
  for (const Mat3& direction : directions(random)) {
    const Grid grid = random_grid(random, {31, 20, 9}, direction);
    CHECK(resampled(grid, grid.spacing) == grid);
    Vec3 halves = grid.spacing;
    for (double& s : halves) s /= 2;
    CHECK(resampled(grid, halves).size == Index3{62, 40, 18});
    for (int i = 0; i < 20; i++) {
      const Vec3 spacing{random.uniform(0.2, 8), random.uniform(0.2, 8), random.uniform(0.2, 8)};
      const Grid other = resampled(grid, spacing);
      CHECK((other.spacing == spacing && other.direction == grid.direction));
      CHECK(distance(other.to_world({-0.5, -0.5, -0.5}), grid.to_world({-0.5, -0.5, -0.5})) < 1e-9);
      for (size_t k = 0; k < 3; k++)
        CHECK(std::abs(double(other.size[k]) * spacing[k] - double(grid.size[k]) * grid.spacing[k]) <=
              spacing[k] / 2 + 1e-9);
    }
  }
  CHECK(resampled({{3, 3, 3}}, {100, 100, 100}).size == Index3{1, 1, 1});  // something always remains
  for (double bad : {0., -1., double(NAN), double(INFINITY)})
    CHECK_THAT(error_of([&] {
                 resampled({{9, 9, 9}}, {1, bad, 1});
               }),
               Catch::Contains("axis 1") && Catch::Contains("above 0"));
  for (double tiny : {1e-5, 1e-300, 5e-324})
    CHECK_THAT(error_of([&] { resampled({{99, 99, 99}}, {tiny, tiny, tiny}); }), Catch::Contains("2^40 voxels"));
}

TEST_CASE("geometry: orientation names the side each axis comes from", "[geometry]") {
  const auto code = [](const Mat3& direction) { return orientation({{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, direction}); };
  CHECK((code(straight) == "RAI" && code(flipped) == "LPI" && code(permuted) == "ILP" && code(tilted) == "RAI"));
  // Both x and y run mostly to the left, and each row's largest number would say so; only one can be the left one.
  CHECK(code({{{0.8, 0.6, 0}, {0.7, -0.65, 0.3}, {0.18, -0.24, -0.95}}}) == "RPS");
  CHECK(code({{{0.7, -0.65, 0.3}, {0.8, 0.6, 0}, {0.18, -0.24, -0.95}}}) == "PRS");
  // The length of a row does not matter: the last one has its largest number in x, but the first needs x more.
  CHECK(code({{{0.8, 0, 0.2}, {0, 1, 0}, {70, 0, -60}}}) == "RAS");
  Random random(3);
  for (int i = 0; i < 200; i++) {
    const Mat3 direction = random_direction(random);
    const std::string letters = code(direction);
    for (const char* sides : {"RL", "AP", "IS"}) CHECK(letters.find_first_of(sides) != std::string::npos);
    Mat3 back = direction;
    for (double& number : back[1]) number = -number;
    CHECK((code(back)[0] == letters[0] && code(back)[1] != letters[1] && code(back)[2] == letters[2]));
  }
}

// ---- masks ----------------------------------------------------------------------------------------------------------

TEST_CASE("mask: spheres hold exactly the voxels whose centres they hold", "[geometry]") {
  const std::pair<Vec3, Mat3> grids[] = {{{1, 1, 1}, {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}},
                                         {{0.7, 0.9, 2.5}, {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}},
                                         {{0.7, 0.7, 2.5}, flipped},
                                         {{1.5, 0.8, 0.6}, tilted},
                                         {{0.9, 1.1, 1.3}, oblique}};
  for (const auto& [spacing, direction] : grids) {
    const Grid grid{{40, 36, 24}, spacing, {-12, 30, 7}, direction};
    INFO("spacing " << spacing[0] << ' ' << spacing[1] << ' ' << spacing[2]);
    std::vector<Annotation> nodules{{"a", grid.to_world({12.3, 14.8, 9.4}), 9},
                                    {"a", grid.to_world({28, 20, 14}), 11.5},
                                    {"a", grid.to_world({31.1, 22.2, 15.3}), 6},      // overlaps the second
                                    {"a", grid.to_world({0.2, 35.3, 23.4}), 8},       // half outside
                                    {"a", grid.to_world({20, 5, 5}), -1},             // size unknown
                                    {"a", grid.to_world({-3, 20, 10}), 30},           // centre outside
                                    {"a", grid.to_world({7.4, 30.45, 3.45}), 0.05}};  // between all centres
    const Volume<uint8_t> mask = sphere_mask(grid, nodules);
    CHECK(mask.grid == grid);
    int64_t wrong = 0, marked = 0;
    for (int64_t z = 0; z < 24; z++)
      for (int64_t y = 0; y < 36; y++)
        for (int64_t x = 0; x < 40; x++) {
          const Vec3 at = grid.to_world({double(x), double(y), double(z)});
          bool inside = x == 7 && y == 30 && z == 3;
          for (const Annotation& n : nodules)
            inside |= n.diameter_mm > 0 && n.diameter_mm < 30 && distance(at, n.centre) <= n.diameter_mm / 2;
          wrong += mask.at(x, y, z) != inside;
          marked += mask.at(x, y, z);
        }
    CHECK(wrong == 0);
    CHECK(marked > 100);
    // One after the other or together is the same.
    Volume<uint8_t> united(grid, 0);
    for (const Annotation& n : nodules) {
      const Volume<uint8_t> one = sphere_mask(grid, {n});
      for (size_t i = 0; i < one.voxels.size(); i++) united.voxels[i] |= one.voxels[i];
    }
    CHECK(united.voxels == mask.voxels);
    // The volume of a large one is that of a sphere.
    const Volume<uint8_t> large = sphere_mask(grid, {{"a", grid.to_world({20, 18, 12}), 13}});
    const double mm3 =
        double(std::count(large.voxels.begin(), large.voxels.end(), 1)) * spacing[0] * spacing[1] * spacing[2];
    CHECK(mm3 == Approx(4. / 3 * 3.14159265 * 6.5 * 6.5 * 6.5).epsilon(0.05));
  }
  CHECK(std::ranges::count(sphere_mask(Grid{{3, 3, 3}}, {}).voxels, 0) == 27);
}

TEST_CASE("mask: what enough readers outlined", "[geometry]") {
  Volume<uint8_t> readers(Grid{{5, 1, 1}});
  readers.voxels = {0, 1, 2, 3, 4};
  CHECK(reader_mask(readers).voxels == std::vector<uint8_t>{0, 0, 1, 1, 1});
  CHECK(reader_mask(readers, 4).voxels == std::vector<uint8_t>{0, 0, 0, 0, 1});
}

// ---- resampling -----------------------------------------------------------------------------------------------------

TEST_CASE("resample: onto its own grid nothing changes, to the last bit", "[resample]") {
  Random random(4);
  for (const Mat3& direction : directions(random)) {
    const Grid grid = random_grid(random, {37, 21, 13}, direction);
    const Volume<int16_t> ct = noise<int16_t>(grid, random, -1024, 3071);
    Volume<float> floats = noise<float>(grid, random, -1e3, 1e3);
    for (size_t i = 0; i < floats.voxels.size(); i += 5)
      floats.voxels[i] = 0;  // where a trace of a neighbour would show
    // (Doubled brackets: a failure shall not print 10,000 numbers.)
    for (const Interpolation how : {Interpolation::nearest, Interpolation::linear}) {
      const Volume<int16_t> same = resample(ct, grid, how, -1000);
      CHECK((same.voxels == ct.voxels && same.grid == grid));
      CHECK((resample(floats, grid, how, -1).voxels == floats.voxels));
      // Nor where the same voxels are stored in another order.
      const Volume<float> turned = reoriented(floats, "SLP");
      CHECK((resample(floats, turned.grid, how, -1).voxels == turned.voxels));
      CHECK((resample(turned, grid, how, -1).voxels == floats.voxels));
    }
  }
}

TEST_CASE("resample: linear in world coordinates stays so, inside; outside is what was asked for", "[resample]") {
  Random random(5);
  int64_t inside = 0, edge = 0, outside = 0;
  double error = 0, edge_error = 0;
  for (const Mat3& direction : directions(random)) {
    const Grid grid = random_grid(random, {23, 19, 17}, direction);
    const Vec3 slope{random.uniform(-2, 2), random.uniform(-2, 2), random.uniform(-2, 2)};
    const auto plane = [&](const Vec3& at) {  // mm from voxel 0: floats have only 7 digits
      double value = 5;
      for (size_t i = 0; i < 3; i++) value += slope[i] * (at[i] - grid.origin[i]);
      return value;
    };
    Volume<float> volume(grid);
    for_each_point(grid,
                   [&](int64_t x, int64_t y, int64_t z, const Vec3& at) { volume.at(x, y, z) = float(plane(at)); });
    const Grid onto = nearby(random, grid, {30, 25, 20});
    const Volume<float> result = resample(volume, onto, Interpolation::linear, -7777);
    for_each_point(onto, [&](int64_t x, int64_t y, int64_t z, const Vec3& at) {
      const Vec3 voxel = grid.to_voxel(at);
      Vec3 held = voxel;  // beyond the outermost centres, their value
      for (size_t i = 0; i < 3; i++) held[i] = std::clamp(held[i], 0., double(grid.size[i] - 1));
      if (!grid.contains(voxel)) {
        outside++;
        if (result.at(x, y, z) != -7777) FAIL_CHECK("a value outside, at " << x << ' ' << y << ' ' << z);
      } else if (held == voxel) {
        inside++, error = std::max(error, std::abs(result.at(x, y, z) - plane(at)));
      } else {
        edge++, edge_error = std::max(edge_error, std::abs(result.at(x, y, z) - plane(grid.to_world(held))));
      }
    });
  }
  CHECK((inside > 10000 && edge > 1000 && outside > 10000));
  CHECK(error < 1e-4);
  CHECK(edge_error < 1e-4);
}

TEST_CASE("resample: small examples by hand", "[resample]") {
  Volume<int16_t> row(Grid{{4, 1, 1}, {2, 1, 1}, {10, 0, 0}, straight});
  row.voxels = {0, 10, 13, -10};
  Grid fine{{10, 1, 1}, {1, 1, 1}, {8, 0, 0}, straight};  // 8, 9, ... 17 mm: indices -1, -0.5, ... 3.5
  const auto values = [&](Interpolation how) { return resample(row, fine, how, 99).voxels; };
  CHECK(values(Interpolation::linear) == std::vector<int16_t>{99, 0, 0, 5, 10, 12, 13, 2, -10, -10});  // 11.5, 1.5 up
  CHECK(values(Interpolation::nearest) == std::vector<int16_t>{99, 0, 0, 10, 10, 13, 13, -10, -10, -10});
  fine.origin[0] = 8.9, fine.size[0] = 1;  // 0.05 voxels out of the box
  CHECK(values(Interpolation::linear) == std::vector<int16_t>{99});
  Volume<int16_t> below(Grid{{2, 1, 1}});
  below.voxels = {-3, -2};
  fine = {{5, 1, 1}, {0.25, 1, 1}, {0, 0, 0}, straight};
  CHECK(resample(below, fine, Interpolation::linear, 0).voxels == std::vector<int16_t>{-3, -3, -2, -2, -2});

  // Two voxels along each axis; the middle is the mean of all eight.
  Volume<float> cube(Grid{{2, 2, 2}});
  cube.voxels = {1, 2, 4, 8, 16, 32, 64, 128};
  const Grid middle{{1, 1, 1}, {1, 1, 1}, {0.5, 0.5, 0.5}, straight};
  CHECK(resample(cube, middle, Interpolation::linear, 0).voxels[0] == Approx(255. / 8));
  CHECK(resample(cube, {{1, 1, 1}, {1, 1, 1}, {0.25, 0, 1}, straight}, Interpolation::linear, 0).voxels[0] == 20);
  // A NaN stays with the voxels that have a share in it.
  cube.at(1, 0, 0) = NAN;
  const Volume<float> on_x = resample(cube, {{5, 2, 2}, {0.25, 1, 1}}, Interpolation::linear, 0);
  CHECK((on_x.at(0, 0, 0) == 1 && std::isnan(on_x.at(1, 0, 0)) && on_x.at(2, 1, 0) == 6 && on_x.at(4, 1, 1) == 128));
  CHECK(std::count_if(on_x.voxels.begin(), on_x.voxels.end(), [](float v) { return std::isnan(v); }) == 4);
  // The extreme values of a type survive.
  Volume<uint8_t> full(Grid{{2, 2, 2}}, 255);
  CHECK(resample(full, middle, Interpolation::linear, 0).voxels[0] == 255);
}

TEST_CASE("resample: a mask keeps its values, and a sphere its volume", "[resample]") {
  Random random(6);
  for (const Mat3& direction : directions(random)) {
    const Grid grid{{40, 36, 30}, {0.8, 0.9, 1.2}, {-20, 30, 100}, direction};
    const Vec3 centre = grid.to_world({19.2, 17.6, 14.4});
    Volume<uint8_t> mask = sphere_mask(grid, {{"a", centre, 20}});
    for (uint8_t& value : mask.voxels) value = value ? 7 : 3;
    const Grid onto = nearby(random, grid, {70, 70, 70});
    const Volume<uint8_t> moved = resample(mask, onto, Interpolation::nearest, 0);
    int64_t in = 0, around = 0;
    for (uint8_t value : moved.voxels) in += value == 7, around += value == 3;
    CHECK(std::count(moved.voxels.begin(), moved.voxels.end(), 0) == onto.voxels() - in - around);
    const double mm3 = double(in) * onto.spacing[0] * onto.spacing[1] * onto.spacing[2];
    CHECK(mm3 == Approx(4. / 3 * 3.14159265 * 1000).epsilon(0.05));
    CHECK(around > in);
    for_each_point(onto, [&](int64_t x, int64_t y, int64_t z, const Vec3& at) {
      const double mm = distance(at, centre);  // a voxel is at most 0.85 mm from its corner
      if ((moved.at(x, y, z) == 7 && mm > 10.9) || (moved.at(x, y, z) == 3 && mm < 9.1))
        FAIL_CHECK("the sphere's edge lies " << mm << " mm from its centre");
    });
  }
}

TEST_CASE("resample: the same for any number of threads", "[resample]") {
  Random random(7);
  const Grid grid = random_grid(random, {40, 30, 20}, oblique);
  const Volume<float> volume = noise<float>(grid, random, -1, 1);
  const Grid onto = nearby(random, grid, {33, 44, 27});
  for (const Interpolation how : {Interpolation::nearest, Interpolation::linear}) {
    std::vector<float> one;
    {
      const Threads single(1);
      one = resample(volume, onto, how, 0).voxels;
    }
    const Threads three(3);
    CHECK((resample(volume, onto, how, 0).voxels == one));
  }
}

TEST_CASE("resample: what cannot be resampled is refused", "[resample]") {
  const Volume<int16_t> volume(Grid{{3, 3, 3}}, 1);
  const auto error = [](const Volume<int16_t>& from, const Grid& onto) {
    return error_of([&] { resample(from, onto, Interpolation::linear, 0); });
  };
  CHECK_THAT(error(volume, {{3, 0, 3}}), Catch::Contains("3x0x3"));
  CHECK_THAT(error(volume, {{-1, -1, 3}}), Catch::Contains("-1x-1x3"));
  CHECK_THAT(error({}, {{3, 3, 3}}), Catch::Contains("0x0x0"));
  Volume<int16_t> short_of_one = volume;
  short_of_one.voxels.pop_back();
  CHECK_THAT(error(short_of_one, volume.grid), Catch::Contains("26 voxels on a grid of 27"));
  Volume<int16_t> flat = volume;
  flat.grid.direction[1] = flat.grid.direction[0];
  CHECK_THAT(error(flat, volume.grid), Catch::Contains("singular"));
  // A grid that lies nowhere, or far away, shows only the outside.
  Grid nowhere{{2, 2, 2}, {NAN, 1, 1}}, far{{2, 2, 2}, {1, 1, 1}, {1e300, 0, 0}, straight};
  for (const Grid& onto : {nowhere, far})
    for (int16_t value : resample(volume, onto, Interpolation::linear, -1000).voxels) CHECK(value == -1000);
}

TEST_CASE("reoriented: voxels keep their place in the patient", "[resample]") {
  Random random(8);
  std::vector<std::string> codes;
  std::string axes = "AIR";
  do
    for (int flips = 0; flips < 8; flips++) {
      std::string code = axes;
      for (size_t i = 0; i < 3; i++)
        if (flips >> i & 1) code[i] = code[i] == 'A' ? 'P' : code[i] == 'I' ? 'S' : 'L';
      codes.push_back(code);
    }
  while (std::next_permutation(axes.begin(), axes.end()));
  REQUIRE(codes.size() == 48);

  for (const Mat3& direction : directions(random)) {
    if (direction == oblique) continue;  // lies exactly between two orientations: either name is as good
    const Grid grid = random_grid(random, {5, 4, 3}, direction);
    Volume<int16_t> volume(grid);
    for (size_t i = 0; i < volume.voxels.size(); i++) volume.voxels[i] = int16_t(i);  // each value tells its voxel
    const std::string original = orientation(grid);
    CHECK(reoriented(volume, original).voxels == volume.voxels);
    CHECK(reoriented(volume, original).grid == grid);
    for (const std::string& code : codes) {
      const Volume<int16_t> turned = reoriented(volume, code);
      REQUIRE(turned.voxels.size() == volume.voxels.size());
      REQUIRE(orientation(turned.grid) == code);
      double moved = 0;
      for_each_point(turned.grid, [&](int64_t x, int64_t y, int64_t z, const Vec3& at) {
        const int64_t i = turned.at(x, y, z);  // the voxel this value came from
        moved = std::max(moved, distance(at, grid.to_world({double(i % 5), double(i / 5 % 4), double(i / 20)})));
      });
      REQUIRE(moved < 1e-9);
      const Volume<int16_t> back = reoriented(turned, original);
      REQUIRE(back.voxels == volume.voxels);
      REQUIRE((back.grid.size == grid.size && back.grid.spacing == grid.spacing));
      REQUIRE(back.grid.direction == grid.direction);
      REQUIRE(distance(back.grid.origin, grid.origin) < 1e-9);
    }
  }
  // A flipped scan of LUNA16, made straight: no number of the header becomes -0.
  const Volume<uint8_t> straightened =
      reoriented(Volume<uint8_t>(Grid{{4, 3, 2}, {1, 1, 1}, {3, 2, 0}, flipped}), "RAI");
  CHECK((straightened.grid.direction == straight && straightened.grid.origin == Vec3{0, 0, 0}));
  for (const Vec3& row : straightened.grid.direction)
    for (double number : row) CHECK_FALSE(std::signbit(number));
  for (const char* bad : {"", "RA", "RAIS", "RRI", "RLI", "XAI", "rai"})
    CHECK_THAT(error_of([&] {
                 reoriented(Volume<float>(Grid{{2, 2, 2}}), bad);
               }),
               Catch::Contains(text('"', bad, '"')) && Catch::Contains("one letter each"));
  CHECK_THAT(error_of([] { reoriented(Volume<float>(), "RAI"); }), Catch::Contains("0x0x0"));
}
