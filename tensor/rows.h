// Images by pixel: a row is a pixel, its columns are the channels, which are adjacent in memory.
//
//   for_each_row<T>(device, rows, columns, body)    for each row body(row, first, n), for columns first .. first+n-1
//
// body is a functor as in for_each.h; pack.h has what it needs to process n numbers at a time. T is the rows' element
// type. The CPU processes a pixel at a time, and vectorises over its channels. On the GPU a thread processes 16 bytes
// of them: computing where a pixel's neighbours are takes longer than adding them up, and long accesses are faster.
#pragma once
#include <algorithm>
#include <numeric>

#include "tensor/for_each.h"
#include "tensor/pack.h"

namespace acinus {

template <class F, int N>
struct RowBody {
  int64_t first_row;
  Divisor blocks;  // of N columns in a row
  F f;
  HD void operator()(int64_t i) const {
    const int row = blocks.quotient(int(i));
    f(first_row + row, (int(i) - row * blocks) * N, Exactly<N>());
  }
};

template <int N, class F>
void for_each_row_on_gpu(int64_t rows, int64_t columns, const F& f) {
  const int64_t blocks = std::max<int64_t>(columns / N, 1), most = ((int64_t(1) << 31) - 1) / blocks;
  for (int64_t row = 0; row < rows && columns > 0; row += most)  // a Divisor divides numbers below 2^31
    for_each_on_gpu(std::min(most, rows - row) * blocks, RowBody<F, N>{row, blocks, f});
}

// A thread processes the elements of 16 bytes, if `columns` and `aligned` are multiples of their number, otherwise one.
// `aligned`: what the body adds to its pointers is a multiple of this (0: of `columns`; 1: one number a thread).
template <class T, class F>
void for_each_row(Device device, int64_t rows, int64_t columns, F f, int64_t aligned = 0) {
  if (device == Device::cuda) {
    constexpr int n = sixteen_bytes_of<T>;
    return std::gcd(columns, aligned) % n == 0 ? for_each_row_on_gpu<n>(rows, columns, f)
                                               : for_each_row_on_gpu<1>(rows, columns, f);
  }
  constexpr int most = 256;
#pragma omp parallel for schedule(static) firstprivate(f) if (rows * columns > 1 << 15)
  for (int64_t row = 0; row < rows; row++)
    for (int64_t first = 0; first < columns; first += most)
      f(row, first, AtMost<most>{int(std::min<int64_t>(columns - first, most))});
}

// The pixels of images with h rows and w columns, as in memory: (image, i, j) is number (image * h + i) * w + j.
struct Pixels {
  int h, w;
  Divisor by_h, by_w;
  struct Pixel {
    int image, i, j;
  };
  Pixels(int64_t images, int64_t h, int64_t w) : h(int(h)), w(int(w)), by_h(h), by_w(w) {
    check(images * h * w < int64_t(1) << 31, images * h * w, " pixels in ", images,
          " images are more than are supported, 2^31; use a smaller batch");
  }
  HD Pixel operator[](int64_t number) const {
    const int row = by_w.quotient(int(number)), image = by_h.quotient(row);
    return {image, row - image * h, int(number) - row * w};
  }
  HD bool inside(int i, int j) const { return i >= 0 && i < h && j >= 0 && j < w; }
  HD int64_t number(int image, int i, int j) const { return (image * h + i) * w + j; }
};

}  // namespace acinus
