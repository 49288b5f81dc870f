// Convolutions of any kernel size, stride and dilation on tensor cores, by the three matrix products of tiled.cu.
//
// The matrix of all patches (im2col) is never in memory; the copies into shared memory gather it (tiled.cu). Channels
// are copied in *chunks* of 16 bytes, 8 numbers of bfloat16 or 4 of float32. A thread copies parts of the same rows of
// A and columns of B in every stage of the sum, so what it has to know of a row is worked out once, and from one stage
// to the next it only adds: no division in the loop. Outside of the image its offsets may be any number, and wrap
// around: they are unsigned.
//
// Stages are those of halo_tile.h, and so is the swizzle of A. B's goes by a quarter of the column, since ldmatrix reads
// its columns in the order of pack_weights.h (0 1 8 9 16 17 24 25); the weight gradient's is chunk_offset.
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

// The stages of a sum: producer.copy_next(to) starts the copies of the next, and multiply(offset) adds the products of
// the one that is `offset` bytes from the beginning of the ring.
template <int StageBytes, class Producer, class Multiply>
__device__ void for_each_stage(int count, uint32_t ring, Producer& producer, const Multiply& multiply) {
  const auto next = [](int slot) { return slot + 1 == stages ? 0 : slot + 1; };
  for (int i = 0; i < stages - 1; i++) {
    if (i < count) producer.copy_next(ring + i * StageBytes);
    copy_async_commit();
  }
  for (int i = 0, slot = 0; i < count; i++, slot = next(slot)) {
    copy_async_wait<stages - 2>();
    __syncthreads();
    if (i + stages - 1 < count) producer.copy_next(ring + next(next(slot)) * StageBytes);
    copy_async_commit();
    multiply(slot * StageBytes);
  }
}

// ---- forward and data gradient ------------------------------------------------------------------------------------

// result[pixel,n] = relu(bias[n] + sum over taps (a,b) and k of image[pixel's tap (a,b), k] * weights[(a,b),n,k])
template <class T>
struct PatchSum {
  Patches patches;
  const T* image;    // (images,height,width,k)
  const T* weights;  // (kernel's taps,n,k)
  int chunks;        // of k
  int n;
  const float* bias;
  bool relu;
  T* result;
};

// A thread's copies: a chunk of every 32nd row of the tiles of A, 128 pixels, and of B, N columns. A stage is 4 chunks.
template <class T, int N>
struct PatchProducer {
  static constexpr int a_copies = tile_rows / 32, b_copies = N / 32;
  static constexpr int a_bytes = tile_rows * 64, stage_bytes = a_bytes + N * 64;
  const PatchSum<T>& sum;
  unsigned pixels[a_copies];  // its first chunk of the first tap, from the beginning of the image
  unsigned rows_inside[a_copies], cols_inside[a_copies];  // bit a: what row a of the kernel sees is inside the image
  int columns[b_copies];                                  // likewise of the weights; negative where there are none
  int chunk, tap_row = 0, tap_col = 0;                    // of the next copy
  unsigned in_image;                                      // how far that is from the first one, in the image,
  int in_weights;                                         // and in the weights

  __device__ PatchProducer(const PatchSum<T>& sum, int first_pixel, int first_column) : sum(sum) {
    const Patches& p = sum.patches;
    const int row = int(threadIdx.x) / 4;
    ACINUS_UNROLL
    for (int r = 0; r < a_copies; r++) {
      const int number = first_pixel + row + 32 * r;
      const Patches::Pixel first = p.seen_first(number);
      pixels[r] = ((unsigned(first.image) * p.height + first.row) * p.width + first.col) * sum.chunks;
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
    chunk = int(threadIdx.x) % 4, in_image = chunk, in_weights = p.first_tap * sum.n * sum.chunks + chunk;
    to_next_tap();  // if a tap has fewer than four chunks
  }

  __device__ void to_next_tap() {
    const Patches& p = sum.patches;
    while (chunk >= sum.chunks) {
      chunk -= sum.chunks;
      int pixels_on = p.step_col, taps_on = p.tap_right;
      if (++tap_col == p.taps_across) {  // a row of the kernel is done
        tap_col = 0, tap_row++;
        pixels_on += p.step_row * p.width - p.taps_across * p.step_col;
        taps_on += p.tap_below - p.taps_across * p.tap_right;
      }
      in_image += (pixels_on - 1) * sum.chunks, in_weights += (taps_on * sum.n - 1) * sum.chunks;
    }
  }

  __device__ void copy_next(uint32_t to) {
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

  float sums[fragments][4][4] = {};
  Producer producer(sum, first_pixel, first_column);
  const int count = (sum.patches.taps_down * sum.patches.taps_across * sum.chunks + 3) / 4;
  for_each_stage<Producer::stage_bytes>(count, ring, producer, [&](int offset) {
    ACINUS_UNROLL
    for (int half = 0; half < 2; half++) {
      uint32_t a[fragments][4], b[2][4];
      ACINUS_UNROLL
      for (int r = 0; r < fragments; r++) load_fragment<T>(a[r], a_at[half] + offset + r * 16 * 64);
      ACINUS_UNROLL
      for (int j = 0; j < 2; j++) ldmatrix_x4(b[j], b_at[half] + offset + j * 4 * 64);
      ACINUS_UNROLL
      for (int r = 0; r < fragments; r++) mma<T, 4>(sums[r], a[r], b);
    }
  });

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

// w (taps,c,o), rounded: (taps,n,k), with n = o and k = c if `transposed`, otherwise n = c and k = o. Eight of k each.
template <class T>
struct RoundWeights {
  const float* w;
  Divisor n, eights;
  bool transposed;
  T* rounded;
  __device__ void operator()(int64_t item) const {
    const int rest = n.quotient(int(item)), column = int(item) - rest * n;
    const int tap = eights.quotient(rest), k = (rest - tap * eights) * 8;
    const int64_t depth = int64_t(eights) * 8, to = (tap * int64_t(n) + column) * depth + k;
    float numbers[8];
    ACINUS_UNROLL
    for (int e = 0; e < 8; e++)
      numbers[e] = round_factor(transposed ? w[(tap * depth + k + e) * n + column] : w[to + e], T());
    EightChannels<T>(numbers).store(rounded + to);
  }
};

template <class T>
Tensor rounded_weights(const ConvGeometry& g, const float* w, bool transposed) {
  const Tensor rounded({g.kh * g.kw * g.c * g.o}, dtype_of<T>(), Device::cuda);
  const int64_t n = transposed ? g.o : g.c, k = transposed ? g.c : g.o;
  for_each_on_gpu(rounded.elements() / 8, RoundWeights<T>{w, n, k / 8, transposed, rounded.ptr<T>()});
  return rounded;
}

template <int N, class T>
void run_with_columns(const char* name, const PatchSum<T>& sum, int64_t tiles) {
  const int64_t columns = (sum.n + N - 1) / N;
  launch(name, patch_sum_kernel<T, N>, tiles * columns, threads, stages * PatchProducer<T, N>::stage_bytes, sum,
         Divisor(columns));
}

template <class T>
void run(const char* name, const PatchSum<T>& sum) {
  const int64_t tiles = (int64_t(sum.patches.pixels) + tile_rows - 1) / tile_rows;
  const bool wide = sum.n > 32 && tiles * ((sum.n + 63) / 64) >= testing::min_gpu_tiles;
  wide ? run_with_columns<64>(name, sum, tiles) : run_with_columns<32>(name, sum, tiles);
}

// ---- weight gradient ----------------------------------------------------------------------------------------------
//
// dw[(a,b,c),o] = sum over pixels of x[pixel's tap (a,b), c] * dy[pixel,o]. A stage is a tile of 8 columns of pixels, 4
// or 2 rows; in shared memory a pixel's numbers lie side by side, but the sum is over pixels: both factors must be
// transposed on the way into registers.

template <class T>
struct WeightSum {
  static constexpr int pixel_rows = sixteen_bytes_of<T> / 2, pixels = 8 * pixel_rows;
  static constexpr int a_numbers = tile_rows, b_numbers = 64;  // of a pixel: (a,b,c), and o
  static constexpr int a_chunks = a_numbers / sixteen_bytes_of<T>, b_chunks = b_numbers / sixteen_bytes_of<T>;
  static constexpr int a_bytes = pixels * a_chunks * 16, b_bytes = pixels * b_chunks * 16,
                       stage_bytes = a_bytes + b_bytes;

  Patches patches;
  const T *x, *dy;
  Divisor taps_across, c_chunks;
  int rows, o;     // rows of dw: kh * kw * c
  TileGrid tiles;  // of pixels
  Divisor row_blocks, column_blocks;
  int tiles_each;  // of a split
  float* parts;
};

// Where a chunk of a pixel of `Chunks` is in shared memory: so that one chunk of 8 neighbouring pixels, for
// ldmatrix_x4_trans, and two chunks of 4, for loads of 4 bytes, are in different banks.
template <int Chunks>
__device__ uint32_t chunk_offset(int pixel, int chunk) {
  return (pixel * Chunks + (chunk ^ ((pixel & 3) << 1 | (pixel >> 2 & 1)))) * 16;
}

// Of a factor, (pixels x Chunks) of an image (n,height,width,chunks), a thread copies a chunk of every step-th pixel.
template <class T, int Chunks>
struct PixelCopy {
  static constexpr int step = threads / Chunks, count = WeightSum<T>::pixels / step;
  const T* image;
  int height, width, chunks, chunk;
  int stride = 1, top = 0, left = 0;  // pixel (i,j) of y sees (i * stride + top, j * stride + left) of the image
  bool exists = false;                // does the image have this chunk?

  // Of the tile that begins with pixel (row, column) of y.
  __device__ void copy(uint32_t to, const Patches& y, int n, int row, int column) const {
    const int pixel = int(threadIdx.x) / Chunks;
    ACINUS_UNROLL
    for (int i = 0; i < count; i++) {
      const int y_row = row + pixel / 8 + i * step / 8, y_col = column + pixel % 8 + i * step % 8;
      const int r = y_row * stride + top, q = y_col * stride + left;
      const bool inside = y_row < y.result_height && y_col < y.result_width && unsigned(r) < unsigned(height) &&
                          unsigned(q) < unsigned(width);
      const unsigned at = ((unsigned(n) * height + r) * width + q) * chunks + chunk;
      copy_async_16(to + chunk_offset<Chunks>(pixel + i * step, int(threadIdx.x) % Chunks),
                    reinterpret_cast<const char*>(image) + int64_t(at) * 16, exists && inside);
    }
  }
};

template <class T>
struct WeightProducer {
  using Sum = WeightSum<T>;
  const Patches& y;
  PixelCopy<T, Sum::a_chunks> a;
  PixelCopy<T, Sum::b_chunks> b;
  int n, row, column;  // of the tile that comes next

  __device__ WeightProducer(const Sum& sum, int row_block, int column_block, int first_tile) : y(sum.patches) {
    const int c_chunk = row_block * Sum::a_chunks + int(threadIdx.x) % Sum::a_chunks;
    const int o_chunk = column_block * Sum::b_chunks + int(threadIdx.x) % Sum::b_chunks;
    const int tap = sum.c_chunks.quotient(c_chunk), tap_row = sum.taps_across.quotient(tap);
    a = {sum.x, y.height, y.width, sum.c_chunks, c_chunk - tap * sum.c_chunks};
    a.stride = y.stride, a.top = tap_row * y.step_row + y.first_row;
    a.left = (tap - tap_row * sum.taps_across) * y.step_col + y.first_col;
    b = {sum.dy, y.result_height, y.result_width, sum.o / sixteen_bytes_of<T>, o_chunk};
    a.exists = c_chunk * sixteen_bytes_of<T> < sum.rows, b.exists = o_chunk * sixteen_bytes_of<T> < sum.o;
    const TileGrid::Tile tile = sum.tiles.tile(first_tile);
    n = tile.n, row = tile.row * Sum::pixel_rows, column = tile.column * 8;
  }
  __device__ void copy_next(uint32_t to) {
    a.copy(to, y, n, row, column);
    b.copy(to + Sum::a_bytes, y, n, row, column);
    column += 8;
    if (column >= y.result_width) column = 0, row += Sum::pixel_rows;
    if (row >= y.result_height) row = 0, n++;
  }
};

// Two by two warps of 64 rows and 32 columns.
template <class T>
__global__ void __launch_bounds__(threads, 3) weight_sum_kernel(WeightSum<T> sum) {
  using Sum = WeightSum<T>;
  const int rest = sum.column_blocks.quotient(int(blockIdx.x)), split = sum.row_blocks.quotient(rest);
  const int row_block = rest - split * sum.row_blocks, column_block = int(blockIdx.x) - rest * sum.column_blocks;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 32;
  const uint32_t ring = shared_address(&shared_memory<unsigned char>());

  float sums[4][4][4] = {};
  const int first_tile = split * sum.tiles_each, left = sum.tiles.count - first_tile;
  const int count = left < sum.tiles_each ? left : sum.tiles_each;
  WeightProducer<T> producer(sum, row_block, column_block, first_tile);
  for_each_stage<Sum::stage_bytes>(count, ring, producer, [&](int offset) {
    ACINUS_UNROLL
    for (int half = 0; half < 2; half++) {
      uint32_t a[4][4], b[2][4];
      const uint32_t a_at = ring + offset + half * Sum::a_bytes / 2;
      const uint32_t b_at = ring + offset + Sum::a_bytes + half * Sum::b_bytes / 2;
      if constexpr (sizeof(T) == 2) {
        // Four matrices of 8 pixels x 8 numbers each: lane l gives pixel l % 8 of matrix l / 8.
        const int pixel = lane % 8, upper = lane / 8 % 2, right = lane / 16;
        ACINUS_UNROLL
        for (int r = 0; r < 4; r++)
          ldmatrix_x4_trans(a[r], a_at + chunk_offset<Sum::a_chunks>(pixel + 8 * right, warp_row / 8 + 2 * r + upper));
        ACINUS_UNROLL
        for (int j = 0; j < 2; j++)
          ldmatrix_x4_trans(b[j],
                            b_at + chunk_offset<Sum::b_chunks>(pixel + 8 * upper, warp_column / 8 + 2 * j + right));
      } else {
        // ldmatrix transposes 16-bit numbers only, so TF32's are loaded one by one.
        ACINUS_UNROLL
        for (int e = 0; e < 16; e++) {
          const int row = warp_row + e / 4 * 16 + e % 2 * 8 + g;
          a[e / 4][e % 4] =
              round_tf32(load_shared_4(a_at + chunk_offset<Sum::a_chunks>(t + e % 4 / 2 * 4, row / 4) + row % 4 * 4));
        }
        ACINUS_UNROLL
        for (int e = 0; e < 8; e++) {
          const int column = warp_column + e / 2 * 8 + g;
          b[e / 4][e % 4] =
              round_tf32(load_shared_4(b_at + chunk_offset<Sum::b_chunks>(t + e % 2 * 4, column / 4) + column % 4 * 4));
        }
      }
      ACINUS_UNROLL
      for (int r = 0; r < 4; r++) mma<T, 4>(sums[r], a[r], b);
    }
  });

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
      float* to = sum.parts + (int64_t(split) * sum.rows + row) * sum.o + column;
      if (row < sum.rows && column < sum.o) *reinterpret_cast<Two*>(to) = {{values[0], values[1]}};
    }
  }
}

}  // namespace

bool implicit_gemm_supports(const ConvGeometry& g) {
  const auto small = [](int64_t n) { return n < (int64_t(1) << 31) - 1024; };
  return g.kh <= 32 && g.kw <= 32 && g.c > 0 && g.c % 8 == 0 && g.o > 0 && g.o % 8 == 0 &&
         small(g.n * g.h * g.w * g.c / 4) && small(g.n * g.oh * g.ow * g.o / 4) && small(g.kh * g.kw * g.c * g.o);
}

template <class T>
void ImplicitGemm<T>::forward(const ConvGeometry& g, const T* x, const float* w, const float* bias, bool relu, T* y) {
  const Tensor weights = rounded_weights<T>(g, w, /*transposed=*/true);
  const int chunks = int(g.c) / sixteen_bytes_of<T>;
  run<T>("conv_forward", {forward_patches(g), x, weights.ptr<T>(), chunks, int(g.o), bias, relu, y});
}

template <class T>
void ImplicitGemm<T>::data_gradient(const ConvGeometry& g, const T* dy, const float* w, const float* bias, T* dx) {
  const Tensor weights = rounded_weights<T>(g, w, /*transposed=*/false);
  const int chunks = int(g.o) / sixteen_bytes_of<T>;
  for_each_phase(g, [&](const Patches& patches) {
    run<T>("conv_data_gradient", {patches, dy, weights.ptr<T>(), chunks, int(g.c), bias, /*relu=*/false, dx});
  });
}

template <class T>
void ImplicitGemm<T>::weight_gradient(const ConvGeometry& g, const T* x, const T* dy, float* dw) {
  using Sum = WeightSum<T>;
  const int rows = int(g.kh * g.kw * g.c), o = int(g.o);
  const int row_blocks = (rows + Sum::a_numbers - 1) / Sum::a_numbers,
            column_blocks = (o + Sum::b_numbers - 1) / Sum::b_numbers;
  const TileGrid tiles(g.n, (g.oh + Sum::pixel_rows - 1) / Sum::pixel_rows, (g.ow + 7) / 8, 1);
  // Blocks for three on each of 132 processors, if each then has some tiles.
  const int blocks = row_blocks * column_blocks, wanted = std::clamp(std::min(396 / blocks, tiles.count / 8), 1, 256);
  const int tiles_each = (tiles.count + wanted - 1) / wanted;
  const int64_t splits = tiles.count == 0 ? 1 : (tiles.count + tiles_each - 1) / tiles_each,
                weights = int64_t(rows) * o;
  const Tensor parts({splits > 1 ? splits : 0, weights}, DType::f32, Device::cuda);
  launch("conv_weight_gradient", weight_sum_kernel<T>, splits * blocks, threads, stages * Sum::stage_bytes,
         Sum{forward_patches(g), x, dy, g.kw, g.c / sixteen_bytes_of<T>, rows, o, tiles, row_blocks, column_blocks,
             tiles_each, splits > 1 ? parts.ptr<float>() : dw});
  if (splits > 1) sum_parts(parts, weights, dw);
}

template struct ImplicitGemm<float>;
template struct ImplicitGemm<bf16>;

}  // namespace acinus::on_gpu
#endif
