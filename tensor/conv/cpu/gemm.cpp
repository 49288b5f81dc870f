// Eigen stays in .cpp files: in a file that nvcc compiles it switches its SIMD code off, and its templates would slow
// every file's compilation down.
#include "tensor/conv/cpu/gemm.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own AVX-512 header (GCC bug 105593); which of the two warnings depends on -O.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#define EIGEN_DONT_PARALLELIZE  // our threads already share out the work
#define EIGEN_NO_DEBUG          // Eigen's own asserts; gemm checks the shapes
#include <Eigen/Core>
#include <algorithm>

#include "tensor/check.h"

namespace acinus {

// ---- any sizes: Eigen -----------------------------------------------------------------------------------------

namespace {

template <class M>  // M = a row- or column-major Eigen matrix, const or not
using Map = Eigen::Map<M, 0, Eigen::OuterStride<>>;
template <class T, int order>
using Dense = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, order>;

}  // namespace

template <class T>
void gemm(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate) {
  const bool at = transpose == Transpose::a;
  const int64_t rows = at ? a.cols : a.rows, inner = at ? a.rows : a.cols;
  check(inner == b.rows && rows == c.rows && b.cols == c.cols, "gemm: (", rows, "x", inner, ") (", b.rows, "x", b.cols,
        ") does not give (", c.rows, "x", c.cols, ")");
  Map<Dense<T, Eigen::RowMajor>> out(c.data, c.rows, c.cols, Eigen::OuterStride<>(c.stride));
  const Map<const Dense<T, Eigen::RowMajor>> right(b.data, b.rows, b.cols, Eigen::OuterStride<>(b.stride));
  if (!accumulate) out.setZero();
  if (at)  // row-major memory read as column-major is the transpose
    out.noalias() += Map<const Dense<T, Eigen::ColMajor>>(a.data, rows, inner, Eigen::OuterStride<>(a.stride)) * right;
  else
    out.noalias() += Map<const Dense<T, Eigen::RowMajor>>(a.data, rows, inner, Eigen::OuterStride<>(a.stride)) * right;
}

template void gemm(Transpose, Matrix<const float>, Matrix<const float>, Matrix<float>, bool);
template void gemm(Transpose, Matrix<const double>, Matrix<const double>, Matrix<double>, bool);

// ---- panels ---------------------------------------------------------------------------------------------------

namespace {

// The micro-kernel: R rows of C at once, their R * N vectors of sums in registers. Each step k reads N vectors of B, and
// one number of A for each row.
template <int R, int N, bool transposed, class T>
void micro_kernel(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c, int64_t c_stride,
                  bool accumulate) {
  Vector<T> sum[R][N];
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) sum[r][n] = Vector<T>{};
  for (int64_t k = 0; k < depth; k++) {
    Vector<T> row[N];
    for (int n = 0; n < N; n++) row[n] = load(b + k * b_stride + n * lanes<T>);
    for (int r = 0; r < R; r++) {
      const T factor = transposed ? a[k * a_stride + r] : a[r * a_stride + k];
      for (int n = 0; n < N; n++) sum[r][n] += factor * row[n];
    }
  }
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) {
      T* to = c + r * c_stride + n * lanes<T>;
      store(to, accumulate ? Vector<T>(load(to) + sum[r][n]) : sum[r][n]);
    }
}

// Rows in groups of R, then the remaining ones in groups of R / 2, and so on. Long sums are made in blocks of 128 terms:
// the rounding errors of 768 terms one after another are three times those of 6 sums of 128.
template <int R, int N, bool transposed, class T>
void block_panel(int64_t rows, int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c,
                 int64_t c_stride, bool accumulate) {
  constexpr int64_t block = 128;
  for (; rows >= R; rows -= R, a += transposed ? R : R * a_stride, c += R * c_stride)
    for (int64_t k = 0; k == 0 || k < depth; k += block)
      micro_kernel<R, N, transposed>(std::min(block, depth - k), a + k * (transposed ? a_stride : 1), a_stride,
                                     b + k * b_stride, b_stride, c, c_stride, accumulate || k > 0);
  if constexpr (R > 1)
    if (rows > 0) block_panel<R / 2, N, transposed>(rows, depth, a, a_stride, b, b_stride, c, c_stride, accumulate);
}

}  // namespace

template <class T>
void gebp(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate) {
  constexpr int N = int(panel_width<T> / lanes<T>), R = vector_registers == 16 ? 6 : 24 / N;
  const auto if_width = [&](auto vectors) {
    constexpr int n = decltype(vectors)::value;
    if (c.cols != n * lanes<T>) return;
    if (transpose == Transpose::a)
      block_panel<R, n, true>(c.rows, b.rows, a.data, a.stride, b.data, b.stride, c.data, c.stride, accumulate);
    else
      block_panel<R, n, false>(c.rows, b.rows, a.data, a.stride, b.data, b.stride, c.data, c.stride, accumulate);
  };
  if_width(std::integral_constant<int, N>());
  if constexpr (N > 3) if_width(std::integral_constant<int, 3>());
  if constexpr (N > 2) if_width(std::integral_constant<int, 2>());
  if_width(std::integral_constant<int, 1>());
}

template void gebp(Transpose, Matrix<const float>, Matrix<const float>, Matrix<float>, bool);
template void gebp(Transpose, Matrix<const double>, Matrix<const double>, Matrix<double>, bool);

template <class T>
void transpose(const T* in, int64_t rows, int64_t cols, T* out) {
  constexpr int64_t block = 16;  // both sides of a 16x16 block stay in the cache
  for (int64_t r0 = 0; r0 < rows; r0 += block)
    for (int64_t c0 = 0; c0 < cols; c0 += block)
      for (int64_t c = c0; c < std::min(c0 + block, cols); c++)
        for (int64_t r = r0; r < std::min(r0 + block, rows); r++) out[c * rows + r] = in[r * cols + c];
}

template void transpose(const float*, int64_t, int64_t, float*);
template void transpose(const double*, int64_t, int64_t, double*);

}  // namespace acinus
