// The lung mask: of a chest of simple shapes, of phantoms, and of real scans.
#include "data/chest/lungs.h"

#include <algorithm>

#include "data/chest/phantom.h"
#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "data/volume/components.h"
#include "data/volume/mask.h"
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

}  // namespace

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
  for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, size_t i) {
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
    for_each_voxel(ball.grid, [&](int64_t x, int64_t y, int64_t z, size_t i) {  // what lies within the pleura
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
    for_each_voxel(ct.grid, [&](int64_t x, int64_t y, int64_t, size_t i) {
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
  for_each_voxel(ct.grid, [&](int64_t x, int64_t y, int64_t z, size_t i) {  // a bridge of lung, 12 mm high and deep
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
  for_each_voxel(bubble.grid, [&](int64_t x, int64_t y, int64_t z, size_t i) {
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
