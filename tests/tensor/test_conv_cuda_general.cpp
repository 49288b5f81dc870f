// The GPU's convolutions for layers that are not 3x3 between many channels, each kernel called by name, against the
// formula of direct.cu in float64. The numbers have so few digits that neither bfloat16 nor TF32 rounds a factor; so
// what is left is the rounding of sums, and of what is stored as bfloat16.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/count.h"
#include "tensor/cuda/device.h"
#include "tests/tensor/short_numbers.h"
#include "tests/testing.h"

using namespace acinus;

#ifdef ACINUS_CUDA
namespace {

Tensor on_gpu_as(const Tensor& x, DType dtype) { return x.to(dtype).to(Device::cuda); }

struct Layer {
  Shape x, w;
  int64_t padding = 0, stride = 1, dilation = 1;
};

// In float64, on the CPU.
struct Exact {
  ConvGeometry g;
  Tensor x, w, bias, y, dy, dx, dw, db;

  Exact(const Layer& layer, bool relu) {
    const Shape &sx = layer.x, &sw = layer.w;
    const auto extent = [&](int64_t size, int64_t kernel) {
      return (size + 2 * layer.padding - layer.dilation * (kernel - 1) - 1) / layer.stride + 1;
    };
    g = {sx[0], sx[1], sx[2],        sx[3],         extent(sx[1], sw[0]), extent(sx[2], sw[1]),  sw[3],
         sw[0], sw[1], layer.stride, layer.padding, layer.dilation,       ConvAlgorithm::direct, Device::cpu};
    x = short_numbers(sx, 1), w = short_numbers(sw, 2), bias = short_numbers({g.o}, 3);
    y = conv_forward(g, x, w, bias, {relu, Tensor()});
    dy = short_numbers(y.shape(), 4);
    dx = conv_data_gradient(g, dy, w).skip;
    dw = conv_weight_gradient(g, x, dy);
    db = Tensor::zeros({g.o}, DType::f64);
    for (int64_t i = 0; i < dy.elements(); i++) db.data<double>()[i % g.o] += dy.data<double>()[i];
  }
};

double tolerance(DType stored) { return stored == DType::bf16 ? 1. / 256 : 2e-6; }

// Both runs of f, which returns a result, must be as exact as numbers of its type, and have the same bits.
template <class F>
void check_result(const char* what, const Tensor& exact, F f) {
  INFO(what);
  const Tensor result = f(), again = f();
  CHECK(relative_error(result, exact) < tolerance(result.dtype()));
  CHECK(same_bits(result, again));
}

// Kernels: FirstLayer or Head. With and without db.
template <template <class> class Kernels, class T>
void check_weight_gradients(const Exact& e, const Tensor& x, const Tensor& dy) {
  const auto gradients = [&](bool want_db) {
    const Tensor dw(e.dw.shape(), DType::f32, Device::cuda), db(e.db.shape(), DType::f32, Device::cuda);
    Kernels<T>::weight_gradient(e.g, x.ptr<T>(), dy.ptr<T>(), dw.ptr<float>(), want_db ? db.ptr<float>() : nullptr);
    return std::pair(dw, db);
  };
  check_result("dw alone", e.dw, [&] { return gradients(false).first; });
  check_result("dw", e.dw, [&] { return gradients(true).first; });
  check_result("db", e.db, [&] { return gradients(true).second; });
}

template <class T>
void check_first_layer(const Layer& layer, bool relu) {
  const Exact e(layer, relu);
  const DType dtype = dtype_of<T>();
  INFO(layer.x << ' ' << layer.w << ", padding " << layer.padding << ' ' << name(dtype));
  REQUIRE(on_gpu::first_layer_supports(e.g));
  const Tensor x = on_gpu_as(e.x, dtype), w = on_gpu_as(e.w, DType::f32), bias = on_gpu_as(e.bias, DType::f32),
               dy = on_gpu_as(e.dy, dtype);
  check_result("y", e.y, [&] {
    const Tensor y(e.y.shape(), dtype, Device::cuda);
    on_gpu::FirstLayer<T>::forward(e.g, x.ptr<T>(), w.ptr<float>(), bias.ptr<float>(), relu, y.ptr<T>());
    return y;
  });
  check_weight_gradients<on_gpu::FirstLayer, T>(e, x, dy);
}

template <class T>
void check_head(const Layer& layer, bool relu) {
  const Exact e(layer, relu);
  const DType dtype = dtype_of<T>();
  INFO(layer.x << ' ' << layer.w << ' ' << name(dtype));
  REQUIRE(on_gpu::head_supports(e.g));
  const Tensor x = on_gpu_as(e.x, dtype), w = on_gpu_as(e.w, DType::f32), bias = on_gpu_as(e.bias, DType::f32),
               dy = on_gpu_as(e.dy, dtype);
  check_result("y", e.y, [&] {
    const Tensor y(e.y.shape(), dtype, Device::cuda);
    on_gpu::Head<T>::forward(e.g, x.ptr<T>(), w.ptr<float>(), bias.ptr<float>(), relu, y.ptr<T>());
    return y;
  });
  const Tensor masked = e.dx.clone();
  for (int64_t i = 0; i < masked.elements(); i++)
    if (e.x.data<double>()[i] <= 0) masked.data<double>()[i] = 0;
  for (bool is_masked : {false, true})
    check_result(is_masked ? "dx masked" : "dx", is_masked ? masked : e.dx, [&] {
      const Tensor dx(e.dx.shape(), dtype, Device::cuda);
      on_gpu::Head<T>::data_gradient(e.g, dy.ptr<T>(), w.ptr<float>(), is_masked ? x.ptr<T>() : nullptr, dx.ptr<T>());
      return dx;
    });
  check_weight_gradients<on_gpu::Head, T>(e, x, dy);
}

// Kernels: Tiled or ImplicitGemm.
template <template <class> class Kernels, class T>
void check_general(const char* kernels, const Layer& layer, bool relu) {
  using C = Compute<T>;
  const Exact e(layer, relu);
  const DType dtype = dtype_of<T>(), precise = dtype_of<C>();
  INFO(kernels << ' ' << name(dtype) << ", x " << layer.x << ", w " << layer.w << ", padding " << layer.padding
               << ", stride " << layer.stride << ", dilation " << layer.dilation << ", at least "
               << testing::min_gpu_tiles << " tiles");
  const Tensor x = on_gpu_as(e.x, dtype), w = on_gpu_as(e.w, precise), bias = on_gpu_as(e.bias, precise),
               dy = on_gpu_as(e.dy, dtype), bias_of_dx = short_numbers({e.g.c}, 5);
  check_result("y", e.y, [&] {
    const Tensor y(e.y.shape(), dtype, Device::cuda);
    Kernels<T>::forward(e.g, x.ptr<T>(), w.ptr<C>(), bias.ptr<C>(), relu, y.ptr<T>());
    return y;
  });
  for (bool with_bias : {false, true}) {
    const Tensor exact = with_bias ? conv_data_gradient(e.g, e.dy, e.w, bias_of_dx).skip : e.dx;
    check_result("dx", exact, [&] {
      const Tensor dx(e.dx.shape(), dtype, Device::cuda), b = on_gpu_as(bias_of_dx, precise);
      Kernels<T>::data_gradient(e.g, dy.ptr<T>(), w.ptr<C>(), with_bias ? b.ptr<C>() : nullptr, dx.ptr<T>());
      return dx;
    });
  }
  check_result("dw", e.dw, [&] {
    const Tensor dw(e.dw.shape(), precise, Device::cuda);
    Kernels<T>::weight_gradient(e.g, x.ptr<T>(), dy.ptr<T>(), dw.ptr<C>());
    return dw;
  });
}

}  // namespace

TEST_CASE("cuda: the first layer's kernels give what the formula says", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  const Layer layers[] = {
      {{2, 37, 70, 1}, {3, 3, 1, 32}, 1},  // odd edges, several tiles
      {{1, 9, 33, 3}, {3, 3, 3, 24}, 1},   // three groups of channels leave threads over
      {{1, 5, 33, 4}, {3, 3, 4, 256}, 0},  // without padding
      {{3, 1, 1, 2}, {3, 3, 2, 8}, 2},     // y is larger than x
      {{130, 3, 2, 4}, {3, 3, 4, 8}, 1},   // more tiles than a weight gradient has blocks
      {{0, 4, 4, 1}, {3, 3, 1, 8}, 1},     // no image
  };
  for (const Layer& layer : layers) {
    check_first_layer<float>(layer, true);
    check_first_layer<bf16>(layer, false);
  }
}

TEST_CASE("cuda: the head's kernels give what the formula says", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  const Layer layers[] = {
      {{2, 37, 71, 32}, {1, 1, 32, 1}},  // several blocks
      {{1, 9, 7, 24}, {1, 1, 24, 1}},    // one of four threads has no channels
      {{1, 5, 5, 256}, {1, 1, 256, 1}},  // a warp has one pixel
      {{1, 1, 1, 8}, {1, 1, 8, 1}},      // a thread has one
      {{0, 4, 4, 8}, {1, 1, 8, 1}},      // no image
  };
  for (const Layer& layer : layers) {
    check_head<float>(layer, false);
    check_head<bf16>(layer, true);
  }
}

TEST_CASE("cuda: the general kernels on tensor cores give what the formula says", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  const Layer layers[] = {
      {{2, 9, 7, 16}, {1, 1, 16, 24}},             // an odd chunk of channels
      {{1, 9, 8, 8}, {1, 1, 8, 40}, 0, 2},         // phases without a tap
      {{1, 8, 7, 24}, {2, 2, 24, 16}, 0, 2},       // patches that do not overlap; a column that none sees
      {{2, 11, 9, 40}, {3, 3, 40, 72}, 1, 2},      // several tiles of every kind
      {{1, 9, 13, 8}, {5, 5, 8, 8}, 2},            // four taps a stage
      {{1, 13, 12, 8}, {7, 7, 8, 16}, 3, 2},       // ... of which the last has one
      {{1, 10, 11, 16}, {3, 3, 16, 32}, 2, 1, 2},  // dilation
      {{1, 14, 13, 32}, {3, 3, 32, 8}, 1, 3, 2},   // and stride
      {{1, 33, 3, 8}, {32, 2, 8, 8}},              // the largest kernels
      {{1, 2, 35, 8}, {1, 32, 8, 8}},              //
      {{1, 40, 37, 8}, {3, 3, 8, 16}, 1},          // the weight gradient's sum is split
      {{0, 4, 4, 8}, {3, 3, 8, 8}, 1},             // no image
  };
  const int64_t before = testing::min_gpu_tiles;
  for (int64_t tiles : {before, int64_t(1)}) {  // narrow tiles, wide ones
    testing::min_gpu_tiles = tiles;
    for (const Layer& layer : layers) {
      if (tiles == 1 && layer.x[3] <= 32 && layer.w[3] <= 32) continue;  // are narrow, anyway
      check_general<on_gpu::ImplicitGemm, float>("implicit GEMM", layer, true);
      check_general<on_gpu::ImplicitGemm, bf16>("implicit GEMM", layer, false);
    }
  }
  testing::min_gpu_tiles = before;
}

TEST_CASE("cuda: the tiled kernels give what the formula says", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  const Layer layers[] = {
      {{2, 5, 7, 3}, {3, 3, 3, 5}, 1},         // nothing fits the tiles
      {{1, 7, 8, 5}, {1, 1, 5, 70}, 0, 2},     // phases without a tap, two tiles of columns
      {{1, 9, 10, 7}, {3, 2, 7, 3}, 2, 3, 2},  // stride and dilation, not square
      {{1, 8, 9, 3}, {4, 5, 3, 2}, 1, 2},      // phases of several taps
      {{1, 40, 37, 2}, {5, 5, 2, 4}, 2},       // the weight gradient's sum is split
      {{1, 3, 3, 0}, {1, 1, 0, 2}},            // no channels
      {{0, 4, 4, 1}, {3, 3, 1, 2}, 1},         // no image
  };
  for (const Layer& layer : layers) {
    check_general<on_gpu::Tiled, float>("tiled", layer, true);
    check_general<on_gpu::Tiled, double>("tiled", layer, false);
    check_general<on_gpu::Tiled, bf16>("tiled", layer, true);
  }
}

TEST_CASE("cuda: the general kernels round factors to the nearest TF32", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  // Of positive numbers, digits that are cut off make sums too small, by some 5e-4; rounding errors cancel.
  const Exact shapes({{1, 16, 16, 32}, {1, 1, 32, 32}}, false);
  const ConvGeometry& g = shapes.g;
  const auto positive = [](const Tensor& like, uint64_t seed) {
    return random_tensor(like.shape(), seed, DType::f32, 1, 2);
  };
  const Tensor x = positive(shapes.x, 1), w = positive(shapes.w, 2), dy = positive(shapes.dy, 3);
  const Tensor exact_y = conv_forward(g, x.to(DType::f64), w.to(DType::f64)),
               exact_dx = conv_data_gradient(g, dy.to(DType::f64), w.to(DType::f64)).skip,
               exact_dw = conv_weight_gradient(g, x.to(DType::f64), dy.to(DType::f64));
  const Tensor gpu_x = x.to(Device::cuda), gpu_w = w.to(Device::cuda), gpu_dy = dy.to(Device::cuda);
  const Tensor y(exact_y.shape(), DType::f32, Device::cuda), dx(x.shape(), DType::f32, Device::cuda),
      dw(w.shape(), DType::f32, Device::cuda);
  on_gpu::ImplicitGemm<float>::forward(g, gpu_x.ptr<float>(), gpu_w.ptr<float>(), nullptr, false, y.ptr<float>());
  on_gpu::ImplicitGemm<float>::data_gradient(g, gpu_dy.ptr<float>(), gpu_w.ptr<float>(), nullptr, dx.ptr<float>());
  on_gpu::ImplicitGemm<float>::weight_gradient(g, gpu_x.ptr<float>(), gpu_dy.ptr<float>(), dw.ptr<float>());
  for (const auto& [actual, exact] : {std::pair(y, exact_y), std::pair(dx, exact_dx), std::pair(dw, exact_dw)}) {
    CHECK(relative_error(actual, exact) < 2.5e-4);
    CHECK(relative_error(actual, exact) > 1e-6);
  }
}

#ifdef ACINUS_EMULATE
TEST_CASE("cuda: the general kernels have no bank conflicts, and use what they copy as often as their tiles are wide",
          "[cuda]") {
  const int64_t before = testing::min_gpu_tiles;
  testing::min_gpu_tiles = 1;
  const auto check_counts = [](auto zero) {
    using T = decltype(zero);
    const Exact e({{1, 16, 16, 128}, {1, 1, 128, 64}}, false);  // nothing is left over at an edge
    const DType dtype = dtype_of<T>();
    const Tensor x = on_gpu_as(e.x, dtype), dy = on_gpu_as(e.dy, dtype), w = on_gpu_as(e.w, DType::f32),
                 y(e.y.shape(), dtype, Device::cuda), dx(e.dx.shape(), dtype, Device::cuda),
                 dw(e.dw.shape(), DType::f32, Device::cuda);
    cuda::CountsByKernel counts = cuda::counts_of([&] {
      on_gpu::ImplicitGemm<T>::forward(e.g, x.ptr<T>(), w.ptr<float>(), nullptr, false, y.ptr<T>());
      on_gpu::ImplicitGemm<T>::data_gradient(e.g, dy.ptr<T>(), w.ptr<float>(), nullptr, dx.ptr<T>());
      on_gpu::ImplicitGemm<T>::weight_gradient(e.g, x.ptr<T>(), dy.ptr<T>(), dw.ptr<float>());
    });
    for (const char* kernel : {"conv_forward", "conv_data_gradient", "conv_weight_gradient"}) {
      INFO(kernel << ' ' << name(dtype));
      const cuda::KernelCounts& c = counts[kernel];
      CHECK(c.flops == 2 * 256 * 128 * 64);
      CHECK(c.flops_per_byte() == Approx(2. * 128 * 64 / (128 + 64) / sizeof(T)));
      CHECK(c.shared_loads.instructions > 0);
      CHECK(c.shared_loads.actual == c.shared_loads.fewest);
      CHECK(c.shared_writes.actual == c.shared_writes.fewest);
      CHECK(c.copies.actual == c.copies.fewest);
    }
    if (sizeof(T) == 2) CHECK(counts["conv_forward"].stores.actual == counts["conv_forward"].stores.fewest);
    CHECK(counts["conv_forward"].stored_bytes == y.elements() * int64_t(sizeof(T)));
  };
  check_counts(bf16());
  check_counts(float());
  testing::min_gpu_tiles = before;
}

TEST_CASE("cuda: the head reads x and writes dx once", "[cuda]") {
  const Exact e({{1, 64, 64, 32}, {1, 1, 32, 1}}, false);
  const Tensor x = on_gpu_as(e.x, DType::bf16), dy = on_gpu_as(e.dy, DType::bf16), w = on_gpu_as(e.w, DType::f32),
               y(e.y.shape(), DType::bf16, Device::cuda), dx(e.dx.shape(), DType::bf16, Device::cuda),
               dw(e.dw.shape(), DType::f32, Device::cuda), db({1}, DType::f32, Device::cuda);
  using Head = on_gpu::Head<bf16>;
  cuda::CountsByKernel counts = cuda::counts_of([&] {
    Head::forward(e.g, x.ptr<bf16>(), w.ptr<float>(), nullptr, false, y.ptr<bf16>());
    Head::data_gradient(e.g, dy.ptr<bf16>(), w.ptr<float>(), x.ptr<bf16>(), dx.ptr<bf16>());
    Head::weight_gradient(e.g, x.ptr<bf16>(), dy.ptr<bf16>(), dw.ptr<float>(), db.ptr<float>());
  });
  const int64_t sectors_of_x = x.elements() * 2 / 32;
  // 128 bytes for each warp, twice.
  const auto sectors_of_weights = [](const cuda::KernelCounts& c) { return c.blocks * 8 * 8; };
  CHECK(counts["conv_head"].loads.actual == sectors_of_x + sectors_of_weights(counts["conv_head"]));
  CHECK(counts["conv_head_weight_gradient"].loads.actual == sectors_of_x);
  const auto data_gradient = std::find_if(counts.begin(), counts.end(), [](const auto& kernel) {
    return kernel.first.find("HeadDataGradient") != std::string::npos;
  });
  REQUIRE(data_gradient != counts.end());
  CHECK(data_gradient->second.loads.actual == sectors_of_x + sectors_of_weights(data_gradient->second));
  CHECK(data_gradient->second.stores.actual == sectors_of_x);
}
#endif

TEST_CASE("cuda: a tap's weight gradient takes no NaN from pixels that the tap does not see", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Exact e({{1, 5, 5, 8}, {3, 3, 8, 8}, 1}, false);
  const Tensor x = e.x.clone();
  for (int64_t i = 4 * 5 * 8; i < 5 * 5 * 8; i++)
    x.data<double>()[i] = NAN;  // the last row: kernel row 0 ends above it
  const Tensor dw(e.dw.shape(), DType::f32, Device::cuda), dy = on_gpu_as(e.dy, DType::bf16);
  on_gpu::ImplicitGemm<bf16>::weight_gradient(e.g, on_gpu_as(x, DType::bf16).ptr<bf16>(), dy.ptr<bf16>(),
                                              dw.ptr<float>());
  const std::vector<double> values = dw.to_vector(), exact = e.dw.to_vector();
  for (size_t i = 0; i < values.size(); i++) {
    if (i < 3 * 8 * 8)
      CHECK(values[i] == Approx(exact[i]));
    else
      CHECK(std::isnan(values[i]));
  }
}

TEST_CASE("cuda: what the general kernels on tensor cores cannot compute, they say", "[cuda]") {
  const auto geometry = [](int64_t c, int64_t o, int64_t kernel) {
    return ConvGeometry{1, 40, 40, c, 40, 40, o, kernel, kernel, 1, 0, 1};
  };
  CHECK(on_gpu::implicit_gemm_supports(geometry(8, 8, 32)));
  CHECK_FALSE(on_gpu::implicit_gemm_supports(geometry(8, 8, 33)));
  CHECK_FALSE(on_gpu::implicit_gemm_supports(geometry(4, 8, 3)));
  CHECK_FALSE(on_gpu::implicit_gemm_supports(geometry(8, 9, 3)));
  ConvGeometry large = geometry(8, 8, 3);
  large.n = 10'000'000;
  CHECK_FALSE(on_gpu::implicit_gemm_supports(large));
  const double none = 0;
  large.n = 10'000'000, large.algorithm = ConvAlgorithm::tiled;
  CHECK_THAT(error_of([&] { on_gpu::Tiled<double>::forward(large, &none, &none, nullptr, false, nullptr); }),
             Catch::Contains("smaller batch"));
}

TEST_CASE("cuda: what the kernels for few channels cannot compute, they say", "[cuda]") {
  const auto geometry = [](int64_t c, int64_t o, int64_t kernel, int64_t stride) {
    return ConvGeometry{1, 8, 8, c, 8, 8, o, kernel, kernel, stride, 0, 1};
  };
  CHECK(on_gpu::first_layer_supports(geometry(4, 256, 3, 1)));
  CHECK_FALSE(on_gpu::first_layer_supports(geometry(5, 32, 3, 1)));
  CHECK_FALSE(on_gpu::first_layer_supports(geometry(1, 31, 3, 1)));
  CHECK_FALSE(on_gpu::first_layer_supports(geometry(1, 264, 3, 1)));
  CHECK_FALSE(on_gpu::first_layer_supports(geometry(1, 32, 5, 1)));
  CHECK_FALSE(on_gpu::first_layer_supports(geometry(1, 32, 3, 2)));
  CHECK(on_gpu::head_supports(geometry(256, 1, 1, 1)));
  CHECK_FALSE(on_gpu::head_supports(geometry(256, 2, 1, 1)));
  CHECK_FALSE(on_gpu::head_supports(geometry(12, 1, 1, 1)));
  CHECK_FALSE(on_gpu::head_supports(geometry(264, 1, 1, 1)));
  CHECK_FALSE(on_gpu::head_supports(geometry(32, 1, 3, 1)));
  CHECK_FALSE(on_gpu::head_supports(geometry(32, 1, 1, 2)));
}
#endif
