// Weight and bias gradient of a convolution with a 3x3 kernel and stride 1:
//
//   dw[a,b,c,o] = sum over n,i,j  x[n, i-p+a, j-p+b, c] * dy[n,i,j,o]       x (n,h,w,c), dy (n,oh,ow,o) -> dw (3,3,c,o)
//   db[o]       = sum over n,i,j  dy[n,i,j,o]                                                              db (o)
//
// The result is small, and each number of it a sum over all pixels. A block of threads computes 32 or 64 channels of
// x by as many of dy, for all nine taps at once. It goes from tile to tile: Rows x 16 pixels of dy, and the same pixels
// of x with their halo (halo_tile.h). A warp computes 16 channels of x by 32 of dy, so that each lane keeps 9 x 16 sums
// in registers. How it multiplies is in conv3x3_weight_gradient.cu, on tensor cores, and in conv3x3_f32.cu, by ordinary
// instructions.
//
// Which block sums what: the list of all pairs (channel block, tile) is cut into as many runs of equal length as an
// H100 runs blocks at once ("Stream-K", Osama et al. 2023). The part of a channel block's sum that lies in one run is
// stored, and a second kernel adds the parts, in order. The shape alone decides the runs: the same bits on every GPU.
#pragma once
#include <algorithm>

#include "tensor/conv/cuda/halo_tile.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/device.h"
#include "tensor/tensor.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// How a warp multiplies is a parameter, Multiply: TensorCores<T> or Ffma. It has
//
//   T                   the type of x and dy
//   Lanes<WarpsC>       which channels c and o a lane's sums belong to, and which of the sums are db's
//   Warp<Tiling>        at: the addresses that its lane loads from, which sum_tiles moves from stage to stage;
//                       multiply<WithBias>(sums, copy): adds a stage's products, and calls copy(0), copy(1), ...
//                       copy(shares - 1) in between, for the next stage's copies
//
// A part holds, for each warp, four sums of each lane, 512 bytes that a warp writes or reads at once, then the next
// four, and so on: 9 x 4 fours of dw, then those of db. Lanes says which channels they belong to.
template <class Multiply, int Channels>
struct Part {
  static constexpr int warps_c = Channels / 16, warps_o = Channels / 32, warps = warps_c * warps_o;
  using Lanes = typename Multiply::template Lanes<warps_c>;
  static constexpr int channels = Channels, weights = 9 * 4, fours = weights + Lanes::biases;
  static constexpr int64_t floats = warps * fours * 128;
};

template <class Multiply, int Channels, int Rows, int Sets, int Stages, int Blocks>
struct GradientTiling {
  using T = typename Multiply::T;
  using Part = on_gpu::Part<Multiply, Channels>;
  using Warp = typename Multiply::template Warp<GradientTiling>;
  static constexpr int channels = Channels, rows = Rows, stages = Stages;
  static constexpr int blocks = Blocks;  // that share a processor: while one waits, the other multiplies
  static constexpr int sets = Sets;      // of warps: all have the same channels, and each its own rows of the tile
  static constexpr int set_rows = rows / sets, threads = 32 * Part::warps * sets;
  // A stage is x's tile, then dy's, each in panels: the first 128 bytes of all pixels, then their next 128 bytes.
  static constexpr int channel_bytes = channels * int(sizeof(T));
  static constexpr int panel_bytes = channel_bytes < 128 ? channel_bytes : 128, panels = channel_bytes / panel_bytes;
  static constexpr int chunks = panel_bytes / 16;
  using XCopy = TileCopy<rows + 2, 18, chunks, threads>;
  using DyCopy = TileCopy<rows, 16, chunks, threads>;
  static constexpr int x_bytes = panels * XCopy::bytes, stage_bytes = x_bytes + panels * DyCopy::bytes;
  static constexpr int x_copies = panels * XCopy::count, copies = x_copies + panels * DyCopy::count;
  static constexpr int shared_bytes = stages * stage_bytes;
  static TileGrid tiles(const ConvGeometry& g) { return TileGrid(g.n, (g.oh + rows - 1) / rows, (g.ow + 15) / 16, 1); }
  static_assert(rows % sets == 0 && stage_bytes % 128 == 0);
  static_assert(sets == 1 || Part::floats * 4 <= shared_bytes, "a set's sums fit into the ring");
};

struct GradientArgs {
  ImageView deep, skip, dy;
  int padding, deep_blocks;  // blocks of channels of x that are deep's
  Divisor blocks_o, tiles;   // a channel block is number (of x's channels) * blocks_o + (of dy's)
  TileGrid grid;
  int items, items_each;  // pairs (channel block, tile), and those of a run
  float* parts;           // the part of run r and channel block k is number r + k
  int64_t c, o;
  float *dw, *db;
};

// The address of a chunk of the first row's pixel in this column.
template <int Chunks>
__device__ uint32_t chunk_address(uint32_t panel, int column, int chunk) {
  return panel + uint32_t(column * Chunks + swizzled<Chunks>(chunk, column)) * 16;
}

// threadIdx.x, in a way that hides from the compiler that it never changes. Otherwise it would compute every address
// before the loop over channel blocks and keep them all, for which there are too few registers.
__device__ inline int thread_in_block() {
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
  constexpr int count = WithBias ? Part::fours : Part::weights;
  const int thread = thread_in_block(), lane = thread % 32, warp = thread / 32 % Part::warps;
  const int set = thread / 32 / Part::warps;
  float* const shared = &shared_memory<float>();
  const uint32_t ring = shared_address(shared);
  typename V::Warp multiplier(ring + set * V::set_rows * V::XCopy::row_bytes,
                              ring + V::x_bytes + set * V::set_rows * V::DyCopy::row_bytes, warp % Part::warps_c,
                              warp / Part::warps_c, lane);
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
  // Starts a share of a tile's copies; the first share finds the tile.
  const auto copy_share = [&](int tile, uint32_t stage, int share) {
    if (share == 0) {
      const TileGrid::Tile at = args.grid.tile(tile);
      x_copy.find(x, at.n, at.row * V::rows - args.padding, at.column * 16 - args.padding);
      dy_copy.find(dy, at.n, at.row * V::rows, at.column * 16);
    }
    constexpr int each = (V::copies + V::Warp::shares - 1) / V::Warp::shares;
    ACINUS_UNROLL
    for (int k = 0; k < each; k++) {
      const int i = share * each + k;
      if (i >= V::copies) break;
      const int j = i - V::x_copies, x_panel = i / V::XCopy::count, dy_panel = j / V::DyCopy::count;
      if (j < 0)
        x_copy.copy(i % V::XCopy::count, stage + x_panel * V::XCopy::bytes, x_panel * V::panel_bytes, tile < end);
      else
        dy_copy.copy(j % V::DyCopy::count, stage + V::x_bytes + dy_panel * V::DyCopy::bytes, dy_panel * V::panel_bytes,
                     tile < end);
    }
  };

  __syncthreads();  // all have read what is in shared memory
  for (int i = 0; i < V::stages - 1; i++) {
    ACINUS_UNROLL
    for (int share = 0; share < V::Warp::shares; share++) copy_share(first + i, ring + i * V::stage_bytes, share);
    copy_async_commit();
  }
  int slot = 0;
  for (int tile = first; tile < end; tile++) {
    copy_async_wait<V::stages - 2>();
    __syncthreads();
    const uint32_t free_stage = ring + (slot == 0 ? V::stages - 1 : slot - 1) * V::stage_bytes;
    multiplier.template multiply<WithBias>(sums,
                                           [&](int share) { copy_share(tile + V::stages - 1, free_stage, share); });
    copy_async_commit();
    const int next = slot + 1 == V::stages ? 0 : slot + 1;
    for (uint32_t& address : multiplier.at) address += (next - slot) * V::stage_bytes;
    slot = next;
  }

  // The sets pass their sums on, from the last to the first, and each adds its own.
  const auto store_sums = [&](float* to) {
    ACINUS_UNROLL
    for (int i = 0; i < count; i++) store_sixteen(to + i * 128, sums[i]);
  };
  float* const passed_on = shared + warp * count * 128 + lane * 4;
  copy_async_wait<0>();
  for (int from = V::sets - 1; from > 0; from--) {
    __syncthreads();
    if (set == from) store_sums(passed_on);
    __syncthreads();
    if (set != from - 1) continue;
    ACINUS_UNROLL
    for (int i = 0; i < count; i++) {
      float others[4];
      load_sixteen(others, passed_on + i * 128);
      for (int e = 0; e < 4; e++) sums[i][e] += others[e];
    }
  }
  if (set == 0) store_sums(part + warp * Part::fours * 128 + lane * 4);
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

// A warp adds up the same four of all parts of a channel block, or `shares` warps do, in turn, if there are many parts.
template <class Part>
__global__ void add_parts_kernel(const GradientArgs args, int64_t fours, int shares) {
  using Lanes = typename Part::Lanes;
  auto& shared = shared_memory<float[adding_warps][4][32]>();
  const int lane = int(threadIdx.x) % 32, row = int(threadIdx.x) / 32, share = row % shares;
  const int64_t number = blockIdx.x * int64_t(adding_warps / shares) + row / shares;
  const int block = int(number / (Part::warps * Part::fours)), in_part = int(number % (Part::warps * Part::fours));
  const int warp = in_part / Part::fours, four = in_part % Part::fours;
  const int block_c = args.blocks_o.quotient(block), block_o = block - block_c * args.blocks_o;
  const bool exists = number < fours && (four < Part::weights || (args.db && block_c == 0));
  float sum[4] = {};
  if (exists) {
    const int first = int(int64_t(block) * args.tiles / args.items_each);
    const int last = int((int64_t(block + 1) * args.tiles - 1) / args.items_each);  // run with a part of it
    const float* from = args.parts + (first + share + block) * Part::floats + in_part * 128 + lane * 4;
    ACINUS_UNROLL_16
    for (int run = first + share; run <= last; run += shares, from += shares * Part::floats) {
      float more[4];
      load_sixteen(more, from);
      for (int e = 0; e < 4; e++) sum[e] += more[e];
    }
  }
  for (int e = 0; e < 4; e++) shared[row][e][lane] = sum[e];
  __syncthreads();
  if (!exists || share > 0) return;
  for (int i = 1; i < shares; i++)
    for (int e = 0; e < 4; e++) sum[e] += shared[row + i][e][lane];

  const int warp_c = warp % Part::warps_c, warp_o = warp / Part::warps_c;
  for (int e = 0; e < 4; e++) {
    const int64_t c = block_c * Part::channels + warp_c * 16 + Lanes::c(four % 4, lane, e);
    const int64_t o = block_o * Part::channels + warp_o * 32 + Lanes::o(warp_c, four % 4, lane, e);
    if (four < Part::weights)
      args.dw[(four / 4 * args.c + c) * args.o + o] = sum[e];
    else if (Lanes::has_bias(warp_c, lane, e))
      args.db[o] = sum[e];
  }
}

// ---- launched from the CPU ----------------------------------------------------------------------------------------

template <class V>
int64_t items_each(const ConvGeometry& g) {
  const int64_t items = (g.c / V::channels) * (g.o / V::channels) * V::tiles(g).count;
  const int64_t runs = testing::gpu_processors * V::blocks;
  return (items + runs - 1) / runs;
}

// Do V::blocks blocks fit into the shared memory of a processor of this GPU?
template <class V>
bool fits() {
  const int64_t bytes = std::min(cuda::shared_bytes_a_block(), testing::shared_bytes_a_block);
  return V::blocks * (V::shared_bytes + 1024) <= bytes + 1024;  // CUDA itself takes 1024 bytes for each block
}

template <class V, class T = typename V::T>
void weight_gradient_by(const ConvGeometry& g, const SkipConcatData<const T>& x, const T* dy, float* dw, float* db) {
  const int64_t blocks_o = g.o / V::channels, blocks = g.c / V::channels * blocks_o;
  const TileGrid grid = V::tiles(g);
  const int64_t items = blocks * grid.count, each = items_each<V>(g), runs = (items + each - 1) / each;
  const Tensor parts({runs + blocks - 1, V::Part::floats}, DType::f32, Device::cuda);
  GradientArgs args;
  args.deep = image_view(x.deep, g.h, g.w, x.deep_channels, /*shrink=*/1);
  args.skip = image_view(x.skip, g.h, g.w, g.c - x.deep_channels);
  args.dy = image_view(dy, g.oh, g.ow, g.o);
  args.padding = int(g.padding), args.deep_blocks = int(x.deep_channels / V::channels);
  args.blocks_o = blocks_o, args.tiles = grid.count, args.grid = grid;
  args.items = int(items), args.items_each = int(each);
  args.parts = parts.ptr<float>();
  args.c = g.c, args.o = g.o, args.dw = dw, args.db = db;
  launch("conv3x3_weight_gradient", weight_gradient_kernel<V>, runs, V::threads, V::shared_bytes, args);

  const int64_t fours = blocks * V::Part::warps * V::Part::fours;
  int shares = 1;
  while (shares < adding_warps && shares * 4 * each <= grid.count) shares *= 2;
  launch("conv3x3_weight_gradient_parts", add_parts_kernel<typename V::Part>,
         (fours * shares + adding_warps - 1) / adding_warps, adding_warps * 32, sizeof(float[adding_warps][4][32]),
         args, fours, shares);
}

// 64 channels use what is loaded twice as often as 32, but their parts are four times as large: not for few tiles. (From
// how many rows of pixels a run on is a guess from the layers of docs/results/study-nvidia-h200.md.)
template <class Wide, class T = typename Wide::T>
bool should_be_wide(const ConvGeometry& g, int64_t deep_channels) {
  if ((g.c | g.o | deep_channels) % 64 != 0 || !fits<Wide>()) return false;
  const int64_t forced = testing::weight_gradient_channels;
  return forced ? forced == 64 : items_each<Wide>(g) * Wide::rows >= 96;
}

// conv3x3_f32.cu
void weight_gradient_by_ffma(const ConvGeometry& g, const SkipConcatData<const float>& x, const float* dy, float* dw,
                             float* db);

}  // namespace acinus::on_gpu
#endif
