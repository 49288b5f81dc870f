// Convolutions as matrix products in the type that the numbers have (bfloat16 in float32): the second step of
// docs/kernels.md, and the kernel for all that the others cannot compute.
//
//                      rows of C        columns   sum over         A                          B
//   forward            pixels of y      o         taps, c          patches of x               w
//   data gradient      pixels of dx     c         taps, o          patches of dy              w, transposed
//   weight gradient    taps, c          o         pixels of y      patches of x, transposed   dy
//
// A row of patches is what one pixel sees, kh * kw * c numbers. The matrix of all patches (im2col) would take kh * kw
// times an image's memory; here the kernel computes where in the image each number is when it needs it ("implicit
// GEMM", Chetlur et al. 2014, "cuDNN: Efficient Primitives for Deep Learning").
//
// A block of 256 threads computes a tile of 64 x 64 of C, a thread 4 x 4 of it, in steps of 16 terms of the sum:
//
//                  B     +------+
//                        | step |          for each step:   tiles of A and B -> shared memory
//                        +------+                           C tile += A tile * B tile
//             +-----+    +------+
//           A |step |    |  C   |          two pairs of tiles take turns: while one is multiplied, the numbers of the
//             +-----+    +------+          next are on their way from memory into registers (double buffering)
//
// Each number that is brought into shared memory is used 64 times, and each that a thread reads there four times.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/conv/cuda/parts.h"
#include "tensor/conv/cuda/patches.h"

#ifdef ACINUS_KERNELS
namespace acinus::on_gpu {
namespace {

constexpr int threads = 256, width = 64, depth = 16;
constexpr int stride = width + 4;  // rows of a tile are longer than 64: fewer bank conflicts

// ---- factors ------------------------------------------------------------------------------------------------------
//
// A factor has *lines*, the rows of A or the columns of B, each with as many *terms* as the sum has:
//
//   static constexpr bool terms_adjacent    neighbouring terms, or else neighbouring lines, are side by side in memory
//   line(i), term(k)                        what is computed once for all terms of a line, for all lines of a term
//   at(line, term)                          the number

// What the pixels see of an image (images,height,width,channels): lines are pixels, terms are taps and channels.
template <class T>
struct PatchMatrix {
  static constexpr bool terms_adjacent = true;
  Patches patches;
  const T* image;
  Divisor channels, taps_across;
  struct Tap {
    int row, col, channel;  // from the pixel's first tap
  };

  PatchMatrix(const Patches& patches, const T* image, int64_t channels)
      : patches(patches), image(image), channels(channels), taps_across(patches.taps_across) {}
  HD Patches::Pixel line(int i) const { return patches.seen_first(i); }
  HD Tap term(int k) const {
    const int number = channels.quotient(k), a = taps_across.quotient(number);
    return {a * patches.step_row, (number - a * taps_across) * patches.step_col, k - number * channels};
  }
  HD T at(const Patches::Pixel& first, const Tap& tap) const {
    const int row = first.row + tap.row, col = first.col + tap.col;
    if (row < 0 || row >= patches.height || col < 0 || col >= patches.width) return T(0);
    return image[int64_t((first.image * patches.height + row) * patches.width + col) * channels + tap.channel];
  }
};

// A factor whose lines are the other's terms.
template <class Factor>
struct Transposed {
  static constexpr bool terms_adjacent = !Factor::terms_adjacent;
  Factor factor;
  HD auto line(int i) const { return factor.term(i); }
  HD auto term(int k) const { return factor.line(k); }
  template <class Line, class Term>
  HD auto at(const Line& line, const Term& term) const {
    return factor.at(term, line);
  }
};

// A matrix (terms,lines) in memory.
template <class T>
struct Matrix {
  static constexpr bool terms_adjacent = false;
  const T* data;
  int lines;
  HD int line(int i) const { return i; }
  HD int64_t term(int k) const { return int64_t(k) * lines; }
  HD T at(int line, int64_t term) const { return data[term + line]; }
};

// w (taps,c,o), transposed: line c, and as terms the o numbers of each of the taps of the patches.
template <class C>
struct WeightsTransposed {
  static constexpr bool terms_adjacent = true;
  const C* w;
  int c;
  Divisor o, taps_across;
  int first_tap, tap_below, tap_right;
  HD int64_t line(int i) const { return int64_t(i) * o; }
  HD int64_t term(int k) const {
    const int number = o.quotient(k), a = taps_across.quotient(number), b = number - a * taps_across;
    return int64_t(first_tap + a * tap_below + b * tap_right) * c * o + k - number * o;
  }
  HD C at(int64_t line, int64_t term) const { return w[line + term]; }
};

// ---- results ------------------------------------------------------------------------------------------------------

template <class T, class C>
struct StorePixels {  // relu(bias + sum)
  Patches patches;
  int channels;
  const C* bias;
  bool relu;
  T* result;
  HD void operator()(int, int line, int column, C sum) const {
    const C value = sum + (bias ? bias[column] : C(0));
    const int64_t at = int64_t(patches.result(line)) * channels + column;
    result[at] = T(relu && value <= 0 ? C(0) : value);  // NaN stays NaN
  }
};

template <class C>
struct StoreParts {
  int rows, columns;
  C* parts;  // (splits,rows,columns)
  HD void operator()(int split, int line, int column, C sum) const {
    parts[(int64_t(split) * rows + line) * columns + column] = sum;
  }
};

// ---- the kernel ---------------------------------------------------------------------------------------------------

struct Product {
  int rows, columns, terms, terms_each;  // the sum is split into sums of terms_each
  int tiles_down() const { return (rows + width - 1) / width; }
  int tiles_across() const { return (columns + width - 1) / width; }
  int splits() const { return terms == 0 ? 1 : (terms + terms_each - 1) / terms_each; }
};

// A thread's four numbers of a tile: one term, four lines. Beyond the last line it repeats the first, and what is
// computed from that is not stored.
template <class C, class Factor>
struct TileLoader {
  const Factor& factor;
  int line, term;  // of the first number, in the tile
  decltype(factor.line(0)) lines[4];
  decltype(factor.at(factor.line(0), factor.term(0))) values[4];

  __device__ TileLoader(const Factor& factor, int first_line, int line_count) : factor(factor) {
    const int fast = int(threadIdx.x) % 16, slow = int(threadIdx.x) / 16;
    line = Factor::terms_adjacent ? slow : fast, term = Factor::terms_adjacent ? fast : slow;
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      const int number = first_line + line + 16 * r;
      lines[r] = factor.line(number < line_count ? number : 0);
    }
  }
  __device__ void fetch(int first_term, int end) {
    const bool exists = first_term + term < end;
    const auto here = factor.term(exists ? first_term + term : 0);
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) {
      values[r] = 0;
      if (exists) values[r] = factor.at(lines[r], here);
    }
  }
  __device__ void store(C* tile) const {
    ACINUS_UNROLL
    for (int r = 0; r < 4; r++) tile[term * stride + line + 16 * r] = C(values[r]);
  }
};

template <class C>
struct Tiles {
  C a[2][depth * stride], b[2][depth * stride];
};

template <class C, class A, class B, class Store>
__global__ void __launch_bounds__(threads)
    tiled_kernel(Product size, Divisor tiles_down, Divisor tiles_across, A a, B b, Store store) {
  auto& tiles = shared_memory<Tiles<C>>();
  const int rest = tiles_across.quotient(int(blockIdx.x)), split = tiles_down.quotient(rest);
  const int first_row = (rest - split * tiles_down) * width,
            first_column = (int(blockIdx.x) - rest * tiles_across) * width;
  const int row = int(threadIdx.x) / 16 * 4, column = int(threadIdx.x) % 16 * 4;
  TileLoader<C, A> load_a(a, first_row, size.rows);
  TileLoader<C, B> load_b(b, first_column, size.columns);
  C sums[4][4] = {};
  const int begin = split * size.terms_each;
  const int end = size.terms - begin < size.terms_each ? size.terms : begin + size.terms_each;
  load_a.fetch(begin, end);
  load_b.fetch(begin, end);
  int now = 0;
  for (int k = begin; k < end; k += depth, now = 1 - now) {
    load_a.store(tiles.a[now]);
    load_b.store(tiles.b[now]);
    __syncthreads();  // one barrier a step is enough: the next step writes the other pair of tiles
    if (k + depth < end) {
      load_a.fetch(k + depth, end);
      load_b.fetch(k + depth, end);
    }
    const C *at = tiles.a[now] + row, *bt = tiles.b[now] + column;
    ACINUS_UNROLL
    for (int kk = 0; kk < depth; kk++) {
      ACINUS_UNROLL
      for (int i = 0; i < 4; i++) {
        ACINUS_UNROLL
        for (int j = 0; j < 4; j++) sums[i][j] += at[kk * stride + i] * bt[kk * stride + j];
      }
    }
  }
  ACINUS_UNROLL
  for (int i = 0; i < 4; i++) {
    ACINUS_UNROLL
    for (int j = 0; j < 4; j++) {
      const int line = first_row + row + i, number = first_column + column + j;
      if (line < size.rows && number < size.columns) store(split, line, number, sums[i][j]);
    }
  }
}

template <class C, class A, class B, class Store>
void run(const char* name, const Product& size, const A& a, const B& b, const Store& store) {
  launch(name, tiled_kernel<C, A, B, Store>, int64_t(size.splits()) * size.tiles_down() * size.tiles_across(), threads,
         sizeof(Tiles<C>), size, Divisor(size.tiles_down()), Divisor(size.tiles_across()), a, b, store);
}

void check_size(const char* name, const ConvGeometry& g) {
  const int64_t limit = (int64_t(1) << 31) - 1024;
  check(g.n * std::max(g.h * g.w, g.oh * g.ow) < limit && g.kh * g.kw * std::max(g.c, g.o) < limit, name,
        ": more than 2^31 pixels, or more than 2^31 terms in a sum; use a smaller batch");
}

}  // namespace

template <class T>
void Tiled<T>::forward(const ConvGeometry& g, const T* x, const C* w, const C* bias, bool relu, T* y) {
  check_size("conv_forward", g);
  const Patches p = forward_patches(g);
  const int terms = int(g.kh * g.kw * g.c), o = int(g.o);
  const Product size{p.pixels, o, terms, terms};
  run<C>("conv_forward", size, PatchMatrix<T>(p, x, g.c), Matrix<C>{w, o}, StorePixels<T, C>{p, o, bias, relu, y});
}

template <class T>
void Tiled<T>::data_gradient(const ConvGeometry& g, const T* dy, const C* w, const C* bias, T* dx) {
  check_size("conv_data_gradient", g);
  for_each_phase(g, [&](const Patches& p) {
    const int terms = p.taps_down * p.taps_across * int(g.o), c = int(g.c);
    const Product size{p.pixels, c, terms, terms};
    run<C>("conv_data_gradient", size, PatchMatrix<T>(p, dy, g.o),
           WeightsTransposed<C>{w, c, g.o, p.taps_across, p.first_tap, p.tap_below, p.tap_right},
           StorePixels<T, C>{p, c, bias, /*relu=*/false, dx});
  });
}

// A small matrix with a long sum, which is split until there are up to a thousand tiles, each of 512 terms or more.
template <class T>
void Tiled<T>::weight_gradient(const ConvGeometry& g, const T* x, const T* dy, C* dw) {
  check_size("conv_weight_gradient", g);
  const Patches p = forward_patches(g);
  Product size{int(g.kh * g.kw * g.c), int(g.o), p.pixels, p.pixels};
  const int tiles = size.tiles_down() * size.tiles_across();
  const int wanted = std::clamp(std::min(1024 / std::max(tiles, 1), size.terms / 512), 1, 256);
  size.terms_each = std::max((size.terms / wanted + depth - 1) / depth * depth, depth);
  const int64_t splits = size.splits(), weights = g.kh * g.kw * g.c * g.o;
  const Tensor parts({splits > 1 ? splits : 0, weights}, dtype_of<C>(), Device::cuda);
  run<C>("conv_weight_gradient", size, Transposed<PatchMatrix<T>>{{p, x, g.c}}, Matrix<T>{dy, size.columns},
         StoreParts<C>{size.rows, size.columns, splits > 1 ? parts.ptr<C>() : dw});
  if (splits > 1) sum_parts(parts, weights, dw);
}

template struct Tiled<float>;
template struct Tiled<double>;
template struct Tiled<bf16>;

}  // namespace acinus::on_gpu
#endif
