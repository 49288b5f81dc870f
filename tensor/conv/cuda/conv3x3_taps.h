// Three ways in which a pixel of y = conv3x3(x) depends on an image, each a number of products:
//
//   nine      The image is x. A pixel of y sees 3x3 pixels.
//   four      x is upsample2x(image). The 3x3 pixels that one of y sees are only 2x2 of the image: 4 products, by sums
//             of the 9 weights. In one dimension, by w0, w1, w2, where u(i) is pixel i of the image:
//                 y(2 i)     = w0 x(2 i - 1) + w1 x(2 i) + w2 x(2 i + 1) = w0 u(i - 1) + (w1 + w2) u(i)
//                 y(2 i + 1) = w0 x(2 i) + w1 x(2 i + 1) + w2 x(2 i + 2) = (w0 + w1) u(i) + w2 u(i + 1)
//   sixteen   Its gradient. y has half the size of x = the image, and is the sum of 2x2 pixels that see 3x3 each.
//             Together they see 4x4: 16 products instead of 36.
//                 y(i) = w0 x(2 i - 1) + (w0 + w1) x(2 i) + (w1 + w2) x(2 i + 1) + w2 x(2 i + 2)
//
// Taps are numbered by rows, for `four` first the two for even rows of y, then those for odd ones; columns alike.
#pragma once
#include "tensor/hd.h"

namespace acinus::on_gpu {

enum class Taps { nine, four, sixteen };

template <Taps taps>
struct TapTable {
  static constexpr bool nine = taps == Taps::nine, four = taps == Taps::four;
  static constexpr int rows = nine ? 3 : 4;
  static constexpr int parities = four ? 2 : 1, columns = nine ? 3 : four ? 2 : 4;  // for each parity of y's column
  static constexpr int count = rows * parities * columns;

  HD static constexpr int number(int row, int parity, int column) {
    return (row * parities + parity % parities) * columns + column;
  }
  // The row of the image that is multiplied by a row of taps for row y, counted from the tile's first; -1: none.
  HD static constexpr int image_row(int y, int row) {
    if (nine) return y + row;
    if (!four) return 2 * y + row;
    return y % 2 == row / 2 ? y / 2 + row / 2 + row % 2 : -1;
  }
  // Is row k of the kernel in the sum for this row of taps? Column k, for a column of taps?
  HD static constexpr bool sums_row(int row, int k) {
    return four ? sums_column(row / 2, row % 2, k) : sums_column(0, row, k);
  }
  HD static constexpr bool sums_column(int parity, int column, int k) {
    if (nine) return k == column;
    if (!four) return k == column || k + 1 == column;
    return (parity + k + 1) / 2 - parity == column;
  }
};

}  // namespace acinus::on_gpu
