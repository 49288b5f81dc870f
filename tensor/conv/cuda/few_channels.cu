// The two layers of a network whose images have few channels on one side:
//
//   first layer   y[n,i,j,o] = bias[o] + sum over a,b,c of x[n,i-p+a,j-p+b,c] * w[a,b,c,o]   3x3, c = 1..4, o % 8 = 0
//   head          y[pixel]   = bias + sum over c of x[pixel,c] * w[c]                        1x1, c % 8 = 0, o = 1
//
// They have so few multiplications for each number that they are bound by memory. A tensor core's smallest matrices
// would be nearly empty, and tiled.cu reads one number at a time where 8 channels lie side by side. Here ordinary
// instructions multiply, in float32, and a thread reads or writes 8 channels of a pixel at once: 16 bytes of bfloat16.
#include "tensor/conv/cuda/eight_channels.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/conv/cuda/parts.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

constexpr int64_t max_pixels = int64_t(1) << 30;  // so that an int can number them, with room to spare

// ---- first layer --------------------------------------------------------------------------------------------------
//
// A block computes a tile of 16 x 32 output pixels, and has what they see of x in shared memory, as float32. A thread
// computes 8 output channels of 2 x 2 pixels at a time: it uses each weight four times, and each number of x for up to
// four taps. o/8 neighbouring threads compute the channels of the same pixels, and write side by side.

constexpr int tile_rows = 16, tile_columns = 32, quads = tile_rows / 2 * tile_columns / 2;

struct FirstLayer {
  int h, w, c, oh, ow, o, padding;
  Divisor across, down;  // tiles in an image
  int tiles;             // of all images

  explicit FirstLayer(const ConvGeometry& g)
      : across((g.ow + tile_columns - 1) / tile_columns), down((g.oh + tile_rows - 1) / tile_rows) {
    h = int(g.h), w = int(g.w), c = int(g.c), oh = int(g.oh), ow = int(g.ow), o = int(g.o), padding = int(g.padding);
    tiles = int(g.n) * across * down;
  }
};

struct Tile {
  int n, row, column;  // of its first output pixel
  __device__ Tile(const FirstLayer& g, int number) {
    const int line = g.across.quotient(number);
    n = g.down.quotient(line);
    row = (line - n * g.down) * tile_rows, column = (number - line * g.across) * tile_columns;
  }
};

// One channel of x under a tile, with its halo.
struct Halo {
  static constexpr int rows = tile_rows + 2, columns = tile_columns + 2;
  float x[rows][columns];

  template <class T>
  __device__ void load(const FirstLayer& g, const Tile& tile, const T* from, int channel) {
    for (int k = int(threadIdx.x); k < rows * columns; k += int(blockDim.x)) {
      const int r = tile.row + k / columns - g.padding, q = tile.column + k % columns - g.padding;
      const bool inside = unsigned(r) < unsigned(g.h) && unsigned(q) < unsigned(g.w);
      const int pixel = (tile.n * g.h + r) * g.w + q;
      x[k / columns][k % columns] = inside ? float(from[int64_t(pixel) * g.c + channel]) : 0;
    }
  }
};

// Of a quad, four output pixels: pixel (r,s) of it sees window[r+a][s+b] through tap (a,b).
struct Quad {
  int row, column;  // in the tile
  __device__ explicit Quad(int number)
      : row(number / (tile_columns / 2) * 2), column(number % (tile_columns / 2) * 2) {}
  __device__ void load_window(const Halo& halo, float (&window)[4][4]) const {
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      ACINUS_UNROLL
      for (int s = 0; s < 4; s++) window[r][s] = halo.x[row + r][column + s];
    }
  }
};

// Which of a tile's quads this thread computes, and which channels of them.
struct Share {
  int first, step, channel;
  __device__ explicit Share(int o) {
    const int groups = o / 8;
    step = int(blockDim.x) / groups, channel = int(threadIdx.x) % groups * 8, first = int(threadIdx.x) / groups;
    if (first >= step) first = quads;  // has none: groups need not divide the threads
  }
};

constexpr int first_layer_threads = 256;

template <class T>
__global__ void __launch_bounds__(first_layer_threads, 3)
    first_layer_kernel(FirstLayer g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  Halo* const halo = &shared_memory<Halo>();                    // of each channel of x
  float* const weights = reinterpret_cast<float*>(halo + g.c);  // (3,3,c,o), then the bias
  const Tile tile(g, int(blockIdx.x));
  for (int c = 0; c < g.c; c++) halo[c].load(g, tile, x, c);
  const int count = 9 * g.c * g.o;
  for (int k = int(threadIdx.x); k < count + g.o; k += first_layer_threads)
    weights[k] = k < count ? w[k] : bias ? bias[k - count] : 0;
  __syncthreads();
  const Share share(g.o);
  for (int q = share.first; q < quads; q += share.step) {
    const Quad quad(q);
    const EightChannels<float> first(weights + count + share.channel);
    float sums[4][8];
    ACINUS_UNROLL
    for (int k = 0; k < 32; k++) sums[k / 8][k % 8] = first[k % 8];
    int c = 0;
    do {
      float window[4][4];
      quad.load_window(halo[c], window);
      ACINUS_UNROLL
      for (int tap = 0; tap < 9; tap++) {
        const EightChannels<float> eight(weights + (tap * g.c + c) * g.o + share.channel);
        ACINUS_UNROLL
        for (int k = 0; k < 4; k++) {
          ACINUS_UNROLL
          for (int e = 0; e < 8; e++) sums[k][e] += window[k / 2 + tap / 3][k % 2 + tap % 3] * eight[e];
        }
      }
    } while (++c < g.c);
    ACINUS_UNROLL
    for (int k = 0; k < 4; k++) {
      const int i = tile.row + quad.row + k / 2, j = tile.column + quad.column + k % 2;
      if (relu) {
        ACINUS_UNROLL
        for (int e = 0; e < 8; e++)
          if (sums[k][e] <= 0) sums[k][e] = 0;  // NaN stays NaN
      }
      const int pixel = (tile.n * g.oh + i) * g.ow + j;
      if (i < g.oh && j < g.ow) EightChannels<T>(sums[k]).store(y + int64_t(pixel) * g.o + share.channel);
    }
  }
}

// dw[a,b,c,o] = sum over pixels of x[i-p+a,j-p+b,c] * dy[i,j,o]: a thread keeps 9 x 8 sums, of all taps and its 8
// channels, and those of db, over its quads of all tiles of the block. A block sums for one channel of x.
constexpr int gradient_threads = 128;

struct GradientMemory {
  Halo halo;
  BlockSums<10 * 8, gradient_threads> sums;
};

template <class T>
__global__ void __launch_bounds__(gradient_threads, sizeof(T) == 2 ? 4 : 3)
    first_layer_gradient_kernel(FirstLayer g, const T* x, const T* dy, bool with_bias, float* parts) {
  auto& shared = shared_memory<GradientMemory>();
  const int part = int(blockIdx.x) / g.c, c = int(blockIdx.x) % g.c, count = int(gridDim.x) / g.c;
  const Share share(g.o);
  float sums[10 * 8] = {};
  for (int t = part; t < g.tiles; t += count) {
    const Tile tile(g, t);
    __syncthreads();  // all have read the last tile
    shared.halo.load(g, tile, x, c);
    __syncthreads();
    for (int q = share.first; q < quads; q += share.step) {
      const Quad quad(q);
      EightChannels<T> eight[4] = {};
      ACINUS_UNROLL
      for (int k = 0; k < 4; k++) {
        const int i = tile.row + quad.row + k / 2, j = tile.column + quad.column + k % 2;
        const T* from = dy + int64_t((tile.n * g.oh + i) * g.ow + j) * g.o + share.channel;
        if (i < g.oh && j < g.ow) eight[k] = EightChannels<T>(from);
      }
      float window[4][4];
      quad.load_window(shared.halo, window);
      ACINUS_UNROLL
      for (int k = 0; k < 4; k++) {
        ACINUS_UNROLL
        for (int e = 0; e < 8; e++) {
          const float value = eight[k][e];
          ACINUS_UNROLL
          for (int tap = 0; tap < 9; tap++) sums[tap * 8 + e] += window[k / 2 + tap / 3][k % 2 + tap % 3] * value;
          sums[72 + e] += value;
        }
      }
    }
  }
  float* to = parts + part * int64_t((9 * g.c + with_bias) * g.o);
  shared.sums.add_up(sums, g.o / 8, [&](int v, int group, float total) {
    const int tap = v / 8, channel = group * 8 + v % 8;
    if (tap < 9)
      to[(tap * g.c + c) * g.o + channel] = total;
    else if (with_bias && c == 0)
      to[9 * g.c * g.o + channel] = total;
  });
}

}  // namespace

bool first_layer_supports(const ConvGeometry& g) {
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.c >= 1 && g.c <= 4 && g.o % 8 == 0 &&
         g.o >= 8 && g.o <= 256 && g.n * std::max(g.h * g.w, g.oh * g.ow) < max_pixels;
}

template <class T>
void first_layer(const ConvSum<T>& sum) {
  const FirstLayer g(sum.g);
  launch("conv_first_layer", first_layer_kernel<T>, g.tiles, first_layer_threads,
         sizeof(Halo) * g.c + sizeof(float) * size_t(9 * g.c * g.o + g.o), g, sum.x.skip, sum.w, sum.bias, sum.relu,
         sum.y.skip);
}

template <class T>
void first_layer_weight_gradient(const ConvGeometry& geometry, const T* x, const T* dy, float* dw, float* db) {
  const FirstLayer g(geometry);
  const int64_t weights = 9 * g.c * g.o, count = std::clamp(g.tiles, 1, 512 / g.c);
  const Tensor parts({count, weights + (db ? g.o : 0)}, DType::f32, Device::cuda);
  launch("conv_first_layer_weight_gradient", first_layer_gradient_kernel<T>, count * g.c, gradient_threads,
         sizeof(GradientMemory), g, x, dy, db != nullptr, parts.ptr<float>());
  sum_parts(parts, weights, dw, db);
}

// ---- head ---------------------------------------------------------------------------------------------------------
//
// 1, 2, 4, ... or 32 neighbouring threads share a pixel of x, 8 channels each, and process four pixels at a time, so
// that enough loads are in flight.

namespace {

constexpr int head_threads = 256, pixels_at_once = 4;

struct HeadThread {
  int threads_a_pixel, pixels_a_block, channel;
  bool has_channels;
  EightChannels<float> w = {};
  __device__ HeadThread(const float* from, int c, int threads_a_pixel)
      : threads_a_pixel(threads_a_pixel), pixels_a_block(head_threads / threads_a_pixel) {
    channel = int(threadIdx.x) % threads_a_pixel * 8, has_channels = channel < c;
    if (from && has_channels) w = EightChannels<float>(from + channel);
  }
  // The k-th of its pixels in a round, which begins at pixel `first`.
  __device__ int pixel(int first, int k) const {
    return first + k * pixels_a_block + int(threadIdx.x) / threads_a_pixel;
  }
  __device__ int pixels_a_round() const { return pixels_at_once * pixels_a_block; }
};

template <class T>
__global__ void __launch_bounds__(head_threads) head_kernel(int pixels, int c, int threads_a_pixel, const T* x,
                                                            const float* w, const float* bias, bool relu, T* y) {
  const HeadThread thread(w, c, threads_a_pixel);
  const float added = bias ? *bias : 0;
  const int first = int(blockIdx.x) * thread.pixels_a_round();
  EightChannels<T> values[pixels_at_once] = {};
  ACINUS_UNROLL
  for (int k = 0; k < pixels_at_once; k++) {
    const int pixel = thread.pixel(first, k);
    const T* from = x + int64_t(pixel) * c + thread.channel;
    if (pixel < pixels && thread.has_channels) values[k] = EightChannels<T>(from);
  }
  ACINUS_UNROLL
  for (int k = 0; k < pixels_at_once; k++) {
    const int pixel = thread.pixel(first, k);
    float sum = 0;
    ACINUS_UNROLL
    for (int e = 0; e < 8; e++) sum += values[k][e] * thread.w[e];
    for (int half = threads_a_pixel / 2; half > 0; half /= 2) sum += __shfl_down_sync(0xFFFFFFFF, sum, half);
    sum += added;
    if (thread.channel == 0 && pixel < pixels) y[pixel] = T(relu && sum <= 0 ? 0.0f : sum);
  }
}

// In one pass over x: dx[pixel,c] = dy[pixel] * w[c], and 0 where x is the output of a ReLU and not positive;
// dw[c] = sum over pixels of x[pixel,c] * dy[pixel];  db = sum over pixels of dy[pixel].
using HeadSums = BlockSums<9, head_threads>;

template <class T>
__global__ void __launch_bounds__(head_threads, 3)
    head_backward_kernel(int pixels, int c, int threads_a_pixel, const T* x, const T* dy, const float* w,
                         bool x_is_relu_output, bool with_bias, T* dx, float* parts) {
  const HeadThread thread(w, c, threads_a_pixel);
  const int step = int(gridDim.x) * thread.pixels_a_round();
  float sums[9] = {};  // of dw, 8 channels, and of db
  for (int first = int(blockIdx.x) * thread.pixels_a_round(); first < pixels; first += step) {
    EightChannels<T> values[pixels_at_once] = {};
    float gradient[pixels_at_once] = {};
    ACINUS_UNROLL
    for (int k = 0; k < pixels_at_once; k++) {
      const int pixel = thread.pixel(first, k);
      if (x && pixel < pixels && thread.has_channels)
        values[k] = EightChannels<T>(x + int64_t(pixel) * c + thread.channel);
      if (pixel < pixels) gradient[k] = float(dy[pixel]);
    }
    ACINUS_UNROLL
    for (int k = 0; k < pixels_at_once; k++) {
      const int pixel = thread.pixel(first, k);
      float result[8];
      ACINUS_UNROLL
      for (int e = 0; e < 8; e++) {
        sums[e] += values[k][e] * gradient[k];
        result[e] = x_is_relu_output && !(values[k][e] > 0) ? 0 : gradient[k] * thread.w[e];
      }
      sums[8] += gradient[k];
      if (dx && pixel < pixels && thread.has_channels)
        EightChannels<T>(result).store(dx + int64_t(pixel) * c + thread.channel);
    }
  }
  if (!parts) return;
  float* to = parts + int64_t(blockIdx.x) * (c + with_bias);
  shared_memory<HeadSums>().add_up(sums, threads_a_pixel, [&](int v, int group, float total) {
    if (v < 8 && group * 8 < c)
      to[group * 8 + v] = total;
    else if (v == 8 && group == 0 && with_bias)
      to[c] = total;
  });
}

int threads_of_a_pixel(const ConvGeometry& g) {
  int threads = 1;
  while (threads * 8 < g.c) threads *= 2;
  return threads;
}

int64_t rounds(const ConvGeometry& g) {
  const int64_t a_round = pixels_at_once * head_threads / threads_of_a_pixel(g);
  return (g.n * g.h * g.w + a_round - 1) / a_round;
}

}  // namespace

bool head_supports(const ConvGeometry& g) {
  return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.padding == 0 && g.o == 1 && g.c % 8 == 0 && g.c >= 8 &&
         g.c <= 256 && g.n * g.h * g.w < max_pixels;
}

template <class T>
void head(const ConvSum<T>& sum) {
  const ConvGeometry& g = sum.g;
  launch("conv_head", head_kernel<T>, rounds(g), head_threads, 0, int(g.n * g.h * g.w), int(g.c), threads_of_a_pixel(g),
         sum.x.skip, sum.w, sum.bias, sum.relu, sum.y.skip);
}

template <class T>
void head_backward(const ConvGeometry& g, const T* x, const T* dy, const float* w, bool x_is_relu_output, T* dx,
                   float* dw, float* db) {
  // A large GPU runs three of these blocks on each of its 132 processors.
  const int64_t count = std::clamp<int64_t>(rounds(g), 1, 384);
  const Tensor parts({dw ? count : 0, g.c + (db ? 1 : 0)}, DType::f32, Device::cuda);
  launch("conv_head_backward", head_backward_kernel<T>, count, head_threads, sizeof(HeadSums), int(g.n * g.h * g.w),
         int(g.c), threads_of_a_pixel(g), x, dy, w, x_is_relu_output, db != nullptr, dx,
         dw ? parts.ptr<float>() : nullptr);
  if (dw) sum_parts(parts, g.c, dw, db);
}

template void first_layer(const ConvSum<float>&);
template void first_layer(const ConvSum<bf16>&);
template void first_layer_weight_gradient(const ConvGeometry&, const float*, const float*, float*, float*);
template void first_layer_weight_gradient(const ConvGeometry&, const bf16*, const bf16*, float*, float*);
template void head(const ConvSum<float>&);
template void head(const ConvSum<bf16>&);
template void head_backward(const ConvGeometry&, const float*, const float*, const float*, bool, float*, float*,
                            float*);
template void head_backward(const ConvGeometry&, const bf16*, const bf16*, const float*, bool, bf16*, float*, float*);

}  // namespace acinus::on_gpu
#endif
