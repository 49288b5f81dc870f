// The lung mask, and what it is made of: distance transforms and morphology in mm, connected components.
#include "data/chest/lungs.h"

#include <algorithm>
#include <deque>

#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "data/volume/components.h"
#include "data/volume/mask.h"
#include "data/volume/morphology.h"
#include "data/chest/phantom.h"
#include "data/volume/resample.h"
#include "tests/testing.h"

using namespace acinus;
namespace fs = std::filesystem;

namespace {

const fs::path luna = fs::path("..") / "shared" / "luna";

Grid grid_of(const Index3& size, const Vec3& spacing = {1, 1, 1}) {
  Grid grid;
  grid.size = size, grid.spacing = spacing;
  return grid;
}

Volume<uint8_t> random_mask(const Grid& grid, double share, uint64_t seed) {
  Volume<uint8_t> mask(grid);
  Random random(seed);
  for (uint8_t& v : mask.voxels) v = random.uniform() < share ? 3 : 0;  // any value but 0 is in the mask
  return mask;
}

// f(offset, x, y, z) for each voxel.
template <class F>
void for_voxels(const Grid& grid, F f) {
  for (int64_t z = 0, i = 0; z < grid.size[2]; z++)
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++, i++) f(size_t(i), x, y, z);
}

// By the definition: every voxel against every other.
std::vector<double> distances(const Volume<uint8_t>& mask) {
  const Vec3 s = mask.grid.spacing;
  std::vector<double> result(mask.voxels.size(), INFINITY);
  for_voxels(mask.grid, [&](size_t i, int64_t x, int64_t y, int64_t z) {
    for_voxels(mask.grid, [&](size_t j, int64_t u, int64_t v, int64_t w) {
      const double dx = double(x - u) * s[0], dy = double(y - v) * s[1], dz = double(z - w) * s[2];
      if (mask.voxels[j]) result[i] = std::min(result[i], dx * dx + dy * dy + dz * dz);
    });
  });
  return result;
}

const Index3 ragged[] = {{1, 1, 1}, {17, 1, 3}, {1, 9, 1}, {1, 1, 6}, {7, 5, 4}, {19, 3, 2}, {2, 18, 5}, {13, 11, 7}};
const Vec3 spacings[] = {{1, 1, 1}, {0.7, 0.7, 2.5}, {3, 0.4, 1.1}};

bool same(const Volume<uint8_t>& a, const Volume<uint8_t>& b) {
  return std::equal(a.voxels.begin(), a.voxels.end(), b.voxels.begin(), b.voxels.end(),
                    [](uint8_t u, uint8_t v) { return (u != 0) == (v != 0); });
}

// Every voxel of a is in b.
bool within(const Volume<uint8_t>& a, const Volume<uint8_t>& b) {
  for (size_t i = 0; i < a.voxels.size(); i++)
    if (a.voxels[i] && !b.voxels[i]) return false;
  return true;
}

}  // namespace

TEST_CASE("lungs: squared distances are those of the definition, on any size and spacing") {
  for (const Index3& size : ragged)
    for (const Vec3& spacing : spacings)
      for (const double share : {0.02, 0.3, 0.97}) {
        const auto mask = random_mask(grid_of(size, spacing), share, 5);
        const Volume<float> squared = squared_distance(mask);
        const std::vector<double> expected = distances(mask);
        bool right = true;
        for (size_t i = 0; i < expected.size(); i++)
          right = right && (expected[i] == INFINITY ? squared.voxels[i] == INFINITY
                                                    : std::abs(squared.voxels[i] - expected[i]) <= 1e-5 * expected[i]);
        CAPTURE(size[0], size[1], size[2], spacing[0], share);
        CHECK(right);
      }
  const auto mask = random_mask(grid_of({40, 37, 33}, {0.7, 0.9, 1.3}), 0.001, 9);
  const Threads one(1);
  const auto expected = squared_distance(mask).voxels;
  const Threads three(3);
  CHECK((squared_distance(mask).voxels == expected));
}

TEST_CASE("lungs: balls in mm grow and shrink masks") {
  for (const Index3& size : ragged)
    for (const Vec3& spacing : spacings)
      for (const double radius : {0., 1., 2.1}) {
        const auto mask = random_mask(grid_of(size, spacing), 0.4, 11);
        CAPTURE(size[0], size[1], size[2], spacing[0], radius);
        Volume<uint8_t> inverse = mask, grown(mask.grid), shrunken(mask.grid);
        for (uint8_t& v : inverse.voxels) v = !v;
        const auto to_mask = distances(mask), to_inverse = distances(inverse);
        for (size_t i = 0; i < mask.voxels.size(); i++) {
          grown.voxels[i] = to_mask[i] <= radius * radius + 1e-6;
          shrunken.voxels[i] = to_inverse[i] > radius * radius + 1e-6;
        }
        CHECK(same(dilated(mask, radius), grown));
        CHECK(same(eroded(mask, radius), shrunken));
        const auto open = opened(mask, radius), close = closed(mask, radius);
        CHECK((within(open, mask) && within(mask, close)));
        CHECK(same(opened(open, radius), open));
      }
  CHECK(error_of([] { dilated(Volume<uint8_t>(grid_of({2, 2, 2})), -1); }).find("-1 mm") != std::string::npos);
  CHECK(error_of([] { closed(Volume<uint8_t>(grid_of({2, 2, 2}), 1), 1e9); }).find("10000") != std::string::npos);
}

TEST_CASE("lungs: closing fills notches narrower than the ball, and goes on beyond the border") {
  // A slab with two notches, 6 and 12 mm wide, from its right side; it fills the grid but for x >= 20.
  Volume<uint8_t> mask(grid_of({40, 60, 5}));
  const auto in_notch = [](int64_t x, int64_t y, int64_t from, int64_t wide) {
    return x >= 5 && x < 20 && y >= from && y < from + wide;
  };
  for_voxels(mask.grid, [&](size_t i, int64_t x, int64_t y, int64_t) {
    mask.voxels[i] = x < 20 && !in_notch(x, y, 10, 6) && !in_notch(x, y, 35, 12);
  });
  const auto close = closed(mask, 4);
  int64_t narrow = 0, wide = 0, beyond = 0;
  for_voxels(mask.grid, [&](size_t i, int64_t x, int64_t y, int64_t) {
    if (!close.voxels[i]) return;
    narrow += in_notch(x, y, 10, 6) && x < 16;  // its mouth is rounded
    wide += in_notch(x, y, 37, 8) && x > 8;
    beyond += x >= 20;
  });
  CHECK(narrow == 11 * 6 * 5);
  CHECK(wide == 0);
  CHECK(beyond == 0);
  // A wall of 3 mm between the mask and the border is a wall, not a gap.
  Volume<uint8_t> room(grid_of({12, 12, 12}));
  for_voxels(room.grid, [&](size_t i, int64_t x, int64_t, int64_t) { room.voxels[i] = x < 9; });
  CHECK(same(closed(room, 5), room));
}

TEST_CASE("lungs: components are those of a flood fill, the largest first") {
  for (const Index3& size : ragged)
    for (const double share : {0., 0.2, 0.35, 0.6, 1.})
      for (const auto connectivity : {Connectivity::faces, Connectivity::corners}) {
        const auto mask = random_mask(grid_of(size), share, 3);
        const Grid& grid = mask.grid;
        // Fills in the order of memory.
        std::vector<int32_t> filled(mask.voxels.size());
        std::vector<int64_t> sizes;
        for_voxels(grid, [&](size_t start, int64_t x, int64_t y, int64_t z) {
          if (!mask.voxels[start] || filled[start]) return;
          sizes.push_back(0);
          std::deque<Index3> left{{x, y, z}};
          filled[start] = int32_t(sizes.size());
          while (!left.empty()) {
            const Index3 at = left.front();
            left.pop_front();
            sizes.back()++;
            for (int64_t w = at[2] - 1; w <= at[2] + 1; w++)
              for (int64_t v = at[1] - 1; v <= at[1] + 1; v++)
                for (int64_t u = at[0] - 1; u <= at[0] + 1; u++) {
                  if (u < 0 || v < 0 || w < 0 || u >= size[0] || v >= size[1] || w >= size[2]) continue;
                  const int64_t steps = std::abs(u - at[0]) + std::abs(v - at[1]) + std::abs(w - at[2]);
                  if (connectivity == Connectivity::faces && steps > 1) continue;
                  const size_t i = size_t(grid.offset(u, v, w));
                  if (mask.voxels[i] && !filled[i]) filled[i] = filled[start], left.push_back({u, v, w});
                }
          }
        });
        std::vector<int32_t> rank(sizes.size() + 1);  // label of each: 1 + how many are larger, or as large and earlier
        for (size_t a = 0; a < sizes.size(); a++) {
          rank[a + 1] = 1;
          for (size_t b = 0; b < sizes.size(); b++)
            rank[a + 1] += sizes[b] > sizes[a] || (sizes[b] == sizes[a] && b < a);
        }
        for (int32_t& label : filled) label = rank[size_t(label)];

        const Components pieces = label_components(mask, connectivity);
        CAPTURE(size[0], size[1], size[2], share);
        CHECK((pieces.labels.voxels == filled));
        std::sort(sizes.rbegin(), sizes.rend());
        sizes.insert(sizes.begin(), std::count(mask.voxels.begin(), mask.voxels.end(), 0));
        CHECK(pieces.sizes == sizes);
      }
}

// ---- a chest of simple shapes ---------------------------------------------------------------------------------------

namespace {

double length(const Vec3& a, const Vec3& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

double ellipsoid(const Vec3& p, const Vec3& c, const Vec3& r) {  // < 1 inside
  return std::hypot((p[0] - c[0]) / r[0], (p[1] - c[1]) / r[1], (p[2] - c[2]) / r[2]);
}

double to_segment(const Vec3& p, const Vec3& a, const Vec3& b) {
  Vec3 axis, at = a;
  double dot = 0, square = 0;
  for (size_t i = 0; i < 3; i++) axis[i] = b[i] - a[i], dot += axis[i] * (p[i] - a[i]), square += axis[i] * axis[i];
  for (size_t i = 0; i < 3; i++) at[i] += std::clamp(dot / square, 0., 1.) * axis[i];
  return length(p, at);
}

const Vec3 left_lung{68, 0, 0}, right_lung{-68, 0, 0}, lung_radii{50, 70, 100};
const Vec3 wall_nodule{110, 0, 0};      // 26 mm, half a radius inside the pleura
const Vec3 front_nodule{-68, -64, 10};  // 14 mm
const Vec3 deep_tumour{-68, 0, -20};    // 50 mm, nowhere at the wall
const Vec3 trachea{0, 10, 0}, stomach{60, -10, -128};
struct Ball {
  Vec3 centre;
  double radius;
};
const Ball nodules[] = {{wall_nodule, 13}, {front_nodule, 7}, {deep_tumour, 25}};

// HU at a place in the world: a body in air on a table of foam, lungs, an airway that forks and enters them, bowel.
double chest_hu(const Vec3& p) {
  for (const Ball& nodule : nodules)
    if (length(p, nodule.centre) < nodule.radius) return 40;
  const double airway =
      std::min({to_segment(p, {0, 10, 160}, {0, 10, 30}) - 8, to_segment(p, {0, 10, 30}, {40, 10, 0}) - 6,
                to_segment(p, {0, 10, 30}, {-40, 10, 0}) - 6});
  if (airway < 0) return -1000;
  if (airway < 2.5) return 20;
  for (const Vec3& lung : {left_lung, right_lung})
    if (ellipsoid(p, lung, lung_radii) < 1) {
      const double vessel = std::abs(std::remainder(p[0], 14)) + std::abs(std::remainder(p[1], 14));
      return vessel < 1.5 ? 20 : -860;
    }
  if (length(p, stomach) < 22) return -1000;
  if (std::hypot(p[0] / 145, p[1] / 105) < 1) return 0;
  return p[1] > 112 && p[1] < 140 ? -870 : -1000;
}

Volume<int16_t> chest(const Grid& grid) {
  Volume<int16_t> ct(grid);
  for_voxels(grid, [&](size_t i, int64_t x, int64_t y, int64_t z) {
    const double noise = 30 * (2 * random_uniform(7, i) - 1);
    ct.voxels[i] = int16_t(std::lround(chest_hu(grid.to_world({double(x), double(y), double(z)})) + noise));
  });
  return ct;
}

// A grid of this many voxels whose middle is a place in the world.
Grid around(const Vec3& middle, const Index3& size, const Vec3& spacing, const Mat3& direction = Grid{}.direction) {
  Grid grid;
  grid.size = size, grid.spacing = spacing, grid.direction = direction;
  const Vec3 half{double(size[0] - 1) / 2, double(size[1] - 1) / 2, double(size[2] - 1) / 2};
  const Vec3 at = grid.to_world(half);
  for (size_t i = 0; i < 3; i++) grid.origin[i] = middle[i] - at[i];
  return grid;
}

bool in_mask(const Volume<uint8_t>& mask, const Vec3& world) {
  const Vec3 at = mask.grid.to_voxel(world);
  return mask.grid.contains(at) && mask.at(std::lround(at[0]), std::lround(at[1]), std::lround(at[2])) != 0;
}

double share_inside(const Volume<uint8_t>& what, const Volume<uint8_t>& mask) {
  double all = 0, inside = 0;
  for (size_t i = 0; i < what.voxels.size(); i++)
    if (what.voxels[i]) all++, inside += mask.voxels[i];
  return inside / all;
}

void check_chest(const Lungs& lungs) {
  const double each_ml = 4. / 3 * 3.14159265 * lung_radii[0] * lung_radii[1] * lung_radii[2] / 1000;
  CHECK(lungs.left_ml == Approx(each_ml).epsilon(0.06));
  CHECK(lungs.right_ml == Approx(each_ml).epsilon(0.06));
  for (const Ball& nodule : nodules) {
    auto ball = sphere_mask(lungs.mask.grid, {{"", nodule.centre, 2 * nodule.radius}});
    for_voxels(ball.grid, [&](size_t i, int64_t x, int64_t y, int64_t z) {  // what lies within the pleura
      const Vec3 p = ball.grid.to_world({double(x), double(y), double(z)});
      if (ellipsoid(p, left_lung, lung_radii) > 1 && ellipsoid(p, right_lung, lung_radii) > 1) ball.voxels[i] = 0;
    });
    CAPTURE(nodule.centre[0], nodule.centre[1]);
    CHECK(share_inside(ball, lungs.mask) > (nodule.centre == deep_tumour ? 0.999 : 0.8));
  }
  for (const Vec3& lung : {left_lung, right_lung})
    for (const Vec3& off : {Vec3{0, 0, 90}, Vec3{0, 55, 0}, Vec3{30, 30, -40}, Vec3{0, 0, 0}})
      CHECK(in_mask(lungs.mask, {lung[0] + off[0], lung[1] + off[1], lung[2] + off[2]}));
  for (const Vec3& outside : {trachea, Vec3{0, 10, 90}, Vec3{0, 10, 60}, Vec3{10, 10, 24}, Vec3{-10, 10, 24}, stomach,
                              Vec3{0, 0, 0}, Vec3{0, -50, 0}, Vec3{130, 0, 0}})
    CHECK(!in_mask(lungs.mask, outside));
}

}  // namespace

TEST_CASE(
    "lungs: of a chest of simple shapes, nodules at the wall and tumours are in, airways, stomach and table out") {
  const Volume<int16_t> ct = chest(around({0, 5, 0}, {98, 82, 84}, {3.3, 3.2, 3.4}));
  const Lungs lungs = find_lungs(ct);
  check_chest(lungs);
  CHECK(lungs.warnings.empty());

  SECTION("stored in other orders, the same voxels") {
    for (const std::string code : {"LPI", "LAS", "SLP"}) {
      CAPTURE(code);
      const Lungs turned = find_lungs(reoriented(ct, code));
      CHECK((turned.mask.voxels == reoriented(lungs.mask, code).voxels));
      CHECK(turned.left_ml == Approx(lungs.left_ml));
    }
  }
  SECTION("with any number of threads, the same voxels") {
    const Threads one(1);
    CHECK((find_lungs(ct).mask.voxels == lungs.mask.voxels));
    const Threads three(3);
    CHECK((find_lungs(ct).mask.voxels == lungs.mask.voxels));
  }
  SECTION("padding around the scanner's circle") {
    Volume<int16_t> round = ct;
    for_voxels(ct.grid, [&](size_t i, int64_t x, int64_t y, int64_t) {
      if (std::hypot(double(x) - 48.5, double(y) - 40.5) > 46) round.voxels[i] = -3024;
    });
    check_chest(find_lungs(round));
  }
}

TEST_CASE("lungs: fine voxels, in odd numbers, whichever end they are counted from", "[slow]") {
  const Volume<int16_t> ct = chest(around({0, 2, 10}, {195, 137, 33}, {1.5, 1.3, 7.5}));
  const Lungs lungs = find_lungs(ct);
  check_chest(lungs);
  const Lungs turned = find_lungs(reoriented(ct, "LPI"));
  CHECK((turned.mask.voxels == reoriented(lungs.mask, "LPI").voxels));
}

TEST_CASE("lungs: on an oblique grid", "[slow]") {
  const double c = std::cos(0.3), s = std::sin(0.3);
  check_chest(
      find_lungs(chest(around({0, 5, 0}, {106, 98, 84}, {3.3, 3.2, 3.4}, {{{c, s, 0}, {-s, c, 0}, {0, 0, 1}}}))));
}

TEST_CASE("lungs: scans that are cropped or cut off") {
  SECTION("to the lungs: hardly any air around the body") {
    check_chest(find_lungs(chest(around({0, 0, 5}, {108, 72, 98}, {2.5, 2.2, 2.6}))));
  }
  SECTION("above and below") {
    const Lungs lungs = find_lungs(chest(around({0, 5, -20}, {130, 110, 16}, {2.5, 2.4, 2.6})));
    CHECK(in_mask(lungs.mask, wall_nodule));
    CHECK(in_mask(lungs.mask, {68, 40, -20}));
    CHECK(in_mask(lungs.mask, {-68, 40, -39}));
    CHECK(!in_mask(lungs.mask, {0, -20, -1}));
    CHECK(lungs.warnings.size() == 2);  // no trachea; little volume
  }
  SECTION("one slice") {
    const Lungs lungs = find_lungs(chest(around({0, 5, -50}, {130, 110, 1}, {2.5, 2.4, 2.6})));
    CHECK(in_mask(lungs.mask, {68, 30, -50}));
    CHECK(in_mask(lungs.mask, {-68, 30, -50}));
    CHECK(!in_mask(lungs.mask, {0, 0, -50}));
    CHECK(!in_mask(lungs.mask, {140, 100, -50}));
  }
  SECTION("to one lung") {
    const Lungs lungs = find_lungs(chest(around({75, 5, 0}, {60, 80, 90}, {2.2, 2.4, 2.6})));
    CHECK(in_mask(lungs.mask, wall_nodule));
    CHECK(lungs.left_ml > 1200);
    CHECK(lungs.right_ml == 0);
    CHECK(lungs.warnings[0].find("only one lung") != std::string::npos);
  }
}

TEST_CASE("lungs: two that touch are told apart, and the gap between them stays open") {
  Volume<int16_t> ct = chest(around({0, 5, 0}, {98, 82, 84}, {3.3, 3.2, 3.4}));
  for_voxels(ct.grid, [&](size_t i, int64_t x, int64_t y, int64_t z) {  // a bridge of lung, 12 mm high and deep
    const Vec3 p = ct.grid.to_world({double(x), double(y), double(z)});
    if (std::abs(p[0]) < 30 && std::abs(p[1] + 30) < 6 && std::abs(p[2]) < 6) ct.voxels[i] = -860;
  });
  const Lungs lungs = find_lungs(ct);
  check_chest(lungs);
  CHECK(in_mask(lungs.mask, {0, -30, 0}));
  CHECK(lungs.warnings.empty());
}

TEST_CASE("lungs: none in water, air, noise, or in what is no scan of a chest") {
  const auto check_none = [](const Volume<int16_t>& ct) {
    const Lungs lungs = find_lungs(ct);
    CHECK(lungs.mask.grid == ct.grid);
    CHECK((lungs.mask.voxels == std::vector<uint8_t>(ct.voxels.size())));
    REQUIRE(lungs.warnings.size() == 1);
    CHECK(lungs.warnings[0].starts_with("no lung was found"));
  };
  for (const Index3& size : {Index3{0, 0, 0}, {1, 1, 1}, {1, 60, 1}, {2, 3, 4}, {64, 48, 1}, {60, 50, 40}})
    for (const int hu : {-32768, -3024, -1000, -860, -700, -401, -400, 0, 32767}) {
      CAPTURE(size[0], size[2], hu);
      check_none(Volume<int16_t>(grid_of(size, {3, 3, 3}), int16_t(hu)));
    }
  for (const double from : {-1500., -1100., -1000., -860.}) {
    Volume<int16_t> noise(grid_of({80, 70, 40}, {1.5, 2.2, 3}));
    for (size_t i = 0; i < noise.voxels.size(); i++)
      noise.voxels[i] = int16_t(from + (400 - from) * random_uniform(3, i));
    check_none(noise);
  }
  Grid tiny = grid_of({50, 50, 50}, {1e-9, 1, 1});
  check_none(Volume<int16_t>(tiny, -850));
  Volume<int16_t> bubble(grid_of({80, 70, 60}, {3, 3, 3}));  // gas in water, as large as a lung
  for_voxels(bubble.grid, [&](size_t i, int64_t x, int64_t y, int64_t z) {
    bubble.voxels[i] = std::hypot(double(x - 40), double(y - 35), double(z - 30)) < 22 ? -990 : 0;
  });
  check_none(bubble);
  CHECK(error_of([] {
          Volume<int16_t> ct(grid_of({4, 4, 4}));
          ct.voxels.pop_back();
          find_lungs(ct);
        }).find("63 voxels on a grid of 64") != std::string::npos);
}

// ---- phantoms and real scans ----------------------------------------------------------------------------------------

// Other compilers round otherwise, and then place other nodules: so it is counted over several phantoms. (A nodule at the
// wall where a thin recess of the lung is cut off by the picture's border may be lost.)
TEST_CASE("lungs: nearly every nodule of phantoms, also those at the wall", "[slow]") {
  PhantomOptions options;
  options.size = {118, 84, 64};
  options.spacing = {2.6, 2.6, 4};
  options.min_nodules = options.max_nodules = 6;
  options.min_diameter_mm = 8;
  int nodules = 0, at_wall = 0, inside = 0;
  double share = 0;
  for (const uint64_t seed : {1, 2, 3, 4, 5}) {
    options.flip = seed % 2 == 0;
    const Phantom phantom = make_phantom(options, seed);
    const Lungs lungs = find_lungs(phantom.ct);
    CAPTURE(seed, lungs.left_ml, lungs.right_ml);
    CHECK((lungs.left_ml > 800 && lungs.right_ml > 800 && lungs.left_ml + lungs.right_ml < 6500));
    share += share_inside(phantom.mask, lungs.mask) / 5;
    for (const PhantomNodule& nodule : phantom.nodules)
      nodules++, at_wall += nodule.at_wall, inside += in_mask(lungs.mask, nodule.centre);
  }
  CAPTURE(nodules, at_wall, inside, share);
  CHECK((nodules > 20 && at_wall > 1));
  CHECK(share > 0.95);
  CHECK(double(inside) > 0.93 * nodules);
}

TEST_CASE("lungs: of real scans hold what readers outlined", "[slow]") {
  if (!fs::is_directory(luna)) return;
  const std::vector<Annotation> annotations = read_annotations((luna / "annotations.csv").string());
  for (const auto& entry : fs::directory_iterator(luna / "subset0")) {
    if (entry.path().extension() != ".mhd") continue;
    const std::string uid = entry.path().stem().string();
    CAPTURE(uid);
    const auto ct = read_volume<int16_t>(entry.path().string());
    const auto outlines = reader_mask(read_volume<uint8_t>((luna / "readers" / (uid + "_readers.mhd")).string()));
    const Lungs lungs = find_lungs(ct);
    CHECK(lungs.warnings.empty());
    CHECK((lungs.left_ml > 1500 && lungs.left_ml < 3500 && lungs.right_ml > 1500 && lungs.right_ml < 3500));
    for (const Annotation& nodule : annotations)
      if (nodule.seriesuid == uid) CHECK(in_mask(lungs.mask, nodule.centre));
    const Components lesions = label_components(outlines, Connectivity::corners);
    for (int32_t label = 1; label <= lesions.count(); label++) {
      Volume<uint8_t> lesion(ct.grid);
      for (size_t i = 0; i < lesion.voxels.size(); i++) lesion.voxels[i] = lesions.labels.voxels[i] == label;
      CHECK(share_inside(lesion, lungs.mask) > 0.98);
    }
    const Lungs turned = find_lungs(reoriented(ct, "LPI"));
    CHECK((turned.mask.voxels == reoriented(lungs.mask, "LPI").voxels));
  }
}
