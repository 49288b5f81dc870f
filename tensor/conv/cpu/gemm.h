// The matrix product, which is where nearly all the time of a network goes.
#pragma once
#include "tensor/conv/cpu/simd.h"

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

// C = A B or A^T B for a narrow B, a *panel*: at most panel_width<T> columns, in whole vectors. All of a row of C stays
// in registers while the sum is made, and nothing is copied or rearranged before: for the many small products of a
// convolution, whose matrices are in the cache already, this is 1.4 times as fast as the general product above.
template <class T>
constexpr int64_t panel_width = (vector_registers == 32 && vector_bytes == 16 ? 4 : 2) * lanes<T>;
template <class T>
void panel_product(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<T> c, bool accumulate = false);

}  // namespace acinus
