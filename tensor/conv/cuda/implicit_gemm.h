// The convolution engine on the GPU: what its three files, conv_cuda_*.cu, share. conv.h says what is computed,
// product.h how a product is. Each of the three sums is one matrix product:
//
//                      rows m          columns n       sum over k          A                B
//   forward            output pixels   o               taps (a,b), c       patches of x     w
//   data gradient      input pixels    c               taps (a,b), o       patches of dy    w, seen from the other side
//   weight gradient    taps (a,b), c   o               output pixels       patches of x     dy
//
// A row of patches is what one pixel sees, (KH,KW,C) numbers. As a matrix they would take nine times an image's memory
// for a 3x3 kernel; here the kernel computes where in the image each of them is when it needs it ("implicit GEMM",
// Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning").
#pragma once
#include <algorithm>

#include "tensor/conv/conv.h"
#include "tensor/for_each.h"
#include "tensor/conv/cuda/gemm.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// Which pixel is number m? Row by row, or `by_fours`: the four of each 2x2 one after the other, so that one thread has
// all four in its hands, for pooling and for the gradient of upsample2x.
struct PixelOrder {
  int rows, cols;
  bool by_fours;
  Divisor each_row, each_picture;  // pixels, or fours

  PixelOrder() = default;
  PixelOrder(int64_t rows, int64_t cols, bool by_fours)
      : rows(int(rows)),
        cols(int(cols)),
        by_fours(by_fours),
        each_row(by_fours ? cols / 2 : cols),
        each_picture(by_fours ? rows * cols / 4 : rows * cols) {}
  HD void find(int64_t m, int& n, int& i, int& j) const {
    const int number = by_fours ? int(m) / 4 : int(m);
    n = each_picture.quotient(number);
    const int in_picture = number - n * each_picture;
    i = each_row.quotient(in_picture);
    j = in_picture - i * each_row;
    if (by_fours) i = 2 * i + int(m) % 4 / 2, j = 2 * j + int(m) % 2;
  }
  // Pixels m .. m + 3, with m a multiple of 4, as they lie in memory: (n * rows + i) * cols + j.
  HD void find_four(int64_t m, int64_t (&pixels)[4]) const {
    int n = 0, i = 0, j = 0;
    if (by_fours) find(m, n, i, j);
    const int64_t first = by_fours ? (int64_t(n) * rows + i) * cols + j : m;
    for (int r = 0; r < 4; r++) pixels[r] = first + (by_fours ? r / 2 * cols + r % 2 : r);
  }
};

// ---- operands -------------------------------------------------------------------------------------------------

// Line m: what pixel m of a picture sees in an image: tap (a,b) is at row i * stride + origin_row + a * step_row, and
// the columns alike. The image is concat(upsample2x(below), beside), read where they are.
template <class T, bool Along_k, bool Vector>
struct Patches {
  static constexpr bool along_k = Along_k, vector = Vector;
  const T *beside, *below;
  int height, width, below_channels;
  Divisor channels, taps_in_row;
  PixelOrder order;
  int stride, origin_row, origin_col, step_row, step_col;
  int64_t lines, length;  // pixels; taps * channels

  struct Line {
    int n, row, col;
  };
  HD Line line(int64_t m) const {
    int n, i, j;
    order.find(m, n, i, j);
    return {n, i * stride + origin_row, j * stride + origin_col};
  }
  struct Step {
    int down, across, channel;  // rows and columns from the line's first tap
  };
  HD Step step(int64_t element) const {
    const int tap = channels.quotient(int(element)), row = taps_in_row.quotient(tap);
    return {row * step_row, (tap - row * taps_in_row) * step_col, int(element) - tap * channels};
  }
  HD const T* place(const Line& line, const Step& step) const {
    const int row = line.row + step.down, col = line.col + step.across, c = step.channel;
    if (row < 0 || row >= height || col < 0 || col >= width) return nullptr;
    if (c < below_channels)
      return below + (int64_t(line.n * (height / 2) + row / 2) * (width / 2) + col / 2) * below_channels + c;
    const int own = channels - below_channels;
    return beside + (int64_t(line.n * height + row) * width + col) * own + c - below_channels;
  }
  HD T at(const Line& line, const Step& step) const { return zero_or(place(line, step)); }
};

// A matrix in memory; its lines are its rows.
template <class T, bool Vector>
struct Rows {
  static constexpr bool along_k = false, vector = Vector;
  const T* data;
  int64_t lines, length;
  using Line = const T*;
  using Step = int64_t;
  HD Line line(int64_t i) const { return data + i * length; }
  HD Step step(int64_t element) const { return element; }
  HD const T* place(Line line, Step element) const { return line + element; }
  HD T at(Line line, Step element) const { return line[element]; }
};

// ---- which kernel ---------------------------------------------------------------------------------------------

// How many columns a tile of C should have on tensor cores: a wide one uses each number more often. But there should be
// enough tiles, two for each of a large GPU's processors, of which the H100 has 132.
template <class F>
void with_columns(const ProductSize& size, F f) {
  const auto enough = [&](int64_t columns) {
    return size.splits() * ((size.m + 127) / 128) * ((size.n + columns - 1) / columns) >= tiles_wanted;
  };
  if (size.n > 64 && enough(128))
    f(std::integral_constant<int, 128>());
  else if (size.n > 32 && enough(64))
    f(std::integral_constant<int, 64>());
  else
    f(std::integral_constant<int, 32>());
}

// Calls make(vector) for the operands and epilogue, and launches the product that g's algorithm wants. `together`: do
// all runs of channels begin at multiples of `together`?
template <class T, class Make>
void product(const char* name, const ConvGeometry& g, const ProductSize& size, int64_t together, Make make) {
  check(size.m < (int64_t(1) << 31) - 256 && size.n < (1 << 30) && size.k < (int64_t(1) << 31) - 256, name,
        ": more than 2^31 pixels, or numbers in a sum, at once; use a smaller batch");
  using C = Compute<T>;
  if (g.algorithm != ConvAlgorithm::tensor) {
    const auto [a, b, epilogue] = make(std::false_type());
    return launch_tiled<C>(name, size, a, b, epilogue);
  }
  if constexpr (!std::is_same_v<T, double>) {
    using Type = std::conditional_t<std::is_same_v<T, bf16>, Bfloat16, Tf32>;
    if (together % Type::run == 0) {
      const auto [a, b, epilogue] = make(std::true_type());
      with_columns(size, [&, &a = a, &b = b, &epilogue = epilogue](auto columns) {
        launch_tensor<Type, decltype(columns)::value>(name, size, a, b, epilogue);
      });
    } else {
      const auto [a, b, epilogue] = make(std::false_type());
      launch_tensor<Type, 32>(name, size, a, b, epilogue);
    }
  }
}

// The greatest power of two that divides all of them.
inline int64_t common_run(std::initializer_list<int64_t> numbers) {
  int64_t run = 16;
  for (int64_t n : numbers)
    while (n % run) run /= 2;
  return run;
}

template <class A, class B, class E>
struct Parts {
  A a;
  B b;
  E epilogue;
};
template <class A, class B, class E>
Parts<A, B, E> parts(const A& a, const B& b, const E& epilogue) {
  return {a, b, epilogue};
}

template <class T, bool Along_k, bool Vector>
Patches<T, Along_k, Vector> patches_of_x(const ConvGeometry& g, const Tensor& x, const Tensor& below, bool by_fours) {
  Patches<T, Along_k, Vector> p;
  p.beside = x.ptr<T>();
  p.below = ptr_or_null<T>(below);
  p.height = int(g.h), p.width = int(g.w), p.channels = Divisor(g.c);
  p.below_channels = below ? int(below.shape()[3]) : 0;
  p.order = PixelOrder(g.oh, g.ow, by_fours);
  p.stride = int(g.stride), p.origin_row = p.origin_col = -int(g.padding);
  p.step_row = p.step_col = int(g.dilation), p.taps_in_row = Divisor(g.kw);
  p.lines = g.n * g.oh * g.ow, p.length = g.kh * g.kw * g.c;
  return p;
}

}  // namespace acinus::on_gpu
#endif
