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
#include "tensor/for_each.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

constexpr int64_t max_pixels = int64_t(1) << 30;  // so that an int can number them, with room to spare

// ---- first layer --------------------------------------------------------------------------------------------------
//
// A block computes a tile of 16 x 32 output pixels, and has what they see of x in shared memory, as float32. A thread
// computes 8 output channels of 2 x 2 pixels, a *quad*, at a time: it uses each weight four times, and each number of x
// for up to four taps. o/8 neighbouring threads compute the channels of the same pixels, and write side by side.

constexpr int tile_rows = 16, tile_columns = 32, quads_across = tile_columns / 2, quads = tile_rows / 2 * quads_across;

struct Tile {
  int n, row, column;  // of its first output pixel
};

struct FirstLayerSize {
  int h, w, c, oh, ow, o, padding;
  Divisor across, down;  // tiles in an image
  int tiles;             // of all images

  explicit FirstLayerSize(const ConvGeometry& g)
      : across((g.ow + tile_columns - 1) / tile_columns), down((g.oh + tile_rows - 1) / tile_rows) {
    h = int(g.h), w = int(g.w), c = int(g.c), oh = int(g.oh), ow = int(g.ow), o = int(g.o), padding = int(g.padding);
    tiles = int(g.n) * across * down;
  }
  HD Tile tile(int number) const {
    const int line = across.quotient(number), n = down.quotient(line);
    return {n, (line - n * down) * tile_rows, (number - line * across) * tile_columns};
  }
};

// One channel of x under a tile, with its halo.
struct Halo {
  static constexpr int rows = tile_rows + 2, columns = tile_columns + 2;
  float x[rows][columns];

  template <class T>
  __device__ void load(const FirstLayerSize& g, const Tile& tile, const T* from, int channel) {
    for (int k = int(threadIdx.x); k < rows * columns; k += int(blockDim.x)) {
      const int r = tile.row + k / columns - g.padding, q = tile.column + k % columns - g.padding;
      const bool inside = unsigned(r) < unsigned(g.h) && unsigned(q) < unsigned(g.w);
      x[k / columns][k % columns] = inside ? float(from[int64_t((tile.n * g.h + r) * g.w + q) * g.c + channel]) : 0;
    }
  }
};

// Pixel k of a quad sees window[k / 2 + a][k % 2 + b] through tap (a,b).
struct Quad {
  int row, column;  // in the tile
  __device__ explicit Quad(int number) : row(number / quads_across * 2), column(number % quads_across * 2) {}
  __device__ void load_window(const Halo& halo, float (&window)[4][4]) const {
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      ACINUS_UNROLL
      for (int s = 0; s < 4; s++) window[r][s] = halo.x[row + r][column + s];
    }
  }
  // f(k, where its channels begin in y) for those pixels that are inside y.
  template <class F>
  __device__ void for_each_pixel(const FirstLayerSize& g, const Tile& tile, F f) const {
    ACINUS_UNROLL
    for (int k = 0; k < 4; k++) {
      const int i = tile.row + row + k / 2, j = tile.column + column + k % 2;
      const int pixel = (tile.n * g.oh + i) * g.ow + j;
      if (i < g.oh && j < g.ow) f(k, int64_t(pixel) * g.o);
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
    first_layer_kernel(FirstLayerSize g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  Halo* const halo = &shared_memory<Halo>();                    // of each channel of x
  float* const weights = reinterpret_cast<float*>(halo + g.c);  // (3,3,c,o), then the bias
  const Tile tile = g.tile(int(blockIdx.x));
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
    do {  // There is at least one channel; with a test before the loop the compiler copies all the sums once more.
      float window[4][4];
      quad.load_window(halo[c], window);
      ACINUS_UNROLL
      for (int tap = 0; tap < 9; tap++) {
        const EightChannels<float> eight(weights + (tap * g.c + c) * g.o + share.channel);
        ACINUS_UNROLL
        for (int k = 0; k < 32; k++) sums[k / 8][k % 8] += window[k / 16 + tap / 3][k / 8 % 2 + tap % 3] * eight[k % 8];
      }
    } while (++c < g.c);
    quad.for_each_pixel(g, tile, [&](int k, int64_t at) {
      ACINUS_UNROLL
      for (int e = 0; e < 8; e++)
        if (relu && sums[k][e] <= 0) sums[k][e] = 0;  // NaN stays NaN
      EightChannels<T>(sums[k]).store(y + at + share.channel);
    });
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
    first_layer_gradient_kernel(FirstLayerSize g, const T* x, const T* dy, bool with_bias, float* parts) {
  auto& shared = shared_memory<GradientMemory>();
  const int part = int(blockIdx.x) / g.c, c = int(blockIdx.x) % g.c, count = int(gridDim.x) / g.c;
  const Share share(g.o);
  float sums[10 * 8] = {};
  for (int t = part; t < g.tiles; t += count) {
    const Tile tile = g.tile(t);
    __syncthreads();  // all have read the last tile
    shared.halo.load(g, tile, x, c);
    __syncthreads();
    for (int q = share.first; q < quads; q += share.step) {
      const Quad quad(q);
      EightChannels<T> eight[4] = {};
      quad.for_each_pixel(g, tile, [&](int k, int64_t at) { eight[k] = EightChannels<T>(dy + at + share.channel); });
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

// ---- head ---------------------------------------------------------------------------------------------------------
//
// 1, 2, 4, ... or 32 neighbouring threads share a pixel of x, 8 channels each, and process four pixels at a time, a
// *round*, so that enough loads are in flight.

constexpr int head_threads = 256, pixels_at_once = 4;

struct HeadSize {
  int pixels, c, threads_a_pixel = 1;

  explicit HeadSize(const ConvGeometry& g) : pixels(int(g.n * g.h * g.w)), c(int(g.c)) {
    while (threads_a_pixel * 8 < c) threads_a_pixel *= 2;
  }
  HD int pixels_a_round() const { return pixels_at_once * head_threads / threads_a_pixel; }
  int rounds() const { return (pixels + pixels_a_round() - 1) / pixels_a_round(); }
};

// What a thread has of x in a round: 8 channels of each of its pixels, or zeros.
template <class T>
struct HeadRound {
  int channel, pixel[pixels_at_once];
  EightChannels<T> x[pixels_at_once] = {};

  __device__ HeadRound(const HeadSize& size, int round, const T* from)
      : channel(int(threadIdx.x) % size.threads_a_pixel * 8) {
    ACINUS_UNROLL
    for (int k = 0; k < pixels_at_once; k++) {
      pixel[k] = (round * pixels_at_once + k) * (head_threads / size.threads_a_pixel) +
                 int(threadIdx.x) / size.threads_a_pixel;
      if (pixel[k] < size.pixels && channel < size.c)
        x[k] = EightChannels<T>(from + int64_t(pixel[k]) * size.c + channel);
    }
  }
};

template <class T>
__global__ void __launch_bounds__(head_threads)
    head_kernel(HeadSize size, const T* x, const float* w, const float* bias, bool relu, T* y) {
  const HeadRound<T> round(size, int(blockIdx.x), x);
  EightChannels<float> weights = {};
  if (round.channel < size.c) weights = EightChannels<float>(w + round.channel);
  const float added = bias ? *bias : 0;
  ACINUS_UNROLL
  for (int k = 0; k < pixels_at_once; k++) {
    float sum = 0;
    ACINUS_UNROLL
    for (int e = 0; e < 8; e++) sum += round.x[k][e] * weights[e];
    for (int half = size.threads_a_pixel / 2; half > 0; half /= 2) sum += __shfl_down_sync(0xFFFFFFFF, sum, half);
    sum += added;
    if (round.channel == 0 && round.pixel[k] < size.pixels) y[round.pixel[k]] = T(relu && sum <= 0 ? 0.0f : sum);
  }
}

// dx[pixel,c] = dy[pixel] * w[c], of eight channels; 0 where relu_output, unless it is null, is not positive.
template <class T>
struct HeadDataGradient {
  Divisor eights;  // of a pixel's channels
  const T* dy;
  const float* w;
  const T* relu_output;
  T* dx;
  __device__ void operator()(int64_t i) const {
    const int pixel = eights.quotient(int(i));
    const float gradient = float(dy[pixel]);
    const EightChannels<float> weights(w + (int(i) - pixel * eights) * 8);
    EightChannels<T> x = {};
    if (relu_output) x = EightChannels<T>(relu_output + i * 8);
    float result[8];
    ACINUS_UNROLL
    for (int e = 0; e < 8; e++) result[e] = relu_output && !(x[e] > 0) ? 0 : gradient * weights[e];
    EightChannels<T>(result).store(dx + i * 8);
  }
};

// dw[c] = sum over pixels of x[pixel,c] * dy[pixel];  db = sum over pixels of dy[pixel].
using HeadSums = BlockSums<9, head_threads>;

template <class T>
__global__ void __launch_bounds__(head_threads, 3)
    head_weight_gradient_kernel(HeadSize size, int rounds, const T* x, const T* dy, bool with_bias, float* parts) {
  float sums[9] = {};  // of dw, 8 channels, and of db
  for (int r = int(blockIdx.x); r < rounds; r += int(gridDim.x)) {
    const HeadRound<T> round(size, r, x);
    float gradient[pixels_at_once] = {};
    ACINUS_UNROLL
    for (int k = 0; k < pixels_at_once; k++)
      if (round.pixel[k] < size.pixels) gradient[k] = float(dy[round.pixel[k]]);
    ACINUS_UNROLL
    for (int k = 0; k < pixels_at_once; k++) {
      ACINUS_UNROLL
      for (int e = 0; e < 8; e++) sums[e] += round.x[k][e] * gradient[k];
      sums[8] += gradient[k];
    }
  }
  float* to = parts + int64_t(blockIdx.x) * (size.c + with_bias);
  shared_memory<HeadSums>().add_up(sums, size.threads_a_pixel, [&](int v, int group, float total) {
    if (v < 8 && group * 8 < size.c)
      to[group * 8 + v] = total;
    else if (v == 8 && group == 0 && with_bias)
      to[size.c] = total;
  });
}

}  // namespace

bool first_layer_supports(const ConvGeometry& g) {
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.c >= 1 && g.c <= 4 && g.o % 8 == 0 &&
         g.o >= 8 && g.o <= 256 && g.n * std::max(g.h * g.w, g.oh * g.ow) < max_pixels;
}

template <class T>
void FirstLayer<T>::forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  const FirstLayerSize size(g);
  launch("conv_first_layer", first_layer_kernel<T>, size.tiles, first_layer_threads,
         sizeof(Halo) * size.c + sizeof(float) * size_t(9 * g.c * g.o + g.o), size, x, w, bias, relu, y);
}

template <class T>
void FirstLayer<T>::weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw, float* db) {
  const FirstLayerSize size(g);
  const int64_t weights = 9 * g.c * g.o, count = std::clamp(size.tiles, 1, 528 / size.c);  // 4 a processor
  const Tensor parts({count, weights + (db ? g.o : 0)}, DType::f32, Device::cuda);
  launch("conv_first_layer_weight_gradient", first_layer_gradient_kernel<T>, count * g.c, gradient_threads,
         sizeof(GradientMemory), size, x, dy, db != nullptr, parts.ptr<float>());
  sum_parts(parts, weights, dw, db);
}

bool head_supports(const ConvGeometry& g) {
  return g.kh == 1 && g.kw == 1 && g.stride == 1 && g.padding == 0 && g.o == 1 && g.c % 8 == 0 && g.c >= 8 &&
         g.c <= 256 && g.n * g.h * g.w * g.c / 8 < max_pixels;
}

template <class T>
void Head<T>::forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  const HeadSize size(g);
  launch("conv_head", head_kernel<T>, size.rounds(), head_threads, 0, size, x, w, bias, relu, y);
}

template <class T>
void Head<T>::data_gradient(const ConvGeometry& g, const T* dy, const float* w, const T* relu_output, T* dx) {
  for_each_on_gpu(g.n * g.h * g.w * g.c / 8, HeadDataGradient<T>{g.c / 8, dy, w, relu_output, dx});
}

template <class T>
void Head<T>::weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw, float* db) {
  const HeadSize size(g);
  const int64_t count = std::clamp(size.rounds(), 1, 396);  // three on each of an H100's 132 processors
  const Tensor parts({count, g.c + (db ? 1 : 0)}, DType::f32, Device::cuda);
  launch("conv_head_weight_gradient", head_weight_gradient_kernel<T>, count, head_threads, sizeof(HeadSums), size,
         size.rounds(), x, dy, db != nullptr, parts.ptr<float>());
  sum_parts(parts, g.c, dw, db);
}

template struct FirstLayer<float>;
template struct FirstLayer<bf16>;
template struct Head<float>;
template struct Head<bf16>;

}  // namespace acinus::on_gpu
#endif
