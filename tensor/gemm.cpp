// gemm on the CPU is Eigen's. Eigen stays in .cpp files: in a file that nvcc compiles it switches its SIMD
// code off, and its templates would slow every file's compilation down.
#include "tensor/gemm.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own AVX-512 header (GCC bug 105593)
#endif
#define EIGEN_DONT_PARALLELIZE  // our threads already share out the work
#define EIGEN_NO_DEBUG          // Eigen's own asserts; our callers check shapes
#include <Eigen/Core>

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

}  // namespace acinus
