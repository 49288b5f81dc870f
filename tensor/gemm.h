// The matrix product, which is where nearly all the time of a network goes.
#pragma once
#include <cstdint>

namespace acinus {

// A matrix in memory that someone else owns: element (i, j) is data[i * stride + j]. The stride may be less
// than the number of columns: then rows overlap, which is how convolutions read an image as a matrix (conv.h).
template <class T>
struct Matrix {
  T* data;
  int64_t rows, cols, stride;
};

enum class Transpose { none, a, b };  // neither; use A transposed; use B transposed

// C = A B, or C += A B with `accumulate`; Transpose::a: C = A^T B, Transpose::b: C = A B^T.
// One thread; callers share out the work in pieces that do not depend on the number of threads.
template <class T>
void gemm(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false);

}  // namespace acinus
