// Convolutions with a 3x3 kernel and stride 1 on tensor cores: the kernel. It computes ConvSum (kernels.h), forward and data
// gradient alike.
//
// A block of four warps computes tiles of 4 R x 16 pixels x N channels, one after the other; each warp R of the rows. A *stage*
// (halo_tile.h) is Depth channels of the tile with its halo, (4 R + 2) x 18 pixels, and the weights by which all nine taps
// multiply them, packed (pack_weights.h). A fragment of A is 16 neighbouring pixels of a row of the tile. One that begins a
// pixel further on is what the next tap needs, and row i serves three rows of y, each by another row of the kernel:
//
//   for each 32 bytes of channels, and each shift s = 0, 1, 2 to the right:
//     load rows 0 .. R + 1 of the warp's part of the tile                       R + 2 loads
//     for each row a of the kernel:
//       load the weights of tap (a, s)                                          N / 16 loads
//       rows 0 .. R - 1 of y += rows a .. a + R - 1 of the tile times them      R N / 8 products
//
// With R = 4 and N = 32 that is a quarter of a load a product, and no address is computed: a tap, a row and a step of channels
// are constants, which the loads add.
//
// Hopper's warp groups (mma.h) multiply by weights that they read from shared memory by themselves. That is a few lines here;
// copies, tiles and epilogue are the same.
#pragma once
#include <vector>

#include "tensor/conv/cuda/conv3x3_epilogue.h"
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
  const float* bias;
  TileGrid tiles;  // of y
  Conv3x3Epilogue<T> epilogue;
};

// The kernel's parameters.
template <class Element, int R, int N, int Depth_, int Stages, bool Wgmma = false>
struct Conv3x3Tiling {
  using T = Element;
  static constexpr int threads = 128, warp_rows = R, rows = 4 * R, columns = 16, channels = N, depth = Depth_;
  static constexpr int stages = Stages;  // in the ring
  static constexpr bool wgmma = Wgmma;
  static constexpr int pixel_bytes = depth * int(sizeof(T)), steps = pixel_bytes / 32;
  using Copy = TileCopy<rows + 2, columns + 2, pixel_bytes / 16, threads>;
  static constexpr int step_bytes = 32 * channels, tap_bytes = steps * step_bytes, weight_bytes = 9 * tap_bytes;
  static constexpr int stage_bytes = Copy::bytes + weight_bytes, shared_bytes = stages * stage_bytes;
  static_assert(channels % 32 == 0 && R % 2 == 0 && stage_bytes % 128 == 0);
};

// Asks for the stages of this block's tiles, one after the other.
template <class V>
struct Conv3x3Producer {
  const Conv3x3Args<typename V::T>& args;
  typename V::Copy pixels;
  const char* weights = nullptr;
  int tile = int(blockIdx.x), stage = 0;

  __device__ explicit Conv3x3Producer(const Conv3x3Args<typename V::T>& args) : args(args) {}
  __device__ void ask(uint32_t to) {
    if (tile < args.tiles.count) {
      if (stage == 0 || stage == args.deep_stages) {
        const TileGrid::Tile at = args.tiles.tile(tile);
        pixels.find(stage < args.deep_stages ? args.deep : args.skip, at.n, at.row * V::rows - args.padding,
                    at.column * V::columns - args.padding);
        weights = args.weights + int64_t(at.channel_block * args.stages + stage) * V::weight_bytes;
      }
      pixels.copy(to, 0);
      copy_run<V::weight_bytes, V::threads>(to + V::Copy::bytes, weights);
      pixels.from += V::pixel_bytes, weights += V::weight_bytes;
      if (++stage == args.stages) stage = 0, tile += int(gridDim.x);
    }
    copy_async_commit();
  }
};

// One stage. `pixels` are the addresses of this lane's pixel and half of A for each shift and step, in stage 0.
template <class V>
__device__ void multiply(float (&sums)[V::warp_rows][V::channels / 8][4], const uint32_t (&pixels)[3][V::steps],
                         uint32_t weights, uint32_t stage) {
  constexpr int R = V::warp_rows, N = V::channels;
  constexpr bool tf32 = sizeof(typename V::T) == 4;
  uint32_t rows[2][R + 2][4];  // in turn, so that wgmma can still read the one while the other is loaded
  const uint64_t core_matrices = wgmma_descriptor(weights + stage, 128, 256);
  if constexpr (V::wgmma) wgmma_fence();
  ACINUS_UNROLL
  for (int i = 0; i < 3 * V::steps; i++) {
    const int step = i / 3, shift = i % 3;
    auto& a = rows[i % 2];
    if constexpr (V::wgmma)
      if (i >= 2) wgmma_wait<1>();
    ACINUS_UNROLL
    for (int r = 0; r < R + 2; r++) {
      ldmatrix_x4(a[r], pixels[shift][step] + stage + r * V::Copy::row_bytes);
      if constexpr (tf32) {
        ACINUS_UNROLL
        for (int e = 0; e < 4; e++) a[r][e] = round_tf32(a[r][e]);
      }
    }
    if constexpr (V::wgmma) wgmma_fence();
    ACINUS_UNROLL
    for (int tap_row = 0; tap_row < 3; tap_row++) {
      const uint32_t at = (tap_row * 3 + shift) * V::tap_bytes + step * V::step_bytes;
      if constexpr (V::wgmma) {
        ACINUS_UNROLL
        for (int r = 0; r < R; r++) wgmma_bf16<N>(sums[r], a[r + tap_row], core_matrices + (at >> 4));
      } else {
        uint32_t b[N / 16][4];
        ACINUS_UNROLL
        for (int j = 0; j < N / 16; j++) load_shared_16(b[j], weights + stage + at + j * 512);
        ACINUS_UNROLL
        for (int r = 0; r < R; r++) {
          ACINUS_UNROLL
          for (int j = 0; j < N / 8; j++) {
            const uint32_t b0 = b[j / 2][j % 2 * 2], b1 = b[j / 2][j % 2 * 2 + 1];
            if constexpr (tf32)
              mma_tf32(sums[r][j], a[r + tap_row], b0, b1);
            else
              mma_bf16(sums[r][j], a[r + tap_row], b0, b1);
          }
        }
      }
    }
    if constexpr (V::wgmma) wgmma_commit();
  }
  if constexpr (V::wgmma) wgmma_wait<0>();
}

// Two blocks a processor: while one waits at a barrier, or stores its tile, the other multiplies.
template <class V>
__global__ void __launch_bounds__(V::threads, 2) conv3x3_kernel(const Conv3x3Args<typename V::T> args) {
  constexpr int R = V::warp_rows, N = V::channels;
  const int lane = int(threadIdx.x) % 32, first_row = int(threadIdx.x) / 32 * R;
  const uint32_t ring = shared_address(&shared_memory<unsigned char>());
  const uint32_t weights = ring + V::Copy::bytes + (V::wgmma ? 0 : lane * 16);
  uint32_t pixels[3][V::steps];  // mma.h: lane l gives the address of pixel l % 16 and half l / 16 of k
  ACINUS_UNROLL
  for (int shift = 0; shift < 3; shift++) {
    ACINUS_UNROLL
    for (int step = 0; step < V::steps; step++) {
      const int column = lane % 16 + shift;
      pixels[shift][step] = ring + first_row * V::Copy::row_bytes + column * V::pixel_bytes +
                            swizzled<V::pixel_bytes / 16>(2 * step + lane / 16, column) * 16;
    }
  }

  Conv3x3Producer<V> producer(args);
  for (int i = 0; i < V::stages - 1; i++) producer.ask(ring + i * V::stage_bytes);
  int slot = 0;
  for (int tile = int(blockIdx.x); tile < args.tiles.count; tile += int(gridDim.x)) {
    const TileGrid::Tile at = args.tiles.tile(tile);
    const int first_channel = at.channel_block * N + lane % 4 * 8;  // of 8 in each 32, by the order of packed columns
    float sums[R][N / 8][4];
    ACINUS_UNROLL
    for (int i = 0; i < N / 4; i++) {
      const int channel = first_channel + i / 8 * 32 + i % 8;
      const float bias = args.bias && channel < args.epilogue.channels ? args.bias[channel] : 0.0f;
      ACINUS_UNROLL
      for (int r = 0; r < R; r++) sums[r][i / 2][i % 2] = sums[r][i / 2][i % 2 + 2] = bias;
    }
    for (int stage = 0; stage < args.stages; stage++) {
      copy_async_wait<V::stages - 2>();
      if constexpr (V::wgmma) fence_async_proxy();
      __syncthreads();
      producer.ask(ring + (slot == 0 ? V::stages - 1 : slot - 1) * V::stage_bytes);
      multiply<V>(sums, pixels, weights, slot * V::stage_bytes);
      slot = slot + 1 == V::stages ? 0 : slot + 1;
    }
    ACINUS_UNROLL
    for (int i = 0; i < N / 32; i++) {
      ACINUS_UNROLL
      for (int half = 0; half < 2; half++) {
        ACINUS_UNROLL
        for (int r = 0; r < R; r += 2) {
          float values[2][8];
          ACINUS_UNROLL
          for (int e = 0; e < 16; e++) values[e / 8][e % 8] = sums[r + e / 8][4 * i + e % 8 / 2][2 * half + e % 2];
          args.epilogue(at.n, at.row * V::rows + first_row + r, at.column * V::columns + lane / 4 + 8 * half,
                        first_channel + 32 * i, values);
        }
      }
    }
  }
}

// ---- launched from the CPU --------------------------------------------------------------------------------------------

template <class T>
struct Conv3x3Variant {
  const char* name;           // pixels x channels of a tile, channels a stage, stages
  int rows, channels, depth;  // as in Conv3x3Tiling
  double enough;              // it is fast from so many tiles on, times min_gpu_tiles
  void (*run)(const char* name, const ConvSum<T>& sum);

  TileGrid tiles(const ConvGeometry& g) const {
    return TileGrid(g.n, (g.oh + rows - 1) / rows, (g.ow + 15) / 16, (g.o + channels - 1) / channels);
  }
};

template <class V, class T = typename V::T>
Conv3x3Variant<T> conv3x3_variant(const char* name, double enough) {
  const auto run = [](const char* name, const ConvSum<T>& sum) {
    const ConvGeometry& g = sum.g;
    const TileGrid tiles = conv3x3_variant<V>("", 0).tiles(g);
    const int deep = int(sum.x.deep_channels), stages = int(g.c) / V::depth;
    const int64_t bytes = int64_t(tiles.channel_blocks) * stages * V::weight_bytes;
    const std::shared_ptr<void> packed = memory::allocate(bytes, Device::cuda);
    for_each_on_gpu(bytes / 16, PackWeights<V>{sum.w, int(g.c), int(g.o), sum.transposed_weights, Divisor(stages),
                                               static_cast<T*>(packed.get())});
    const int height = int(g.h), width = int(g.w), each = sizeof(T);
    const Conv3x3Args<T> args{
        {reinterpret_cast<const char*>(sum.x.deep), height, width, /*shrink=*/1, deep * each},
        {reinterpret_cast<const char*>(sum.x.skip), height, width, /*shrink=*/0, (int(g.c) - deep) * each},
        int(g.padding),
        deep / V::depth,
        stages,
        static_cast<const char*>(packed.get()),
        sum.bias,
        tiles,
        {int(g.oh), int(g.ow), int(g.o), int(sum.y.deep_channels), sum.relu, sum.y, sum.pooled, sum.relu_output}};
    static const int64_t resident = resident_blocks(name, conv3x3_kernel<V>, V::threads, V::shared_bytes);
    launch(name, conv3x3_kernel<V>, std::min<int64_t>(tiles.count, resident), V::threads, V::shared_bytes, args);
  };
  return {name, V::rows, V::channels, V::depth, enough, run};
}

// conv3x3_hopper.cu: none, unless this is a Hopper GPU and the program has code for it.
std::vector<Conv3x3Variant<bf16>> conv3x3_hopper_variants();

}  // namespace acinus::on_gpu
#endif
