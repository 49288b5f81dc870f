// Winograd against im2col, in float64 and float32: forward and both gradients.
#include "tensor/ops.h"
#include "tests/testing.h"

using namespace acinus;

namespace {

struct Case {
  int64_t n, h, w, c, o;
  int padding;
};

// Tiles are 4x4 pixels, vectors up to 16 channels, panels up to 64, groups up to 128: sizes around and off all of them.
const Case cases[] = {
    {1, 4, 4, 1, 1, 1},    {1, 1, 2, 3, 2, 1},     {2, 1, 1, 1, 5, 1},    {1, 3, 3, 2, 3, 0},    {3, 5, 7, 7, 17, 1},
    {1, 2, 9, 16, 32, 2},  {2, 9, 2, 37, 33, 1},   {1, 8, 12, 32, 16, 1}, {2, 13, 6, 5, 37, 0},  {1, 6, 6, 17, 8, 2},
    {1, 33, 5, 12, 24, 1}, {1, 24, 64, 3, 32, 1},  {2, 7, 8, 96, 20, 1},  {1, 10, 9, 130, 4, 1}, {1, 6, 7, 20, 300, 1},
    {3, 21, 22, 8, 8, 1},  {1, 40, 41, 16, 16, 2},
};

struct Results {
  Tensor y, dx, dw, db;
};

Results results(const Case& s, ConvAlgorithm algorithm, DType dtype) {
  const uint64_t seed = uint64_t(s.n * 1000 + s.h * 100 + s.w * 10 + s.c + s.o);
  Tensor x = random_tensor({s.n, s.h, s.w, s.c}, seed).to(dtype).requires_grad();
  Tensor w = random_tensor({3, 3, s.c, s.o}, seed + 1).to(dtype).requires_grad();
  Tensor b = random_tensor({s.o}, seed + 2).to(dtype).requires_grad();
  Conv2dOptions options;
  options.padding = s.padding;
  options.algorithm = algorithm;
  const Tensor y = conv2d(x, w, b, options);
  sum(mul(y, random_tensor(y.shape(), seed + 3).to(dtype))).backward();
  return {y.detach(), x.grad(), w.grad(), b.grad()};
}

// The largest difference relative to the root mean square of `expected`.
double error_by_rms(const Tensor& actual, const Tensor& expected) {
  const double rms = std::sqrt(dot(expected, expected) / double(expected.elements()));
  const std::vector<double> a = actual.to_vector<double>(), e = expected.to_vector<double>();
  double error = 0;
  for (size_t i = 0; i < a.size(); i++) {
    if (!std::isfinite(a[i])) return INFINITY;
    error = std::max(error, std::abs(a[i] - e[i]));
  }
  return error / rms;
}

}  // namespace

// The largest errors seen: 1.4e-14 in float64, 6.1e-6 in float32.
TEST_CASE("winograd: equals im2col, forward and both gradients") {
  Poison poison;
  for (const Case& s : cases) {
    CAPTURE(s.n, s.h, s.w, s.c, s.o, s.padding);
    const Results expected = results(s, ConvAlgorithm::im2col, DType::f64);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Results r = results(s, ConvAlgorithm::winograd, dtype);
      const double error = std::max({error_by_rms(r.y, expected.y), error_by_rms(r.dx, expected.dx),
                                     error_by_rms(r.dw, expected.dw), error_by_rms(r.db, expected.db)});
      CHECK(error < (dtype == DType::f64 ? 1e-12 : 1e-5));
    }
  }
}

TEST_CASE("winograd: the number of threads does not change a bit") {
  for (const Case& s : {Case{2, 37, 50, 19, 33, 1}, Case{1, 16, 16, 160, 144, 1}}) {
    const auto with = [&](int threads) {
      Threads t(threads);
      return results(s, ConvAlgorithm::winograd, DType::f32);
    };
    const Results one = with(1);
    for (int threads : {2, 3, 8, 16}) {
      const Results many = with(threads);
      CHECK(same_bits(one.y, many.y));
      CHECK(same_bits(one.dx, many.dx));
      CHECK(same_bits(one.dw, many.dw));
      CHECK(same_bits(one.db, many.db));
    }
  }
}

// What is fused gives the bits of the plain ops; but the four gradients of an upsampled pixel are added in another
// order. With from_relu the images are results of a ReLU, whose gradient the convolution then makes as well.
TEST_CASE("winograd: conv2d_fused equals the plain ops") {
  Poison poison;
  struct Sizes {
    int64_t n, h, w, deep, skip, o;  // h, w of deep
  };
  for (const Sizes& s : {Sizes{1, 1, 1, 16, 1, 1}, Sizes{2, 3, 2, 16, 16, 16}, Sizes{1, 5, 7, 32, 3, 20},
                         Sizes{1, 9, 4, 48, 37, 70}, Sizes{2, 8, 8, 160, 5, 33}})
    for (const DType dtype : {DType::f32, DType::f64}) {
      const bool from_relu = s.n == 2 || s.deep == 48;
      CAPTURE(s.n, s.h, s.w, s.deep, s.skip, s.o, dtype, from_relu);
      const auto run = [&](bool fused) {
        const auto maybe_relu = [&](const Tensor& x) { return from_relu ? relu(x) : x; };
        Tensor deep = random_tensor({s.n, s.h, s.w, s.deep}, 1).to(dtype).requires_grad();
        Tensor x = random_tensor({s.n, 2 * s.h, 2 * s.w, s.skip}, 2).to(dtype).requires_grad();
        Tensor w = random_tensor({3, 3, s.deep + s.skip, s.o}, 3).to(dtype).requires_grad();
        Tensor b = random_tensor({s.o}, 4).to(dtype).requires_grad();
        const Conv2dOptions options{1, 1, 1, ConvAlgorithm::winograd};
        FusedConv2d r;
        if (fused) {
          r = conv2d_fused(maybe_relu(deep), maybe_relu(x), w, b, {options, /*relu=*/true, /*pool=*/true});
        } else {
          r.y = relu(conv2d(concat(upsample2x(maybe_relu(deep)), maybe_relu(x)), w, b, options));
          r.pooled = max_pool2d(r.y);
        }
        add(sum(mul(r.y, random_tensor(r.y.shape(), 5).to(dtype))),
            sum(mul(r.pooled, random_tensor(r.pooled.shape(), 6).to(dtype))))
            .backward();
        return std::vector<Tensor>{r.y.detach(), r.pooled.detach(), x.grad(), w.grad(), b.grad(), deep.grad()};
      };
      const std::vector<Tensor> fused = run(true), plain = run(false);
      for (size_t i = 0; i < 5; i++) {
        CAPTURE(i);
        CHECK(same_bits(fused[i], plain[i]));
      }
      CHECK(error_by_rms(fused[5], plain[5]) < (dtype == DType::f64 ? 1e-14 : 1e-6));
    }
}

// A NaN must be seen, wherever it goes.
TEST_CASE("winograd: conv2d_fused keeps NaN through ReLU and pooling") {
  Tensor x = random_tensor({1, 8, 8, 16}, 1, DType::f32);
  x.data<float>()[16 * (8 * 3 + 3)] = NAN;
  const FusedConv2d r = conv2d_fused({}, x, random_tensor({3, 3, 16, 16}, 2, DType::f32), {},
                                     {{1, 1, 1, ConvAlgorithm::winograd}, true, true});
  CHECK(std::isnan(r.y.data<float>()[16 * (8 * 3 + 3)]));
  CHECK(std::isnan(r.pooled.data<float>()[16 * (4 * 1 + 1)]));
}

TEST_CASE("winograd: under conv_transpose2d") {
  const Tensor x = random_tensor({2, 6, 9, 11}, 1), w = random_tensor({3, 3, 21, 11}, 2), b = random_tensor({21}, 3);
  for (int padding : {0, 1, 2}) {
    const auto with = [&](ConvAlgorithm algorithm) {
      ConvTranspose2dOptions options;
      options.padding = padding;
      options.algorithm = algorithm;
      return conv_transpose2d(x, w, b, options);
    };
    CHECK(error_by_rms(with(ConvAlgorithm::winograd), with(ConvAlgorithm::im2col)) < 1e-12);
  }
}

TEST_CASE("winograd: says what it cannot do") {
  const Tensor x = random_tensor({1, 8, 8, 2}, 1), w = random_tensor({3, 3, 2, 2}, 2);
  Conv2dOptions options;
  options.algorithm = ConvAlgorithm::winograd;
  options.stride = 2;
  CHECK(error_of([&] { conv2d(x, w, Tensor(), options); }).find("stride 1") != std::string::npos);
}
