// The phantom: same seed, same voxels; nodules where they are said to be; chests with a real chest's numbers.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "data/chest/phantom.h"
#include "data/formats/annotations.h"
#include "data/formats/volume_io.h"
#include "tensor/check.h"

using namespace acinus;

namespace {

const double kPi = 3.14159265358979;

// Mean HU and number of voxels at a distance of from to to (mm) around a point.
struct Shell {
  double mean = 0;
  int64_t voxels = 0, marked = 0;
};
Shell shell(const Phantom& phantom, const Vec3& centre, double from, double to) {
  const Grid& grid = phantom.ct.grid;
  const Vec3 at = grid.to_voxel(centre);
  Index3 low, high;
  for (size_t i = 0; i < 3; i++) {
    low[i] = std::max<int64_t>(0, int64_t(std::floor(at[i] - to / grid.spacing[i])));
    high[i] = std::min(grid.size[i] - 1, int64_t(std::ceil(at[i] + to / grid.spacing[i])));
  }
  Shell result;
  for (int64_t z = low[2]; z <= high[2]; z++)
    for (int64_t y = low[1]; y <= high[1]; y++)
      for (int64_t x = low[0]; x <= high[0]; x++) {
        const Vec3 p = grid.to_world({double(x), double(y), double(z)});
        const double r = std::hypot(p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]);
        if (r < from || r > to) continue;
        result.mean += phantom.ct.at(x, y, z);
        result.voxels++;
        result.marked += phantom.mask.at(x, y, z);
      }
  if (result.voxels) result.mean /= double(result.voxels);
  return result;
}

int16_t nearest(const Volume<int16_t>& ct, const Vec3& world) {
  const Vec3 at = ct.grid.to_voxel(world);
  return ct.at(std::lround(at[0]), std::lround(at[1]), std::lround(at[2]));
}

}  // namespace

TEST_CASE("phantom: the same options and seed give the same voxels with any number of threads") {
  PhantomOptions options;
  options.size = {96, 80, 20};
  options.spacing = {3.5, 3.5, 5};
  const Phantom first = make_phantom(options, 3);
#ifdef _OPENMP
  const int threads = omp_get_max_threads();
  for (int n : {1, 3}) {
    omp_set_num_threads(n);
    const Phantom again = make_phantom(options, 3);
    CHECK(again.ct.voxels == first.ct.voxels);
    CHECK(again.mask.voxels == first.mask.voxels);
  }
  omp_set_num_threads(threads);
#endif
  CHECK(make_phantom(options, 3).ct.voxels == first.ct.voxels);
  CHECK(make_phantom(options, 4).ct.voxels != first.ct.voxels);
}

TEST_CASE("phantom: nodules lie in the scan, are denser than lung, and fill the volume they are said to", "[slow]") {
  PhantomOptions options;
  options.size = {300, 220, 130};
  options.spacing = {1.2, 1.2, 1.5};
  options.min_nodules = options.max_nodules = 8;
  for (uint64_t seed : {1, 2, 3}) {
    const Phantom phantom = make_phantom(options, seed);
    REQUIRE(phantom.nodules.size() == 8);
    int64_t marked = 0;
    double expected = 0;
    for (const PhantomNodule& nodule : phantom.nodules) {
      INFO("seed " << seed << ", " << nodule.diameter_mm << " mm, kind " << nodule.kind << ", wall " << nodule.at_wall);
      const double r = nodule.diameter_mm / 2, volume = 4 * kPi / 3 * r * r * r;
      CHECK(phantom.ct.grid.contains(phantom.ct.grid.to_voxel(nodule.centre)));
      const Shell inside = shell(phantom, nodule.centre, 0, 0.6 * r);
      CHECK(inside.mean > -700);
      if (!nodule.at_wall) CHECK(inside.mean > shell(phantom, nodule.centre, r + 3, r + 6).mean + 100);
      CHECK(inside.marked == inside.voxels);  // the mask holds the sphere's middle
      const Shell around = shell(phantom, nodule.centre, 0, 1.5 * r + 1);
      const double mask = double(around.marked) * 1.2 * 1.2 * 1.5;
      CHECK(mask == Approx(volume).epsilon(nodule.diameter_mm < 6 ? 0.35 : 0.15));
      marked += around.marked, expected += volume;
    }
    CHECK(marked == std::count(phantom.mask.voxels.begin(), phantom.mask.voxels.end(), 1));  // and nothing else
    CHECK(double(marked) * 1.2 * 1.2 * 1.5 == Approx(expected).epsilon(0.08));
    for (const PhantomNodule& nodule : phantom.excluded) CHECK(shell(phantom, nodule.centre, 0, 2).marked == 0);
  }
}

TEST_CASE("phantom: a flipped scan holds the same anatomy at the same world position") {
  PhantomOptions options;
  options.size = {90, 81, 24};
  options.spacing = {3.5, 3.7, 5};
  const Phantom plain = make_phantom(options, 5);
  options.flip = true;
  const Phantom flipped = make_phantom(options, 5);
  CHECK(flipped.ct.grid.direction == Mat3{{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}});
  CHECK(flipped.ct.voxels != plain.ct.voxels);
  REQUIRE(flipped.nodules.size() == plain.nodules.size());
  for (size_t i = 0; i < plain.nodules.size(); i++) {
    CHECK(flipped.nodules[i].centre == plain.nodules[i].centre);
    CHECK(nearest(flipped.ct, plain.nodules[i].centre) == nearest(plain.ct, plain.nodules[i].centre));
  }
  const Index3 corners[] = {{0, 0, 0}, {89, 80, 23}, {30, 40, 12}, {55, 11, 3}};
  for (const Index3& v : corners) {
    const Vec3 world = plain.ct.grid.to_world({double(v[0]), double(v[1]), double(v[2])});
    CHECK(nearest(flipped.ct, world) == plain.ct.at(v[0], v[1], v[2]));
  }
}

TEST_CASE("phantom: any size works") {
  const Index3 sizes[] = {{1, 1, 1}, {16, 16, 16}, {3, 50, 2}, {64, 1, 5}};
  for (const Index3& size : sizes) {
    PhantomOptions options;
    options.size = size;
    const Phantom phantom = make_phantom(options, 11);
    CHECK(phantom.ct.voxels.size() == size_t(size[0] * size[1] * size[2]));
    for (const PhantomNodule& nodule : phantom.nodules)
      CHECK(phantom.ct.grid.contains(phantom.ct.grid.to_voxel(nodule.centre)));
  }
  PhantomOptions none;
  none.size = {32, 32, 4};
  none.min_nodules = none.max_nodules = 0;
  const Phantom healthy = make_phantom(none, 1);
  CHECK(healthy.nodules.empty());
  CHECK(std::count(healthy.mask.voxels.begin(), healthy.mask.voxels.end(), 1) == 0);
  none.size[1] = 0;
  CHECK_THROWS_AS(make_phantom(none, 1), Error);
  none.size[1] = 32, none.max_nodules = -1;
  CHECK_THROWS_AS(make_phantom(none, 1), Error);
}

TEST_CASE("phantom: lung, air and bone have a real chest's HU", "[slow]") {
  double left = 0, right = 0, front = 0, back = 0;
  for (uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    PhantomOptions options;
    const Phantom phantom = make_phantom(options, seed);
    const Grid& grid = phantom.ct.grid;
    std::vector<int16_t> lung;  // aerated voxels in the middle of the image, where no air outside is
    for (int64_t z = 0; z < grid.size[2]; z++)
      for (int64_t y = 60; y < 95; y++)
        for (int64_t x = 40; x < 120; x++)
          if (const int16_t hu = phantom.ct.at(x, y, z); hu < -700) lung.push_back(hu);
    REQUIRE(lung.size() > 20000);  // 1.2 litres of it
    std::nth_element(lung.begin(), lung.begin() + int64_t(lung.size() / 2), lung.end());
    CHECK(lung[lung.size() / 2] > -930);
    CHECK(lung[lung.size() / 2] < -830);
    CHECK(phantom.ct.at(3, 3, 20) < -940);
    const auto [low, high] = std::minmax_element(phantom.ct.voxels.begin(), phantom.ct.voxels.end());
    CHECK(*low >= -1024);
    CHECK(*high > 450);
    for (int64_t y = 0; y < grid.size[1]; y++)
      for (int64_t x = 0; x < grid.size[0]; x++) {
        const int16_t hu = phantom.ct.at(x, y, 12);
        if (hu > -20 && x > 40 && x < 119 && std::abs(double(x) - 79.5) > 15 && y > 50 && y < 80)
          (x > 80 ? left : right)++;
        if (hu > 400 && std::abs(double(x) - 79.5) < 5) (y < 80 ? front : back)++;
      }
  }
  // The heart bulges to the patient's left (+x), the spine lies at the back (+y, sternum in front).
  CHECK(left > 1.1 * right);
  CHECK(back > 2 * front);
}

TEST_CASE("phantom: diameters follow LUNA16's distribution, and its part above a size") {
  CHECK(nodule_diameter(0) == Approx(3.25));
  CHECK(nodule_diameter(0.5) == Approx(6.43));
  CHECK(nodule_diameter(0.9) == Approx(15.48));
  CHECK(nodule_diameter(1) == Approx(32.27));
  CHECK(nodule_diameter(0, 6.43) == Approx(6.43));
  CHECK(nodule_diameter(0.5, 6.43) == Approx(nodule_diameter(0.75)));
  CHECK(nodule_diameter(0, 9) == Approx(9));
  double last = 0;
  for (int i = 0; i <= 1000; i++) {
    const double d = nodule_diameter(i / 1000., 5);
    CHECK(d > last);
    last = d;
  }
  CHECK_THROWS_AS(nodule_diameter(0.5, 40), Error);
}

TEST_CASE("phantom: a set in LUNA16's form is complete or absent") {
  const std::filesystem::path root = std::filesystem::temp_directory_path() / "acinus_test_phantom_set";
  std::filesystem::remove_all(root);
  PhantomSetOptions options;
  options.scans = 4;
  options.flipped = 0.5;
  options.scan.size = {64, 64, 16};
  options.scan.spacing = {5, 5, 8};
  options.scan.min_diameter_mm = 14;
  int called = 0;
  write_phantom_set(root.string(), options, [&](int done, int scans) {
    CHECK(done == ++called);
    CHECK(scans == 4);
    CHECK(!std::filesystem::exists(root / "annotations.csv"));
  });
  CHECK(called == 4);
  const std::vector<Annotation> annotations = read_annotations((root / "annotations.csv").string());
  CHECK(!annotations.empty());
  for (const Annotation& excluded : read_annotations((root / "annotations_excluded.csv").string()))
    CHECK(excluded.diameter_mm == -1);
  CHECK(std::filesystem::exists(root / "seriesuids.csv"));
  for (const Annotation& a : annotations) {
    const auto ct = read_volume<int16_t>((root / "subset0" / (a.seriesuid + ".mhd")).string());
    REQUIRE(ct.grid.contains(ct.grid.to_voxel(a.centre)));
    CHECK(nearest(ct, a.centre) > -800);
  }
  CHECK_THROWS_AS(write_phantom_set(root.string(), options), Error);  // it is there already

  // Stopped in the middle: what was left of scans is replaced, and scans beyond the new number go.
  std::filesystem::remove(root / "annotations.csv");
  options.scans = 2;
  write_phantom_set(root.string(), options);
  int64_t headers = 0;
  for (const auto& file : std::filesystem::directory_iterator(root / "subset0"))
    headers += file.path().extension() == ".mhd";
  CHECK(headers == 2);
  std::filesystem::remove_all(root);
}
