// A tile of an image in shared memory, with the pixels around it that a 3x3 kernel sees, its *halo*. All nine taps then
// read it there, and each pixel is fetched once instead of nine times:
//
//     +----------------+      16 x 16 pixels are computed, 18 x 18 are copied: 1.27 copies of a pixel, where a matrix
//     |  halo          |      product that knows nothing of images ("implicit GEMM") makes nine. A few channels are
//     |  +----------+  |      copied at a time, a *stage*; several stages form a ring, so that the next are copied
//     |  |   tile   |  |      while one is multiplied:
//     |  +----------+  |
//     |                |          wait for this stage; __syncthreads(); start to copy the stage Stages - 1 further on;
//     +----------------+          multiply
//
// One barrier per stage is enough: what is overwritten next was read by every warp before this barrier. A commit at every stage, even where
// nothing is left to copy, keeps the number of groups in flight what the wait expects.
#pragma once
#include "tensor/cuda/mma.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {

// An image (n,height,width,channels) to read; if `shrink` is 1, upsample2x of one of half that size.
struct ImageView {
  const char* data = nullptr;
  int height = 0, width = 0, shrink = 0, pixel_bytes = 0;
};
template <class T>
ImageView image_view(const T* data, int64_t height, int64_t width, int64_t channels, int shrink = 0) {
  return {reinterpret_cast<const char*>(data), int(height), int(width), shrink, int(channels * sizeof(T))};
}

// A pixel of a tile is Chunks times 16 bytes. Where chunk number `chunk` of a pixel in this column is stored among
// them, so that the same chunk of any 8 neighbouring pixels is in 8 different places modulo 128 bytes, the width of all
// banks, and a warp loads 8 x 16 bytes at once. By the column alone: a tap in another row is at a constant offset.
template <int Chunks>
HD constexpr int swizzled(int chunk, int column) {
  return Chunks == 8   ? chunk ^ (column & 7)
         : Chunks == 4 ? chunk ^ (column >> 1 & 3)
         : Chunks == 2 ? chunk ^ (column >> 2 & 1)
                       : chunk;
}

// Numbers the tiles of a result, channel blocks fastest, so that blocks that run together read the same pixels.
struct TileGrid {
  Divisor channel_blocks, across, down;
  int count = 0;
  struct Tile {
    int channel_block, n, row, column;  // in tiles
  };
  TileGrid() = default;
  TileGrid(int64_t n, int64_t down, int64_t across, int64_t channel_blocks)
      : channel_blocks(channel_blocks), across(across), down(down), count(int(n * down * across * channel_blocks)) {}
  HD Tile tile(int number) const {
    const int rest = channel_blocks.quotient(number), row = across.quotient(rest), n = down.quotient(row);
    return {number - rest * channel_blocks, n, row - n * down, rest - row * across};
  }
};

// The copies that one thread makes of a tile of Rows x Columns pixels, Chunks times 16 bytes each: one chunk of one
// column, in every rows_at_once-th row. So only the row changes from one copy to the next, and no stage has to divide.
// If the pixels computed are two columns apart, Split is 2: the even columns are stored first, then the odd ones, so
// that what is loaded together lies together. (There is room for an even number of each, so that neighbours, which
// are copied together, are in different banks too.)
template <int Rows, int Columns, int Chunks, int Threads, int Split = 1>
struct TileCopy {
  static constexpr int a_row = Columns * Chunks;  // copies
  static constexpr int rows_at_once = Threads / a_row < Rows ? Threads / a_row : Rows;
  static constexpr int count = (Rows + rows_at_once - 1) / rows_at_once;
  static constexpr int places = Split == 1 ? Columns : (Columns / Split + 1) / 2 * 2;  // of the columns of each kind
  static constexpr int row_bytes = Split * places * Chunks * 16, bytes = Rows * row_bytes;
  static_assert(rows_at_once > 0);

  uint32_t to;          // offset of the first copy in the tile
  const char* from;     // its column of the image, in row 0; perhaps outside of it
  int image_row_bytes;  // from one row of the image to the next
  int row;              // of the image, of the first copy; far outside if its column is outside
  int height, shrink;

  // The offset of a chunk in the tile.
  __device__ static uint32_t offset(int row, int column, int chunk) {
    const int place = column % Split * places + column / Split;
    return uint32_t(row * row_bytes + (place * Chunks + swizzled<Chunks>(chunk, place)) * 16);
  }
  __device__ TileCopy() {
    const int item = int(threadIdx.x) % a_row;
    to = offset(first_row(), item / Chunks, item % Chunks);
  }
  __device__ static int first_row() { return int(threadIdx.x) / a_row; }

  // Moves to the tile that begins at (tile_row, tile_column) of image n; pixels outside of the image are 0.
  __device__ void find(const ImageView& image, int n, int tile_row, int tile_column) {
    const int item = int(threadIdx.x) % a_row, column = tile_column + item / Chunks;
    const int small_height = image.height >> image.shrink, small_width = image.width >> image.shrink;
    row = unsigned(column) < unsigned(image.width) ? tile_row + first_row() : -(1 << 30);
    shrink = image.shrink, height = image.height;
    image_row_bytes = small_width * image.pixel_bytes;
    from = image.data + (int64_t(n) * small_height * small_width + (column >> shrink)) * image.pixel_bytes +
           item % Chunks * 16;
  }

  // Starts the copies of the channels from `channel_bytes` on: all of them, or only the i-th.
  __device__ void copy(uint32_t tile, int64_t channel_bytes) const {
    ACINUS_UNROLL
    for (int i = 0; i < count; i++) copy(i, tile, channel_bytes);
  }
  __device__ void copy(int i, uint32_t tile, int64_t channel_bytes, bool wanted = true) const {
    const int in_image = row + i * rows_at_once;
    copy_async_16_if(wanted && first_row() < rows_at_once && first_row() + i * rows_at_once < Rows,
                     tile + to + i * rows_at_once * row_bytes,
                     from + channel_bytes + int64_t(in_image >> shrink) * image_row_bytes,
                     unsigned(in_image) < unsigned(height));
  }
};

// Starts to copy a run of memory, by all threads of the block.
template <int Bytes, int Threads>
__device__ void copy_run(uint32_t to, const char* from) {
  ACINUS_UNROLL
  for (int at = 0; at < Bytes; at += Threads * 16) {
    const int mine = at + int(threadIdx.x) * 16;
    if (at + Threads * 16 <= Bytes || mine < Bytes) copy_async_16(to + mine, from + mine, true);
  }
}

}  // namespace acinus::on_gpu
#endif
