// Sums over the rows of images, on every device: of each channel over all pixels, for one.
//
//   reduce_columns<T>(device, groups, rows, columns, f)    for each of `groups` (rows x columns) matrices of elements T
//
// f is called for n neighbouring elements of a row at a time (pack.h), and returns their terms of one or two sums. As
// in reduce.h the order in which they are added depends on the shape alone.
#pragma once
#include <type_traits>
#include <vector>

#include "tensor/reduce.h"

namespace acinus {

// The terms of K sums for each of n neighbouring columns, computed in type C: what a functor of reduce_columns returns.
template <class C, int K, class Count>
struct Terms {
  using Number = C;
  static constexpr int sums = K;
  Values<C, Count> of[K];
  HD Values<C, Count>& operator[](int k) { return of[k]; }
  HD const Values<C, Count>& operator[](int k) const { return of[k]; }
};

// A plain sum of x.
template <class T>
struct ValueAt {
  const T* x;
  template <class Count>
  HD auto operator()(int64_t i, int64_t, Count n) const {
    const auto values = load(n, x + i);
    Terms<Compute<T>, 1, Count> terms;
    for (int k = 0; k < n; k++) terms[0][k] = values[k];
    return terms;
  }
};

template <class F>
using TermsOf = std::invoke_result_t<F, int64_t, int64_t, Exactly<1>>;

#ifdef ACINUS_KERNELS
// How the sums over the rows are divided among blocks of threads: a tile is `width` threads wide, N columns each, and
// a block sums `block_rows` rows of it, as many at once as it has threads for. It depends on the shape alone.
struct ColumnTiles {
  int64_t groups, rows, columns, block_rows;
  int width, tiles, blocks;  // tiles: side by side; blocks: one below the other in a tile
  ColumnTiles(int64_t groups, int64_t rows, int64_t columns, int n, int64_t most_blocks)
      : groups(groups), rows(rows), columns(columns), width(int(std::clamp<int64_t>(columns / n, 1, 32))) {
    tiles = int((columns / n + width - 1) / width);
    const int64_t least = 8 * (threads_per_block / width), wanted = most_blocks / std::max<int64_t>(groups * tiles, 1);
    block_rows = wanted > 1 ? std::max(least, (rows + wanted - 1) / wanted) : std::max<int64_t>(rows, 1);
    blocks = int(std::max<int64_t>((rows + block_rows - 1) / block_rows, 1));
  }
};

// Each thread adds up its rows, a few in the terms' own type, then in double, which on many GPUs is slow. The sums of
// a column's threads are added by halves, as in sum_kernel. The result goes to y if one block sums all rows, otherwise
// to parts (K, groups, blocks, columns), for the same kernel to add up.
template <int N, class Y, class F>
__global__ void __launch_bounds__(threads_per_block, 2)
    sum_columns_kernel(ColumnTiles tile, F f, double* parts, int64_t groups_of_y, Y* y0, Y* y1) {
  using T = TermsOf<F>;
  constexpr int sums = T::sums * N;
  auto& shared = shared_memory<double[sums][threads_per_block]>();
  const int t = int(threadIdx.x), at_once = threads_per_block / tile.width, row = t / tile.width;
  const int upper = int(blockIdx.x) / tile.tiles, block = upper % tile.blocks;
  const int64_t g = upper / tile.blocks;
  const int64_t c = (int64_t(blockIdx.x) % tile.tiles * tile.width + t % tile.width) * N, s = g * tile.columns + c;
  const int64_t begin = block * tile.block_rows;
  const int64_t end = begin + tile.block_rows < tile.rows ? begin + tile.block_rows : tile.rows;
  double own[sums] = {};
  // Some rows together: what they need is asked for before the first of them is used.
  const auto add = [&](int64_t r, auto together) {
    decltype(f(r, s, Exactly<N>())) terms[together];
    typename T::Number few[sums] = {};
    ACINUS_UNROLL
    for (int u = 0; u < together; u++)
      terms[u] = f((g * tile.rows + r + u * at_once) * tile.columns + c, s, Exactly<N>());
    ACINUS_UNROLL
    for (int u = 0; u < together; u++) {
      ACINUS_UNROLL
      for (int k = 0; k < sums; k++) few[k] += terms[u][k / N][k % N];
    }
    ACINUS_UNROLL
    for (int k = 0; k < sums; k++) own[k] += double(few[k]);
  };
  if (row < at_once && c < tile.columns) {
    constexpr Exactly<4 / T::sums> together;
    int64_t r = begin + row;
    for (; r + (together - 1) * at_once < end; r += together * at_once) add(r, together);
    for (; r < end; r += at_once) add(r, Exactly<1>());
  }
  ACINUS_UNROLL
  for (int k = 0; k < sums; k++) shared[k][t] = own[k];
  for (int rows = at_once, half; rows > 1; rows = half) {
    half = (rows + 1) / 2;
    __syncthreads();
    if (row + half < rows)
      for (int k = 0; k < sums; k++) shared[k][t] += shared[k][t + half * tile.width];
  }
  if (row > 0 || c >= tile.columns) return;
  for (int k = 0; k < sums; k++) {
    const int64_t group = k / N * tile.groups + g, column = c + k % N;
    if (tile.blocks > 1)
      parts[(group * tile.blocks + block) * tile.columns + column] = shared[k][t];
    else
      (group < groups_of_y ? y0 : y1)[group % groups_of_y * tile.columns + column] = Y(shared[k][t]);
  }
}

template <int N, class Y, class F>
void launch_sum_columns(int64_t groups, int64_t rows, int64_t columns, const F& f, const std::vector<Tensor>& y,
                        int64_t most_blocks) {
  const ColumnTiles tile(groups, rows, columns, N, most_blocks);
  constexpr int64_t K = TermsOf<F>::sums;
  const Tensor parts({tile.blocks > 1 ? K * groups * tile.blocks * columns : 0}, DType::f64, Device::cuda);
  launch(typeid(F).name(), sum_columns_kernel<N, Y, F>, groups * tile.tiles * tile.blocks, threads_per_block,
         sizeof(double[K * N][threads_per_block]), tile, f, parts.ptr<double>(), y[0].shape()[0], y[0].ptr<Y>(),
         y.back().ptr<Y>());
  if (tile.blocks == 1) return;
  const ValueAt<double> part{parts.ptr<double>()};
  columns % 2 ? launch_sum_columns<1, Y>(K * groups, tile.blocks, columns, part, y, 1)
              : launch_sum_columns<2, Y>(K * groups, tile.blocks, columns, part, y, 1);
}
#endif

// For each of `groups` blocks of memory that hold (rows x columns) elements of type T: sums over the rows of the terms
// that f(i, s, n) returns, those of elements i .. i+n-1 and sums s .. s+n-1. i is the linear index of an element, and s
// that of the sum it belongs to, group * columns + column. Returns a tensor (groups, columns) of type Y for each of the
// K sums.
//   Example: the channel sums of x (N,H,W,C): groups 1, rows N*H*W, columns C, f = ValueAt.
template <class T, class Y = Compute<T>, class F>
std::vector<Tensor> reduce_columns(Device device, int64_t groups, int64_t rows, int64_t columns, F f) {
  constexpr int sums = TermsOf<F>::sums;
  std::vector<Tensor> y;
  for (int k = 0; k < sums; k++) y.emplace_back(Shape{groups, columns}, dtype_of<Y>(), device);
#ifdef ACINUS_KERNELS
  if (device == Device::cuda) {
    constexpr int n = sixteen_bytes_of<T>;
    columns % n ? launch_sum_columns<1, Y>(groups, rows, columns, f, y, 264)
                : launch_sum_columns<n, Y>(groups, rows, columns, f, y, 264);
    return y;
  }
#endif
  const int64_t block = std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(columns, 1));
  const int64_t blocks = (rows + block - 1) / block;
  std::vector<double> parts(groups * blocks * sums * columns, 0.0);
#pragma omp parallel for schedule(static) firstprivate(f) if (groups * blocks > 1)
  for (int64_t gb = 0; gb < groups * blocks; gb++) {
    const int64_t g = gb / blocks, first = g * rows;
    const int64_t begin = gb % blocks * block, end = std::min(begin + block, rows);
    // 16 columns at a time, a constant: their sums stay in registers.
    for (int64_t c0 = 0; c0 < columns; c0 += 16) {
      double partial[sums][16] = {};
      const auto add_rows = [&](auto width) {
        for (int64_t r = first + begin; r < first + end; r++) {
          const auto terms = f(r * columns + c0, g * columns + c0, AtMost<16>{int(width)});
          for (int k = 0; k < sums; k++)
#pragma omp simd
            for (int c = 0; c < int(width); c++) partial[k][c] += double(terms[k][c]);
        }
      };
      if (columns - c0 >= 16)
        add_rows(std::integral_constant<int, 16>());
      else
        add_rows(columns - c0);
      for (int k = 0; k < sums; k++)
        for (int64_t c = c0; c < std::min(c0 + 16, columns); c++)
          parts[(gb * sums + k) * columns + c] = partial[k][c - c0];
    }
  }
  for (int k = 0; k < sums; k++)
    for (int64_t i = 0; i < groups * columns; i++) {
      double total = 0;
      for (int64_t b = 0; b < blocks; b++)
        total += parts[((i / columns * blocks + b) * sums + k) * columns + i % columns];
      y[k].template ptr<Y>()[i] = Y(total);
    }
  return y;
}

}  // namespace acinus
