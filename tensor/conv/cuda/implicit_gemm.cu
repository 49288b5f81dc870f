// Convolutions of any kernel size, stride and dilation on tensor cores, by the three matrix products of tiled.cu.
//
// The matrix of all patches (im2col) is never in memory; the copies into shared memory gather it (tiled.cu). Channels
// are copied in *chunks* of 16 bytes, 8 numbers of bfloat16 or 4 of float32. A thread copies parts of the same rows of
// A and columns of B in every stage of the sum, so what it has to know of a row is worked out once, and from one stage
// to the next it only adds: no division in the loop.
//
// Copies, stages and the order of swizzled chunks are those of halo_tile.h.
#include "tensor/conv/cuda/eight_channels.h"
#include "tensor/conv/cuda/halo_tile.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/conv/cuda/pack_weights.h"
#include "tensor/conv/cuda/parts.h"
#include "tensor/conv/cuda/patches.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

constexpr int threads = 128, stages = 3, tile_rows = 128;  // of a block: four warps

template <class T>
constexpr int chunk_numbers = 16 / int(sizeof(T));

template <class T>
__device__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (sizeof(T) == 2)
    mma_bf16(sum, a, b0, b1);
  else
    mma_tf32(sum, a, b0, b1);
}

__device__ int next_slot(int slot) { return slot + 1 == stages ? 0 : slot + 1; }

// ---- forward and data gradient ------------------------------------------------------------------------------------

// result[pixel,n] = relu(bias[n] + sum over taps (a,b) and k of image[pixel's tap (a,b), k] * weights[(a,b),n,k])
template <class T>
struct PatchSum {
  Patches patches;
  const T* image;    // (images,height,width,k)
  const T* weights;  // (kernel's taps,n,k)
  int chunks, n;     // of k
  const float* bias;
  bool relu;
  T* result;
};

// A thread's copies: a chunk of every 32nd row of the tiles of A, 128 pixels, and of B, N columns. A stage is 4 chunks.
template <class T, int N>
struct PatchProducer {
  static constexpr int a_copies = tile_rows / 32, b_copies = N / 32, a_bytes = tile_rows * 64,
                       stage_bytes = a_bytes + N * 64;
  const PatchSum<T>& sum;
  int pixels[a_copies];  // its first chunk of the first tap, from the beginning of the image
  unsigned rows_inside[a_copies], cols_inside[a_copies];  // bit a: what row a of the kernel sees is inside the image
  int columns[b_copies];                                  // likewise of the weights; negative where there are none
  int chunk, tap_row = 0, tap_col = 0;                    // which it copies next,
  int in_image, in_weights;                               // and how far that is from the first

  __device__ PatchProducer(const PatchSum<T>& sum, int first_pixel, int first_column) : sum(sum) {
    const Patches& p = sum.patches;
    const int row = int(threadIdx.x) / 4;
    ACINUS_UNROLL
    for (int r = 0; r < a_copies; r++) {
      const int number = first_pixel + row + 32 * r;
      const Patches::Pixel first = p.seen_first(number);
      pixels[r] = ((first.image * p.height + first.row) * p.width + first.col) * sum.chunks;
      rows_inside[r] = cols_inside[r] = 0;
      for (int a = 0; a < p.taps_down; a++)
        rows_inside[r] |= unsigned(unsigned(first.row + a * p.step_row) < unsigned(p.height)) << a;
      for (int b = 0; b < p.taps_across; b++)
        cols_inside[r] |= unsigned(unsigned(first.col + b * p.step_col) < unsigned(p.width)) << b;
      if (number >= p.pixels) rows_inside[r] = 0;
    }
    ACINUS_UNROLL
    for (int r = 0; r < b_copies; r++) {
      const int column = first_column + row + 32 * r;
      columns[r] = column < sum.n ? column * sum.chunks : -1;
    }
    chunk = in_image = int(threadIdx.x) % 4;
    in_weights = p.first_tap * sum.n * sum.chunks + chunk;
    to_next_tap();  // if a tap has fewer than four chunks
  }

  __device__ void to_next_tap() {
    const Patches& p = sum.patches;
    while (chunk >= sum.chunks) {
      chunk -= sum.chunks;
      int pixels_on = p.step_col, taps_on = p.tap_right;
      if (++tap_col == p.taps_across) {  // a row of the kernel is done
        tap_col = 0, tap_row++;
        pixels_on += p.step_row * p.width - p.taps_across * p.step_col,
            taps_on += p.tap_below - p.taps_across * p.tap_right;
      }
      in_image += (pixels_on - 1) * sum.chunks, in_weights += (taps_on * sum.n - 1) * sum.chunks;
    }
  }

  __device__ void ask(uint32_t to) {
    const int row = int(threadIdx.x) / 4, place = int(threadIdx.x) % 4;
    const bool exists = tap_row < sum.patches.taps_down;
    const char *image = reinterpret_cast<const char*>(sum.image), *weights = reinterpret_cast<const char*>(sum.weights);
    ACINUS_UNROLL
    for (int r = 0; r < a_copies; r++)
      copy_async_16(to + (row + 32 * r) * 64 + swizzled<4>(place, row) * 16, image + int64_t(pixels[r] + in_image) * 16,
                    exists && (rows_inside[r] >> tap_row & cols_inside[r] >> tap_col & 1));
    ACINUS_UNROLL
    for (int r = 0; r < b_copies; r++)
      copy_async_16(to + a_bytes + (row + 32 * r) * 64 + swizzled<4>(place, row / 4) * 16,
                    weights + int64_t(columns[r] + in_weights) * 16, exists && columns[r] >= 0);
    chunk += 4, in_image += 4, in_weights += 4;
    to_next_tap();
  }
};

// N columns, in warps of 32; a warp has 64 or 32 rows.
template <class T, int N>
__global__ void __launch_bounds__(threads, 3) patch_sum_kernel(PatchSum<T> sum, Divisor column_tiles) {
  using Producer = PatchProducer<T, N>;
  constexpr int warps_across = N / 32, warp_rows = tile_rows * warps_across / 4, fragments = warp_rows / 16;
  const int tile = column_tiles.quotient(int(blockIdx.x));
  const int first_pixel = tile * tile_rows, first_column = (int(blockIdx.x) - tile * column_tiles) * N;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int warp_row = warp / warps_across * warp_rows, warp_column = warp % warps_across * 32;

  // Where the lane's row of 16 bytes of A is (mma.h), for each half of a stage; and of B, whose columns are in the
  // order of pack_weights.h.
  const uint32_t ring = shared_address(&shared_memory<unsigned char>());
  const int b_column = lane % 8 / 2 * 8 + lane / 16 * 2 + lane % 2;
  uint32_t a_at[2], b_at[2];
  ACINUS_UNROLL
  for (int half = 0; half < 2; half++) {
    a_at[half] = ring + (warp_row + lane % 16) * 64 + swizzled<4>(2 * half + lane / 16, lane % 16) * 16;
    b_at[half] = ring + Producer::a_bytes + (warp_column + b_column) * 64 +
                 swizzled<4>(2 * half + lane / 8 % 2, b_column / 4) * 16;
  }

  Producer producer(sum, first_pixel, first_column);
  const int count = (sum.patches.taps_down * sum.patches.taps_across * sum.chunks + 3) / 4;
  for (int i = 0; i < stages - 1; i++) {
    if (i < count) producer.ask(ring + i * Producer::stage_bytes);
    copy_async_commit();
  }
  float sums[fragments][4][4] = {};
  for (int i = 0, slot = 0; i < count; i++, slot = next_slot(slot)) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    if (i + stages - 1 < count) producer.ask(ring + next_slot(next_slot(slot)) * Producer::stage_bytes);
    copy_async_commit();
    ACINUS_UNROLL
    for (int half = 0; half < 2; half++) {
      uint32_t a[fragments][4], b[2][4];
      ACINUS_UNROLL
      for (int r = 0; r < fragments; r++) {
        ldmatrix_x4(a[r], a_at[half] + slot * Producer::stage_bytes + r * 16 * 64);
        if constexpr (sizeof(T) == 4) {
          ACINUS_UNROLL
          for (int e = 0; e < 4; e++) a[r][e] = round_tf32(a[r][e]);
        }
      }
      ACINUS_UNROLL
      for (int j = 0; j < 2; j++) ldmatrix_x4(b[j], b_at[half] + slot * Producer::stage_bytes + j * 4 * 64);
      ACINUS_UNROLL
      for (int r = 0; r < fragments; r++) {
        ACINUS_UNROLL
        for (int j = 0; j < 4; j++) multiply<T>(sums[r][j], a[r], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }

  const int column = first_column + warp_column + lane % 4 * 8;
  if (column >= sum.n) return;
  EightChannels<float> bias{};
  if (sum.bias) bias = EightChannels<float>(sum.bias + column);
  ACINUS_UNROLL
  for (int i = 0; i < 2 * fragments; i++) {
    const int number = first_pixel + warp_row + i * 8 + lane / 4;
    if (number >= sum.patches.pixels) continue;
    float values[8];
    ACINUS_UNROLL
    for (int e = 0; e < 8; e++) {
      values[e] = sums[i / 2][e / 2][i % 2 * 2 + e % 2] + bias[e];
      if (sum.relu && values[e] <= 0) values[e] = 0;  // NaN stays NaN
    }
    EightChannels<T>(values).store(sum.result + int64_t(sum.patches.result(number)) * sum.n + column);
  }
}

// w (taps,c,o), rounded: (taps,n,k), with n = o and k = c if `transposed`, otherwise n = c and k = o. One chunk each.
template <class T>
struct RoundWeights {
  const float* w;
  Divisor n, chunks;
  bool transposed;
  T* rounded;
  __device__ void operator()(int64_t item) const {
    constexpr int each = chunk_numbers<T>;
    const int rest = n.quotient(int(item)), column = int(item) - rest * n;
    const int tap = chunks.quotient(rest), k = (rest - tap * chunks) * each;
    const int64_t lines = int64_t(chunks) * each, line = tap * int64_t(n) + column;
    alignas(16) T numbers[each];
    ACINUS_UNROLL
    for (int e = 0; e < each; e++)
      numbers[e] = round_factor(transposed ? w[(tap * lines + k + e) * n + column] : w[line * lines + k + e], T());
    Sixteen bytes;
    memcpy(&bytes, numbers, 16);
    store_sixteen(rounded + line * lines + k, bytes);
  }
};

template <class T>
Tensor rounded_weights(const ConvGeometry& g, const float* w, bool transposed) {
  const Tensor rounded({g.kh * g.kw * g.c * g.o}, dtype_of<T>(), Device::cuda);
  const int64_t n = transposed ? g.o : g.c, k = transposed ? g.c : g.o;
  for_each_on_gpu(rounded.elements() / chunk_numbers<T>,
                  RoundWeights<T>{w, n, k / chunk_numbers<T>, transposed, rounded.ptr<T>()});
  return rounded;
}

template <class T>
void run(const char* name, const PatchSum<T>& sum) {
  const int64_t tiles = (int64_t(sum.patches.pixels) + tile_rows - 1) / tile_rows, wide = (sum.n + 63) / 64,
                narrow = (sum.n + 31) / 32;
  const auto launch_with = [&](auto constant, int64_t columns) {
    constexpr int N = decltype(constant)::value;
    launch(name, patch_sum_kernel<T, N>, tiles * columns, threads, stages * PatchProducer<T, N>::stage_bytes, sum,
           Divisor(columns));
  };
  if (sum.n > 32 && tiles * wide >= testing::min_gpu_tiles)
    launch_with(std::integral_constant<int, 64>(), wide);
  else
    launch_with(std::integral_constant<int, 32>(), narrow);
}

// ---- weight gradient ----------------------------------------------------------------------------------------------
//
// dw[(a,b,c),o] = sum over pixels of x[pixel's tap (a,b), c] * dy[pixel,o]. A stage is a tile of 8 columns of pixels, 4
// or 2 rows; in shared memory a pixel's numbers lie side by side, but the sum is over pixels: both factors must be
// transposed on the way into registers.

template <class T>
struct WeightSum {
  static constexpr int pixel_rows = chunk_numbers<T> / 2, pixels = 8 * pixel_rows;
  static constexpr int a_numbers = tile_rows, b_numbers = 64;  // of a pixel: (a,b,c), and o
  static constexpr int a_row = a_numbers * int(sizeof(T)), b_row = b_numbers * int(sizeof(T));  // bytes
  static constexpr int a_bytes = pixels * a_row, stage_bytes = a_bytes + pixels * b_row;

  const T *x, *dy;
  int h, w, oh, ow, stride, padding, dilation;
  Divisor kw, c_chunks;
  int rows, o;            // rows of dw: kh * kw * c
  Divisor across, down;   // tiles of pixels in an image
  int tiles, tiles_each;  // of all images, and of a split
  Divisor row_blocks, column_blocks;
  float* parts;
};

// As ldmatrix_x4_trans and reads of 4 bytes need it: 8 neighbouring pixels have a chunk in different places modulo 128
// bytes, and so have 4 neighbouring pixels two chunks.
__device__ int place_of(int chunk, int pixel) { return chunk ^ ((pixel & 3) << 1 | (pixel >> 2 & 1)); }

// Of a factor (pixels x Chunks), a thread copies one chunk of every step-th pixel.
template <class T, int Chunks>
struct PixelCopy {
  static constexpr int step = threads / Chunks, count = WeightSum<T>::pixels / step;
  int chunk = int(threadIdx.x) % Chunks, pixel = int(threadIdx.x) / Chunks;

  // The i-th is of the pixel in row `row(i)` and column `column(i)` of the tile.
  __device__ int row(int i) const { return pixel / 8 + i * step / 8; }
  __device__ int column(int i) const { return pixel % 8 + i * step % 8; }
  __device__ uint32_t to(int i) const { return ((pixel + i * step) * Chunks + place_of(chunk, pixel + i * step)) * 16; }
};

template <class T>
struct WeightProducer {
  using Sum = WeightSum<T>;
  const Sum& sum;
  PixelCopy<T, Sum::a_row / 16> a;
  PixelCopy<T, Sum::b_row / 16> b;
  int top, left, c_chunk;  // of the thread's tap and channels: where pixel (0,0) sees them
  bool a_exists, b_exists;
  int b_chunk;
  int n, row, column;  // of the tile that comes next

  __device__ WeightProducer(const Sum& sum, int row_block, int column_block, int first_tile) : sum(sum) {
    const int chunk = row_block * (Sum::a_row / 16) + a.chunk, tap = sum.c_chunks.quotient(chunk),
              tap_row = sum.kw.quotient(tap);
    c_chunk = chunk - tap * sum.c_chunks;
    top = tap_row * sum.dilation - sum.padding, left = (tap - tap_row * sum.kw) * sum.dilation - sum.padding;
    b_chunk = column_block * (Sum::b_row / 16) + b.chunk;
    a_exists = chunk * chunk_numbers<T> < sum.rows, b_exists = b_chunk * chunk_numbers<T> < sum.o;
    const int line = sum.across.quotient(first_tile);
    n = sum.down.quotient(line);
    row = (line - n * sum.down) * Sum::pixel_rows, column = (first_tile - line * sum.across) * 8;
  }

  __device__ void ask(uint32_t to) {
    const char *x = reinterpret_cast<const char*>(sum.x), *dy = reinterpret_cast<const char*>(sum.dy);
    ACINUS_UNROLL
    for (int i = 0; i < a.count; i++) {
      const int y_row = row + a.row(i), y_col = column + a.column(i);
      const int x_row = y_row * sum.stride + top, x_col = y_col * sum.stride + left;
      const bool inside =
          y_row < sum.oh && y_col < sum.ow && unsigned(x_row) < unsigned(sum.h) && unsigned(x_col) < unsigned(sum.w);
      const int at = ((n * sum.h + x_row) * sum.w + x_col) * sum.c_chunks + c_chunk;
      copy_async_16(to + a.to(i), x + int64_t(at) * 16, a_exists && inside);
    }
    ACINUS_UNROLL
    for (int i = 0; i < b.count; i++) {
      const int y_row = row + b.row(i), y_col = column + b.column(i);
      const int at = ((n * sum.oh + y_row) * sum.ow + y_col) * (sum.o / chunk_numbers<T>)+b_chunk;
      copy_async_16(to + Sum::a_bytes + b.to(i), dy + int64_t(at) * 16, b_exists && y_row < sum.oh && y_col < sum.ow);
    }
    column += 8;
    if (column >= sum.ow) column = 0, row += Sum::pixel_rows;
    if (row >= sum.oh) row = 0, n++;
  }
};

// Two by two warps of 64 rows and 32 columns.
template <class T>
__global__ void __launch_bounds__(threads, 3) weight_sum_kernel(WeightSum<T> sum) {
  using Sum = WeightSum<T>;
  const int rest = sum.column_blocks.quotient(int(blockIdx.x)),
            column_block = int(blockIdx.x) - rest * sum.column_blocks;
  const int split = sum.row_blocks.quotient(rest), row_block = rest - split * sum.row_blocks;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 32;
  const uint32_t ring = shared_address(&shared_memory<unsigned char>());

  const int first_tile = split * sum.tiles_each, left = sum.tiles - first_tile;
  const int count = left < sum.tiles_each ? left : sum.tiles_each;
  WeightProducer<T> producer(sum, row_block, column_block, first_tile);
  for (int i = 0; i < stages - 1; i++) {
    if (i < count) producer.ask(ring + i * Sum::stage_bytes);
    copy_async_commit();
  }
  float sums[4][4][4] = {};
  for (int i = 0, slot = 0; i < count; i++, slot = next_slot(slot)) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    if (i + stages - 1 < count) producer.ask(ring + next_slot(next_slot(slot)) * Sum::stage_bytes);
    copy_async_commit();
    const uint32_t a_tile = ring + slot * Sum::stage_bytes, b_tile = a_tile + Sum::a_bytes;
    ACINUS_UNROLL
    for (int half = 0; half < 2; half++) {
      uint32_t a[4][4], b[2][4];
      if constexpr (sizeof(T) == 2) {
        // Four matrices of 8 pixels x 8 numbers each: lane l gives pixel l % 8 of matrix l / 8.
        const int pixel = half * 16 + lane % 8, upper = lane / 8 % 2, right = lane / 16;
        ACINUS_UNROLL
        for (int r = 0; r < 4; r++)
          ldmatrix_x4_trans(
              a[r], a_tile + (pixel + 8 * right) * Sum::a_row + place_of(warp_row / 8 + 2 * r + upper, lane % 8) * 16);
        ACINUS_UNROLL
        for (int j = 0; j < 2; j++)
          ldmatrix_x4_trans(b[j], b_tile + (pixel + 8 * upper) * Sum::b_row +
                                      place_of(warp_column / 8 + 2 * j + right, lane % 8) * 16);
      } else {
        // There is no transposing load of 32 bits: each number by itself.
        const auto number = [&](uint32_t tile, int row_bytes, int pixel, int index) {
          const uint32_t at = tile + (half * 8 + pixel) * row_bytes + place_of(index / 4, pixel) * 16 + index % 4 * 4;
          return round_tf32(load_shared_4(at));
        };
        ACINUS_UNROLL
        for (int e = 0; e < 16; e++)
          a[e / 4][e % 4] = number(a_tile, Sum::a_row, t + e % 4 / 2 * 4, warp_row + e / 4 * 16 + e % 2 * 8 + g);
        ACINUS_UNROLL
        for (int e = 0; e < 8; e++)
          b[e / 4][e % 4] = number(b_tile, Sum::b_row, t + e % 2 * 4, warp_column + e / 2 * 8 + g);
      }
      ACINUS_UNROLL
      for (int r = 0; r < 4; r++) {
        ACINUS_UNROLL
        for (int j = 0; j < 4; j++) multiply<T>(sums[r][j], a[r], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
      }
    }
  }

  struct alignas(8) Two {
    float values[2];
  };
  ACINUS_UNROLL
  for (int i = 0; i < 8; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < 4; j++) {
      const int row = row_block * Sum::a_numbers + warp_row + i * 8 + g;
      const int column = column_block * Sum::b_numbers + warp_column + j * 8 + 2 * t;
      const float* values = sums[i / 2][j] + i % 2 * 2;
      if (row < sum.rows && column < sum.o)
        *reinterpret_cast<Two*>(sum.parts + (int64_t(split) * sum.rows + row) * sum.o +
                                column) = {{values[0], values[1]}};
    }
  }
}

}  // namespace

template <class T>
bool implicit_gemm_supports(const ConvGeometry& g) {
  const auto small = [](int64_t n) { return n < (int64_t(1) << 31) - 1024; };
  return g.kh <= 32 && g.kw <= 32 && g.c > 0 && g.c % 8 == 0 && g.o > 0 && g.o % 8 == 0 &&
         small(g.n * g.h * g.w * g.c / chunk_numbers<T>) && small(g.n * g.oh * g.ow * g.o / chunk_numbers<T>) &&
         small(g.kh * g.kw * g.c * g.o);
}

template <class T>
void implicit_gemm_forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  const Tensor weights = rounded_weights<T>(g, w, /*transposed=*/true);
  const int chunks = int(g.c) / chunk_numbers<T>;
  run<T>("conv_forward", {forward_patches(g), x, weights.ptr<T>(), chunks, int(g.o), bias, relu, y});
}

template <class T>
void implicit_gemm_data_gradient(const ConvGeometry& g, const T* dy, const float* w, const float* bias, T* dx) {
  const Tensor weights = rounded_weights<T>(g, w, /*transposed=*/false);
  const int chunks = int(g.o) / chunk_numbers<T>;
  for_each_phase(g, [&](const Patches& patches) {
    run<T>("conv_data_gradient", {patches, dy, weights.ptr<T>(), chunks, int(g.c), bias, /*relu=*/false, dx});
  });
}

template <class T>
void implicit_gemm_weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw) {
  using Sum = WeightSum<T>;
  Sum sum;
  sum.x = x, sum.dy = dy, sum.h = int(g.h), sum.w = int(g.w), sum.oh = int(g.oh), sum.ow = int(g.ow);
  sum.stride = int(g.stride), sum.padding = int(g.padding), sum.dilation = int(g.dilation);
  sum.kw = g.kw, sum.c_chunks = g.c / chunk_numbers<T>, sum.rows = int(g.kh * g.kw * g.c), sum.o = int(g.o);
  sum.across = (g.ow + 7) / 8, sum.down = (g.oh + Sum::pixel_rows - 1) / Sum::pixel_rows;
  sum.tiles = int(g.n) * sum.across * sum.down;
  sum.row_blocks = (sum.rows + Sum::a_numbers - 1) / Sum::a_numbers;
  sum.column_blocks = (g.o + Sum::b_numbers - 1) / Sum::b_numbers;
  // Blocks for three on each of 132 processors, if each then has some tiles.
  const int blocks = sum.row_blocks * sum.column_blocks;
  const int wanted = std::clamp(std::min(396 / blocks, sum.tiles / 8), 1, 256);
  sum.tiles_each = (sum.tiles + wanted - 1) / wanted;
  const int64_t splits = std::max((sum.tiles + sum.tiles_each - 1) / std::max(sum.tiles_each, 1), 1);
  const Tensor parts({splits > 1 ? splits : 0, int64_t(sum.rows) * sum.o}, DType::f32, Device::cuda);
  sum.parts = splits > 1 ? parts.ptr<float>() : dw;
  launch("conv_weight_gradient", weight_sum_kernel<T>, splits * blocks, threads, stages * Sum::stage_bytes, sum);
  if (splits > 1) sum_parts(parts, int64_t(sum.rows) * sum.o, dw);
}

template bool implicit_gemm_supports<float>(const ConvGeometry&);
template bool implicit_gemm_supports<bf16>(const ConvGeometry&);
template void implicit_gemm_forward(const ConvGeometry&, const float*, const float*, const float*, bool, float*);
template void implicit_gemm_forward(const ConvGeometry&, const bf16*, const float*, const float*, bool, bf16*);
template void implicit_gemm_data_gradient(const ConvGeometry&, const float*, const float*, const float*, float*);
template void implicit_gemm_data_gradient(const ConvGeometry&, const bf16*, const float*, const float*, bf16*);
template void implicit_gemm_weight_gradient(const ConvGeometry&, const float*, const float*, float*);
template void implicit_gemm_weight_gradient(const ConvGeometry&, const bf16*, const bf16*, float*);

}  // namespace acinus::on_gpu
#endif
