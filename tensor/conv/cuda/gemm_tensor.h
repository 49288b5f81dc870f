// The matrix product of tile_loader.h on tensor cores. A tensor core multiplies small matrices, *fragments*, which the 32
// threads of a warp hold together: 16 x 16 times 16 x 16 of bfloat16 at once, the sum in float32; or float32 rounded to
// TF32, 16 x 8 times 8 x 16. (CUDA Programming Guide, "Warp matrix functions")
#pragma once
#include "tensor/conv/cuda/tile_loader.h"
#include "tensor/dtype.h"

#ifdef ACINUS_KERNELS
namespace acinus {

// GPUs before compute capability 8.0 cannot do this. For them the kernels are compiled, too, but empty, and
// choose_algorithm never launches them.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define ACINUS_TENSOR_CORES
#endif

// How each type of factor is multiplied: Shared is what the tiles hold, Fragment what wmma calls it.
struct Bfloat16 {
  using Shared = bf16;
#ifdef ACINUS_TENSOR_CORES
  using Fragment = __nv_bfloat16;
#endif
  static constexpr int fragment_k = 16, depth = 32, run = 8, pad = 8;
  template <class Value>
  __device__ static Shared round(Value v) {
    return Shared(float(v));
  }
  __device__ static Shared round(bf16 v) { return v; }
};
struct Tf32 {
  using Shared = float;
#ifdef ACINUS_TENSOR_CORES
  using Fragment = nvcuda::wmma::precision::tf32;
#endif
  static constexpr int fragment_k = 8, depth = 16, run = 4, pad = 4;
  __device__ static Shared round(float v) {
#ifdef ACINUS_TENSOR_CORES
    return nvcuda::wmma::__float_to_tf32(v);
#else
    return v;
#endif
  }
};

// 128 threads, four warps, a tile of 128 x Columns: each warp takes a quarter of it, half the rows and half the
// columns. (pad: rows of shared memory are a little longer than needed, or numbers below each other would lie in the
// same of its 32 banks, which answer one request at a time.)
template <class Type, int Columns, bool A_along_k, bool B_along_k>
struct TensorTiles {
  using Shared = typename Type::Shared;
  static constexpr int threads = 128, rows = 128, columns = Columns;
  static constexpr int stride_a = (A_along_k ? Type::depth : rows) + Type::pad,
                       stride_b = (B_along_k ? Type::depth : columns) + Type::pad;
  static constexpr int size_a = (A_along_k ? rows : Type::depth) * stride_a,
                       size_b = (B_along_k ? columns : Type::depth) * stride_b;
  static constexpr int fragment_stride = 20;
  struct Factors {
    alignas(32) Shared a[2][size_a];
    alignas(32) Shared b[2][size_b];
  };
  union {
    Factors factors;
    alignas(32) float fragment[threads / 32][16 * fragment_stride];  // afterwards: a fragment of each warp
  };
};

// The second launch bound asks for this many blocks on a processor at once, among whose threads its registers are divided:
// while one block waits, others work.
template <class Type, int Columns, class A, class B, class Epilogue>
__global__ void __launch_bounds__(128, Columns == 128  ? 2
                                       : Columns == 64 ? 3
                                                       : 4)
    tensor_product(ProductSize size, int64_t tiles_m, int64_t tiles_n, A a, B b, Epilogue epilogue) {
  static_assert(A::vector == B::vector);
#ifdef ACINUS_TENSOR_CORES
  namespace wmma = nvcuda::wmma;
  using Tiles = TensorTiles<Type, Columns, A::along_k, B::along_k>;
  using Shared = typename Type::Shared;
  constexpr int depth = Type::depth, warp_rows = Tiles::rows / 2, warp_columns = Columns / 2;
  constexpr int high = warp_rows / 16, wide = warp_columns / 16;
  auto& tiles = shared_memory<Tiles>();
  const TileOrigin tile(Tiles::rows, Columns, tiles_m, tiles_n);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int row = warp / 2 * warp_rows, column = warp % 2 * warp_columns;

  TileLoader<A, Shared, Type, Tiles::rows, depth, Type::run, Tiles::threads> load_a(a, tile.m);
  TileLoader<B, Shared, Type, Columns, depth, Type::run, Tiles::threads> load_b(b, tile.n);
  wmma::fragment<wmma::accumulator, 16, 16, Type::fragment_k, float> sum[high][wide];
  ACINUS_UNROLL
  for (int i = 0; i < high; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < wide; j++) wmma::fill_fragment(sum[i][j], 0.0f);
  }

  const int64_t begin = tile.split * size.k_each;
  const int64_t end = begin + size.k_each < size.k ? begin + size.k_each : size.k;
  load_a.fetch(begin);
  load_b.fetch(begin);
  int now = 0;
  for (int64_t k = begin; k < end; k += depth, now = 1 - now) {
    load_a.store(tiles.factors.a[now], Tiles::stride_a);
    load_b.store(tiles.factors.b[now], Tiles::stride_b);
    __syncthreads();
    if (k + depth < end) {
      load_a.fetch(k + depth);
      load_b.fetch(k + depth);
    }
    using LayoutA = std::conditional_t<A::along_k, wmma::row_major, wmma::col_major>;
    using LayoutB = std::conditional_t<B::along_k, wmma::col_major, wmma::row_major>;
    wmma::fragment<wmma::matrix_a, 16, 16, Type::fragment_k, typename Type::Fragment, LayoutA> left[high];
    wmma::fragment<wmma::matrix_b, 16, 16, Type::fragment_k, typename Type::Fragment, LayoutB> right;
    using Pointer = const std::conditional_t<std::is_same_v<Shared, bf16>, __nv_bfloat16, float>*;
    const auto at = reinterpret_cast<Pointer>(tiles.factors.a[now]),
               bt = reinterpret_cast<Pointer>(tiles.factors.b[now]);
    ACINUS_UNROLL
    for (int kk = 0; kk < depth; kk += Type::fragment_k) {
      ACINUS_UNROLL
      for (int i = 0; i < high; i++) {
        const int m = row + 16 * i;
        wmma::load_matrix_sync(left[i], at + (A::along_k ? m * Tiles::stride_a + kk : kk * Tiles::stride_a + m),
                               Tiles::stride_a);
      }
      ACINUS_UNROLL
      for (int j = 0; j < wide; j++) {
        const int n = column + 16 * j;
        wmma::load_matrix_sync(right, bt + (B::along_k ? n * Tiles::stride_b + kk : kk * Tiles::stride_b + n),
                               Tiles::stride_b);
        ACINUS_UNROLL
        for (int i = 0; i < high; i++) wmma::mma_sync(sum[i][j], left[i], right, sum[i][j]);
      }
    }
  }

  // wmma does not say which thread holds which element of a fragment. So fragments go through shared memory once
  // more, one at a time, where the tiles were. Each thread takes two columns of four numbers.
  __syncthreads();
  float* fragment = tiles.fragment[warp];
  ACINUS_UNROLL
  for (int i = 0; i < high; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < wide; j++) {
      wmma::store_matrix_sync(fragment, sum[i][j], Tiles::fragment_stride, wmma::mem_row_major);
      __syncwarp();
      ACINUS_UNROLL
      for (int part = lane; part < 64; part += 32) {
        const int64_t m = tile.m + row + 16 * i + part / 16 * 4, n = tile.n + column + 16 * j + part % 16;
        const float* from = fragment + part / 16 * 4 * Tiles::fragment_stride + part % 16;
        const float values[4] = {from[0], from[Tiles::fragment_stride], from[2 * Tiles::fragment_stride],
                                 from[3 * Tiles::fragment_stride]};
        if (m < size.m && n < size.n) epilogue(tile.split, m, n, values);
      }
      __syncwarp();
    }
  }
#else
  __trap();
#endif
}

template <class Type, int Columns, class A, class B, class Epilogue>
void launch_tensor(const char* name, const ProductSize& size, const A& a, const B& b, const Epilogue& epilogue) {
  using Tiles = TensorTiles<Type, Columns, A::along_k, B::along_k>;
  const int64_t tiles_m = (size.m + Tiles::rows - 1) / Tiles::rows, tiles_n = (size.n + Columns - 1) / Columns;
  launch(name, tensor_product<Type, Columns, A, B, Epilogue>, size.splits() * tiles_m * tiles_n, Tiles::threads,
         sizeof(Tiles), size, tiles_m, tiles_n, a, b, epilogue);
}

}  // namespace acinus
#endif
