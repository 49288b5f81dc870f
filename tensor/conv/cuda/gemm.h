// The matrix product on the GPU, C (M x N) = A (M x K) B (K x N), of factors that need not lie anywhere as matrices: an
// *operand* computes where in memory each element is (conv_cuda.h), and an *epilogue* takes what has been computed.
// docs/kernels.md leads up to this page step by step.
//
// A block of threads computes a tile of C. It goes along K in short steps; at each, the threads bring a tile of A and
// one of B into shared memory, each number once, and then use it as often as the tile of C is wide:
//
//                  B     +------+
//                        | step |          for each step:   tiles of A and B -> shared memory
//                        +------+                           C tile += A tile * B tile
//             +-----+    +------+
//           A |step |    |  C   |          two pairs of tiles take turns: while one is multiplied, the numbers of the
//             +-----+    +------+          next are on their way from memory into registers
//
// Two kernels do so: tiled_product in the type the numbers have, tensor_product on tensor cores.
//
// An operand is a matrix of `lines` x `length`, stored so that along a line numbers lie together:
//
//   static constexpr bool along_k;     lines are rows of A or columns of B (true), or the other way round
//   Line line(int64_t i) const         what the elements of line i have in common, worked out once
//   Step step(int64_t j) const         what element j is in every line, worked out once
//   Value at(Line, Step) const         this element of the line
//   const Value* place(Line, Step) const    where it and those after it lie (null: they are 0), if the operand is
//                                      `vector`: then up to 16 bytes' worth do, from any multiple of that on
//
// and an epilogue is called with four numbers of C, one below the other:   epilogue(split, m, n, values),   m a
// multiple of 4; some of the rows may be beyond M, which it knows. With k_each < K the sum is split: `split` s is the
// sum from k = s * k_each on, and somebody has to add them up.
#pragma once
#include "tensor/cuda/kernel.h"

#ifdef ACINUS_KERNELS
namespace acinus {

template <class T>
HD T zero_or(const T* place) {
  return place ? *place : T(0);
}

// Which of the threads' work on a tile of `Width` lines-or-elements x `Depth` steps of k is this thread's: runs of
// `Run` elements that lie together, `runs` of them.
template <class Operand, int Width, int Depth, int Run, int Threads>
struct Share {
  static constexpr int length = Operand::along_k ? Depth : Width, lines = Operand::along_k ? Width : Depth;
  static constexpr int runs_a_line = length / Run, runs = runs_a_line * lines / Threads;
  static_assert(runs_a_line * lines % Threads == 0, "every thread brings the same number of runs");
  __device__ static int line(int r) { return (int(threadIdx.x) + r * Threads) / runs_a_line; }
  __device__ static int element(int r) { return (int(threadIdx.x) + r * Threads) % runs_a_line * Run; }
};

// Brings a tile from memory into registers, and from there into shared memory as Stage, the type that is multiplied.
// Convert::stage rounds a Value to it.
template <class Operand, class Stage, class Convert, int Width, int Depth, int Run, int Threads>
struct Carrier {
  using Mine = Share<Operand, Width, Depth, Run, Threads>;
  using Line = typename Operand::Line;
  using Step = typename Operand::Step;
  // All runs of a thread are of the same elements, in lines some apart.
  static_assert(Threads % Mine::runs_a_line == 0);
  const Operand& operand;
  int64_t first;             // line or element of the operand where the tile begins, across k
  Line lines[Mine::runs]{};  // where they are the same at every step
  Step steps[Operand::vector ? 1 : Run]{};
  Stage values[Mine::runs][Run];

  __device__ Carrier(const Operand& operand, int64_t first) : operand(operand), first(first) {
    if constexpr (Operand::along_k) {
      ACINUS_UNROLL
      for (int r = 0; r < Mine::runs; r++) {
        const int64_t i = first + Mine::line(r);
        if (i < operand.lines) lines[r] = operand.line(i);
      }
    } else {
      find_steps(first + Mine::element(0));
    }
  }

  __device__ void find_steps(int64_t element) {
    ACINUS_UNROLL
    for (int e = 0; e < int(sizeof(steps) / sizeof(Step)); e++)
      if (element + e < operand.length) steps[e] = operand.step(element + e);
  }

  __device__ void fetch(int64_t k) {
    const int64_t element = (Operand::along_k ? k : first) + Mine::element(0);
    if constexpr (Operand::along_k) find_steps(element);
    ACINUS_UNROLL
    for (int r = 0; r < Mine::runs; r++) {
      const int64_t line = (Operand::along_k ? first : k) + Mine::line(r);
      if (line >= operand.lines || element >= operand.length) {
        ACINUS_UNROLL
        for (int e = 0; e < Run; e++) values[r][e] = Stage(0);
        continue;
      }
      const Line where = Operand::along_k ? lines[r] : operand.line(line);
      if constexpr (Operand::vector) {
        take_together(operand.place(where, steps[0]), values[r]);
      } else {
        ACINUS_UNROLL
        for (int e = 0; e < Run; e++)
          values[r][e] = element + e < operand.length ? Convert::stage(operand.at(where, steps[e])) : Stage(0);
      }
    }
  }

  template <class Value>
  __device__ static void take_together(const Value* place, Stage (&to)[Run]) {
    constexpr int sixteens = Run * int(sizeof(Value)) / 16, each = 16 / int(sizeof(Value));
    ACINUS_UNROLL
    for (int s = 0; s < sixteens; s++) {
      Sixteen bytes{};
      if (place) bytes = load_sixteen(place + s * each);
      Value some[each];
      memcpy(some, &bytes, 16);
      ACINUS_UNROLL
      for (int e = 0; e < each; e++) to[s * each + e] = Convert::stage(some[e]);
    }
  }

  // tile[line][element], rows `stride` long
  __device__ void put(Stage* tile, int stride) const {
    ACINUS_UNROLL
    for (int r = 0; r < Mine::runs; r++) {
      Sixteen bytes;
      static_assert(sizeof(values[r]) == 16);
      memcpy(&bytes, values[r], 16);
      store_sixteen(tile + Mine::line(r) * stride + Mine::element(r), bytes);
    }
  }

  // tile[k][across], whichever way the operand lies
  __device__ void put_by_k(Stage* tile, int stride) const {
    ACINUS_UNROLL
    for (int r = 0; r < Mine::runs; r++) {
      ACINUS_UNROLL
      for (int e = 0; e < Run; e++) {
        const int element = Mine::element(r) + e, line = Mine::line(r);
        tile[Operand::along_k ? element * stride + line : line * stride + element] = values[r][e];
      }
    }
  }
};

// Where in C a block works.
struct TileOf {
  int64_t m, n, split;
  __device__ TileOf(int64_t rows, int64_t columns, int64_t tiles_m, int64_t tiles_n)
      : m(blockIdx.x / tiles_n % tiles_m * rows),
        n(blockIdx.x % tiles_n * columns),
        split(blockIdx.x / tiles_n / tiles_m) {}
};

struct ProductSize {
  int64_t m, n, k, k_each;  // k_each a multiple of 32, or k
  int64_t splits() const { return k == 0 ? 1 : (k + k_each - 1) / k_each; }
};

// ---- in the type the numbers have -------------------------------------------------------------------------------

// 256 threads, a tile of 64 x 64, 16 steps of k at a time. Each thread computes 4 x 4 numbers of C, and so uses each
// number that it reads from shared memory four times.
struct Tiled {
  static constexpr int threads = 256, width = 64, depth = 16, run = 4, stride = width + 4;
  template <class C>
  struct Tiles {
    C a[2][depth * stride], b[2][depth * stride];
  };
  template <class C>
  struct Convert {
    template <class Value>
    __device__ static C stage(Value v) {
      return C(v);
    }
  };
};

template <class C, class A, class B, class Epilogue>
__global__ void __launch_bounds__(Tiled::threads)
    tiled_product(ProductSize size, int64_t tiles_m, int64_t tiles_n, A a, B b, Epilogue epilogue) {
  constexpr int depth = Tiled::depth, stride = Tiled::stride;
  auto& tiles = shared_memory<Tiled::Tiles<C>>();
  const TileOf tile(Tiled::width, Tiled::width, tiles_m, tiles_n);
  const int row = int(threadIdx.x) / 16 * 4, column = int(threadIdx.x) % 16 * 4;
  Carrier<A, C, Tiled::Convert<C>, Tiled::width, depth, Tiled::run, Tiled::threads> carry_a(a, tile.m);
  Carrier<B, C, Tiled::Convert<C>, Tiled::width, depth, Tiled::run, Tiled::threads> carry_b(b, tile.n);
  C sum[4][4] = {};
  const int64_t begin = tile.split * size.k_each;
  const int64_t end = begin + size.k_each < size.k ? begin + size.k_each : size.k;
  carry_a.fetch(begin);
  carry_b.fetch(begin);
  int now = 0;
  for (int64_t k = begin; k < end; k += depth, now = 1 - now) {
    carry_a.put_by_k(tiles.a[now], stride);
    carry_b.put_by_k(tiles.b[now], stride);
    __syncthreads();  // one barrier a step is enough: what is written next is the other pair of tiles
    if (k + depth < end) {
      carry_a.fetch(k + depth);
      carry_b.fetch(k + depth);
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
  const int64_t tiles_m = (size.m + Tiled::width - 1) / Tiled::width,
                tiles_n = (size.n + Tiled::width - 1) / Tiled::width;
  launch(name, tiled_product<C, A, B, Epilogue>, size.splits() * tiles_m * tiles_n, Tiled::threads,
         sizeof(Tiled::Tiles<C>), size, tiles_m, tiles_n, a, b, epilogue);
}

// ---- on tensor cores --------------------------------------------------------------------------------------------

// Older GPUs have no such tensor cores. The kernels are compiled for them too, empty, and never launched
// (choose_algorithm).
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define ACINUS_TENSOR_CORES
#endif

// A tensor core multiplies small matrices, *fragments*, which the 32 threads of a warp hold together: 16 x 16 times
// 16 x 16 of bfloat16 in one go, the sum in float32. (CUDA Programming Guide, "Warp matrix functions")
struct Bfloat16 {
  using Stage = bf16;
#ifdef ACINUS_TENSOR_CORES
  using Fragment = __nv_bfloat16;
#endif
  static constexpr int fragment_k = 16, depth = 32, run = 8, pad = 8;
  template <class Value>
  __device__ static Stage stage(Value v) {
    return Stage(float(v));
  }
  __device__ static Stage stage(bf16 v) { return v; }
};
struct Tf32 {
  using Stage = float;
#ifdef ACINUS_TENSOR_CORES
  using Fragment = nvcuda::wmma::precision::tf32;
#endif
  static constexpr int fragment_k = 8, depth = 16, run = 4, pad = 4;
  __device__ static Stage stage(float v) {
#ifdef ACINUS_TENSOR_CORES
    return nvcuda::wmma::__float_to_tf32(v);
#else
    return v;
#endif
  }
};

// 128 threads, four warps, a tile of 128 x Columns: each warp takes a quarter of it, half the rows and half the
// columns. (pad: rows of shared memory are a little longer, or numbers below each other would lie in the same of its 32
// banks, which answer one request at a time.)
template <class Type, int Columns, bool A_along_k, bool B_along_k>
struct TensorTiles {
  using Stage = typename Type::Stage;
  static constexpr int threads = 128, rows = 128, columns = Columns;
  static constexpr int stride_a = (A_along_k ? Type::depth : rows) + Type::pad,
                       stride_b = (B_along_k ? Type::depth : columns) + Type::pad;
  static constexpr int size_a = (A_along_k ? rows : Type::depth) * stride_a,
                       size_b = (B_along_k ? columns : Type::depth) * stride_b;
  static constexpr int patch_stride = 20;
  struct Factors {
    alignas(32) Stage a[2][size_a];
    alignas(32) Stage b[2][size_b];
  };
  union {
    Factors factors;
    alignas(32) float patch[threads / 32][16 * patch_stride];  // afterwards: a fragment of each warp
  };
};

// (The second number: so many blocks a processor, among whose threads its registers are shared out. While one waits,
// others work.)
template <class Type, int Columns, class A, class B, class Epilogue>
__global__ void __launch_bounds__(128, Columns == 128 ? 2 : Columns == 64 ? 3 : 4)
    tensor_product(ProductSize size, int64_t tiles_m, int64_t tiles_n, A a, B b, Epilogue epilogue) {
  static_assert(A::vector == B::vector);
#ifdef ACINUS_TENSOR_CORES
  namespace wmma = nvcuda::wmma;
  using Tiles = TensorTiles<Type, Columns, A::along_k, B::along_k>;
  using Stage = typename Type::Stage;
  constexpr int depth = Type::depth, warp_rows = Tiles::rows / 2, warp_columns = Columns / 2;
  constexpr int high = warp_rows / 16, wide = warp_columns / 16;
  auto& tiles = shared_memory<Tiles>();
  const TileOf tile(Tiles::rows, Columns, tiles_m, tiles_n);
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const int row = warp / 2 * warp_rows, column = warp % 2 * warp_columns;

  Carrier<A, Stage, Type, Tiles::rows, depth, Type::run, Tiles::threads> carry_a(a, tile.m);
  Carrier<B, Stage, Type, Columns, depth, Type::run, Tiles::threads> carry_b(b, tile.n);
  wmma::fragment<wmma::accumulator, 16, 16, Type::fragment_k, float> sum[high][wide];
  ACINUS_UNROLL
  for (int i = 0; i < high; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < wide; j++) wmma::fill_fragment(sum[i][j], 0.0f);
  }

  const int64_t begin = tile.split * size.k_each;
  const int64_t end = begin + size.k_each < size.k ? begin + size.k_each : size.k;
  carry_a.fetch(begin);
  carry_b.fetch(begin);
  int now = 0;
  for (int64_t k = begin; k < end; k += depth, now = 1 - now) {
    carry_a.put(tiles.factors.a[now], Tiles::stride_a);
    carry_b.put(tiles.factors.b[now], Tiles::stride_b);
    __syncthreads();
    if (k + depth < end) {
      carry_a.fetch(k + depth);
      carry_b.fetch(k + depth);
    }
    using LayoutA = std::conditional_t<A::along_k, wmma::row_major, wmma::col_major>;
    using LayoutB = std::conditional_t<B::along_k, wmma::col_major, wmma::row_major>;
    wmma::fragment<wmma::matrix_a, 16, 16, Type::fragment_k, typename Type::Fragment, LayoutA> left[high];
    wmma::fragment<wmma::matrix_b, 16, 16, Type::fragment_k, typename Type::Fragment, LayoutB> right;
    using Pointer = const std::conditional_t<std::is_same_v<Stage, bf16>, __nv_bfloat16, float>*;
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

  // Which thread holds which element of a fragment is not told; so through shared memory once more, where the tiles
  // were, a fragment at a time. Each thread takes two columns of four numbers.
  __syncthreads();
  float* patch = tiles.patch[warp];
  ACINUS_UNROLL
  for (int i = 0; i < high; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < wide; j++) {
      wmma::store_matrix_sync(patch, sum[i][j], Tiles::patch_stride, wmma::mem_row_major);
      __syncwarp();
      ACINUS_UNROLL
      for (int part = lane; part < 64; part += 32) {
        const int64_t m = tile.m + row + 16 * i + part / 16 * 4, n = tile.n + column + 16 * j + part % 16;
        const float* from = patch + part / 16 * 4 * Tiles::patch_stride + part % 16;
        const float values[4] = {from[0], from[Tiles::patch_stride], from[2 * Tiles::patch_stride],
                                 from[3 * Tiles::patch_stride]};
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
