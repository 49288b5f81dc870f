// The matrix products under the CPU's convolutions: Eigen's and ours, panel by panel, against each other and against
// three plain loops.
#include "tensor/conv/cpu/gemm.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

template <class T>
struct Stored {  // a matrix whose rows are `stride` apart; what lies between them is NaN
  std::vector<T> values;
  Matrix<T> matrix;
  Stored(int64_t rows, int64_t cols, int64_t stride, uint64_t seed) : values(rows * stride + cols, T(NAN)) {
    matrix = {values.data(), rows, cols, stride};
    Random random(seed);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < cols; j++) values[i * stride + j] = T(random.uniform(-1, 1));
  }
  Matrix<const T> constant() const { return {values.data(), matrix.rows, matrix.cols, matrix.stride}; }
};

// c += a b, or a' b, in float64.
template <class T>
std::vector<double> naive(Transpose transpose, Matrix<const T> a, Matrix<const T> b, Matrix<const T> c,
                          bool accumulate) {
  std::vector<double> result(c.rows * c.cols, 0.0);
  for (int64_t i = 0; i < c.rows; i++)
    for (int64_t j = 0; j < c.cols; j++) {
      double& sum = result[i * c.cols + j];
      if (accumulate) sum = c.data[i * c.stride + j];
      for (int64_t k = 0; k < b.rows; k++)
        sum += double(transpose == Transpose::a ? a.data[k * a.stride + i] : a.data[i * a.stride + k]) *
               b.data[k * b.stride + j];
    }
  return result;
}

template <class T>
double largest_difference(Matrix<const T> c, const std::vector<double>& expected) {
  double difference = 0;
  for (int64_t i = 0; i < c.rows; i++)
    for (int64_t j = 0; j < c.cols; j++) {
      const double d = std::abs(c.data[i * c.stride + j] - expected[i * c.cols + j]);
      difference = d <= difference ? difference : d;  // NaN counts
    }
  return difference;
}

// The largest difference from the plain loops; and whether anything was written between the rows of C.
template <class T, class Product>
void compare(Product product, Transpose transpose, int64_t rows, int64_t depth, int64_t cols, bool accumulate,
             int64_t a_stride = 0) {
  CAPTURE(rows, depth, cols, accumulate, transpose == Transpose::a, sizeof(T));
  const bool at = transpose == Transpose::a;
  const int64_t a_cols = at ? rows : depth;
  const Stored<T> a(at ? depth : rows, a_cols, a_stride ? a_stride : a_cols + 3, 1), b(depth, cols, cols + 2, 2);
  Stored<T> c(rows, cols, cols + 5, 3);
  const std::vector<double> expected = naive<T>(transpose, a.constant(), b.constant(), c.constant(), accumulate);
  product(transpose, a.constant(), b.constant(), c.matrix, accumulate);
  CHECK(largest_difference(c.constant(), expected) < (sizeof(T) == 8 ? 1e-13 : 3e-5));
  bool gaps_untouched = true;
  for (int64_t i = 0; i + 1 < rows; i++)
    for (int64_t j = cols; j < cols + 5; j++) gaps_untouched &= std::isnan(c.values[i * (cols + 5) + j]);
  CHECK(gaps_untouched);
}

template <class T>
void compare_all() {
  const int64_t sides[] = {1, 2, 5, 6, 11, 12, 13, 24, 29};
  const int64_t depths[] = {0, 1, 3, 27, 127, 128, 129, 300};
  for (const Transpose transpose : {Transpose::none, Transpose::a})
    for (const bool accumulate : {false, true})
      for (const int64_t rows : sides)
        for (const int64_t depth : depths) {
          for (const int64_t cols : {1, 3, 17, 40}) compare<T>(gemm<T>, transpose, rows, depth, cols, accumulate);
          for (int64_t cols = lanes<T>; cols <= panel_width<T>; cols += lanes<T>) {
            compare<T>(gemm<T>, transpose, rows, depth, cols, accumulate);
            compare<T>(gebp<T>, transpose, rows, depth, cols, accumulate);
          }
        }
}

}  // namespace

TEST_CASE("gemm: Eigen's product and the panels give what three loops give, at ragged sizes") {
  compare_all<float>();
  compare_all<double>();
}

TEST_CASE("gemm: rows of A may overlap, as those of implicit im2col do") {
  for (const int64_t rows : {1, 7, 12, 30}) {
    compare<double>(gebp<double>, Transpose::none, rows, 9, lanes<double>, false, /*a_stride=*/3);
    compare<double>(gemm<double>, Transpose::none, rows, 9, 5, false, /*a_stride=*/3);
    compare<double>(gebp<double>, Transpose::a, 9, rows, lanes<double>, true, /*a_stride=*/3);
    compare<double>(gemm<double>, Transpose::a, 9, rows, 5, true, /*a_stride=*/3);
  }
}

TEST_CASE("gemm: says which sizes do not fit") {
  const Stored<float> a(2, 3, 3, 1), b(4, 5, 5, 2);
  Stored<float> c(2, 5, 5, 3);
  const std::string message = error_of([&] { gemm<float>(Transpose::none, a.constant(), b.constant(), c.matrix); });
  CHECK_THAT(message, Catch::Contains("(2x3)") && Catch::Contains("(4x5)"));
}

TEST_CASE("gemm: transpose") {
  for (const int64_t rows : {1, 15, 16, 33})
    for (const int64_t cols : {1, 16, 18}) {
      CAPTURE(rows, cols);
      const Stored<float> in(rows, cols, cols, 1);
      std::vector<float> out(rows * cols, NAN);
      transpose(in.values.data(), rows, cols, out.data());
      bool same = true;
      for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) same &= out[j * rows + i] == in.values[i * cols + j];
      CHECK(same);
    }
}
