// What the two matrix products on the GPU share: C (M x N) = A (M x K) B (K x N), of factors that need not be in memory as
// matrices. An *operand* computes where in memory each element is (implicit_gemm.h), and an *epilogue* takes what has
// been computed. docs/kernels.md leads up to this page step by step.
//
// A block of threads computes a tile of C. It goes along K in short steps; at each, the threads load a tile of A and one
// of B into shared memory, each number once, and then use it as often as the tile of C is wide:
//
//                  B     +------+
//                        | step |          for each step:   tiles of A and B -> shared memory
//                        +------+                           C tile += A tile * B tile
//             +-----+    +------+
//           A |step |    |  C   |          two pairs of tiles take turns: while one is multiplied, the numbers of the
//             +-----+    +------+          next are on their way from memory into registers (double buffering)
//
// gemm_tiled.h does so in the type that the numbers have, gemm_tensor.h on tensor cores.
//
// An operand is a matrix of `lines` x `length`, stored so that along a line numbers lie together:
//
//   static constexpr bool along_k;     lines are rows of A or columns of B (true), or the other way round
//   Line line(int64_t i) const         what the elements of line i have in common, computed once
//   Step step(int64_t j) const         what element j is in every line, computed once
//   Value at(Line, Step) const         this element of the line
//   const Value* address(Line, Step) const    of this element, null if it is 0. If the operand is `vector`, the elements
//                                      after it, up to 16 bytes from a multiple of 16 bytes on, lie behind it
//
// and an epilogue is called with four numbers of C, one below the other:   epilogue(split, m, n, values),   m a
// multiple of 4; some of the rows may be beyond M, which it has to check. With k_each < K the sum is split ("split-K"):
// `split` s is the sum from k = s * k_each on, and the caller adds them up.
#pragma once
#include "tensor/cuda/kernel.h"

#ifdef ACINUS_KERNELS
namespace acinus {

template <class T>
HD T value_or_zero(const T* address) {
  return address ? *address : T(0);
}

// The part of a tile, `Width` across k and `Depth` along k, that this thread loads: `runs` runs of `Run` elements that lie
// together.
template <class Operand, int Width, int Depth, int Run, int Threads>
struct ThreadPart {
  static constexpr int length = Operand::along_k ? Depth : Width, lines = Operand::along_k ? Width : Depth;
  static constexpr int runs_a_line = length / Run, runs = runs_a_line * lines / Threads;
  static_assert(runs_a_line * lines % Threads == 0, "every thread loads the same number of runs");
  __device__ static int line(int r) { return (int(threadIdx.x) + r * Threads) / runs_a_line; }
  __device__ static int element(int r) { return (int(threadIdx.x) + r * Threads) % runs_a_line * Run; }
};

// Loads a tile from memory into registers, and stores it from there into shared memory as Shared, the type that is
// multiplied. Convert::round rounds a Value to it.
template <class Operand, class Shared, class Convert, int Width, int Depth, int Run, int Threads>
struct TileLoader {
  using Part = ThreadPart<Operand, Width, Depth, Run, Threads>;
  using Line = typename Operand::Line;
  using Step = typename Operand::Step;
  // All runs of a thread are of the same elements, in different lines.
  static_assert(Threads % Part::runs_a_line == 0);
  const Operand& operand;
  int64_t first;             // line or element of the operand where the tile begins, across k
  Line lines[Part::runs]{};  // of operands along k: the same at every step
  Step steps[Operand::vector ? 1 : Run]{};
  Shared values[Part::runs][Run];

  __device__ TileLoader(const Operand& operand, int64_t first) : operand(operand), first(first) {
    if constexpr (Operand::along_k) {
      ACINUS_UNROLL
      for (int r = 0; r < Part::runs; r++) {
        const int64_t i = first + Part::line(r);
        if (i < operand.lines) lines[r] = operand.line(i);
      }
    } else {
      find_steps(first + Part::element(0));
    }
  }

  __device__ void find_steps(int64_t element) {
    ACINUS_UNROLL
    for (int e = 0; e < int(sizeof(steps) / sizeof(Step)); e++)
      if (element + e < operand.length) steps[e] = operand.step(element + e);
  }

  __device__ void fetch(int64_t k) {
    const int64_t element = (Operand::along_k ? k : first) + Part::element(0);
    if constexpr (Operand::along_k) find_steps(element);
    ACINUS_UNROLL
    for (int r = 0; r < Part::runs; r++) {
      const int64_t line = (Operand::along_k ? first : k) + Part::line(r);
      if (line >= operand.lines || element >= operand.length) {
        ACINUS_UNROLL
        for (int e = 0; e < Run; e++) values[r][e] = Shared(0);
        continue;
      }
      const Line current = Operand::along_k ? lines[r] : operand.line(line);
      if constexpr (Operand::vector) {
        load_run(operand.address(current, steps[0]), values[r]);
      } else {
        ACINUS_UNROLL
        for (int e = 0; e < Run; e++)
          values[r][e] = element + e < operand.length ? Convert::round(operand.at(current, steps[e])) : Shared(0);
      }
    }
  }

  template <class Value>
  __device__ static void load_run(const Value* address, Shared (&to)[Run]) {
    constexpr int sixteens = Run * int(sizeof(Value)) / 16, each = 16 / int(sizeof(Value));
    ACINUS_UNROLL
    for (int s = 0; s < sixteens; s++) {
      Sixteen bytes{};
      if (address) bytes = load_sixteen(address + s * each);
      Value loaded[each];
      memcpy(loaded, &bytes, 16);
      ACINUS_UNROLL
      for (int e = 0; e < each; e++) to[s * each + e] = Convert::round(loaded[e]);
    }
  }

  // tile[line][element], rows `stride` long
  __device__ void store(Shared* tile, int stride) const {
    ACINUS_UNROLL
    for (int r = 0; r < Part::runs; r++) {
      Sixteen bytes;
      static_assert(sizeof(values[r]) == 16);
      memcpy(&bytes, values[r], 16);
      store_sixteen(tile + Part::line(r) * stride + Part::element(r), bytes);
    }
  }

  // tile[k][across], transposed where the operand lies along k
  __device__ void store_transposed(Shared* tile, int stride) const {
    ACINUS_UNROLL
    for (int r = 0; r < Part::runs; r++) {
      ACINUS_UNROLL
      for (int e = 0; e < Run; e++) {
        const int element = Part::element(r) + e, line = Part::line(r);
        tile[Operand::along_k ? element * stride + line : line * stride + element] = values[r][e];
      }
    }
  }
};

// Where in C the tile of this block begins.
struct TileOrigin {
  int64_t m, n, split;
  __device__ TileOrigin(int64_t rows, int64_t columns, int64_t tiles_m, int64_t tiles_n)
      : m(blockIdx.x / tiles_n % tiles_m * rows),
        n(blockIdx.x % tiles_n * columns),
        split(blockIdx.x / tiles_n / tiles_m) {}
};

struct ProductSize {
  int64_t m, n, k, k_each;  // k_each a multiple of 32, or k
  int64_t splits() const { return k == 0 ? 1 : (k + k_each - 1) / k_each; }
};

}  // namespace acinus
#endif
