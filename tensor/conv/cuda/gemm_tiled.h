// The matrix product of tile_loader.h in the type that the numbers have (bfloat16 in float32): 256 threads, a tile of 64 x
// 64, 16 steps of k at a time. Each thread computes 4 x 4 numbers of C, and so uses each number that it reads from shared
// memory four times.
#pragma once
#include "tensor/conv/cuda/tile_loader.h"

#ifdef ACINUS_KERNELS
namespace acinus {

template <class C>
struct Tiled {
  static constexpr int threads = 256, width = 64, depth = 16, run = 4, stride = width + 4;
  C a[2][depth * stride], b[2][depth * stride];
  template <class Value>
  __device__ static C round(Value v) {
    return C(v);
  }
};

template <class C, class A, class B, class Epilogue>
__global__ void __launch_bounds__(Tiled<C>::threads)
    tiled_product(ProductSize size, int64_t tiles_m, int64_t tiles_n, A a, B b, Epilogue epilogue) {
  using Tiles = Tiled<C>;
  constexpr int depth = Tiles::depth, stride = Tiles::stride;
  auto& tiles = shared_memory<Tiles>();
  const TileOrigin tile(Tiles::width, Tiles::width, tiles_m, tiles_n);
  const int row = int(threadIdx.x) / 16 * 4, column = int(threadIdx.x) % 16 * 4;
  TileLoader<A, C, Tiles, Tiles::width, depth, Tiles::run, Tiles::threads> load_a(a, tile.m);
  TileLoader<B, C, Tiles, Tiles::width, depth, Tiles::run, Tiles::threads> load_b(b, tile.n);
  C sum[4][4] = {};
  const int64_t begin = tile.split * size.k_each;
  const int64_t end = begin + size.k_each < size.k ? begin + size.k_each : size.k;
  load_a.fetch(begin);
  load_b.fetch(begin);
  int now = 0;
  for (int64_t k = begin; k < end; k += depth, now = 1 - now) {
    load_a.store_transposed(tiles.a[now], stride);
    load_b.store_transposed(tiles.b[now], stride);
    __syncthreads();  // one barrier a step is enough: the next step writes the other pair of tiles
    if (k + depth < end) {
      load_a.fetch(k + depth);
      load_b.fetch(k + depth);
    }
    const C *at = tiles.a[now] + row, *bt = tiles.b[now] + column;
    ACINUS_UNROLL
    for (int kk = 0; kk < depth; kk++) {
      ACINUS_UNROLL
      for (int i = 0; i < 4; i++) {
        ACINUS_UNROLL
        for (int j = 0; j < 4; j++) sum[i][j] += at[kk * stride + i] * bt[kk * stride + j];
      }
    }
  }
  ACINUS_UNROLL
  for (int j = 0; j < 4; j++) {
    const C values[4] = {sum[0][j], sum[1][j], sum[2][j], sum[3][j]};
    if (tile.m + row < size.m && tile.n + column + j < size.n)
      epilogue(tile.split, tile.m + row, tile.n + column + j, values);
  }
}

template <class C, class A, class B, class Epilogue>
void launch_tiled(const char* name, const ProductSize& size, const A& a, const B& b, const Epilogue& epilogue) {
  using Tiles = Tiled<C>;
  const int64_t tiles_m = (size.m + Tiles::width - 1) / Tiles::width,
                tiles_n = (size.n + Tiles::width - 1) / Tiles::width;
  launch(name, tiled_product<C, A, B, Epilogue>, size.splits() * tiles_m * tiles_n, Tiles::threads, sizeof(Tiles), size,
         tiles_m, tiles_n, a, b, epilogue);
}

}  // namespace acinus
#endif
