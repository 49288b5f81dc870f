// The GPU's convolutions for layers that are not 3x3 between many channels, each kernel called by name, against the formula of
// direct.cu in float64. The numbers have so few digits that neither bfloat16 nor TF32 rounds a factor; so what is left is the
// rounding of sums, and of what is stored as bfloat16.
#include "tensor/conv/cuda/kernels.h"
#include "tensor/cuda/device.h"
#include "tests/testing.h"

using namespace acinus;

#ifdef ACINUS_CUDA
namespace {

// k / 64 for whole k.
Tensor short_numbers(const Shape& shape, uint64_t seed) {
  Random random(seed);
  std::vector<double> values(size_t(shape.elements()));
  for (double& v : values) v = double(random.below(129) - 64) / 64;
  return Tensor::from(shape, values);
}

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

template <class T>
on_gpu::ConvSum<T> forward_sum(const Exact& e, const Tensor& x, const Tensor& w, const Tensor& bias, bool relu,
                               const Tensor& y) {
  return {
      e.g,  {x.ptr<T>(), nullptr, 0}, w.ptr<float>(), /*transposed_weights=*/false, bias ? bias.ptr<float>() : nullptr,
      relu, {y.ptr<T>(), nullptr, 0}};
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
    on_gpu::first_layer(forward_sum<T>(e, x, w, bias, relu, y));
    return y;
  });
  for (bool want_db : {false, true})
    for (bool want_dw : {false, true}) {  // which of the two is returned
      if (!want_db && !want_dw) continue;
      check_result(want_dw ? "dw" : "db", want_dw ? e.dw : e.db, [&] {
        const Tensor dw(e.dw.shape(), DType::f32, Device::cuda), db(e.db.shape(), DType::f32, Device::cuda);
        on_gpu::first_layer_weight_gradient(e.g, x.ptr<T>(), dy.ptr<T>(), dw.ptr<float>(),
                                            want_db ? db.ptr<float>() : nullptr);
        return want_dw ? dw : db;
      });
    }
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
    on_gpu::head(forward_sum<T>(e, x, w, bias, relu, y));
    return y;
  });
  const auto backward = [&](bool masked, bool want_dx, bool want_db) {
    Tensor dx(e.dx.shape(), dtype, Device::cuda), dw(e.dw.shape(), DType::f32, Device::cuda),
        db(e.db.shape(), DType::f32, Device::cuda);
    on_gpu::head_backward(e.g, x.ptr<T>(), dy.ptr<T>(), w.ptr<float>(), masked, want_dx ? dx.ptr<T>() : nullptr,
                          dw.ptr<float>(), want_db ? db.ptr<float>() : nullptr);
    return std::vector<Tensor>{dx, dw, db};
  };
  const Tensor masked = e.dx.clone();
  for (int64_t i = 0; i < masked.elements(); i++)
    if (e.x.data<double>()[i] <= 0) masked.data<double>()[i] = 0;
  check_result("dx", e.dx, [&] { return backward(false, true, true)[0]; });
  check_result("dx masked", masked, [&] { return backward(true, true, false)[0]; });
  check_result("dw", e.dw, [&] { return backward(true, true, true)[1]; });
  check_result("dw alone", e.dw, [&] { return backward(false, false, false)[1]; });
  check_result("db", e.db, [&] { return backward(false, false, true)[2]; });
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
