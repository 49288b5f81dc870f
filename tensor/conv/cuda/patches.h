// What each pixel of a result sees of an image, its *patch*. In the forward pass the pixels of y see x. In a data
// gradient the pixels of dx see dy, phase after phase (engine.h), because each phase sees different taps.
#pragma once
#include <algorithm>

#include "tensor/conv/engine.h"
#include "tensor/cuda/kernel.h"

namespace acinus::on_gpu {

struct Patches {
  // The pixels, (images,rows,cols), numbered one after the other.
  int pixels;
  Divisor an_image, a_row;
  // Through tap (a,b), of taps_down x taps_across, pixel (i,j) sees that in row i * stride + first_row + a * step_row
  // of its image (height,width); columns alike.
  int height, width, stride, first_row, first_col, step_row, step_col, taps_down, taps_across;
  // That is tap number first_tap + a * tap_below + b * tap_right of the kernel.
  int first_tap, tap_below, tap_right;
  // Its result is pixel (i * result_stride + result_row, j * result_stride + result_col) of
  // (result_height,result_width).
  int result_height, result_width, result_stride, result_row, result_col;

  struct Pixel {
    int image, row, col;
  };
  HD Pixel pixel(int number) const {
    const int image = an_image.quotient(number), in_image = number - image * an_image, row = a_row.quotient(in_image);
    return {image, row, in_image - row * a_row};
  }
  HD Pixel seen_first(int number) const {  // what it sees through tap (0,0); may be outside of the image
    const Pixel p = pixel(number);
    return {p.image, p.row * stride + first_row, p.col * stride + first_col};
  }
  HD int result(int number) const {
    const Pixel p = pixel(number);
    const int row = p.row * result_stride + result_row, col = p.col * result_stride + result_col;
    return (p.image * result_height + row) * result_width + col;
  }
};

inline Patches forward_patches(const ConvGeometry& g) {
  Patches p;
  p.pixels = int(g.n * g.oh * g.ow), p.an_image = g.oh * g.ow, p.a_row = g.ow;
  p.height = int(g.h), p.width = int(g.w), p.stride = int(g.stride), p.first_row = p.first_col = -int(g.padding);
  p.step_row = p.step_col = int(g.dilation), p.taps_down = int(g.kh), p.taps_across = int(g.kw);
  p.first_tap = 0, p.tap_below = int(g.kw), p.tap_right = 1;
  p.result_height = int(g.oh), p.result_width = int(g.ow), p.result_stride = 1, p.result_row = p.result_col = 0;
  return p;
}

// f(patches), for each phase of the rows and columns.
template <class F>
void for_each_phase(const ConvGeometry& g, F f) {
  for (int64_t row = 0; row < std::min(g.stride, g.h); row++)
    for (int64_t col = 0; col < std::min(g.stride, g.w); col++) {
      const PhaseTaps down(row, g.kh, g), across(col, g.kw, g);
      const int64_t rows = (g.h - row + g.stride - 1) / g.stride, cols = (g.w - col + g.stride - 1) / g.stride;
      Patches p;
      p.pixels = int(g.n * rows * cols), p.an_image = rows * cols, p.a_row = cols;
      p.height = int(g.oh), p.width = int(g.ow), p.stride = 1;
      p.first_row = int(down.origin), p.first_col = int(across.origin);
      p.step_row = -int(down.step), p.step_col = -int(across.step);
      p.taps_down = int(down.count), p.taps_across = int(across.count);
      p.first_tap = int(down.first * g.kw + across.first);
      p.tap_below = int(down.every * g.kw), p.tap_right = int(across.every);
      p.result_height = int(g.h), p.result_width = int(g.w), p.result_stride = int(g.stride);
      p.result_row = int(row), p.result_col = int(col);
      f(p);
    }
}

}  // namespace acinus::on_gpu
