// Distance transforms and morphology in mm; connected components.
#include "data/volume/morphology.h"

#include <algorithm>
#include <deque>

#include "data/volume/components.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

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

// By the definition: every voxel against every other.
std::vector<double> distances(const Volume<uint8_t>& mask) {
  const Vec3 s = mask.grid.spacing;
  std::vector<double> result(mask.voxels.size(), INFINITY);
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t z, size_t i) {
    for_each_voxel(mask.grid, [&](int64_t u, int64_t v, int64_t w, size_t j) {
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

TEST_CASE("morphology: squared distances are those of the definition, on any size and spacing") {
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

TEST_CASE("morphology: balls in mm grow and shrink masks") {
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

TEST_CASE("morphology: closing fills notches narrower than the ball, and goes on beyond the border") {
  // A slab with two notches, 6 and 12 mm wide, from its right side; it fills the grid but for x >= 20.
  Volume<uint8_t> mask(grid_of({40, 60, 5}));
  const auto in_notch = [](int64_t x, int64_t y, int64_t from, int64_t wide) {
    return x >= 5 && x < 20 && y >= from && y < from + wide;
  };
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t, size_t i) {
    mask.voxels[i] = x < 20 && !in_notch(x, y, 10, 6) && !in_notch(x, y, 35, 12);
  });
  const auto close = closed(mask, 4);
  int64_t narrow = 0, wide = 0, beyond = 0;
  for_each_voxel(mask.grid, [&](int64_t x, int64_t y, int64_t, size_t i) {
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
  for_each_voxel(room.grid, [&](int64_t x, int64_t, int64_t, size_t i) { room.voxels[i] = x < 9; });
  CHECK(same(closed(room, 5), room));
}

TEST_CASE("morphology: components are those of a flood fill, the largest first") {
  for (const Index3& size : ragged)
    for (const double share : {0., 0.2, 0.35, 0.6, 1.})
      for (const auto connectivity : {Connectivity::faces, Connectivity::corners}) {
        const auto mask = random_mask(grid_of(size), share, 3);
        const Grid& grid = mask.grid;
        // Fills in the order of memory.
        std::vector<int32_t> filled(mask.voxels.size());
        std::vector<int64_t> sizes;
        for_each_voxel(grid, [&](int64_t x, int64_t y, int64_t z, size_t start) {
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
