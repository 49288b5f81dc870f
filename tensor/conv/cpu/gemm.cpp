// gemm on the CPU is Eigen's. Eigen stays in .cpp files: in a file that nvcc compiles it switches its SIMD
// code off, and its templates would slow every file's compilation down.
#include "tensor/conv/cpu/gemm.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 warns of its own AVX-512 header (GCC bug 105593), and of which of the two depends on -O.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#define EIGEN_DONT_PARALLELIZE  // our threads already share out the work
#define EIGEN_NO_DEBUG          // Eigen's own asserts; our callers check shapes
#include <Eigen/Core>
#include <algorithm>

#include "tensor/check.h"

namespace acinus {
namespace {

template <class T>
auto rows_of(Matrix<T> m) {  // our matrices are row-major ...
  using Dense = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using Maybe = std::conditional_t<std::is_const_v<T>, const Dense, Dense>;
  return Eigen::Map<Maybe, 0, Eigen::OuterStride<>>(m.data, m.rows, m.cols, Eigen::OuterStride<>(m.stride));
}

template <class T>
auto columns_of(Matrix<T> m) {  // ... and the same memory read column-major is the transpose
  using Dense = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
  return Eigen::Map<const Dense, 0, Eigen::OuterStride<>>(m.data, m.cols, m.rows, Eigen::OuterStride<>(m.stride));
}

}  // namespace

template <class T>
void gemm(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate) {
  const int64_t inner_a = transpose == Transpose::a ? a.rows : a.cols,
                rows = transpose == Transpose::a ? a.cols : a.rows;
  const int64_t inner_b = transpose == Transpose::b ? b.cols : b.rows,
                cols = transpose == Transpose::b ? b.rows : b.cols;
  check(inner_a == inner_b && rows == c.rows && cols == c.cols, "gemm: (", rows, "x", inner_a, ") (", inner_b, "x",
        cols, ") does not give (", c.rows, "x", c.cols, ")");
  auto out = rows_of(c);
  if (!accumulate) out.setZero();
  switch (transpose) {
    case Transpose::none:
      out.noalias() += rows_of(a) * rows_of(b);
      break;
    case Transpose::a:
      out.noalias() += columns_of(a) * rows_of(b);
      break;
    case Transpose::b:
      out.noalias() += rows_of(a) * columns_of(b);
      break;
  }
}

template void gemm(Transpose, Matrix<const float>, Matrix<const float>, Matrix<float>, bool);
template void gemm(Transpose, Matrix<const double>, Matrix<const double>, Matrix<double>, bool);

// ---- panels -----------------------------------------------------------------------------------------------------

namespace {

// R rows of C at once: R * N sums in registers, each step k takes N vectors of B and one number of A for each row.
template <int R, int N, bool transposed, class T>
void panel_rows(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c, int64_t c_stride,
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

// Rows in groups of R, then what is left in groups of R / 2, and so on. Long sums are made in pieces: the rounding
// errors of 768 terms one after another are three times those of 6 sums of 128.
template <int R, int N, bool transposed, class T>
void panel(int64_t rows, int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, T* c,
           int64_t c_stride, bool accumulate) {
  constexpr int64_t piece = 128;
  for (; rows >= R; rows -= R, a += transposed ? R : R * a_stride, c += R * c_stride)
    for (int64_t k = 0; k == 0 || k < depth; k += piece)
      panel_rows<R, N, transposed>(std::min(piece, depth - k), a + k * (transposed ? a_stride : 1), a_stride,
                                   b + k * b_stride, b_stride, c, c_stride, accumulate || k > 0);
  if constexpr (R > 1)
    if (rows > 0) panel<R / 2, N, transposed>(rows, depth, a, a_stride, b, b_stride, c, c_stride, accumulate);
}

}  // namespace

template <class T>
void panel_product(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate) {
  constexpr int N = int(panel_width<T> / lanes<T>), R = vector_registers == 16 ? 6 : 24 / N;
  const auto run = [&](auto vectors) {
    constexpr int n = decltype(vectors)::value;
    if (transpose == Transpose::a)
      panel<R, n, true>(c.rows, b.rows, a.data, a.stride, b.data, b.stride, c.data, c.stride, accumulate);
    else
      panel<R, n, false>(c.rows, b.rows, a.data, a.stride, b.data, b.stride, c.data, c.stride, accumulate);
  };
  const auto try_width = [&](auto vectors) {
    if (c.cols == decltype(vectors)::value * lanes<T>) run(vectors);
  };
  try_width(std::integral_constant<int, N>());
  if constexpr (N > 3) try_width(std::integral_constant<int, 3>());
  if constexpr (N > 2) try_width(std::integral_constant<int, 2>());
  try_width(std::integral_constant<int, 1>());
}

template void panel_product(Transpose, Matrix<const float>, Matrix<const float>, Matrix<float>, bool);
template void panel_product(Transpose, Matrix<const double>, Matrix<const double>, Matrix<double>, bool);

}  // namespace acinus
