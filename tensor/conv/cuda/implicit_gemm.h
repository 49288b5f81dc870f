// Convolution on the GPU: what forward.cu, data_gradient.cu and weight_gradient.cu share. conv.h says what is computed,
// tile_loader.h how a matrix product is. Each of the three sums is one:
//
//                      rows m          columns n       sum over k          A                B
//   forward            output pixels   o               taps (a,b), c       patches of x     w
//   data gradient      input pixels    c               taps (a,b), o       patches of dy    w, transposed
//   weight gradient    taps (a,b), c   o               output pixels       patches of x     dy
//
// A row of patches is what one pixel sees, (KH,KW,C) numbers. For a 3x3 kernel the matrix of all patches (im2col) would
// take nine times an image's memory; here the kernel computes where in the image each number is when it needs it
// ("implicit GEMM", Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning").
#pragma once
#include <algorithm>
#include <tuple>

#include "tensor/conv/cuda/gemm_tensor.h"
#include "tensor/conv/cuda/gemm_tiled.h"
#include "tensor/conv/engine.h"
#include "tensor/for_each.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// Which pixel is number m? Row by row, or `by_fours`: the four of each 2x2 one after the other, so that one thread
// computes all four, for pooling and for the gradient of upsample2x.
struct PixelOrder {
  int rows, cols;
  bool by_fours;
  Divisor row_size, image_size;  // in pixels, or fours

  PixelOrder() = default;
  PixelOrder(int64_t rows, int64_t cols, bool by_fours)
      : rows(int(rows)),
        cols(int(cols)),
        by_fours(by_fours),
        row_size(by_fours ? cols / 2 : cols),
        image_size(by_fours ? rows * cols / 4 : rows * cols) {}
  HD void find(int64_t m, int& n, int& i, int& j) const {
    const int number = by_fours ? int(m) / 4 : int(m);
    n = image_size.quotient(number);
    const int in_image = number - n * image_size;
    i = row_size.quotient(in_image);
    j = in_image - i * row_size;
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

// Line m: what output pixel m, (n,i,j), sees of x: tap (a,b) is at row i * stride + origin_row + a * step_row, columns
// alike.
template <class T, bool Along_k, bool Vector>
struct Patches {
  static constexpr bool along_k = Along_k, vector = Vector;
  SkipConcatData<const T> x;
  int height, width;
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
  HD const T* address(const Line& line, const Step& step) const {
    const int row = line.row + step.down, col = line.col + step.across, c = step.channel;
    if (row < 0 || row >= height || col < 0 || col >= width) return nullptr;
    const int deep = int(x.deep_channels), skip = channels - deep;
    if (c < deep) return x.deep + (int64_t(line.n * (height / 2) + row / 2) * (width / 2) + col / 2) * deep + c;
    return x.skip + (int64_t(line.n * height + row) * width + col) * skip + c - deep;
  }
  HD T at(const Line& line, const Step& step) const { return value_or_zero(address(line, step)); }
};

// A matrix in memory, whose lines are its rows.
template <class T, bool Vector>
struct Rows {
  static constexpr bool along_k = false, vector = Vector;
  const T* data;
  int64_t lines, length;
  using Line = const T*;
  using Step = int64_t;
  HD Line line(int64_t i) const { return data + i * length; }
  HD Step step(int64_t element) const { return element; }
  HD const T* address(Line line, Step element) const { return line + element; }
  HD T at(Line line, Step element) const { return line[element]; }
};

// ---- which kernel ---------------------------------------------------------------------------------------------

// How many columns a tile of C should have on tensor cores: a wide tile uses each number more often, but there should be
// enough tiles for all processors (engine.h).
template <class F>
void with_columns(const ProductSize& size, F f) {
  const auto enough = [&](int64_t columns) {
    return size.splits() * ((size.m + 127) / 128) * ((size.n + columns - 1) / columns) >= testing::min_gpu_tiles;
  };
  if (size.n > 64 && enough(128))
    f(std::integral_constant<int, 128>());
  else if (size.n > 32 && enough(64))
    f(std::integral_constant<int, 64>());
  else
    f(std::integral_constant<int, 32>());
}

// Calls make(vector) for the operands and the epilogue, a std::tuple, and launches the kernel of g's algorithm. Runs of channels begin
// at multiples of `alignment`, so that operands can be `vector` if it is large enough.
template <class T, class Make>
void product(const char* name, const ConvGeometry& g, const ProductSize& size, int64_t alignment, Make make) {
  check(size.m < (int64_t(1) << 31) - 256 && size.n < (1 << 30) && size.k < (int64_t(1) << 31) - 256, name,
        ": more than 2^31 pixels, or more than 2^31 terms in a sum; use a smaller batch");
  using C = Compute<T>;
  if (g.algorithm != ConvAlgorithm::tensor) {
    const auto [a, b, epilogue] = make(std::false_type());
    return launch_tiled<C>(name, size, a, b, epilogue);
  }
  if constexpr (!std::is_same_v<T, double>) {
    using Type = std::conditional_t<std::is_same_v<T, bf16>, Bfloat16, Tf32>;
    if (alignment % Type::run == 0) {
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

// The largest power of two, up to 16, that divides them all.
inline int64_t common_alignment(std::initializer_list<int64_t> numbers) {
  int64_t alignment = 16;
  for (int64_t n : numbers)
    while (n % alignment) alignment /= 2;
  return alignment;
}

template <class T, bool Along_k, bool Vector>
Patches<T, Along_k, Vector> patches_of_x(const ConvGeometry& g, const SkipConcatData<const T>& x, bool by_fours) {
  Patches<T, Along_k, Vector> p;
  p.x = x;
  p.height = int(g.h), p.width = int(g.w), p.channels = Divisor(g.c);
  p.order = PixelOrder(g.oh, g.ow, by_fours);
  p.stride = int(g.stride), p.origin_row = p.origin_col = -int(g.padding);
  p.step_row = p.step_col = int(g.dilation), p.taps_in_row = Divisor(g.kw);
  p.lines = g.n * g.oh * g.ow, p.length = g.kh * g.kw * g.c;
  return p;
}

template <class T, class C>
void gemm_forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const C* w, const C* bias, bool relu, T* y,
                  T* pooled);
template <class T, class C>
void gemm_data_gradient(const ConvGeometry& g, const T* dy, const C* w, const C* bias, const SkipConcatData<T>& dx);
template <class T, class C>
void gemm_weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, C* dw);

}  // namespace acinus::on_gpu
#endif
