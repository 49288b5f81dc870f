// Run-length encoding of masks, as in competitions (Kaggle): pairs "start length", separated by spaces, of the voxels
// that are not 0, which are counted from 1, down the columns, the left column first.
//
//   0 1
//   1 1     is "2 3": voxel 1 is the upper left one, voxel 2 the one below
//
//   run_lengths(mask.slice(z), mask.grid.size[0], mask.grid.size[1])
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace acinus {

std::string run_lengths(const uint8_t* mask, int64_t cols, int64_t rows);  // "" if all are 0
// 0 and 1, row by row. Throws Error if runs are not numbers, leave the image, or are not in ascending order.
std::vector<uint8_t> from_run_lengths(std::string_view runs, int64_t cols, int64_t rows);

}  // namespace acinus
