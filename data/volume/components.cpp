// Union-find over runs of adjacent voxels in a row, so that a lung is some ten thousand elements rather than a million
// (He, Chao, Suzuki: A run-based two-scan labeling algorithm, 2008).
#include "data/volume/components.h"

#include <algorithm>
#include <limits>

#include "tensor/check.h"

namespace acinus {

namespace {

struct Run {
  int32_t begin, end;  // voxels [begin, end) of its row
  int32_t parent;      // an earlier run of the same component, or itself: the root
};

struct Runs {
  std::vector<Run> runs;       // in memory order
  std::vector<int32_t> first;  // of each row, and one past the last row

  int32_t root_of(int32_t i) {
    while (runs[i].parent != i) {
      runs[i].parent = runs[runs[i].parent].parent;  // halves the path for later calls
      i = runs[i].parent;
    }
    return i;
  }

  // The earlier root remains: the root of a component is its first run in memory.
  void join(int32_t a, int32_t b) {
    a = root_of(a), b = root_of(b);
    runs[std::max(a, b)].parent = std::min(a, b);
  }

  // Joins the runs of two rows that touch, walking both rows once. reach: 1 if corners touch, else 0.
  void join_rows(int64_t row, int64_t other, int32_t reach) {
    int32_t a = first[row], b = first[other];
    while (a < first[row + 1] && b < first[other + 1]) {
      if (runs[a].begin < runs[b].end + reach && runs[b].begin < runs[a].end + reach) join(a, b);
      runs[a].end < runs[b].end ? a++ : b++;
    }
  }

  void append_row(const uint8_t* voxels, int64_t nx) {
    first.push_back(int32_t(runs.size()));
    for (int64_t x = 0; x < nx;) {
      while (x < nx && !voxels[x]) x++;
      if (x == nx) break;
      const int64_t begin = x;
      while (x < nx && voxels[x]) x++;
      runs.push_back({int32_t(begin), int32_t(x), int32_t(runs.size())});
    }
    check(runs.size() < size_t(std::numeric_limits<int32_t>::max()), "label_components: more than 2^31 runs");
  }
};

Runs joined_runs(const Volume<uint8_t>& mask, Connectivity connectivity) {
  const auto [nx, ny, nz] = mask.grid.size;
  const int32_t reach = connectivity == Connectivity::corners;
  Runs result;
  for (int64_t row = 0; row < ny * nz; row++) result.append_row(mask.voxels.data() + row * nx, nx);
  result.first.push_back(int32_t(result.runs.size()));
  for (int64_t z = 0; z < nz; z++)
    for (int64_t y = 0; y < ny; y++) {
      const int64_t row = z * ny + y;
      if (y > 0) result.join_rows(row, row - 1, reach);
      if (z == 0) continue;
      for (int64_t v = std::max<int64_t>(0, y - reach); v <= std::min(ny - 1, y + reach); v++)
        result.join_rows(row, (z - 1) * ny + v, reach);
    }
  return result;
}

}  // namespace

Components label_components(const Volume<uint8_t>& mask, Connectivity connectivity) {
  const auto [nx, ny, nz] = mask.grid.size;
  check_volume("label_components", mask);
  check(nx < std::numeric_limits<int32_t>::max(), "label_components: rows of ", nx, " voxels are too long");
  Runs all = joined_runs(mask, connectivity);

  struct Component {
    int32_t root;
    int64_t voxels = 0;
  };
  std::vector<Component> found;                 // in memory order, then by size
  std::vector<int32_t> label(all.runs.size());  // of a root: first its index in `found`, then the label
  for (int32_t i = 0; i < int32_t(all.runs.size()); i++) {
    const int32_t root = all.root_of(i);
    if (root == i) label[i] = int32_t(found.size()), found.push_back({i});
    found[label[root]].voxels += all.runs[i].end - all.runs[i].begin;
  }
  std::ranges::stable_sort(found, std::greater<>(), &Component::voxels);

  Components result{Volume<int32_t>(mask.grid), {mask.grid.voxels()}};
  for (const Component& component : found) {
    label[component.root] = int32_t(result.sizes.size());
    result.sizes.push_back(component.voxels);
    result.sizes[0] -= component.voxels;
  }
  for (int64_t row = 0; row < ny * nz; row++)
    for (int32_t i = all.first[row]; i < all.first[row + 1]; i++) {
      int32_t* out = result.labels.voxels.data() + row * nx;
      std::fill(out + all.runs[i].begin, out + all.runs[i].end, label[all.root_of(i)]);
    }
  return result;
}

}  // namespace acinus
