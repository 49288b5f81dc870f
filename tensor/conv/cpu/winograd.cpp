// Winograd's algorithm for 3x3 convolutions: F(4x4,3x3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional
// Neural Networks", with other points (below).
//
// In one dimension: four outputs of a kernel of three, y[i] = d[i] g[0] + d[i+1] g[1] + d[i+2] g[2], take twelve
// multiplications. Read backwards, y is part of a product of polynomials, and a product is known once its values are
// known at as many points as it has coefficients, here six; at each point it costs one multiplication:
//
//   y = A' [ (G g) .* (B' d) ]          .* element by element;  ' transposed
//
//   G evaluates the kernel at the points, A' the powers that belong to the outputs, B' undoes what both have done.
//   In two dimensions the same from both sides: 36 multiplications instead of 144, a quarter, for
//
//   Y = A' [ (G g G') .* (B' d B) ] A   Y 4x4 outputs, g 3x3 kernel, d 6x6 inputs
//
// The points are 0, r, -r, 2r, -2r and infinity (the highest coefficient alone), with r = 1. Lavin and Gray. We take
// r = sqrt(1/2): then r and 2r lie evenly around 1, their powers stay small, and the rounding error in float32 is a
// quarter (the largest, 32 channels: 5.2e-6 instead of 2.2e-5 of the result's rms), for the same work:
//
//        [ 1   0  -5/2   0    1  0 ]         [   1       0      0   ]
//        [ 0 -2r   -2    r    1  0 ]         [ -2/3  -2/3 r   -1/3  ]         [ 1   1    1    1    1   0 ]
//   B' = [ 0  2r   -2   -r    1  0 ]     G = [ -2/3   2/3 r   -1/3  ]    A' = [ 0   r   -r   2r  -2r   0 ]
//        [ 0  -r  -1/2  2r    1  0 ]         [  1/6   1/3 r    1/3  ]         [ 0  1/2  1/2   2    2   0 ]
//        [ 0   r  -1/2 -2r    1  0 ]         [  1/6  -1/3 r    1/3  ]         [ 0  r/2 -r/2  4r  -4r   1 ]
//        [ 0   1    0  -5/2   0  1 ]         [   0       0      1   ]
//
// With channels, .* becomes a sum over c for each of the 36 points, so 36 matrix products:
//
//   x (n,h,w,c) --B' d B--> V 36 x (tiles, c) --+
//                                               +--> M 36 x (tiles, o) --A' m A, + bias--> y (n,oh,ow,o)
//   w (3,3,c,o) --G g G'--> U 36 x (c, o) ------+
//
// Tiles go through this in blocks, whose V and M stay in the cache; a block is one thread's work. Tiles that reach
// over the border of the image read zeros there and write only what is inside.
//
// The gradients need no new matrices. Y is linear in d and in g, and the gradient of a linear map is its transpose:
//
//   dG = G' [ sum over tiles  (A dY A') .* (B' d B) ] G     for each pair (c, o): 36 products V' (A dY A') over tiles
//
// and the data gradient is a convolution again (ConvGeometry::transposed).
#include <algorithm>
#include <limits>
#include <vector>

#include "tensor/conv/cpu/gemm.h"
#include "tensor/conv/engine.h"
#include "tensor/parallel.h"

namespace acinus {
namespace {

constexpr int64_t points = 36;

// ---- the small matrices, as functions of a column -------------------------------------------------------------

template <class V>
using Element = std::decay_t<decltype(V{}[0])>;
template <class V>
constexpr Element<V> r = Element<V>(0.70710678118654752440);  // the square root of 1/2

struct InputMap {  // B': 6 -> 6
  template <class V>
  void operator()(const V (&d)[6], V (&v)[6]) const {
    const V even = d[4] - 2 * d[2], odd = d[3] - 2 * d[1], even2 = d[4] - Element<V>(0.5) * d[2],
            odd2 = d[3] - Element<V>(0.5) * d[1];
    v[0] = d[0] - Element<V>(2.5) * d[2] + d[4];
    v[1] = even + r<V> * odd;
    v[2] = even - r<V> * odd;
    v[3] = even2 + 2 * r<V> * odd2;
    v[4] = even2 - 2 * r<V> * odd2;
    v[5] = d[1] - Element<V>(2.5) * d[3] + d[5];
  }
};

struct WeightMap {  // G: 3 -> 6
  template <class V>
  void operator()(const V (&g)[3], V (&u)[6]) const {
    const V even = g[0] + Element<V>(0.5) * g[2], odd = r<V> * g[1], even2 = g[0] + 2 * g[2], odd2 = 2 * r<V> * g[1];
    const Element<V> factor = Element<V>(-2. / 3), factor2 = Element<V>(1. / 6);
    u[0] = g[0];
    u[1] = factor * (even + odd);
    u[2] = factor * (even - odd);
    u[3] = factor2 * (even2 + odd2);
    u[4] = factor2 * (even2 - odd2);
    u[5] = g[2];
  }
};

struct OutputMap {  // A': 6 -> 4
  template <class V>
  void operator()(const V (&m)[6], V (&y)[4]) const {
    const V sum = m[1] + m[2], difference = r<V> * (m[1] - m[2]), sum2 = m[3] + m[4],
            difference2 = r<V> * (m[3] - m[4]);
    y[0] = m[0] + sum + sum2;
    y[1] = difference + 2 * difference2;
    y[2] = Element<V>(0.5) * sum + 2 * sum2;
    y[3] = Element<V>(0.5) * difference + 4 * difference2 + m[5];
  }
};

struct OutputMapTransposed {  // A: 4 -> 6
  template <class V>
  void operator()(const V (&y)[4], V (&m)[6]) const {
    const V even = y[0] + Element<V>(0.5) * y[2], odd = y[1] + Element<V>(0.5) * y[3], even2 = y[0] + 2 * y[2],
            odd2 = y[1] + 2 * y[3];
    m[0] = y[0];
    m[1] = even + r<V> * odd;
    m[2] = even - r<V> * odd;
    m[3] = even2 + 2 * r<V> * odd2;
    m[4] = even2 - 2 * r<V> * odd2;
    m[5] = y[3];
  }
};

struct WeightMapTransposed {  // G': 6 -> 3
  template <class V>
  void operator()(const V (&u)[6], V (&g)[3]) const {
    const Element<V> factor = Element<V>(-2. / 3), factor2 = Element<V>(1. / 6);
    const V sum = factor * (u[1] + u[2]), difference = factor * (u[1] - u[2]);
    const V sum2 = factor2 * (u[3] + u[4]), difference2 = factor2 * (u[3] - u[4]);
    g[0] = u[0] + sum + sum2;
    g[1] = r<V> * (difference + 2 * difference2);
    g[2] = Element<V>(0.5) * sum + 2 * sum2 + u[5];
  }
};

// The sandwich product F X F', for the matrix F (Out x In) behind `map` and X (In x In), of vectors that load(i, j) gives
// and store(i, j, vector) takes. Unrolled, so that `half` can stay in registers.
template <class V, int In, int Out, class Map, class Load, class Store>
inline __attribute__((always_inline)) void transform2d(Map map, Load load, Store store) {
  V half[Out][In];
#pragma GCC unroll 8
  for (int j = 0; j < In; j++) {
    V in[In], out[Out];
    for (int i = 0; i < In; i++) in[i] = load(i, j);
    map(in, out);
    for (int i = 0; i < Out; i++) half[i][j] = out[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < Out; i++) {
    V out[Out];
    map(half[i], out);
    for (int j = 0; j < Out; j++) store(i, j, out[j]);
  }
}

// ---- images and tiles -----------------------------------------------------------------------------------------

template <class T>
struct Image {
  T* data;
  int64_t n, h, w, c;
};

// The two images of concat(upsample2x(deep), skip), (n,h,w,c). Without `deep` that one has no channels.
template <class T>
Image<T> deep_image(const SkipConcatData<T>& x, int64_t n, int64_t h, int64_t w) {
  return {x.deep, n, h / 2, w / 2, x.deep_channels};
}
template <class T>
Image<T> skip_image(const SkipConcatData<T>& x, int64_t n, int64_t h, int64_t w, int64_t c) {
  return {x.skip, n, h, w, c - x.deep_channels};
}

// The 4x4 tiles of a batch of images, in row-major order.
struct Tiles {
  int64_t images, rows, cols;
  explicit Tiles(const ConvGeometry& g) : images(g.n), rows((g.oh + 3) / 4), cols((g.ow + 3) / 4) {}
  int64_t count() const { return images * rows * cols; }
  struct Origin {
    int64_t image, row, col;  // of the tile's first pixel
  };
  Origin operator[](int64_t t) const { return {t / (rows * cols), t / cols % rows * 4, t % cols * 4}; }
};

template <class T>
struct Window {  // pixel (i, j) of a square of pixels starts at data + i * row + j * col
  T* data;
  int64_t row, col;
  T* at(int i, int j) const { return data + i * row + j * col; }
};

// The square of size x size pixels from (row, col) on, whole vectors of channels. In place where it lies inside the
// image (a last vector may then run into the next pixel: what it holds of it is never used); else a copy, with zeros
// outside.
template <int size, class T>
Window<const T> read_window(const Image<const T>& x, Tiles::Origin at, int64_t first, int64_t channels, T* copy) {
  const int64_t begin = ((at.image * x.h + at.row) * x.w + at.col) * x.c + first;
  const bool inside = at.row >= 0 && at.col >= 0 && at.row + size <= x.h && at.col + size <= x.w &&
                      begin + ((size - 1) * x.w + size - 1) * x.c + channels <= x.n * x.h * x.w * x.c;
  if (inside) return {x.data + begin, x.w * x.c, x.c};
  const int64_t real = std::min(channels, x.c - first);
  T* to = copy;
  for (int64_t i = at.row; i < at.row + size; i++)
    for (int64_t j = at.col; j < at.col + size; j++, to += channels) {
      const bool in_image = i >= 0 && i < x.h && j >= 0 && j < x.w;
      if (in_image) std::copy_n(x.data + ((at.image * x.h + i) * x.w + j) * x.c + first, real, to);
      std::fill(to + (in_image ? real : 0), to + channels, T(0));
    }
  return {copy, size * channels, channels};
}

// A stack of 36 matrices (rows x cols), one for each point.
template <class T>
struct Stack {
  T* data;
  int64_t cols, point;  // columns, padded to whole vectors; from a matrix to the next
  Stack(T* data, int64_t rows, int64_t cols) : data(data), cols(cols), point(elements(rows, cols) / points) {}
  // An odd number of vectors between matrices, so that the 36 addresses that one tile is written to do not share a cache set.
  static int64_t elements(int64_t rows, int64_t cols) { return points * (rows * cols + lanes<T>); }
};

// ---- the stages -----------------------------------------------------------------------------------------------

// B' d B of tiles t0 .. t1-1, for channels first .. first + v.cols - 1 of x.
template <class T>
void input_stage(const ConvGeometry& g, const SkipConcatData<const T>& x, int64_t t0, int64_t t1, int64_t first,
                 Stack<T> v, T* copy) {
  const Tiles tiles(g);
  const Image<const T> deep = deep_image(x, g.n, g.h, g.w), skip = skip_image(x, g.n, g.h, g.w, g.c);
  const int64_t end = first + v.cols, deep_end = std::clamp<int64_t>(deep.c, first, end);
  for (int64_t t = t0; t < t1; t++) {
    const Tiles::Origin at = tiles[t];
    T* out = v.data + (t - t0) * v.cols;
    const auto transform = [point = v.point, out](int64_t begin, int64_t channels, auto pixel) {
      for (int64_t c = 0; c < channels; c += lanes<T>)
        transform2d<Vector<T>, 6, 6>(
            InputMap(), [&](int i, int j) { return load(pixel(i, j) + c); },
            [&](int i, int j, const Vector<T>& value) { store(out + begin + (i * 6 + j) * point + c, value); });
    };
    if (first < deep_end) {
      // The 6x6 pixels from (row-1, col-1) on are these 4x4 of the image half the size: a|bb|cc|d each way.
      const auto d = read_window<4>(deep, {at.image, at.row / 2 - 1, at.col / 2 - 1}, first, deep_end - first, copy);
      transform(0, deep_end - first, [&](int i, int j) { return d.at((i + 1) / 2, (j + 1) / 2); });
    }
    if (deep_end < end) {
      const auto d = read_window<6>(skip, {at.image, at.row - g.padding, at.col - g.padding}, deep_end - deep.c,
                                    end - deep_end, copy);
      transform(deep_end - first, end - deep_end, [&](int i, int j) { return d.at(i, j); });
    }
  }
}

// A dY A' of the same tiles of dy, for channels first .. first + m.cols - 1; and db += the sum of dY, if that is wanted.
template <class T>
void output_gradient_stage(const ConvGeometry& g, const T* dy, int64_t t0, int64_t t1, int64_t first, Stack<T> m, T* db,
                           T* copy) {
  const Tiles tiles(g);
  for (int64_t t = t0; t < t1; t++) {
    const auto d = read_window<4>(Image<const T>{dy, g.n, g.oh, g.ow, g.o}, tiles[t], first, m.cols, copy);
    T* out = m.data + (t - t0) * m.cols;
    for (int64_t c = 0; c < m.cols; c += lanes<T>) {
      Vector<T> sum{};
      transform2d<Vector<T>, 4, 6>(
          OutputMapTransposed(),
          [&](int i, int j) {
            const Vector<T> value = load(d.at(i, j) + c);
            sum += value;
            return value;
          },
          [&](int i, int j, const Vector<T>& value) { store(out + (i * 6 + j) * m.point + c, value); });
      if (db) store(db + c, Vector<T>(load(db + c) + sum));
    }
  }
}

// Calls f with a window of size x size pixels, whole vectors of channels, to write what belongs at `at` of y: in place
// where y holds them all; else in `copy`, of which the part inside y is then copied.
template <int size, class T, class F>
void write_window(const Image<T>& y, Tiles::Origin at, int64_t channels, T* copy, F f) {
  T* origin = y.data + ((at.image * y.h + at.row) * y.w + at.col) * y.c;
  const bool whole = at.row + size <= y.h && at.col + size <= y.w && channels == y.c;
  const Window<T> to = whole ? Window<T>{origin, y.w * y.c, y.c} : Window<T>{copy, size * channels, channels};
  f(to);
  if (whole) return;
  for (int i = 0; i < std::min<int64_t>(size, y.h - at.row); i++)
    for (int j = 0; j < std::min<int64_t>(size, y.w - at.col); j++)
      std::copy_n(to.at(i, j), y.c, origin + (i * y.w + j) * y.c);
}

// What is done to the sums as they are stored: y = max(sum + bias, low), and the maximum of each 2x2 of y. For a data
// gradient: 0 where the result of a ReLU is.
template <class T>
struct Epilogue {
  const T* bias;  // in whole vectors
  T low;          // 0 for ReLU, minus infinity without
  T* pooled;      // or null
  SkipConcatData<const T> relu_output;
};

template <class T>
Vector<T> masked(const Vector<T>& value, const T* relu_output) {
  return load(relu_output) > 0 ? value : Vector<T>{};
}

template <class T>
void output_stage(const ConvGeometry& g, Stack<T> m, const Epilogue<T>& epilogue, const SkipConcatData<T>& y,
                  int64_t t0, int64_t t1, T* copy) {
  const Tiles tiles(g);
  const Image<T> deep = deep_image(y, g.n, g.oh, g.ow), skip = skip_image(y, g.n, g.oh, g.ow, g.o);
  const Image<const T> deep_relu{epilogue.relu_output.deep, g.n, deep.h, deep.w, deep.c},
      skip_relu{epilogue.relu_output.skip, g.n, skip.h, skip.w, skip.c};
  const Image<T> pooled{epilogue.pooled, g.n, g.oh / 2, g.ow / 2, g.o};
  const Vector<T> low = Vector<T>{} + epilogue.low;
  const int64_t skip_cols = m.cols - deep.c;
  for (int64_t t = t0; t < t1; t++) {
    const Tiles::Origin at = tiles[t], half{at.image, at.row / 2, at.col / 2};
    // Calls f(i, j, value) for each of the 4x4 outputs of a vector of channels, from c on.
    const auto transform = [&](int64_t c, auto f) {
      const T* in = m.data + (t - t0) * m.cols + c;
      const Vector<T> b = load(epilogue.bias + c);
      transform2d<Vector<T>, 6, 4>(
          OutputMap(), [&](int i, int j) { return load(in + (i * 6 + j) * m.point); },
          [&](int i, int j, const Vector<T>& sum) {
            const Vector<T> value = sum + b;
            f(i, j, Vector<T>(value <= low ? low : value));  // NaN stays NaN
          });
    };
    if (deep.c > 0)  // the gradient of a pixel that was seen as 2x2 is the sum of four
      write_window<2>(deep, half, deep.c, copy, [&](Window<T> to) {
        const bool mask = deep_relu.data;
        const auto relu = mask ? read_window<2>(deep_relu, half, 0, deep.c, copy + 4 * deep.c) : Window<const T>{};
        for (int64_t c = 0; c < deep.c; c += lanes<T>) {
          Vector<T> sum[2][2] = {};
          transform(c, [&](int i, int j, const Vector<T>& value) { sum[i / 2][j / 2] += value; });
          for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) store(to.at(i, j) + c, mask ? masked(sum[i][j], relu.at(i, j) + c) : sum[i][j]);
        }
      });
    write_window<4>(skip, at, skip_cols, copy, [&](Window<T> to) {
      if (skip_relu.data) {
        const auto relu = read_window<4>(skip_relu, at, 0, skip_cols, copy + 16 * skip_cols);
        for (int64_t c = 0; c < skip_cols; c += lanes<T>)
          transform(deep.c + c, [&](int i, int j, const Vector<T>& value) {
            store(to.at(i, j) + c, masked(value, relu.at(i, j) + c));
          });
        return;
      }
      if (!pooled.data) {
        for (int64_t c = 0; c < skip_cols; c += lanes<T>)
          transform(deep.c + c, [&](int i, int j, const Vector<T>& value) { store(to.at(i, j) + c, value); });
        return;
      }
      write_window<2>(pooled, half, skip_cols, copy + 16 * skip_cols, [&](Window<T> to_pooled) {
        for (int64_t c = 0; c < skip_cols; c += lanes<T>) {
          Vector<T> largest[2][2];
          transform(deep.c + c, [&](int i, int j, const Vector<T>& value) {
            store(to.at(i, j) + c, value);
            Vector<T>& so_far = largest[i / 2][j / 2];
            const bool first = i % 2 == 0 && j % 2 == 0;
            so_far = first ? value : Vector<T>(((value > so_far) | (value != value)) ? value : so_far);
          });
          for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) store(to_pooled.at(i, j) + c, largest[i][j]);
        }
      });
    });
  }
}

// The kernel g: tap (i, j) of input channel c and output channel k is data[(i * 3 + j) * tap + c * channel + k].
template <class T>
struct Kernel {
  const T* data;
  int64_t tap, channel;
};

// G g G' of `channels` input channels, which are rows c0 and on of u, and of the `outs` output channels that exist of u.cols.
template <class T>
void weight_stage(Kernel<T> g, int64_t channels, int64_t outs, Stack<T> u, int64_t c0) {
  for (int64_t c = 0; c < channels; c++)
    for (int64_t k = 0; k < u.cols; k += lanes<T>)
      transform2d<Vector<T>, 3, 6>(
          WeightMap(),
          [&](int i, int j) {
            const T* from = g.data + (i * 3 + j) * g.tap + c * g.channel + k;
            if (k + lanes<T> <= outs) return load(from);
            T padded[lanes<T>] = {};
            std::copy_n(from, outs - k, padded);
            return load(padded);
          },
          [&](int i, int j, const Vector<T>& value) {
            store(u.data + (i * 6 + j) * u.point + (c0 + c) * u.cols + k, value);
          });
}

int64_t tiles_per_block(int64_t channels, size_t size) {
  const int64_t fit = (int64_t(768) << 10) / (points * channels * int64_t(size));
  return std::clamp<int64_t>(fit / 24 * 24, 24, 96);
}

// ---- the three sums -------------------------------------------------------------------------------------------

// rotated: w is (3,3,o,c) and turned by 180 degrees, as a data gradient needs it.
template <class T>
void convolve(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* w, bool rotated, const T* bias,
              bool relu, const SkipConcatData<T>& y, T* pooled, const SkipConcatData<const T>& relu_output) {
  const int64_t tiles = Tiles(g).count(), cols = whole_vectors<T>(g.c), outs = whole_vectors<T>(g.o);
  // U is in panels of output channels, each a stack of its own: what one product reads lies together.
  const int64_t panel = panel_width<T>, panels = (outs + panel - 1) / panel;
  const int64_t chunk = 16, chunks = (g.c + chunk - 1) / chunk, u_size = Stack<T>::elements(g.c, panel);
  const Tensor weights({panels * u_size}, dtype_of<T>());
  const auto u = [&](int64_t p) {
    return Stack<T>(weights.data<T>() + p * u_size, g.c, std::min(panel, outs - p * panel));
  };
  parallel<T>(panels * chunks, g.c * g.o >= 1 << 13, 9 * chunk * panel, [&](int64_t i, T* scratch) {
    const int64_t c0 = i % chunks * chunk, channels = std::min(chunk, g.c - c0), k0 = i / chunks * panel;
    const int64_t real = std::min(panel, g.o - k0);
    if (!rotated) return weight_stage<T>({w + c0 * g.o + k0, g.c * g.o, g.o}, channels, real, u(i / chunks), c0);
    for (int64_t tap = 0; tap < 9; tap++)
      for (int64_t k = 0; k < real; k++)
        for (int64_t c = 0; c < channels; c++)
          scratch[(tap * chunk + c) * panel + k] = w[((8 - tap) * g.o + k0 + k) * g.c + c0 + c];
    weight_stage<T>({scratch, chunk * panel, panel}, channels, real, u(i / chunks), c0);
  });

  std::vector<T> padded_bias(outs, T(0));
  if (bias) std::copy_n(bias, g.o, padded_bias.data());
  const Epilogue<T> epilogue{padded_bias.data(), relu ? T(0) : -std::numeric_limits<T>::infinity(), pooled,
                             relu_output};
  // Few tiles are shared out in smaller blocks where there are many threads: no sum depends on the size of a block.
  const int64_t a_thread = (tiles / max_threads() / 12 + 1) * 12;
  const int64_t block = std::min(tiles_per_block(cols + outs, sizeof(T)), a_thread);
  const int64_t blocks = (tiles + block - 1) / block;
  const int64_t v_size = Stack<T>::elements(block, cols), m_size = Stack<T>::elements(block, outs);
  const int64_t copy_size = points * std::max(cols, outs);
  parallel<T>(blocks, g.pays_threads(), v_size + m_size + copy_size, [&](int64_t i, T* scratch) {
    const int64_t t0 = i * block, t1 = std::min(t0 + block, tiles);
    const Stack<T> v(scratch, block, cols), m(scratch + v_size, block, outs);
    T* copy = scratch + v_size + m_size;
    input_stage(g, x, t0, t1, 0, v, copy);
    for (int64_t p = 0; p < points; p++)
      for (int64_t k = 0; k < panels; k++) {
        const Stack<T> of_panel = u(k);
        gebp<T>(Transpose::none, {v.data + p * v.point, t1 - t0, g.c, cols},
                {of_panel.data + p * of_panel.point, g.c, of_panel.cols, of_panel.cols},
                {m.data + p * m.point + k * panel, t1 - t0, of_panel.cols, outs});
      }
    output_stage(g, m, epilogue, y, t0, t1, copy);
  });
}

template <class T>
void forward(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* w, const T* bias, bool relu, T* y,
             T* pooled) {
  convolve<T>(g, x, w, /*rotated=*/false, bias, relu, {y, nullptr, 0}, pooled, {});
}

template <class T>
void data_gradient(const ConvGeometry& g, const T* dy, const T* w, const T* bias, const SkipConcatData<T>& dx,
                   const SkipConcatData<const T>& relu_output) {
  convolve<T>(g.transposed(), {dy, nullptr, 0}, w, /*rotated=*/true, bias, /*relu=*/false, dx, /*pooled=*/nullptr,
              relu_output);
}

// Channels in nearly equal groups of whole vectors, none of more than max_size.
template <class T>
int64_t group_size(int64_t channels, int64_t max_size) {
  const int64_t groups = (channels + max_size - 1) / max_size;
  return whole_vectors<T>((channels + groups - 1) / groups);
}

// The tasks are groups of input channels x groups of output channels x partial sums over the blocks of tiles, which are
// added in order at the end.
template <class T>
void weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, T* dw, T* db) {
  const int64_t tiles = Tiles(g).count(), panel = panel_width<T>;
  const int64_t group_c = group_size<T>(g.c, 64), group_o = group_size<T>(g.o, 64);
  const int64_t groups_c = (g.c + group_c - 1) / group_c, groups_o = (g.o + group_o - 1) / group_o;
  const int64_t block = tiles_per_block(group_c + group_o, sizeof(T)), blocks = (tiles + block - 1) / block;
  // A part has at least two blocks: to clear its sum and to transform it is then little beside the products.
  const int64_t parts = std::clamp<int64_t>(32 / (groups_c * groups_o), 1, std::max<int64_t>(blocks / 2, 1));
  const int64_t size = 9 * g.c * g.o;
  const Tensor partial({parts > 1 ? parts * size : 0}, dtype_of<T>());
  T* const sums = partial.data<T>();
  std::vector<T> bias_sums(db ? parts * groups_o * group_o : 0);
  const int64_t v_size = Stack<T>::elements(block, group_c), m_size = Stack<T>::elements(block, group_o);
  const int64_t u_size = Stack<T>::elements(group_c, group_o), copy_size = points * std::max(group_c, group_o);
  const int64_t tasks = parts * groups_c * groups_o, scratch_size = v_size + m_size + u_size + copy_size;
  parallel<T>(tasks, g.pays_threads(), scratch_size, [&](int64_t task, T* scratch) {
    const int64_t part = task / (groups_c * groups_o), c0 = task / groups_o % groups_c * group_c,
                  o0 = task % groups_o * group_o;
    const int64_t cs = std::min(group_c, g.c - c0), os = std::min(group_o, g.o - o0);
    const int64_t cols = whole_vectors<T>(cs), outs = whole_vectors<T>(os);
    const Stack<T> v(scratch, block, cols), m(scratch + v_size, block, outs), u(scratch + v_size + m_size, cs, outs);
    T* copy = scratch + v_size + m_size + u_size;
    T* bias_sum = db && c0 == 0 ? bias_sums.data() + part * groups_o * group_o + o0 : nullptr;
    std::fill_n(u.data, Stack<T>::elements(cs, outs), T(0));
    for (int64_t i = part; i < blocks; i += parts) {
      const int64_t t0 = i * block, t1 = std::min(t0 + block, tiles);
      input_stage(g, x, t0, t1, c0, v, copy);
      output_gradient_stage(g, dy, t0, t1, o0, m, bias_sum, copy);
      for (int64_t p = 0; p < points; p++)
        for (int64_t k = 0; k < outs; k += panel) {
          const int64_t width = std::min(panel, outs - k);
          gebp<T>(Transpose::a, {v.data + p * v.point, t1 - t0, cs, cols},
                  {m.data + p * m.point + k, t1 - t0, width, outs}, {u.data + p * u.point + k, cs, width, outs},
                  /*accumulate=*/true);
        }
    }
    T* sum = parts > 1 ? sums + part * size : dw;
    for (int64_t c = 0; c < cs; c++)
      for (int64_t k = 0; k < outs; k += lanes<T>)
        transform2d<Vector<T>, 6, 3>(
            WeightMapTransposed(), [&](int i, int j) { return load(u.data + (i * 6 + j) * u.point + c * outs + k); },
            [&](int i, int j, const Vector<T>& value) {
              T values[lanes<T>];
              store(values, value);
              std::copy_n(values, std::min(lanes<T>, os - k), sum + ((i * 3 + j) * g.c + c0 + c) * g.o + o0 + k);
            });
  });
  for (int64_t o = 0; db && o < g.o; o++) {
    double sum = 0;
    for (int64_t part = 0; part < parts; part++) sum += double(bias_sums[part * groups_o * group_o + o]);
    db[o] = T(sum);
  }
  if (parts == 1) return;
#pragma omp parallel for schedule(static) if (g.pays_threads())
  for (int64_t row = 0; row < 9 * g.c; row++)
    for (int64_t part = 0; part < parts; part++)
      for (int64_t i = row * g.o; i < (row + 1) * g.o; i++) dw[i] = sums[part * size + i] + (part > 0 ? dw[i] : T(0));
}

}  // namespace

template <class T>
ConvEngine<T> winograd_engine() {
  return {forward<T>, data_gradient<T>, weight_gradient<T>};
}

template ConvEngine<float> winograd_engine();
template ConvEngine<double> winograd_engine();

}  // namespace acinus
