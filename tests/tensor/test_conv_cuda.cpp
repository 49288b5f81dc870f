// 3x3 convolutions on tensor cores and without (conv3x3.h), each variant, against the direct algorithm in float64. The
// numbers are whole 64ths, with so few digits that no product and no sum rounds them, in any order: what is stored is
// the exact result, rounded once, and must have the same bits.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/count.h"
#include "tensor/cuda/device.h"
#include "tests/tensor/short_numbers.h"
#include "tests/testing.h"

#ifdef ACINUS_CUDA
using namespace acinus;
using on_gpu::ConvSum;

namespace {

Tensor shorter_numbers(const Shape& shape, uint64_t seed) { return short_numbers(shape, seed, 16); }

struct Case {
  int64_t n, h, w, c, o, padding;
  int64_t deep_x = 0, deep_y = 0;
  bool transposed = false, bias = false, relu = false, pool = false, mask = false;

  template <class... Flags>
  Case with(Flags... flags) const {
    Case changed = *this;
    ((changed.*flags = true), ...);
    return changed;
  }
  ConvGeometry geometry() const {
    const int64_t oh = h + 2 * padding - 2, ow = w + 2 * padding - 2;
    return {n, h, w, c, oh, ow, o, 3, 3, 1, padding, 1, ConvAlgorithm::direct, Device::cpu};
  }
  // Of concat(upsample2x(deep), skip), deep and skip.
  Tensor deep_of(int64_t height, int64_t width, int64_t channels, uint64_t seed) const {
    return channels == 0 ? Tensor() : shorter_numbers({n, height / 2, width / 2, channels}, seed);
  }
  Tensor w_of(uint64_t seed) const { return shorter_numbers({3, 3, transposed ? o : c, transposed ? c : o}, seed); }
};

struct Operands {
  Tensor deep, skip, w, bias, mask_deep, mask_skip;
  explicit Operands(const Case& k) {
    const ConvGeometry g = k.geometry();
    deep = k.deep_of(g.h, g.w, k.deep_x, 1);
    skip = shorter_numbers({g.n, g.h, g.w, g.c - k.deep_x}, 2);
    w = k.w_of(3);
    if (k.bias) bias = shorter_numbers({g.o}, 4);
    if (k.mask) mask_deep = k.deep_of(g.oh, g.ow, k.deep_y, 5);
    if (k.mask) mask_skip = shorter_numbers({g.n, g.oh, g.ow, g.o - k.deep_y}, 6);
  }
};

struct Results {
  Tensor skip, deep, pooled;
};

double& at(Tensor& t, int64_t n, int64_t i, int64_t j, int64_t c) {
  const Shape s = t.shape();
  return t.data<double>()[((n * s[1] + i) * s[2] + j) * s[3] + c];
}

// As conv.h and kernels.h say it.
Results expected(const Case& k, Operands in) {
  const ConvGeometry g = k.geometry();
  Tensor x({g.n, g.h, g.w, g.c}, DType::f64), w({3, 3, g.c, g.o}, DType::f64), y({g.n, g.oh, g.ow, g.o}, DType::f64);
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t i = 0; i < g.h; i++)
      for (int64_t j = 0; j < g.w; j++)
        for (int64_t c = 0; c < g.c; c++)
          at(x, n, i, j, c) = c < k.deep_x ? at(in.deep, n, i / 2, j / 2, c) : at(in.skip, n, i, j, c - k.deep_x);
  for (int64_t a = 0; a < 3; a++)
    for (int64_t b = 0; b < 3; b++)
      for (int64_t c = 0; c < g.c; c++)
        for (int64_t o = 0; o < g.o; o++)
          at(w, a, b, c, o) = k.transposed ? at(in.w, 2 - a, 2 - b, o, c) : at(in.w, a, b, c, o);
  direct_engine<double>().forward(g, {x.data<double>(), nullptr, 0}, w.data<double>(),
                                  in.bias ? in.bias.data<double>() : nullptr, k.relu, y.data<double>(), nullptr);
  Results r;
  r.skip = Tensor::zeros({g.n, g.oh, g.ow, g.o - k.deep_y}, DType::f64);
  if (k.deep_y > 0) r.deep = Tensor::zeros({g.n, g.oh / 2, g.ow / 2, k.deep_y}, DType::f64);
  if (k.pool) r.pooled = Tensor::full({g.n, g.oh / 2, g.ow / 2, g.o}, -INFINITY, DType::f64);
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t i = 0; i < g.oh; i++)
      for (int64_t j = 0; j < g.ow; j++)
        for (int64_t o = 0; o < g.o; o++) {
          const double value = at(y, n, i, j, o);
          if (o < k.deep_y) {
            if (!k.mask || at(in.mask_deep, n, i / 2, j / 2, o) > 0) at(r.deep, n, i / 2, j / 2, o) += value;
          } else if (!k.mask || at(in.mask_skip, n, i, j, o - k.deep_y) > 0) {
            at(r.skip, n, i, j, o - k.deep_y) = value;
          }
          if (k.pool && i / 2 < g.oh / 2 && j / 2 < g.ow / 2) {
            double& largest = at(r.pooled, n, i / 2, j / 2, o);
            largest = std::max(largest, value);
          }
        }
  return r;
}

// Is a variant for float one without tensor cores?
bool is_f32(const std::string& variant) { return variant.rfind("f32", 0) == 0; }

template <class T>
Results compute(const Case& k, const Operands& in) {
  ConvGeometry g = k.geometry();
  if (is_f32(acinus::testing::conv3x3_variant)) g.algorithm = ConvAlgorithm::halo;
  const auto there = [](const Tensor& t) { return t ? t.to(dtype_of<T>()).to(Device::cuda) : Tensor(); };
  const auto there32 = [](const Tensor& t) { return t ? t.to(DType::f32).to(Device::cuda) : Tensor(); };
  const auto pointer = [](const Tensor& t) { return t ? t.ptr<T>() : nullptr; };
  const auto output = [](const Shape& shape) { return Tensor(shape, dtype_of<T>(), Device::cuda); };
  const Tensor deep = there(in.deep), skip = there(in.skip), w = there32(in.w), bias = there32(in.bias),
               mask_deep = there(in.mask_deep), mask_skip = there(in.mask_skip);
  Results r;
  r.skip = output({g.n, g.oh, g.ow, g.o - k.deep_y});
  if (k.deep_y > 0) r.deep = output({g.n, g.oh / 2, g.ow / 2, k.deep_y});
  if (k.pool) r.pooled = output({g.n, g.oh / 2, g.ow / 2, g.o});
  ConvSum<T> sum{g, {pointer(skip), pointer(deep), k.deep_x}, w.ptr<float>(), k.transposed};
  if (bias) sum.bias = bias.ptr<float>();
  sum.relu = k.relu;
  sum.y = {pointer(r.skip), pointer(r.deep), k.deep_y};
  sum.pooled = pointer(r.pooled);
  sum.relu_output = {pointer(mask_skip), pointer(mask_deep), k.deep_y};
  REQUIRE(on_gpu::conv3x3_supports(g, k.deep_x, k.deep_y));
  on_gpu::conv3x3("conv3x3", sum);
  return r;
}

template <class T>
void check_same(const Results& actual, const Results& wanted) {
  CHECK(same_bits(actual.skip, wanted.skip.to(dtype_of<T>())));
  if (wanted.deep) CHECK(same_bits(actual.deep, wanted.deep.to(dtype_of<T>())));
  if (wanted.pooled) CHECK(same_bits(actual.pooled, wanted.pooled.to(dtype_of<T>())));
}

// f(), by each variant that can compute it.
template <class T, class F>
void for_each_variant(const Case& k, F f) {
  ConvSum<T> sum{k.geometry(), {nullptr, nullptr, k.deep_x}, nullptr};
  sum.y.deep_channels = k.deep_y;
  T pooled;
  sum.pooled = k.pool ? &pooled : nullptr;
  std::vector<std::string> names = on_gpu::conv3x3_variants(sum);
  sum.g.algorithm = ConvAlgorithm::halo;
  if (dtype_of<T>() == DType::f32)
    for (const std::string& name : on_gpu::conv3x3_variants(sum)) names.push_back(name);
  REQUIRE(!names.empty());
  for (const std::string& name : names) {
    INFO(acinus::name(dtype_of<T>()) << " " << name << ", " << k.h << "x" << k.w << ", " << k.c << " to " << k.o);
    const ScopedValue<std::string> forced(acinus::testing::conv3x3_variant, name);
    f();
  }
}

void test(const std::vector<Case>& cases) {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  for (const Case& k : cases) {
    const Operands in(k);
    const Results wanted = expected(k, in);
    for_each_variant<bf16>(k, [&] { check_same<bf16>(compute<bf16>(k, in), wanted); });
    for_each_variant<float>(k, [&] { check_same<float>(compute<float>(k, in), wanted); });
  }
}

}  // namespace

TEST_CASE("cuda: conv3x3: forward, ragged tiles, every padding", "[cuda]") {
  test({
      {1, 16, 16, 32, 32, 1},
      // In each direction the last tile is cut off, and channels of y are missing.
      Case{2, 21, 35, 64, 40, 1}.with(&Case::bias, &Case::relu),
      Case{1, 36, 19, 16, 96, 0}.with(&Case::bias),
      Case{3, 7, 5, 48, 8, 2}.with(&Case::relu),
      {1, 5, 40, 32, 128, 3},
      {5, 1, 1, 32, 200, 1},
  });
}

TEST_CASE("cuda: conv3x3: the maximum of each 2x2", "[cuda]") {
  test({
      Case{2, 22, 36, 32, 64, 1}.with(&Case::bias, &Case::relu, &Case::pool),
      Case{1, 19, 17, 32, 40, 1}.with(&Case::pool),  // the last row and column are in no 2x2
  });
}

TEST_CASE("cuda: conv3x3: reads concat(upsample2x(deep), skip) in place", "[cuda]") {
  test({
      Case{2, 20, 34, 96, 32, 1, /*deep_x=*/64}.with(&Case::bias, &Case::relu),
      {1, 34, 18, 48, 64, 0, /*deep_x=*/16},
      {1, 18, 18, 32, 32, 1, /*deep_x=*/32},  // and no skip
  });
}

TEST_CASE("cuda: conv3x3: the data gradient, for concat(upsample2x(deep), skip), masked by ReLUs", "[cuda]") {
  test({
      Case{1, 19, 33, 32, 64, 1}.with(&Case::transposed, &Case::mask),
      Case{1, 20, 34, 64, 96, 1, 0, /*deep_y=*/64}.with(&Case::transposed),
      // Within a group of 32 columns both deep and skip.
      Case{1, 20, 36, 32, 72, 2, 0, /*deep_y=*/40}.with(&Case::transposed, &Case::mask),
      Case{1, 6, 40, 64, 128, 0, 0, /*deep_y=*/128}.with(&Case::transposed, &Case::mask),  // and no skip
  });
}

TEST_CASE("cuda: conv3x3: NaN stays NaN through ReLU and the maximum", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  Case k{1, 16, 32, 32, 32, 1};
  k.relu = k.pool = true;
  Operands in(k);
  at(in.skip, 0, 9, 20, 7) = NAN;
  for_each_variant<bf16>(k, [&] {
    Results r = compute<bf16>(k, in);
    Tensor y = r.skip.to(Device::cpu).to(DType::f64), pooled = r.pooled.to(Device::cpu).to(DType::f64);
    for (int64_t i = 0; i < 16; i++)
      for (int64_t j = 0; j < 32; j++)
        for (int64_t o = 0; o < 32; o++) {
          const bool sees = std::abs(i - 9) <= 1 && std::abs(j - 20) <= 1;
          REQUIRE(std::isnan(at(y, 0, i, j, o)) == sees);
          if (sees) REQUIRE(std::isnan(at(pooled, 0, i / 2, j / 2, o)));
        }
  });
}

TEST_CASE("cuda: conv3x3: weights that have changed are packed anew; twice the same bits", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  const Case k{1, 16, 33, 32, 32, 1};
  Operands in(k);
  in.skip = random_tensor(in.skip.shape(), 1);  // sums are rounded now
  for_each_variant<bf16>(k, [&] {
    in.w = random_tensor(in.w.shape(), 3);
    const Tensor first = compute<bf16>(k, in).skip;
    in.w = random_tensor(in.w.shape(), 4);
    const Tensor other = compute<bf16>(k, in).skip;
    in.w = random_tensor(in.w.shape(), 3);
    CHECK(same_bits(compute<bf16>(k, in).skip, first));
    Operands rounded = in;
    rounded.skip = in.skip.to(DType::bf16).to(DType::f64);
    rounded.w = random_tensor(in.w.shape(), 4).to(DType::bf16).to(DType::f64);
    CHECK(relative_error(other, expected(k, rounded).skip) < 1.0 / 256);
  });
}

#ifdef ACINUS_EMULATE
namespace {
// Of a tile inside the image, with its halo and its weights: "256x32-c16-s2" has 16 rows of 16 pixels, and 32 channels.
double flops_per_byte_by_design(const std::string& variant, size_t element) {
  double pixels, channels, products = 9, halo, weights = 9;
  REQUIRE(std::sscanf(variant.substr(variant.rfind(' ') + 1).c_str(), "%lfx%lf", &pixels, &channels) == 2);
  if (variant.find("sixteen taps") != std::string::npos)  // two rows and columns of the image for one of y
    products = weights = 16, halo = (2 * pixels / 16 + 2) * (2 * 16 + 2);
  else if (variant.find("four taps") != std::string::npos)  // of deep's half; 32 columns of y
    products = 4, weights = 16, halo = (pixels / 32 / 2 + 2) * (16 + 2);
  else
    halo = (pixels / 16 + 2) * (16 + 2);
  return 2 * products * pixels * channels / ((halo + weights * channels) * double(element));
}
}  // namespace

TEST_CASE("cuda: conv3x3: no bank conflicts, and no more read from memory than a tile with its halo", "[cuda]") {
  std::vector<Case> cases(3);
  cases[0] = {1, 32, 32, 32, 128, 1};
  cases[1] = {1, 32, 32, 64, 128, 1, /*deep_x=*/32};
  cases[2] = {1, 32, 32, 32, 128, 1, 0, /*deep_y=*/128};
  for (const Case& k : cases) {
    const Operands in(k);
    const auto check = [&](auto zero) {
      using T = decltype(zero);
      for_each_variant<T>(k, [&] {
        const cuda::KernelCounts c = cuda::counts_of([&] { compute<T>(k, in); })["conv3x3"];
        CHECK(c.shared_loads.actual == c.shared_loads.fewest);
        CHECK(double(c.shared_writes.actual) < 1.05 * double(c.shared_writes.fewest));
        CHECK(c.copies.actual == c.copies.fewest);
        CHECK(c.stores.actual == c.stores.fewest);
        if (is_f32(acinus::testing::conv3x3_variant)) return;  // no products are counted
        CHECK(c.flops_per_byte() >= flops_per_byte_by_design(acinus::testing::conv3x3_variant, sizeof(T)));
      });
    };
    check(bf16()), check(float());
  }
}
#endif

TEST_CASE("cuda: conv3x3: a forced variant that does not exist is refused by name", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Case k{1, 16, 16, 32, 32, 1};
  const ScopedValue<std::string> forced(acinus::testing::conv3x3_variant, "256x31-c16-s2");
  CHECK_THAT(error_of([&] { compute<bf16>(k, Operands(k)); }), Catch::Contains("\"256x31-c16-s2\""));
}

TEST_CASE("cuda: conv3x3: what it does not compute it refuses", "[cuda]") {
  const auto supports = [](auto change) {
    ConvGeometry g = Case{1, 16, 16, 32, 32, 1}.geometry();
    change(g);
    return on_gpu::conv3x3_supports(g, 0, 0);
  };
  CHECK(supports([](ConvGeometry&) {}));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.stride = 2; }));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.dilation = 2; }));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.kh = 5; }));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.c = 24; }));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.o = 1; }));
  CHECK_FALSE(supports([](ConvGeometry& g) { g.n = 1 << 22, g.h = g.w = g.oh = g.ow = 512; }));
  const ConvGeometry g = Case{1, 16, 16, 32, 32, 1}.geometry();
  CHECK_FALSE(on_gpu::conv3x3_supports(g, 8, 0));
  CHECK_FALSE(on_gpu::conv3x3_supports(g, 0, 4));
  CHECK(on_gpu::conv3x3_supports(g, 16, 0));
  CHECK_FALSE(on_gpu::conv3x3_supports(Case{1, 16, 17, 32, 32, 1}.geometry(), 16, 0));
}
#endif
