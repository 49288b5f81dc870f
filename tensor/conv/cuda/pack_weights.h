// The weights of a 3x3 convolution in the order in which conv3x3.h multiplies by them, rounded if by tensor cores:
//
//   [N channels of y][Depth channels of x][tap][step: 32 bytes of channels of x][fragments of B]
//
// (of four or sixteen taps, sums of weights: conv3x3_taps.h), so that the weights of a stage are one run of memory,
// copied into shared memory as it is. A fragment has 8 columns, channels of y. Those of a step are in the order in
// which they are loaded without bank conflicts:
//
//   mma.sync    [2 fragments][lane][fragment][half of k], what a lane holds of two fragments in 16 bytes
//   wgmma       [fragment][half of k][column], the 16 bytes of k of a column: core matrices (mma.h)
//   FFMA        [channel of x][channel of y]
//
// Of every 32 channels, column g of fragment j is number g / 2 * 8 + j * 2 + g % 2. A lane holds columns 2 t and 2 t +
// 1 of each fragment of y (mma.h): in this order 8 neighbouring channels, 8 t .. 8 t + 7, which it stores as 16 bytes.
// In float32, 16 bytes are four channels, so it is 4 of every 16.
#pragma once
#include "tensor/conv/cuda/eight_channels.h"
#include "tensor/for_each.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

__device__ inline bf16 round_factor(float value, bf16) { return value; }
__device__ inline float round_factor(float value, float) { return float_of(round_tf32(bits_of(value))); }

// For the kernel of tiling V (conv3x3.h).
template <class V>
struct PackWeights {
  using T = typename V::T;
  static constexpr int each = 16 / sizeof(T);
  const float* w;
  int c, o;                       // channels of x and y
  int first_channel, w_channels;  // y has the o channels from first_channel on, of the w_channels that w has
  int deep_stages;
  bool transposed;      // as in ConvSum
  Divisor tile_chunks;  // of 16 bytes each, of N channels of y
  T* packed;

  __device__ void operator()(int64_t chunk) const {
    const int tile = tile_chunks.quotient(int(chunk)), i = int(chunk) - tile * int(tile_chunks);
    const int deep_chunks = deep_stages * V::Deep::weight_bytes / 16;
    T* to = packed + chunk * each;
    if (i < deep_chunks)
      pack<typename V::Deep>(to, i, tile * V::channels, 0);
    else
      pack<typename V::Skip>(to, i - deep_chunks, tile * V::channels, deep_stages * V::depth);
  }

  // Chunk i of those for `Part`, which begin with the channels to_channel of y and from_channel of x.
  template <class Part>
  __device__ void pack(T* packed, int i, int to_channel, int from_channel) const {
    const auto next = [&](int count) {
      const int rest = i / count, index = i - rest * count;
      i = rest;
      return index;
    };
    T numbers[each];
    if constexpr (V::ffma) {
      const int to = to_channel + next(V::channels / 4) * 4, k = next(V::depth), tap = next(Part::Table::count);
      for (int e = 0; e < each; e++)
        numbers[e] = weight<typename Part::Table>(tap, from_channel + i * V::depth + k, to + e);
      return store_sixteen(packed, numbers);
    }
    const int lane = V::wgmma ? 0 : next(32), column = V::wgmma ? next(8) : lane / 4, half = V::wgmma ? next(2) : 0;
    const int fragment = V::wgmma ? next(V::channels / 8) : 2 * next(V::channels / 16);
    const int step = next(V::steps), tap = next(Part::Table::count), stage = i;
    ACINUS_UNROLL
    for (int e = 0; e < each; e++) {
      // A lane's numbers for mma.sync: two fragments, of each the two halves of k, of each one number or two.
      constexpr int in_half = each / 4, in_run = each / 2;
      const int j = V::wgmma ? fragment : fragment + e / (2 * in_half);
      const int k = V::wgmma ? half * each + e : e / in_half % 2 * each + lane % 4 * in_half + e % in_half;
      const int from = from_channel + stage * V::depth + step * 2 * each + k;
      const int to = to_channel + j / in_run * 4 * each + column / 2 * each + j % in_run * 2 + column % 2;
      numbers[e] = round_factor(weight<typename Part::Table>(tap, from, to), T());
    }
    store_sixteen(packed, numbers);
  }

  template <class Table>
  __device__ float weight(int tap, int from, int to) const {
    if (to >= o) return 0;  // N does not divide o
    to += first_channel;
    const auto at = [&](int k) {  // row k / 3, column k % 3
      return w[transposed ? (int64_t(8 - k) * w_channels + to) * c + from : (int64_t(k) * c + from) * w_channels + to];
    };
    if (Table::nine) return at(tap);
    const int column = tap % Table::columns, parity = tap / Table::columns % Table::parities;
    const int row = tap / (Table::columns * Table::parities);
    float sum = 0;
    ACINUS_UNROLL
    for (int k = 0; k < 9; k++)
      if (Table::sums_row(row, k / 3) && Table::sums_column(parity, column, k % 3)) sum += at(k);
    return sum;
  }
};

}  // namespace acinus::on_gpu
#endif
