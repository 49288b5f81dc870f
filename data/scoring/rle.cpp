#include "data/scoring/rle.h"

#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

std::string run_lengths(const uint8_t* mask, int64_t cols, int64_t rows) {
  check(cols >= 0 && rows >= 0, "run_lengths: ", cols, " x ", rows, " voxels");
  const int64_t n = cols * rows;
  const auto inside = [&](int64_t i) { return mask[i % rows * cols + i / rows] != 0; };
  std::string out;
  for (int64_t begin = 0, end; begin < n; begin = end) {
    for (end = begin + 1; end < n && inside(end) == inside(begin);) end++;
    if (inside(begin)) out += text(out.empty() ? "" : " ", begin + 1, " ", end - begin);
  }
  return out;
}

std::vector<uint8_t> from_run_lengths(std::string_view runs, int64_t cols, int64_t rows) {
  check(cols >= 0 && rows >= 0, "from_run_lengths: ", cols, " x ", rows, " voxels");
  const int64_t n = cols * rows;
  std::vector<uint8_t> mask(n, 0);
  const std::vector<std::string_view> numbers = words(runs);
  if (numbers.size() % 2 != 0)
    fail("run lengths: ", numbers.size(), " numbers; they must be pairs of start and length");
  int64_t next = 1;  // the first voxel that no run has passed yet
  for (size_t i = 0; i < numbers.size(); i += 2) {
    int64_t start, length;
    if (!parse(numbers[i], start) || !parse(numbers[i + 1], length) || start < next || length < 1 || start > n ||
        length > n - start + 1)
      fail("run lengths: the pair '", shown(numbers[i]), " ", shown(numbers[i + 1]), "' in an image of ", n,
           " voxels; a run must begin at ", next, " or later");
    for (int64_t k = start - 1; k < start - 1 + length; k++) mask[k % rows * cols + k / rows] = 1;
    next = start + length;
  }
  return mask;
}

}  // namespace acinus
