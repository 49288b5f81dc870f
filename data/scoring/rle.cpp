#include "data/scoring/rle.h"

#include "tensor/check.h"
#include "tensor/text.h"

namespace acinus {

std::string run_lengths(const uint8_t* mask, int64_t cols, int64_t rows) {
  check(cols >= 0 && rows >= 0, "run_lengths: ", cols, " x ", rows, " voxels");
  const int64_t n = cols * rows;
  const auto is_in = [&](int64_t i) { return mask[i % rows * cols + i / rows] != 0; };
  std::string out;
  for (int64_t begin = 0, end; begin < n; begin = end) {
    for (end = begin + 1; end < n && is_in(end) == is_in(begin);) end++;
    if (is_in(begin)) out += text(out.empty() ? "" : " ", begin + 1, " ", end - begin);
  }
  return out;
}

std::vector<uint8_t> from_run_lengths(std::string_view runs, int64_t cols, int64_t rows) {
  check(cols >= 0 && rows >= 0, "from_run_lengths: ", cols, " x ", rows, " voxels");
  const int64_t n = cols * rows;
  std::vector<uint8_t> mask(size_t(n), 0);
  const std::vector<std::string_view> numbers = words(runs);
  if (numbers.size() % 2 != 0)
    fail("run lengths: ", numbers.size(), " numbers; they must be pairs of start and length");
  int64_t free = 1;  // the first voxel that is not behind us
  for (size_t i = 0; i < numbers.size(); i += 2) {
    int64_t start, length;
    if (!parse(numbers[i], start) || !parse(numbers[i + 1], length) || start < free || length < 1 || start > n ||
        length > n - start + 1)
      fail("run lengths: the pair '", shown(numbers[i]), " ", shown(numbers[i + 1]), "' in a picture of ", n,
           " voxels, of which those before ", free, " are done");
    for (int64_t k = start - 1; k < start - 1 + length; k++) mask[size_t(k % rows * cols + k / rows)] = 1;
    free = start + length;
  }
  return mask;
}

}  // namespace acinus
