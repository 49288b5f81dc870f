// One test for each bug of docs/museum.md: it passes here, and fails once the bug's diff is applied (dev/museum.sh).
#include <algorithm>
#include <cmath>
#include <set>

#include "data/dataset/cache.h"
#include "data/formats/volume_io.h"
#include "data/sampling/sampler.h"
#include "data/volume/mask.h"
#include "data/volume/volume.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

double foreground_of(const Tensor& targets, int64_t patch) {
  const int64_t each = targets.elements() / targets.shape()[0];
  const float* first = targets.data<float>() + patch * each;
  return double(std::count(first, first + each, 1.f));
}

SamplingOptions plain_patches(int64_t size) {
  return {.size = size, .planes = 1, .foreground = 1, .hard = 0, .window = {0, 1000}, .augment = no_augmentation()};
}

}  // namespace

TEST_CASE("museum: radius", "[museum]") {
  const Grid grid{{30, 30, 30}};
  const auto mask = sphere_mask(grid, {{"", {15, 15, 15}, 12}});
  const auto voxels = double(std::count(mask.voxels.begin(), mask.voxels.end(), 1));
  CHECK(voxels == Approx(4. / 3 * M_PI * 6 * 6 * 6).epsilon(0.03));
}

TEST_CASE("museum: flip", "[museum]") {
  const Scratch folder;
  Grid grid{{20, 20, 3}};
  grid.direction = {{{-1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
  const Annotation nodule{"1", grid.to_world({4, 6, 1}), 5};
  write_volume(folder / "1.mhd", Volume<int16_t>(grid, 0));
  const Source source{"1", "1", "", folder / "1.mhd", "", {nodule}};
  std::filesystem::create_directories(folder / "cache");
  const Scan scan = cached_scan(source, DataKind::ct, {.folder = folder / "cache", .lungs = false}).scan;
  CHECK((scan.labels_of(1)[6 * 20 + 4] & kClass) == 1);
  CHECK(scan.slices[1].foreground > 1);
}

TEST_CASE("museum: norm", "[museum]") {
  const Grid grid{{16, 16, 1}};
  const std::vector<Annotation> nodules{{"", {8, 8, 0}, 6}};
  Dataset data;
  data.scans.push_back(make_scan("1", Volume<int16_t>(grid, 250), sphere_mask(grid, nodules), nodules));
  Tensor x, t;
  Sampler(data, {0}, plain_patches(8), 1).draw(0, 4, x, t);
  // What the network learns from is what it sees of a new patient: HU in the window, as 0 to 1.
  const float* pixels = x.data<float>();
  CHECK(std::all_of(pixels, pixels + x.elements(), [](float pixel) { return pixel == 0.25f || pixel == 0; }));
}

TEST_CASE("museum: single_nodule", "[museum]") {
  const Grid grid{{30, 30, 1}};
  const std::vector<Annotation> nodules{{"", {8, 8, 0}, 6}, {"", {22, 22, 0}, 4}};
  Dataset data;
  data.scans.push_back(make_scan("1", Volume<int16_t>(grid), sphere_mask(grid, nodules), nodules));
  const int64_t first = 29, second = 13;  // voxels of discs of radius 3 and 2
  REQUIRE(data.scans[0].foreground == first + second);
  Tensor x, t;
  Sampler(data, {0}, plain_patches(64), 1).draw(0, 40, x, t);
  std::set<double> counts;
  for (int64_t i = 0; i < 40; i++) counts.insert(foreground_of(t, i));
  CHECK(counts == std::set<double>{double(first + second)});
}

TEST_CASE("museum: split", "[museum]") {
  // Of a patient to learn from, all slices are learned from, and none is left to be judged on.
  const Grid grid{{12, 12, 40}};
  const std::vector<Annotation> nodules{{"", {6, 6, 20}, 60}};
  Dataset data;
  data.scans.push_back(make_scan("1", Volume<int16_t>(grid), sphere_mask(grid, nodules), nodules));
  CHECK(Sampler(data, {0}, plain_patches(8), 1).nodule_slices() == 40);
}
