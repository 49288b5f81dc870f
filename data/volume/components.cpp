// Union-find over runs: a row's voxels that lie side by side are one element, so that a lung is some ten thousand
// elements rather than a million (He, Chao, Suzuki: A run-based two-scan labeling algorithm, 2008).
#include "data/volume/components.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "tensor/check.h"

namespace acinus {

namespace {

struct Run {
  int32_t begin, end;  // voxels [begin, end) of its row
  int32_t parent;      // an earlier run of the same piece, or itself: the root
};

int32_t root_of(std::vector<Run>& runs, int32_t i) {
  while (runs[size_t(i)].parent != i) {
    Run& run = runs[size_t(i)];
    run.parent = runs[size_t(run.parent)].parent;  // halves the path for those who come after
    i = run.parent;
  }
  return i;
}

// The earlier root stays: so the root of a piece is its first run in memory.
void join(std::vector<Run>& runs, int32_t a, int32_t b) {
  a = root_of(runs, a), b = root_of(runs, b);
  runs[size_t(std::max(a, b))].parent = std::min(a, b);
}

}  // namespace

Components label_components(const Volume<uint8_t>& mask, Connectivity connectivity) {
  const auto [nx, ny, nz] = mask.grid.size;
  check(int64_t(mask.voxels.size()) == mask.grid.voxels(), "label_components: ", mask.voxels.size(),
        " voxels on a grid of ", mask.grid.voxels());
  check(nx < std::numeric_limits<int32_t>::max(), "label_components: rows of ", nx, " voxels are too long");

  std::vector<Run> runs;
  std::vector<int32_t> first(size_t(ny * nz) + 1);  // of each row, and behind the last one
  const int32_t reach = connectivity == Connectivity::corners;
  for (int64_t row = 0; row < ny * nz; row++) {
    const int64_t y = row % ny, z = row / ny;
    first[size_t(row)] = int32_t(runs.size());
    const uint8_t* voxels = mask.voxels.data() + row * nx;
    for (int64_t x = 0; x < nx;) {
      while (x < nx && !voxels[x]) x++;
      if (x == nx) break;
      const int64_t begin = x;
      while (x < nx && voxels[x]) x++;
      runs.push_back({int32_t(begin), int32_t(x), int32_t(runs.size())});
    }
    check(runs.size() < size_t(std::numeric_limits<int32_t>::max()), "label_components: more than 2^31 runs");

    // With each run of a row above or below that it touches, both rows walked once.
    const auto join_with = [&](int64_t other) {
      int32_t a = first[size_t(row)], b = first[size_t(other)];
      const int32_t a_end = int32_t(runs.size()), b_end = first[size_t(other) + 1];
      while (a < a_end && b < b_end) {
        const Run &here = runs[size_t(a)], &there = runs[size_t(b)];
        if (here.begin < there.end + reach && there.begin < here.end + reach) join(runs, a, b);
        here.end < there.end ? a++ : b++;
      }
    };
    first[size_t(row) + 1] = int32_t(runs.size());
    if (y > 0) join_with(row - 1);
    if (z > 0)
      for (int64_t v = std::max<int64_t>(0, y - reach); v <= std::min(ny - 1, y + reach); v++)
        join_with((z - 1) * ny + v);
  }

  // Pieces in the order of memory, then by size.
  std::vector<int32_t> piece(runs.size());
  std::vector<int64_t> voxels;
  for (size_t i = 0; i < runs.size(); i++) {
    const size_t root = size_t(root_of(runs, int32_t(i)));
    if (root == i) piece[i] = int32_t(voxels.size()), voxels.push_back(0);
    piece[i] = piece[root];
    voxels[size_t(piece[i])] += runs[i].end - runs[i].begin;
  }
  std::vector<int32_t> order(voxels.size()), label(voxels.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return voxels[size_t(a)] > voxels[size_t(b)]; });

  Components result{Volume<int32_t>(mask.grid), {mask.grid.voxels()}};
  for (size_t i = 0; i < order.size(); i++) {
    label[size_t(order[i])] = int32_t(i) + 1;
    result.sizes.push_back(voxels[size_t(order[i])]);
    result.sizes[0] -= result.sizes.back();
  }
  for (int64_t row = 0; row < ny * nz; row++)
    for (int32_t i = first[size_t(row)]; i < first[size_t(row) + 1]; i++) {
      int32_t* out = result.labels.voxels.data() + row * nx;
      std::fill(out + runs[size_t(i)].begin, out + runs[size_t(i)].end, label[size_t(piece[size_t(i)])]);
    }
  return result;
}

}  // namespace acinus
