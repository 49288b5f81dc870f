// Matrix products on the CPU, where nearly all the time of a network goes.
#pragma once
#include "tensor/conv/cpu/simd.h"

namespace acinus {

// A matrix in memory that someone else owns: element (i, j) is data[i * stride + j]. The stride may be less than the
// number of columns: then rows overlap, which is how im2col.cpp reads an image as a matrix.
template <class T>
struct Matrix {
  T* data;
  int64_t rows, cols, stride;
};

enum class Transpose { none, a };

// C = A B, or A^T B with Transpose::a; C += ... with `accumulate`. Any sizes: this is Eigen's product. One thread;
// callers share out the work in parts that do not depend on the number of threads.
template <class T>
void gemm(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false);

// The same for a *panel*, a B of at most panel_width<T> columns, in whole vectors (general block-panel product, GEBP:
// Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"). Nothing is copied or rearranged
// first. For the many small products of a convolution, whose matrices are in the cache already, this is 1.4 times as
// fast as Eigen's.
template <class T>
constexpr int64_t panel_width = (vector_registers == 32 && vector_bytes == 16 ? 4 : 2) * lanes<T>;
template <class T>
void gebp(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false);

// out (cols, rows) = the transpose of `in` (rows, cols). One thread.
template <class T>
void transpose(const T* in, int64_t rows, int64_t cols, T* out);

}  // namespace acinus
