// Weight and bias gradient of a convolution with a 3x3 kernel and stride 1, on tensor cores, in bfloat16 or TF32:
//
//   dw[a,b,c,o] = sum over n,i,j  x[n, i-p+a, j-p+b, c] * dy[n,i,j,o]       x (n,h,w,c), dy (n,oh,ow,o) -> dw (3,3,c,o)
//   db[o]       = sum over n,i,j  dy[n,i,j,o]                                                              db (o)
//
// A small result, with a sum over all pixels. A block of threads has 32 or 64 channels of x and as many of dy, and all nine taps at
// once. It goes from tile to tile: Rows x 16 pixels of dy, and of x the same with the halo (halo_tile.h). A warp has 16
// channels of x and 32 of dy, so that each lane keeps 9 x 16 sums in registers, and walks down the rows of the tile:
//
//        x                 dy
//     +------+                               row r of x meets row r - a of dy in row a of the kernel. Those of dy that were
//     |      |           +----+              there before are still in registers. For the three columns b of the kernel,
//     |      |    a = 2  |----|  r - 2       fragments of x begin one pixel further on:
//     |======|    a = 1  |----|  r - 1
//     |      |    a = 0  |====|  r           3 loads of x and 2 of dy for 36 products
//     |      |           +----+
//     +------+
//
// In memory the channels of a pixel are neighbours; in a fragment whose k, the index of the sum, is the pixel, pixels have to be.
// ldmatrix transposes 16-bit numbers. For TF32's 32 bits there is no such load, and each lane loads single numbers.
//
// Which block sums what: the pairs (channel block, tile), in this order, are cut into as many runs of equal length as the GPU runs
// blocks at once ("Stream-K", Osama et al. 2023). Whatever part of a channel block's sum lies in one run is stored, and a
// second kernel adds up the parts, in order. The shape alone decides the runs: the same bits every time, on every GPU.
#include <algorithm>

#include "tensor/conv/cuda/halo_tile.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/device.h"
#include "tensor/tensor.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

// A part: one fragment (mma.h) after the other, 16 bytes of each lane, so that warps write and read 512 bytes at once.
// Of a warp there are those of dw for (a, b, 8 channels of dy), then those of db. db's are shared out among the warps that
// have the same channels of dy: each begins with other ones, and takes its first.
template <int Channels>
struct Part {
  static constexpr int warps_c = Channels / 16, warps_o = Channels / 32, warps = warps_c * warps_o;
  static constexpr int weights = 9 * 4, biases = 4 / warps_c, fragments = weights + biases;
  static constexpr int64_t floats = warps * fragments * 128;
  HD static int eight(int warp_c, int j) { return j ^ (warp_c * biases); }  // of 32 channels of dy: whose is fragment j
};

template <class Element, int Channels, int Rows, int Sets, int Stages, int Blocks>
struct GradientTiling {
  using T = Element;
  using Part = on_gpu::Part<Channels>;
  static constexpr int channels = Channels, rows = Rows, stages = Stages;
  static constexpr int blocks = Blocks;  // that share a processor: while one waits, the other multiplies
  static constexpr int sets = Sets;      // of warps: all have the same channels, and each its own rows of the tile
  static constexpr int set_rows = rows / sets, steps = set_rows + 2, threads = 32 * Part::warps * sets;
  // A stage is x's tile, then dy's; of either all pixels' first 128 bytes, a panel, then all pixels' next.
  static constexpr int channel_bytes = channels * int(sizeof(T));
  static constexpr int panel_bytes = channel_bytes < 128 ? channel_bytes : 128, panels = channel_bytes / panel_bytes;
  static constexpr int chunks = panel_bytes / 16;
  using XCopy = TileCopy<rows + 2, 18, chunks, threads>;
  using DyCopy = TileCopy<rows, 16, chunks, threads>;
  static constexpr int x_bytes = panels * XCopy::bytes, stage_bytes = x_bytes + panels * DyCopy::bytes;
  static constexpr int x_copies = panels * XCopy::count, copies = x_copies + panels * DyCopy::count;
  static constexpr int shared_bytes = stages * stage_bytes;
  static_assert(rows % sets == 0 && stage_bytes % 128 == 0);
  static_assert(sets == 1 || Part::floats * 4 <= shared_bytes, "a set's sums fit into the ring");
};

struct GradientArgs {
  ImageView deep, skip, dy;
  int padding, deep_blocks;  // blocks of channels of x that are deep's
  Divisor blocks_o, tiles;   // a channel block is number (of x's channels) * blocks_o + (of dy's)
  TileGrid grid;
  int items, items_each;  // pairs (channel block, tile), and those of a run
  float* parts;           // that of run r and channel block k is number r + k
  int64_t c, o;
  float *dw, *db;
};

// ---- fragments ----------------------------------------------------------------------------------------------------

// The address of a chunk of the first row's pixel in this column.
template <int Chunks>
__device__ uint32_t chunk_address(uint32_t panel, int column, int chunk) {
  return panel + uint32_t(column * Chunks + swizzled<Chunks>(chunk, column)) * 16;
}

// Of a row: A, 16 channels of x by the pixels from column b on, and B, the pixels by 32 channels of dy; `steps` of them for the
// 16 pixels. `at` are the addresses from which this lane loads, of x and then of dy.
template <class V, class T = typename V::T>
struct Fragments;

template <class V>
struct Fragments<V, bf16> {
  static constexpr int steps = 1;
  static constexpr uint32_t one = 0x3f803f80;  // twice
  uint32_t at[3 + 2];

  __device__ Fragments(uint32_t x, uint32_t dy, int warp_c, int warp_o, int lane) {
    for (int b = 0; b < 3; b++)
      at[b] = chunk_address<V::chunks>(x, b + lane % 8 + lane / 16 * 8, warp_c * 2 + lane / 8 % 2);
    for (int i = 0; i < 2; i++)
      at[3 + i] = chunk_address<V::chunks>(dy, lane % 16, warp_o * 4 + V::Part::eight(warp_c, 2 * i + lane / 16));
  }
  __device__ void load_x(int row, int, int b, uint32_t (&to)[4]) const {
    ldmatrix_x4_trans(to, at[b] + row * V::XCopy::row_bytes);
  }
  __device__ void load_dy(int row, int, uint32_t (&to)[4][2]) const {
    for (int i = 0; i < 2; i++) {
      uint32_t two[4];
      ldmatrix_x4_trans(two, at[3 + i] + row * V::DyCopy::row_bytes);
      for (int e = 0; e < 4; e++) to[2 * i + e / 2][e % 2] = two[e];
    }
  }
  __device__ static void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_bf16(d, a, b[0], b[1]);
  }
};

// In which order a sum goes over its pixels is free: k = t and k = t + 4 are pixels 2t and 2t + 1 of a step. So the lanes load from
// every second pixel, where the swizzle gives 32 lanes 32 different banks.
template <class V>
struct Fragments<V, float> {
  static constexpr int steps = 2;
  static constexpr uint32_t one = 0x3f800000;
  uint32_t at[8 + 8];  // (column, 8 channels), both

  __device__ Fragments(uint32_t x, uint32_t dy, int warp_c, int warp_o, int lane) {
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 8; i++) {
      const int c = warp_c * 16 + i % 2 * 8 + g, eight = V::Part::eight(warp_c, i / 2);
      at[i] = chunk_address<V::chunks>(x + c / 32 * V::XCopy::bytes, 2 * t + i / 2, c / 4 % 8) + c % 4 * 4;
      at[8 + i] =
          chunk_address<V::chunks>(dy + warp_o * V::DyCopy::bytes, 2 * t + i % 2, eight * 2 + g / 4) + g % 4 * 4;
    }
  }
  __device__ void load_x(int row, int step, int b, uint32_t (&to)[4]) const {
    const int offset = row * V::XCopy::row_bytes + step * 8 * V::panel_bytes;
    for (int i = 0; i < 4; i++) to[i] = round_tf32(load_shared_4(at[2 * b + i] + offset));
  }
  __device__ void load_dy(int row, int step, uint32_t (&to)[4][2]) const {
    const int offset = row * V::DyCopy::row_bytes + step * 8 * V::panel_bytes;
    for (int i = 0; i < 8; i++) to[i / 2][i % 2] = round_tf32(load_shared_4(at[8 + i] + offset));
  }
  __device__ static void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_tf32(d, a, b[0], b[1]);
  }
};

// ---- the sums -----------------------------------------------------------------------------------------------------

// threadIdx.x, but so that the compiler does not know that it never changes. It would compute every address before the loop
// over channel blocks and keep them all, for which there are no registers.
__device__ int thread_in_block() {
  int thread = int(threadIdx.x);
#ifndef ACINUS_EMULATE
  asm volatile("" : "+r"(thread));
#endif
  return thread;
}

// Sums a channel block over the tiles first .. end - 1.
template <class V, bool WithBias>
__device__ void sum_tiles(const GradientArgs& args, int block, int first, int end, float* part) {
  using Part = typename V::Part;
  constexpr int count = WithBias ? Part::fragments : Part::weights;
  const int thread = thread_in_block(), lane = thread % 32, warp = thread / 32 % Part::warps;
  const int set = thread / 32 / Part::warps;
  Sixteen* const shared = &shared_memory<Sixteen>();
  const uint32_t ring = shared_address(shared);
  const uint32_t x_rows = ring + set * V::set_rows * V::XCopy::row_bytes,
                 dy_rows = ring + V::x_bytes + set * V::set_rows * V::DyCopy::row_bytes;
  Fragments<V> fragments(x_rows, dy_rows, warp % Part::warps_c, warp / Part::warps_c, lane);
  const uint32_t ones[4] = {fragments.one, fragments.one, fragments.one, fragments.one};
  float sums[count][4];
  ACINUS_UNROLL
  for (int i = 0; i < count; i++) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;

  const int block_c = args.blocks_o.quotient(block), block_o = block - block_c * args.blocks_o;
  const bool deep = block_c < args.deep_blocks;
  ImageView x = deep ? args.deep : args.skip, dy = args.dy;  // from this block's channels on
  x.data += int64_t(deep ? block_c : block_c - args.deep_blocks) * V::channel_bytes;
  dy.data += int64_t(block_o) * V::channel_bytes;
  typename V::XCopy x_copy;
  typename V::DyCopy dy_copy;
  const auto find = [&](int tile) {
    const TileGrid::Tile at = args.grid.tile(tile);
    x_copy.find(x, at.n, at.row * V::rows - args.padding, at.column * 16 - args.padding);
    dy_copy.find(dy, at.n, at.row * V::rows, at.column * 16);
  };
  const auto copy = [&](int i, uint32_t stage, bool wanted) {  // number i of V::copies
    const int x_panel = i / V::XCopy::count, j = i - V::x_copies, dy_panel = j / V::DyCopy::count;
    if (i < V::x_copies)
      x_copy.copy(i % V::XCopy::count, stage + x_panel * V::XCopy::bytes, x_panel * V::panel_bytes, wanted);
    else
      dy_copy.copy(j % V::DyCopy::count, stage + V::x_bytes + dy_panel * V::DyCopy::bytes, dy_panel * V::panel_bytes,
                   wanted);
  };

  __syncthreads();  // what is in shared memory has been read
  for (int stage = 0; stage < V::stages - 1; stage++) {
    find(first + stage);
    ACINUS_UNROLL
    for (int i = 0; i < V::copies; i++) copy(i, ring + stage * V::stage_bytes, first + stage < end);
    copy_async_commit();
  }
  int slot = 0;
  for (int tile = first; tile < end; tile++) {
    copy_async_wait<V::stages - 2>();
    __syncthreads();
    const uint32_t free_stage = ring + (slot == 0 ? V::stages - 1 : slot - 1) * V::stage_bytes;
    uint32_t dy[3][4][2];  // row r in dy[r % 3]
    ACINUS_UNROLL
    for (int i = 0; i < V::steps * fragments.steps; i++) {
      const int row = i % V::steps, step = i / V::steps;
      if (row < V::set_rows) {
        fragments.load_dy(row, step, dy[row % 3]);
        ACINUS_UNROLL
        for (int j = Part::weights; j < count; j++) fragments.multiply(sums[j], ones, dy[row % 3][j % 4]);
      }
      ACINUS_UNROLL
      for (int b = 0; b < 3; b++) {
        uint32_t x[4];
        fragments.load_x(row, step, b, x);
        ACINUS_UNROLL
        for (int j = 0; j < 12; j++) {
          const int a = j / 4;
          if (row >= a && row - a < V::set_rows)
            fragments.multiply(sums[a * 12 + b * 4 + j % 4], x, dy[(row - a) % 3][j % 4]);
        }
      }
      // Copies for a later stage, a few after each of the first rows, so that the products need not wait for them.
      constexpr int copies = (2 * V::copies + V::steps - 1) / V::steps;
      if (i == 0) find(tile + V::stages - 1);
      ACINUS_UNROLL
      for (int c = i * copies; c < (i + 1) * copies && c < V::copies; c++)
        copy(c, free_stage, tile + V::stages - 1 < end);
    }
    copy_async_commit();
    const int next = slot + 1 == V::stages ? 0 : slot + 1;
    for (uint32_t& address : fragments.at) address += (next - slot) * V::stage_bytes;
    slot = next;
  }

  // The sets hand their sums on, the last one first, each adding its own.
  copy_async_wait<0>();
  for (int from = V::sets - 1; from > 0; from--) {
    __syncthreads();
    ACINUS_UNROLL
    for (int i = 0; i < count && set == from; i++) memcpy(&shared[(warp * count + i) * 32 + lane], sums[i], 16);
    __syncthreads();
    ACINUS_UNROLL
    for (int i = 0; i < count && set == from - 1; i++) {
      float others[4];
      memcpy(others, &shared[(warp * count + i) * 32 + lane], 16);
      for (int e = 0; e < 4; e++) sums[i][e] += others[e];
    }
  }
  ACINUS_UNROLL
  for (int i = 0; i < count && set == 0; i++) {
    Sixteen bytes;
    memcpy(&bytes, sums[i], 16);
    store_sixteen(part + ((warp * Part::fragments + i) * 32 + lane) * 4, bytes);
  }
}

template <class V>
__global__ void __launch_bounds__(V::threads, V::blocks) weight_gradient_kernel(const GradientArgs args) {
  int item = int(blockIdx.x) * args.items_each;
  const int end = item + args.items_each < args.items ? item + args.items_each : args.items;
  while (item < end) {
    const int block = args.tiles.quotient(item), tile = item - block * args.tiles;
    const int tile_end = tile + end - item < args.tiles ? tile + end - item : int(args.tiles);
    float* const part = args.parts + (int64_t(blockIdx.x) + block) * V::Part::floats;
    if (args.db && block < args.blocks_o)
      sum_tiles<V, true>(args, block, tile, tile_end, part);
    else
      sum_tiles<V, false>(args, block, tile, tile_end, part);
    item += tile_end - tile;
  }
}

// ---- the second pass ----------------------------------------------------------------------------------------------

constexpr int adding_warps = 8;  // of a block

// A warp adds up one fragment of all parts of a channel block; or `shares` warps, which take turns, if there are many parts.
template <int Channels>
__global__ void add_parts_kernel(const GradientArgs args, int64_t fragments, int shares) {
  using Part = on_gpu::Part<Channels>;
  auto& shared = shared_memory<float[adding_warps][4][32]>();
  const int lane = int(threadIdx.x) % 32, row = int(threadIdx.x) / 32, share = row % shares;
  const int64_t number = blockIdx.x * int64_t(adding_warps / shares) + row / shares;
  const int block = int(number / (Part::warps * Part::fragments));
  const int in_part = int(number % (Part::warps * Part::fragments));
  const int warp = in_part / Part::fragments, fragment = in_part % Part::fragments;
  const int block_c = args.blocks_o.quotient(block), block_o = block - block_c * args.blocks_o;
  const bool exists = number < fragments && (fragment < Part::weights || (args.db && block_c == 0));
  float sum[4] = {};
  if (exists) {
    const int first = int(int64_t(block) * args.tiles / args.items_each);
    const int last = int((int64_t(block + 1) * args.tiles - 1) / args.items_each);  // run with a part of it
    const float* from = args.parts + (first + share + block) * Part::floats + in_part * 128 + lane * 4;
    ACINUS_UNROLL_16
    for (int run = first + share; run <= last; run += shares, from += shares * Part::floats) {
      const Sixteen bytes = load_sixteen(from);
      float more[4];
      memcpy(more, &bytes, 16);
      for (int e = 0; e < 4; e++) sum[e] += more[e];
    }
  }
  for (int e = 0; e < 4; e++) shared[row][e][lane] = sum[e];
  __syncthreads();
  if (!exists || share > 0) return;
  for (int i = 1; i < shares; i++)
    for (int e = 0; e < 4; e++) sum[e] += shared[row + i][e][lane];

  const int g = lane / 4, t = lane % 4, warp_c = warp % Part::warps_c, warp_o = warp / Part::warps_c;
  const int64_t o = block_o * Channels + warp_o * 32 + Part::eight(warp_c, fragment % 4) * 8 + 2 * t;
  const int64_t c = block_c * Channels + warp_c * 16 + g, tap = fragment / 4;
  for (int e = 0; e < 4 && fragment < Part::weights; e++)
    args.dw[(tap * args.c + c + e / 2 * 8) * args.o + o + e % 2] = sum[e];
  if (fragment >= Part::weights && g == 0) args.db[o] = sum[0], args.db[o + 1] = sum[1];  // all rows are the same
}

// ---- which tiles --------------------------------------------------------------------------------------------------

template <class V>
TileGrid tiles(const ConvGeometry& g) {
  return TileGrid(g.n, (g.oh + V::rows - 1) / V::rows, (g.ow + 15) / 16, 1);
}

template <class V>
int64_t items_each(const ConvGeometry& g) {
  const int64_t items = (g.c / V::channels) * (g.o / V::channels) * tiles<V>(g).count;
  const int64_t runs = testing::gpu_processors * V::blocks;
  return (items + runs - 1) / runs;
}

// Do so many blocks of these fit into the shared memory of one of this GPU's processors?
template <class V>
bool fits() {
  return V::blocks * (V::shared_bytes + 1024) <= cuda::shared_bytes_a_block() + 1024;
}

template <class V, class T = typename V::T>
void weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw, float* db) {
  const auto view = [](const T* data, int64_t h, int64_t w, int64_t channels, int shrink) {
    return ImageView{reinterpret_cast<const char*>(data), int(h), int(w), shrink, int(channels * sizeof(T))};
  };
  const int64_t blocks_o = g.o / V::channels, blocks = g.c / V::channels * blocks_o;
  const TileGrid grid = tiles<V>(g);
  const int64_t items = blocks * grid.count, each = items_each<V>(g), runs = (items + each - 1) / each;
  const Tensor parts({runs + blocks - 1, V::Part::floats}, DType::f32, Device::cuda);
  const GradientArgs args{view(x.deep, g.h, g.w, x.deep_channels, 1),
                          view(x.skip, g.h, g.w, g.c - x.deep_channels, 0),
                          view(dy, g.oh, g.ow, g.o, 0),
                          int(g.padding),
                          int(x.deep_channels / V::channels),
                          blocks_o,
                          grid.count,
                          grid,
                          int(items),
                          int(each),
                          parts.ptr<float>(),
                          g.c,
                          g.o,
                          dw,
                          db};
  launch("conv3x3_weight_gradient", weight_gradient_kernel<V>, runs, V::threads, V::shared_bytes, args);

  const int64_t fragments = blocks * V::Part::warps * V::Part::fragments;
  int shares = 1;
  while (shares < adding_warps && shares * 4 * each <= grid.count) shares *= 2;
  launch("conv3x3_weight_gradient_parts", add_parts_kernel<V::channels>,
         (fragments * shares + adding_warps - 1) / adding_warps, adding_warps * 32, sizeof(float[adding_warps][4][32]),
         args, fragments, shares);
}

}  // namespace

template <class T>
bool conv3x3_weight_gradient_supports(const ConvGeometry& g, int64_t deep_channels) {
  const auto small = [](int64_t n) { return n < int64_t(1) << 30; };
  return g.kh == 3 && g.kw == 3 && g.stride == 1 && g.dilation == 1 && g.padding >= 0 && g.padding <= 2 &&
         g.n * g.oh * g.ow > 0 && g.c > 0 && g.o > 0 && g.c % 32 == 0 && g.o % 32 == 0 && deep_channels % 32 == 0 &&
         (deep_channels == 0 || (g.h % 2 == 0 && g.w % 2 == 0)) &&
         small((g.c / 32) * (g.o / 32) * g.n * (g.oh / 8 + 1) * (g.ow / 16 + 1)) && small(g.w * g.c * 4) &&
         small(g.ow * g.o * 4);
}

// 64 channels use what they load twice as often as 32, but their parts are four times as large: not if there are few tiles.
// (The same bits on every GPU with enough shared memory for them.)
template <class T>
void conv3x3_weight_gradient(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw,
                             float* db) {
  constexpr bool tf32 = sizeof(T) == 4;
  using Wide = GradientTiling<T, 64, tf32 ? 8 : 16, 1, 2, 1>;
  using Narrow = GradientTiling<T, 32, tf32 ? 8 : 16, tf32 ? 4 : 2, 3, tf32 ? 1 : 2>;
  using Small = GradientTiling<T, 32, tf32 ? 8 : 16, tf32 ? 4 : 2, 2, tf32 ? 1 : 2>;  // Narrow for less shared memory
  const bool can_be_wide = (g.c | g.o | x.deep_channels) % 64 == 0 && fits<Wide>();
  const int64_t forced = testing::weight_gradient_channels;
  if (can_be_wide && (forced ? forced == 64 : items_each<Wide>(g) * Wide::rows >= 96))
    weight_gradient<Wide>(g, x, dy, dw, db);
  else if (fits<Narrow>())
    weight_gradient<Narrow>(g, x, dy, dw, db);
  else
    weight_gradient<Small>(g, x, dy, dw, db);
}

template bool conv3x3_weight_gradient_supports<float>(const ConvGeometry&, int64_t);
template bool conv3x3_weight_gradient_supports<bf16>(const ConvGeometry&, int64_t);
template void conv3x3_weight_gradient(const ConvGeometry&, const SkipConcatData<const float>&, const float*, float*,
                                      float*);
template void conv3x3_weight_gradient(const ConvGeometry&, const SkipConcatData<const bf16>&, const bf16*, float*,
                                      float*);

}  // namespace acinus::on_gpu
#endif
