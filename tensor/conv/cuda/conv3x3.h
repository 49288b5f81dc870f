// Convolutions with a 3x3 kernel and stride 1: the kernel, on tensor cores or without (conv3x3_f32.cu). It computes
// ConvSum (kernels.h), forward and data gradient alike.
//
// A block of four warps computes tiles of 4 R x 16 pixels x N channels, one after another; each warp R of the rows. A
// *stage* (halo_tile.h) is Depth channels of the tile with its halo, (4 R + 2) x 18 pixels, and their packed weights
// for all nine taps (pack_weights.h). A fragment of A is 16 neighbouring pixels of a row of the tile. The next tap
// needs the one that begins a pixel further on, and a row of the tile serves three rows of y, by three of the kernel:
//
//   for each 32 bytes of channels, and each shift s = 0, 1, 2 to the right:
//     load rows 0 .. R + 1 of the warp's part of the tile                       R + 2 loads
//     for each row a of the kernel:
//       load the weights of tap (a, s)                                          N / 16 loads
//       rows 0 .. R - 1 of y += rows a .. a + R - 1 of the tile times them      R N / 8 products
//
// With R = 4 and N = 32 that is a quarter of a load per product, and no address is computed: a tap, a row and a step of
// channels are constant offsets.
//
// Hopper's warp groups (mma.h) read the weights from shared memory by themselves. That is a few lines here; copies,
// tiles and epilogue are the same.
//
// The nine pixels of upsample2x(deep) that a pixel of y sees are copies of only four pixels of deep, so four products
// by sums of the weights are enough, and sixteen instead of 36 for the gradient of deep (conv3x3_taps.h). With four
// taps, a warp computes R rows x 32 pixels, even and odd columns from the same fragments of A. Everything else is the
// same.
#pragma once
#include <vector>

#include "tensor/conv/cuda/conv3x3_epilogue.h"
#include "tensor/conv/cuda/conv3x3_taps.h"
#include "tensor/conv/cuda/halo_tile.h"
#include "tensor/conv/cuda/kernels.h"
#include "tensor/conv/cuda/pack_weights.h"
#include "tensor/memory.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

template <class T>
struct Conv3x3Args {
  ImageView deep, skip;  // x
  int padding;
  int deep_stages, stages;  // of channels: first deep's, then skip's
  const char* weights;
  int64_t weight_bytes;  // of all stages of a tile
  const float* bias;
  TileGrid tiles;  // of y
  Conv3x3Epilogue<T> epilogue;
};

// A stage of an image that y sees through these taps; the image's size is y's times down / up.
template <Taps taps, int R, int Parities, int PixelBytes, int TapBytes>
struct Conv3x3Part {
  using Table = TapTable<taps>;
  static constexpr int down = taps == Taps::sixteen ? 2 : 1, up = taps == Taps::four ? 2 : 1;
  static constexpr int warp_rows = R * down / up, tile_rows = 4 * warp_rows, tile_columns = 16 * Parities * down / up;
  static constexpr int split = tile_columns / 16;  // a fragment has every split-th pixel
  static constexpr int shifts = split + 2;
  using Copy = TileCopy<tile_rows + 2, tile_columns + 2, PixelBytes / 16, 128, split>;
  static constexpr int weight_bytes = Table::count * TapBytes, bytes = Copy::bytes + weight_bytes;
};

// What multiplies: tensor cores, by mma or wgmma, or, in full float32, ordinary multiply-adds (conv3x3_f32.cu).
enum class Products { mma, wgmma, ffma };

// The kernel's parameters. With four taps a warp computes 32 columns of two *parities*, even and odd.
template <class Element, Taps taps_, int R, int N, int Depth, int Stages, Products products = Products::mma>
struct Conv3x3Tiling {
  using T = Element;
  static constexpr Taps taps = taps_;
  static constexpr int threads = 128, warp_rows = R, channels = N, depth = Depth;
  static constexpr int stages = Stages;  // in the ring
  static constexpr int parities = taps == Taps::four ? 2 : 1;
  static constexpr int rows = 4 * R, columns = 16 * parities;  // of a tile
  static constexpr bool wgmma = products == Products::wgmma, ffma = products == Products::ffma;
  static constexpr int run = 16 / int(sizeof(T));  // neighbouring channels that a lane has
  // On a processor: while one waits at a barrier, or stores its tile, the others multiply.
  static constexpr int blocks = ffma ? 4 : 2;
  static constexpr int pixel_bytes = depth * int(sizeof(T)), steps = pixel_bytes / 32;
  static constexpr int step_bytes = 32 * channels, tap_bytes = steps * step_bytes;
  // skip is always seen by nine taps; without `deep` there is only skip.
  using Deep = Conv3x3Part<taps, R, parities, pixel_bytes, tap_bytes>;
  using Skip = Conv3x3Part<taps == Taps::four ? Taps::nine : taps, R, parities, pixel_bytes, tap_bytes>;
  static constexpr int stage_bytes = Deep::bytes > Skip::bytes ? Deep::bytes : Skip::bytes;
  static constexpr int shared_bytes = stages * stage_bytes;
  static TileGrid tiles(const ConvGeometry& g) {
    return TileGrid(g.n, (g.oh + rows - 1) / rows, (g.ow + columns - 1) / columns, (g.o + channels - 1) / channels);
  }
  static_assert(channels % 32 == 0 && R % 2 == 0 && stage_bytes % 128 == 0 && Deep::Copy::bytes % 128 == 0);
};

// Starts to copy the stages of this block's tiles, one after another.
template <class V>
struct Conv3x3Producer {
  const Conv3x3Args<typename V::T>& args;
  typename V::Deep::Copy deep;
  typename V::Skip::Copy skip;  // also for deep, unless that is seen through four taps
  const char* weights = nullptr;
  int tile = int(blockIdx.x), stage = 0;

  __device__ explicit Conv3x3Producer(const Conv3x3Args<typename V::T>& args) : args(args) {}
  __device__ void copy_next(uint32_t to) {
    if (tile < args.tiles.count) {
      if (V::taps == Taps::four && stage < args.deep_stages)
        copy_stage<typename V::Deep>(to, deep);
      else
        copy_stage<typename V::Skip>(to, skip);
      if (++stage == args.stages) stage = 0, tile += int(gridDim.x);
    }
    copy_async_commit();
  }
  template <class Part>
  __device__ void copy_stage(uint32_t to, typename Part::Copy& pixels) {
    if (stage == 0 || stage == args.deep_stages) {
      const TileGrid::Tile at = args.tiles.tile(tile);
      pixels.find(stage < args.deep_stages ? args.deep : args.skip, at.n, at.row * Part::tile_rows - args.padding,
                  at.column * Part::tile_columns - args.padding);
      if (stage == 0) weights = args.weights + at.channel_block * args.weight_bytes;
    }
    pixels.copy(to, 0);
    copy_run<Part::weight_bytes, V::threads>(to + Part::Copy::bytes, weights);
    pixels.from += V::pixel_bytes, weights += Part::weight_bytes;
  }
};

// A lane's part of its warp's R rows x 16 pixels (of each parity) x N channels of y, in fragments of 16 x 8. Since the
// columns are packed in the order of pack_weights.h, it is 16 of every 64 bytes of two pixels, g and g + 8.
template <class V>
struct Conv3x3Sums {
  static constexpr int R = V::warp_rows, N = V::channels, run = V::run;
  float of[V::parities][R][N / 8][4];
  TileGrid::Tile tile;
  int first_channel;

  // The sums start from the bias.
  __device__ Conv3x3Sums(const Conv3x3Args<typename V::T>& args, const TileGrid::Tile& tile)
      : tile(tile), first_channel(tile.channel_block * N + int(threadIdx.x) % 4 * run) {
    ACINUS_UNROLL
    for (int i = 0; i < N / 4; i++) {
      const int channel = first_channel + i / run * 4 * run + i % run;
      const float bias = args.bias && channel < args.epilogue.channels ? args.bias[channel] : 0.0f;
      ACINUS_UNROLL
      for (int j = 0; j < V::parities * R; j++)
        of[j / R][j % R][i / 2][i % 2] = of[j / R][j % R][i / 2][2 + i % 2] = bias;
    }
  }

  __device__ void finish(const Conv3x3Epilogue<typename V::T>& epilogue) {
    const int g = int(threadIdx.x) % 32 / 4, first_row = tile.row * V::rows + int(threadIdx.x) / 32 * R;
    ACINUS_UNROLL
    for (int i = 0; i < N / run / 2 * V::parities; i++) {
      // half: pixel g or g + 8; group: of 4 runs of channels, a lane's each
      const int parity = i % V::parities, half = i / V::parities % 2, group = i / V::parities / 2;
      const int column = tile.column * V::columns + (g + 8 * half) * V::parities + parity;
      ACINUS_UNROLL
      for (int r = 0; r < R; r += 2) {
        float values[2][run];
        ACINUS_UNROLL
        for (int e = 0; e < 2 * run; e++) {
          const int fragment = (group * run + e % run) / 2;
          values[e / run][e % run] = of[parity][r + e / run][fragment][2 * half + e % 2];
        }
        epilogue(tile.n, first_row + r, column, first_channel + 4 * run * group, values);
      }
    }
  }
};

// The products of a stage.
template <class V, class Part>
struct Conv3x3Multiplier {
  using Table = typename Part::Table;
  static constexpr int R = V::warp_rows, N = V::channels, shifts = Part::shifts;
  uint32_t weights, pixels[shifts][V::steps];  // addresses in the ring's first stage

  // ldmatrix (mma.h) takes from lane l the address of pixel l % 16 of a fragment, half l / 16 of k.
  __device__ explicit Conv3x3Multiplier(uint32_t ring) {
    const int lane = int(threadIdx.x) % 32, row = int(threadIdx.x) / 32 * Part::warp_rows;
    weights = ring + Part::Copy::bytes + (V::wgmma ? 0 : lane * 16);
    ACINUS_UNROLL
    for (int shift = 0; shift < shifts; shift++) {
      ACINUS_UNROLL
      for (int step = 0; step < V::steps; step++)
        pixels[shift][step] = ring + Part::Copy::offset(row, lane % 16 * Part::split + shift, 2 * step + lane / 16);
    }
  }

  __device__ void add_to(Conv3x3Sums<V>& sums, uint32_t stage) const {
    uint32_t a[2][Part::warp_rows + 2][4];  // in turn: wgmma may still read one while the other is loaded
    if constexpr (V::wgmma) wgmma_fence();
    ACINUS_UNROLL
    for (int i = 0; i < shifts * V::steps; i++) {
      const int step = i / shifts, shift = i % shifts;
      if constexpr (V::wgmma)
        if (i >= 2) wgmma_wait<1>();
      ACINUS_UNROLL
      for (int row = 0; row < Part::warp_rows + 2; row++)
        load_fragment<typename V::T>(a[i % 2][row], pixels[shift][step] + stage + row * Part::Copy::row_bytes);
      if constexpr (V::wgmma) wgmma_fence();
      ACINUS_UNROLL
      for (int j = 0; j < V::parities * Table::rows; j++) {
        const int parity = j / Table::rows, tap_row = j % Table::rows, tap_column = shift - parity;
        if (tap_column < 0 || tap_column >= Table::columns) continue;
        const int tap = Table::number(tap_row, parity, tap_column);
        multiply(sums.of[parity], a[i % 2], tap_row, stage, tap * V::tap_bytes + step * V::step_bytes);
      }
      if constexpr (V::wgmma) wgmma_commit();
    }
    if constexpr (V::wgmma) wgmma_wait<0>();
  }

  // sums += the rows of the tile that this row of taps sees, times one tap's weights.
  __device__ void multiply(float (&sums)[R][N / 8][4], const uint32_t (&a)[Part::warp_rows + 2][4], int tap_row,
                           uint32_t stage, int tap_at) const {
    if constexpr (V::wgmma) {
      const uint64_t b = wgmma_descriptor(uniform(weights + stage), 128, 256) + (tap_at >> 4);
      ACINUS_UNROLL
      for (int r = 0; r < R; r++)
        if (Table::image_row(r, tap_row) >= 0) wgmma_bf16<N>(sums[r], a[Table::image_row(r, tap_row)], b);
    } else {
      uint32_t b[N / 16][4];
      ACINUS_UNROLL
      for (int j = 0; j < N / 16; j++) load_shared_16(b[j], weights + stage + tap_at + j * 512);
      ACINUS_UNROLL
      for (int r = 0; r < R; r++)
        if (Table::image_row(r, tap_row) >= 0) mma<typename V::T, N / 8>(sums[r], a[Table::image_row(r, tap_row)], b);
    }
  }
};

template <class V, class Part>
struct Conv3x3Ffma;  // conv3x3_f32.cu
template <class V, class Part>
using MultiplierOf = std::conditional_t<V::ffma, Conv3x3Ffma<V, Part>, Conv3x3Multiplier<V, Part>>;

template <class V>
__global__ void __launch_bounds__(V::threads, V::blocks) conv3x3_kernel(const Conv3x3Args<typename V::T> args) {
  const uint32_t ring = shared_address(&shared_memory<unsigned char>());
  const MultiplierOf<V, typename V::Deep> deep(ring);
  const MultiplierOf<V, typename V::Skip> skip(ring);
  Conv3x3Producer<V> producer(args);
  for (int i = 0; i < V::stages - 1; i++) producer.copy_next(ring + i * V::stage_bytes);
  int slot = 0;
  for (int tile = int(blockIdx.x); tile < args.tiles.count; tile += int(gridDim.x)) {
    Conv3x3Sums<V> sums(args, args.tiles.tile(tile));
    for (int stage = 0; stage < args.stages; stage++) {
      copy_async_wait<V::stages - 2>();
      if constexpr (V::wgmma) fence_async_proxy();
      __syncthreads();
      producer.copy_next(ring + (slot == 0 ? V::stages - 1 : slot - 1) * V::stage_bytes);
      if (V::taps == Taps::four && stage < args.deep_stages)
        deep.add_to(sums, slot * V::stage_bytes);
      else
        skip.add_to(sums, slot * V::stage_bytes);
      slot = slot + 1 == V::stages ? 0 : slot + 1;
    }
    sums.finish(args.epilogue);
  }
}

// ---- launched from the CPU ----------------------------------------------------------------------------------------

template <class V, class T = typename V::T>
void run_conv3x3(const char* name, const ConvSum<T>& sum, int64_t first_channel, int64_t w_channels) {
  const ConvGeometry& g = sum.g;
  const int deep = int(sum.x.deep_channels), up = V::Deep::up;
  Conv3x3Args<T> args;
  // Four taps see deep as it is, nine see upsample2x of it.
  args.deep = image_view(sum.x.deep, g.h / up, g.w / up, deep, /*shrink=*/2 - up);
  args.skip = image_view(sum.x.skip, g.h, g.w, g.c - deep);
  args.padding = int(g.padding);
  args.deep_stages = deep / V::depth, args.stages = int(g.c) / V::depth;
  args.weight_bytes =
      args.deep_stages * V::Deep::weight_bytes + int64_t(args.stages - args.deep_stages) * V::Skip::weight_bytes;
  args.bias = sum.bias ? sum.bias + first_channel : nullptr;
  args.tiles = V::tiles(g);
  args.epilogue = {int(g.oh), int(g.ow), int(g.o), sum.relu, sum.y.skip, sum.pooled, sum.relu_output.skip};

  const int64_t bytes = args.tiles.channel_blocks * args.weight_bytes;
  const std::shared_ptr<void> packed = memory::allocate(bytes, Device::cuda);
  args.weights = static_cast<const char*>(packed.get());
  for_each_on_gpu(bytes / 16, PackWeights<V>{sum.w, int(g.c), int(g.o), int(first_channel), int(w_channels),
                                             args.deep_stages, sum.transposed_weights, Divisor(args.weight_bytes / 16),
                                             static_cast<T*>(packed.get())});
  static const int64_t resident = resident_blocks(name, conv3x3_kernel<V>, V::threads, V::shared_bytes);
  launch(name, conv3x3_kernel<V>, std::min<int64_t>(args.tiles.count, resident), V::threads, V::shared_bytes, args);
}

template <class T>
struct Conv3x3Variant {
  std::string name;  // pixels x channels of a tile, channels a stage, stages
  Taps taps;
  int channels, depth;  // as in Conv3x3Tiling
  double enough;        // it is fast from enough * min_gpu_tiles tiles on
  TileGrid (*tiles)(const ConvGeometry&);
  // y's channels are those from first_channel on, of the w_channels that w and bias have.
  void (*run)(const char* name, const ConvSum<T>& sum, int64_t first_channel, int64_t w_channels);
};
template <class T>
using Conv3x3Variants = std::vector<Conv3x3Variant<T>>;

template <class T, Taps taps, int R, int N, int Depth, int Stages, Products products = Products::mma>
Conv3x3Variant<T> conv3x3_variant(double enough) {
  using V = Conv3x3Tiling<T, taps, R, N, Depth, Stages, products>;
  const char* const kind = V::wgmma ? "wgmma " : V::ffma ? "f32 " : "";
  const char* const seen = taps == Taps::four ? "four taps " : taps == Taps::sixteen ? "sixteen taps " : "";
  const std::string name = text(kind, seen, V::rows * V::columns, 'x', N, "-c", Depth, "-s", Stages);
  return {name, taps, N, Depth, enough, V::tiles, run_conv3x3<V>};
}

// conv3x3_hopper.cu: none, unless this is a Hopper GPU and the program has code for it.
Conv3x3Variants<bf16> conv3x3_hopper_variants();
const Conv3x3Variants<float>& conv3x3_ffma_variants();  // conv3x3_f32.cu

}  // namespace acinus::on_gpu
#endif
