// The weight and bias gradients of 3x3 convolutions on the GPU (conv/cuda), against the direct algorithm in float64.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/count.h"
#include "tensor/cuda/device.h"
#include "tensor/scoped_value.h"
#include "tests/tensor/short_numbers.h"
#include "tests/testing.h"

using namespace acinus;

#ifdef ACINUS_CUDA
namespace {

struct GradientCase {
  int64_t n, h, w, deep_channels, skip_channels, o, padding;
  int64_t processors;  // which the sum is split for
  ConvGeometry geometry() const {
    const int64_t grows = 2 * padding - 2;
    return {n, h, w, deep_channels + skip_channels, h + grows, w + grows, o, 3, 3, 1, padding, 1};
  }
};

constexpr ConvAlgorithm tensor = ConvAlgorithm::tensor, halo = ConvAlgorithm::halo;

template <class T>
void check_weight_gradient(const GradientCase& c, ConvAlgorithm algorithm) {
  INFO(c.n << " images " << c.h << 'x' << c.w << ", channels " << c.deep_channels << " + " << c.skip_channels << " -> "
           << c.o << ", padding " << c.padding << ", " << c.processors << " processors");
  const ScopedValue<int64_t> processors(testing::gpu_processors, c.processors);
  ConvGeometry g = c.geometry();
  const Tensor skip = short_numbers({g.n, g.h, g.w, c.skip_channels}, 1), dy = short_numbers({g.n, g.oh, g.ow, g.o}, 2);
  Tensor deep, x = skip;
  if (c.deep_channels) {
    deep = short_numbers({g.n, g.h / 2, g.w / 2, c.deep_channels}, 3);
    x = concat(upsample2x(deep), skip);
  }
  g.algorithm = ConvAlgorithm::direct;
  const Tensor dw = conv_weight_gradient(g, x, dy);
  const Tensor db = reshape(conv_weight_gradient({g.n, g.oh, g.ow, 1, g.oh, g.ow, g.o, 1, 1, 1, 0, 1, g.algorithm},
                                                 Tensor::full({g.n, g.oh, g.ow, 1}, 1, DType::f64), dy),
                            {g.o});

  const Tensor skip_there = skip.to(dtype_of<T>()).to(Device::cuda), dy_there = dy.to(dtype_of<T>()).to(Device::cuda);
  const Tensor deep_there = deep ? deep.to(dtype_of<T>()).to(Device::cuda) : Tensor();
  const SkipConcatData<const T> data{skip_there.ptr<T>(), deep ? deep_there.ptr<T>() : nullptr, c.deep_channels};
  g.device = Device::cuda, g.algorithm = algorithm;
  const Poison poison;
  Tensor first;
  for (bool with_bias : {true, true, false}) {
    const Tensor sum({3, 3, g.c, g.o}, DType::f32, Device::cuda), sum_b({g.o}, DType::f32, Device::cuda);
    on_gpu::conv3x3_weight_gradient(g, data, dy_there.ptr<T>(), sum.ptr<float>(),
                                    with_bias ? sum_b.ptr<float>() : nullptr);
    CHECK(relative_error(sum, dw) < 2e-6);
    if (with_bias) CHECK(relative_error(sum_b, db) < 2e-6);
    if (first) CHECK(same_bits(sum, first));
    first = sum;
  }
}

// With blocks of `k` channels.
template <class T>
void check_weight_gradients(int64_t k, ConvAlgorithm algorithm) {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const ScopedValue<int64_t> forced(testing::weight_gradient_channels, k);
  const GradientCase cases[] = {
      {2, 19, 20, 0, k, k, 1, 1},         // tiles that end outside of the image
      {1, 3, 4, 0, k, 2 * k, 1, 1},       // one run for two blocks of channels
      {1, 80, 4, 0, 2 * k, k, 1, 3},      // runs that go on in the middle of the next block of channels
      {1, 8, 18, k, k, k, 1, 132},        // deep and skip
      {1024 / k, 2, 2, 0, k, k, 1, 132},  // enough parts for several warps to share the adding
      {1, 12, 20, 0, k, k, 0, 1},         // dy smaller than x
      {1, 10, 15, 0, k, k, 2, 1},         // and larger
      {1, 6, 2, k, 0, k, 1, 132},         // deep without skip
      {1, 1, 1, 0, k, k, 1, 132},         // one pixel
  };
  for (const GradientCase& c : cases) {
    if (k == 64 && &c - cases >= 5) break;  // they take long
    REQUIRE(on_gpu::conv3x3_weight_gradient_supports(c.geometry(), c.deep_channels));
    check_weight_gradient<T>(c, algorithm);
  }
}

}  // namespace

TEST_CASE("cuda: the 3x3 weight gradient in bfloat16 is the formula's", "[cuda]") {
  for (int64_t channels : {32, 64}) check_weight_gradients<bf16>(channels, tensor);
}
TEST_CASE("cuda: the 3x3 weight gradient in TF32 is the formula's", "[cuda]") {
  for (int64_t channels : {32, 64}) check_weight_gradients<float>(channels, tensor);
}
TEST_CASE("cuda: the 3x3 weight gradient in float32 is the formula's", "[cuda]") {
  for (int64_t channels : {32, 64}) check_weight_gradients<float>(channels, halo);
}

TEST_CASE("cuda: the 3x3 weight gradient needs no more shared memory than a small GPU has", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const ScopedValue<int64_t> shared(testing::shared_bytes_a_block, 99 << 10),
      channels(testing::weight_gradient_channels, 64);
  const GradientCase c{2, 19, 20, 0, 64, 64, 1, 1};
  check_weight_gradient<bf16>(c, tensor);
  check_weight_gradient<float>(c, tensor);
  check_weight_gradient<float>(c, halo);
}

#ifdef ACINUS_EMULATE
TEST_CASE("cuda: the 3x3 weight gradient: no bank conflicts, and no more read than a tile with its halo", "[cuda]") {
  const auto counts = [](auto zero, int64_t channels, ConvAlgorithm algorithm) {
    const ScopedValue<int64_t> forced(testing::weight_gradient_channels, channels);
    const GradientCase c{1, 32, 32, 0, channels, channels, 1, 2};
    auto all = cuda::counts_of([&] { check_weight_gradient<decltype(zero)>(c, algorithm); });
    const cuda::KernelCounts sums = all["conv3x3_weight_gradient"], parts = all["conv3x3_weight_gradient_parts"];
    CHECK(sums.launches > 0);
    CHECK(parts.loads.actual == parts.loads.fewest);
    CHECK(sums.shared_loads.actual == sums.shared_loads.fewest);
    CHECK(double(sums.shared_writes.actual) < 1.05 * double(sums.shared_writes.fewest));
    CHECK(sums.copies.actual == sums.copies.fewest);
    CHECK(sums.stores.actual == sums.stores.fewest);
    return sums;
  };
  // What a product of 128 x 128 by shared memory would have: 64, and 32 in TF32.
  CHECK(counts(bf16(), 32, tensor).flops_per_byte() > 125);
  CHECK(counts(bf16(), 64, tensor).flops_per_byte() > 250);
  CHECK(counts(float(), 32, tensor).flops_per_byte() > 60);
  CHECK(counts(float(), 64, tensor).flops_per_byte() > 120);
  counts(float(), 32, halo);
  counts(float(), 64, halo);
}
#endif

TEST_CASE("cuda: the 3x3 weight gradient in TF32 rounds to the nearest, in float32 not at all", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  // 1 + 2^-11 is in the middle between 1 and 1 + 2^-10, and goes up: cutting digits off would leave 1.
  ConvGeometry g{1, 1, 1, 32, 1, 1, 32, 3, 3, 1, 1, 1, tensor};
  const Tensor x = Tensor::full({1, 1, 1, 32}, 1 + 1. / 2048, DType::f32, Device::cuda);
  const Tensor dw({3, 3, 32, 32}, DType::f32, Device::cuda), db({32}, DType::f32, Device::cuda);
  const auto compute = [&] {
    on_gpu::conv3x3_weight_gradient<float>(g, {x.ptr<float>(), nullptr, 0}, x.ptr<float>(), dw.ptr<float>(),
                                           db.ptr<float>());
  };
  compute();
  CHECK(dw.to_vector()[4 * 32 * 32] == (1 + 1. / 1024) * (1 + 1. / 1024));
  CHECK(db.to_vector()[31] == 1 + 1. / 1024);
  g.algorithm = halo;
  compute();
  CHECK(dw.to_vector()[4 * 32 * 32] == double(float((1 + 1. / 2048) * (1 + 1. / 2048))));
  CHECK(db.to_vector()[31] == 1 + 1. / 2048);
}

TEST_CASE("cuda: what the 3x3 weight gradient does not compute it refuses") {
  const auto takes = [](ConvGeometry g, int64_t deep) { return on_gpu::conv3x3_weight_gradient_supports(g, deep); };
  const ConvGeometry fits{1, 16, 16, 96, 16, 16, 64, 3, 3, 1, 1, 1};
  CHECK(takes(fits, 0));
  CHECK(takes(fits, 64));
  const auto refuses = [&](auto change, int64_t deep = 0) {
    ConvGeometry g = fits;
    change(g);
    return !takes(g, deep);
  };
  CHECK(refuses([](ConvGeometry&) {}, 48));
  CHECK(refuses([](ConvGeometry& g) { g.c = 48; }));
  CHECK(refuses([](ConvGeometry& g) { g.o = 16; }));
  CHECK(refuses([](ConvGeometry& g) { g.padding = 3, g.oh = g.ow = 20; }));
  CHECK(refuses([](ConvGeometry& g) { g.dilation = 2, g.oh = g.ow = 14; }));
  CHECK(refuses([](ConvGeometry& g) { g.stride = 2, g.oh = g.ow = 8; }));
  CHECK(refuses([](ConvGeometry& g) { g.kh = 1, g.oh = 18; }));
  CHECK(refuses([](ConvGeometry& g) { g.n = 0; }));
  CHECK(refuses([](ConvGeometry& g) { g.h = g.oh = 15; }, 32));
}
#endif
