// The GPU, or the one that is emulated. Where there is neither, only that asking for one is refused. Every op on the
// GPU is in test_ops.cpp.
#include <algorithm>
#include <functional>

#include "nn/unet.h"
#include "optim/adam.h"
#include "optim/ema.h"
#include "optim/sgd.h"
#include "tensor/conv/engine.h"
#include "tensor/cuda/count.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/cuda/kernel.h"
#include "tensor/ops.h"
#include "tests/tensor/short_numbers.h"
#include "tests/testing.h"

using namespace acinus;

TEST_CASE("cuda: bfloat16 rounds to the nearest") {
  CHECK(float(bf16(1.0f)) == 1);
  CHECK(float(bf16(1.00390625f)) == 1);           // 1 + 2^-8 lies in the middle: to the even one, down
  CHECK(float(bf16(1.01171875f)) == 1.015625f);   // 1 + 3 * 2^-8: to the even one, up
  CHECK(float(bf16(1.003907f)) == 1.0078125f);    // just above the middle
  CHECK(float(bf16(3.3961775e38f)) == INFINITY);  // more than halfway beyond the largest
  CHECK(float(bf16(-INFINITY)) == -INFINITY);
  CHECK(std::isnan(float(bf16(NAN))));
  uint32_t bits = 0x7F800001;  // a NaN whose digits all lie in the lower half
  float nan;
  std::memcpy(&nan, &bits, 4);
  CHECK(std::isnan(float(bf16(nan))));
  CHECK(float(bf16(1e-45f)) == 0);
  CHECK(float(bf16(-0.0f)) == 0);
  for (DType from : {DType::f32, DType::f64}) {
    const Tensor x = random_tensor({3, 5}, 1, from), y = x.to(DType::bf16);
    CHECK(relative_error(y, x) < 1.0 / 256);
    CHECK(relative_error(y, x) > 1e-4);
    CHECK(same_bits(y.to(from).to(DType::bf16), y));
  }
}

TEST_CASE("cuda: messages name kernels readably") {
  CHECK(cuda::readable("conv_forward") == "conv_forward");
  CHECK(cuda::readable(typeid(std::vector<bf16>*).name()).find("acinus::bf16") != std::string::npos);
}

TEST_CASE("cuda: without a GPU, asking for one says what to do") {
  if (cuda::available()) {
    CHECK_THAT(error_of([] { cuda::use(77); }), Catch::Contains("cuda:77"));
    CHECK_THAT(error_of([] { cuda::use(-1); }), Catch::Contains("cuda:-1"));
    return;
  }
  CHECK_FALSE(cuda::description().empty());
  CHECK_THAT(error_of([] { Tensor({2}, DType::f32, Device::cuda); }), Catch::Contains("--device cpu"));
  CHECK_THAT(error_of([] { Tensor::zeros({2}).to(Device::cuda); }), Catch::Contains("no GPU"));
  CHECK_THAT(error_of([] { cuda::use(0); }), Catch::Contains("no GPU"));
}

TEST_CASE("cuda: tensors go there and back", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  for (DType dtype : {DType::f32, DType::f64, DType::bf16}) {
    const Tensor x = random_tensor({3, 5, 7}, 1).to(dtype), there = x.to(Device::cuda);
    CHECK(there.device() == Device::cuda);
    CHECK(same_bits(there.to(Device::cpu), x));
    CHECK(same_bits(there.clone(), x));
    CHECK(there.to_vector() == x.to_vector());
    CHECK(same_bits(there.permuted({2, 0, 1}), x.permuted({2, 0, 1})));
    CHECK(text(there) == text(x));
    for (DType to : {DType::f32, DType::f64, DType::bf16}) CHECK(same_bits(there.to(to), x.to(to)));
    Tensor onto = Tensor::zeros({3, 5, 7}, DType::f64, Device::cuda);
    onto.copy_from(x);
    CHECK(onto.to_vector() == x.to_vector());
    Tensor back = Tensor::zeros({3, 5, 7}, DType::f64);
    back.copy_from(there);
    CHECK(back.to_vector() == x.to_vector());
    CHECK(Tensor::full({2}, 1.5, dtype, Device::cuda).to_vector() == std::vector<double>{1.5, 1.5});
    CHECK(Tensor::full({}, -2, dtype, Device::cuda).item() == -2);
  }
  const Tensor large = random_tensor({3'000'001}, 2, DType::f32);  // more than the buffers on the way hold at once
  CHECK(same_bits(large.to(Device::cuda).to(Device::cpu), large));
  CHECK(Tensor({0, 3}, DType::f32, Device::cuda).to(Device::cpu).shape() == Shape{0, 3});
}

TEST_CASE("cuda: tensors on the wrong device are refused by name", "[cuda]") {
  if (!cuda::available()) return;
  const Tensor here = Tensor::zeros({1, 4, 4, 3}), there = here.to(Device::cuda), w = Tensor::zeros({3, 3, 3, 2});
  const auto names_both = [](const std::string& message, const char* op) {
    for (const char* part : {op, "cpu", "cuda", "(1,4,4,3)", ".to()"}) CHECK_THAT(message, Catch::Contains(part));
  };
  names_both(error_of([&] { add(here, there); }), "add: ");
  names_both(error_of([&] { concat(there, here); }), "concat: ");
  names_both(error_of([&] { conv2d(there, w, {}); }), "conv2d: ");
  CHECK_THAT(error_of([&] { there.data<float>(); }), Catch::Contains("GPU") && Catch::Contains(".to(Device::cpu)"));
  Tensor leaf = there.clone().requires_grad();
  CHECK_THAT(error_of([&] { leaf.set_grad(here); }), Catch::Contains("cpu") && Catch::Contains("cuda"));
  const auto error_by = [&](const Tensor& x, ConvAlgorithm a) {
    return error_of([&] { conv2d(x, w.to(x.dtype()).to(x.device()), {}, {1, 0, 1, a}); });
  };
  CHECK_THAT(error_by(there, ConvAlgorithm::winograd), Catch::Contains("CPU"));
  CHECK_THAT(error_by(there, ConvAlgorithm::im2col), Catch::Contains("CPU"));
  CHECK_THAT(error_by(here, ConvAlgorithm::tiled), Catch::Contains("GPU"));
  CHECK_THAT(error_by(here, ConvAlgorithm::tensor), Catch::Contains("GPU"));
  CHECK_THAT(error_by(there.to(DType::f64), ConvAlgorithm::tensor), Catch::Contains("bfloat16"));
}

TEST_CASE("cuda: what needs all digits refuses bfloat16") {
  const Tensor x = Tensor::full({2, 3}, 0.5).to(DType::bf16), w = Tensor::zeros({1, 1, 3, 2});
  for (const auto& op : std::vector<std::function<Tensor()>>{
           [&] { return sum(x); }, [&] { return mean(x); }, [&] { return softmax(x); }, [&] { return dice_loss(x, x); },
           [&] { return bce_with_logits(x, x); }, [&] { return mse_loss(x, x); }})
    CHECK_THAT(error_of(op), Catch::Contains("bfloat16") && Catch::Contains("cast"));
  CHECK_THAT(error_of([&] { conv2d(reshape(x, {1, 1, 2, 3}), w.to(DType::bf16), {}); }), Catch::Contains("float32"));
  CHECK_THAT(error_of([&] { add(x, Tensor::zeros({2, 3})); }), Catch::Contains("bfloat16"));
}

TEST_CASE("cuda: memory is counted, kept and given back", "[cuda]") {
  if (!cuda::available()) return;
  memory::release_cache(Device::cuda);
  const int64_t before = memory::stats(Device::cuda).in_use, host = memory::stats().in_use;
  {
    const Tensor x({1 << 20}, DType::f32, Device::cuda);
    CHECK(memory::stats(Device::cuda).in_use == before + (4 << 20));
    CHECK(memory::stats().in_use == host);
  }
  CHECK(memory::stats(Device::cuda).in_use == before);
  // The sanitizer is given every block back, and ends the program where there is no memory.
  if (memory::under_address_sanitizer && cuda::emulated()) return;
  CHECK(memory::stats(Device::cuda).reserved >= before + (4 << 20));
  memory::release_cache(Device::cuda);
  CHECK(memory::stats(Device::cuda).reserved < before + (4 << 20));
  CHECK_THAT(error_of([] {
               Tensor({1 << 20, 1 << 19}, DType::f64, Device::cuda);
             }),
             Catch::Contains("GPU memory") && Catch::Contains("4194304 MB") && Catch::Contains("--recompute"));
}

// ---- tensor cores -------------------------------------------------------------------------------------------------

namespace {

struct Case {
  Shape deep, x, w;
  int stride, padding;
  bool fused, pool;
};

struct Result {
  std::vector<Tensor> values;  // y, pooled, and the gradients of deep, x, w, b
};

Result run(const Case& c, DType dtype, Device device, ConvAlgorithm algorithm) {
  const auto input = [&](const Shape& shape, uint64_t seed, DType type) {
    return shape.rank() == 0 ? Tensor() : short_numbers(shape, seed).to(type).to(device).requires_grad();
  };
  const DType weights = dtype == DType::bf16 ? DType::f32 : dtype;
  const Tensor deep = input(c.deep, 1, dtype), x = input(c.x, 2, dtype), w = input(c.w, 3, weights),
               b = input({c.w[3]}, 4, weights);
  const Conv2dOptions options{c.stride, c.padding, 1, algorithm};
  FusedConv2d f;
  if (c.fused)
    f = conv2d_fused(deep, x, w, b, {options, /*relu=*/true, c.pool});
  else
    f.y = conv2d(x, w, b, options);
  Result r{{f.y, f.pooled}};
  Tensor loss;
  for (const Tensor& y : {f.y, f.pooled}) {
    if (!y) continue;
    const DType precise = dtype == DType::bf16 ? DType::f32 : dtype;
    const Tensor t = sum(mul(cast(y, precise), short_numbers(y.shape(), 5).to(precise).to(device)));
    loss = loss ? add(loss, t) : t;
  }
  loss.backward();
  for (const Tensor& t : {deep, x, w, b}) r.values.push_back(t ? t.grad() : Tensor());
  return r;
}

}  // namespace

TEST_CASE("cuda: dividing by multiplying") {
  Random random(3);
  for (int64_t d : {1,   2,   3,     5,     7,     9,       32,         96,         127,        128,
                    129, 768, 65535, 65536, 65537, 1048577, 1073741823, 1073741824, 1073741825, 2147483647}) {
    INFO(d);
    const Divisor by(d);
    std::vector<int64_t> numbers = {0, 1, d - 1, d, std::min<int64_t>(2 * d, 2147483646), 2147483646, 2147483647};
    for (int i = 0; i < 1000; i++) numbers.push_back(random.below(2147483647));
    for (int64_t n : numbers) {
      if (by.quotient(int(n)) != n / d) REQUIRE(n == -1);  // shows n
      if (by.remainder(int(n)) != n % d) REQUIRE(n == -1);
    }
  }
  CHECK(Divisor(0).quotient(5) == 5);
}

namespace {

void check_tensor_cores() {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  const Case cases[] = {
      {{}, {2, 5, 7, 3}, {3, 3, 3, 5}, 1, 1, false, false},      // nothing fits the tiles
      {{}, {1, 9, 6, 16}, {3, 3, 16, 32}, 1, 1, false, false},   // runs of channels; 32 columns
      {{}, {1, 12, 13, 32}, {3, 3, 32, 64}, 1, 1, true, false},  // 64 columns
      {{}, {1, 6, 14, 24}, {3, 3, 24, 136}, 1, 1, true, true},   // 128, and some left; pooled
      {{}, {1, 1, 1, 8}, {1, 1, 8, 8}, 1, 0, false, false},      // one pixel
      {{}, {1, 40, 37, 8}, {3, 3, 8, 16}, 1, 1, true, false},    // the weight gradient's sum is split
      {{}, {1, 11, 9, 8}, {3, 3, 8, 8}, 2, 1, false, false},     // four phases
      {{1, 5, 4, 16}, {1, 10, 8, 8}, {3, 3, 24, 32}, 1, 1, true, false},
      {{2, 3, 4, 6}, {2, 6, 8, 3}, {3, 3, 9, 7}, 1, 1, true, true},       // two images, nothing fits
      {{1, 4, 4, 12}, {1, 8, 8, 12}, {3, 3, 24, 16}, 1, 1, true, false},  // runs that end in the middle
      {{1, 4, 4, 6}, {1, 8, 8, 6}, {3, 3, 12, 8}, 1, 1, true, false},
      {{}, {1, 9, 6, 16}, {1, 1, 16, 1}, 1, 0, false, false},  // the last layer
      {{}, {1, 7, 8, 1}, {3, 3, 1, 32}, 1, 1, true, false},    // the first layer
  };
  for (const Case& c : cases)
    for (DType dtype : {DType::f32, DType::bf16}) {
      INFO(c.x << ' ' << c.w << ' ' << name(dtype) << ", at least " << testing::min_gpu_tiles << " tiles");
      const Result exact = run(c, DType::f64, Device::cpu, ConvAlgorithm::direct);
      for (ConvAlgorithm algorithm : {ConvAlgorithm::tensor, ConvAlgorithm::tiled}) {
        const Result gpu = run(c, dtype, Device::cuda, algorithm), again = run(c, dtype, Device::cuda, algorithm);
        for (size_t i = 0; i < exact.values.size(); i++) {
          INFO("result " << i << ", algorithm " << int(algorithm));
          REQUIRE(bool(gpu.values[i]) == bool(exact.values[i]));
          if (!exact.values[i]) continue;
          // What is stored as bfloat16 is rounded; and where one such result feeds another, twice.
          const bool stored_short = gpu.values[i].dtype() == DType::bf16;
          const bool exact_inputs = dtype == DType::f32 || i < 2;
          CHECK(relative_error(gpu.values[i], exact.values[i]) < (stored_short || !exact_inputs ? 0.012 : 2e-6));
          CHECK(same_bits(gpu.values[i], again.values[i]));
        }
      }
    }
}

}  // namespace

TEST_CASE("cuda: tensor cores give what the formula says, in tiles as narrow as small images get", "[cuda][slow]") {
  check_tensor_cores();
}

TEST_CASE("cuda: tensor cores give what the formula says, in tiles as wide as the channels allow", "[cuda]") {
  const int64_t before = testing::min_gpu_tiles;
  testing::min_gpu_tiles = 1;
  check_tensor_cores();
  testing::min_gpu_tiles = before;
}

TEST_CASE("cuda: TF32 is used where it is allowed, and only there", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Tensor x = random_tensor({1, 8, 8, 16}, 1).to(DType::f32), w = random_tensor({3, 3, 16, 8}, 2).to(DType::f32);
  const Tensor exact = conv2d(x.to(DType::f64), w.to(DType::f64), {}, {1, 1});
  const auto error = [&] { return relative_error(conv2d(x.to(Device::cuda), w.to(Device::cuda), {}, {1, 1}), exact); };
  CHECK(error() < 2e-6);
  allow_tf32(true);
  CHECK((error() > 1e-5 && error() < 1e-3));
  allow_tf32(false);
  CHECK(error() < 2e-6);
}

TEST_CASE("cuda: to bfloat16 is rounded to the nearest, and what is not bfloat16 is not rounded", "[cuda]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Tensor x = Tensor::full({1, 1, 1, 8}, 1, DType::bf16, Device::cuda);
  std::vector<float> only_first(64, 0);
  only_first[0] = 1 + 3.0f / 512;  // nearer to 1 + 1/128 than to 1
  const Tensor w = Tensor::from({1, 1, 8, 8}, only_first).to(Device::cuda);
  CHECK(conv2d(x, w, {}).to_vector()[0] == 1 + 1. / 128);
  only_first[0] = 1;
  // 1 + 2^-8 is in the middle between 1 and 1 + 1/128: what little there is more in the bias decides.
  const Tensor bias = Tensor::full({8}, 1. / 256 + 1. / 131072, DType::f32, Device::cuda);
  CHECK(conv2d(x, Tensor::from({1, 1, 8, 8}, only_first).to(Device::cuda), bias).to_vector()[0] == 1 + 1. / 128);
}

TEST_CASE("cuda: convolutions do not swallow NaN", "[cuda]") {
  if (!cuda::available()) return;
  for (ConvAlgorithm algorithm : {ConvAlgorithm::direct, ConvAlgorithm::tiled, ConvAlgorithm::tensor})
    for (size_t at = 0; at < 4; at++) {
      if (algorithm == ConvAlgorithm::tensor && !cuda::has_tensor_cores()) continue;
      std::vector<float> values{1, -2, 3, -4};
      values[at] = NAN;
      const Tensor x = Tensor::from({1, 2, 2, 1}, values).to(Device::cuda);
      const FusedConv2d f = conv2d_fused({}, x, Tensor::full({1, 1, 1, 1}, 1, DType::f32, Device::cuda), {},
                                         {{1, 0, 1, algorithm}, /*relu=*/true, /*pool=*/true});
      INFO("algorithm " << int(algorithm) << ", pixel " << at);
      CHECK(std::isnan(f.y.to_vector()[at]));
      CHECK(std::isnan(f.pooled.item()));
    }
}

// ---- a network whose layers the fast kernels compute ---------------------------------------------------------------

namespace {

// Of a U-Net whose layers have enough channels: logits, and the gradients of the image and of all parameters.
NamedTensors pass_through_unet(Device device, DType activations, bool fused, NormKind norm = NormKind::none) {
  UNet net({.width = 32, .depth = 1, .norm = norm, .norm_groups = 4, .fused = fused}, 3);
  net.to(device);
  Tensor x = random_tensor({1, 18, 20, 1}, 6).to(activations).to(device);
  x.requires_grad();
  const Tensor y = cast(net(x), DType::f32);
  sum(mul(y, random_tensor(y.shape(), 7, DType::f32).to(device))).backward();
  NamedTensors results{{"logits", y.to(Device::cpu)}, {"x", x.grad().to(Device::cpu)}};
  for (const auto& [name, tensor] : net.parameters()) results.emplace_back(name, tensor.grad().to(Device::cpu));
  return results;
}

}  // namespace

TEST_CASE("cuda: a U-Net of wide layers, by each kernel, gives what the plain ops give", "[cuda][slow]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  const Poison poison;
  struct Way {
    DType dtype;
    bool tf32;
    double tolerance;
  };
  const Way ways[] = {{DType::f32, false, 1e-5}, {DType::f32, true, 0.01}, {DType::bf16, false, 0.05}};
  for (const Way& way : ways) {
    allow_tf32(way.tf32);
    const NamedTensors fused = pass_through_unet(Device::cuda, way.dtype, true),
                       again = pass_through_unet(Device::cuda, way.dtype, true),
                       plain = pass_through_unet(Device::cuda, way.dtype, false);
    allow_tf32(false);
    // Rounding turns some ReLUs, and their gradients, on and off: so only float32 can be compared with the CPU's.
    const bool exact = way.dtype == DType::f32 && !way.tf32;
    const NamedTensors expected = exact ? pass_through_unet(Device::cpu, DType::f32, false) : plain;
    for (size_t i = 0; i < fused.size(); i++) {
      INFO(fused[i].first << ' ' << name(way.dtype) << ", TF32 " << way.tf32);
      CHECK(relative_error(fused[i].second, expected[i].second) < way.tolerance);
      CHECK(relative_error(plain[i].second, expected[i].second) < way.tolerance);
      CHECK(same_bits(fused[i].second, again[i].second));
    }
  }
}

#ifdef ACINUS_EMULATE
TEST_CASE("cuda: in the step of a U-Net no pass over memory is made for a ReLU, a bias or a concatenation", "[cuda]") {
  const auto launched = cuda::counts_of([] { pass_through_unet(Device::cuda, DType::bf16, true); });
  std::string names;
  for (const auto& [kernel, counts] : launched) names += kernel + '\n';
  INFO(names);
  for (const char* pass : {"Relu", "Concat", "Upsample", "sum_columns", "MaxPool2dForward"})
    CHECK(names.find(pass) == std::string::npos);
}
#endif

// ---- graphs, training ---------------------------------------------------------------------------------------------

namespace {

enum class Way { as_it_is, graph, sgd, sgd_graph };

// The losses of some steps on the GPU, and the parameters after them.
std::pair<std::vector<double>, NamedTensors> train(Device device, DType activations, NormKind norm, Way way, int steps,
                                                   bool recompute = false) {
  UNetOptions options;
  options.width = 4, options.depth = 2, options.norm = norm, options.norm_groups = 2;
  options.gradient_checkpointing = recompute;
  UNet net(options, 3);
  net.to(device);
  std::unique_ptr<Optimizer> optimizer;
  if (way == Way::sgd || way == Way::sgd_graph)
    optimizer = std::make_unique<Sgd>(net.parameters(), SgdOptions{0.9, true, 0.01});
  else
    optimizer = std::make_unique<Adam>(net.parameters(), AdamOptions{.weight_decay = 0.01, .decoupled = true});
  Tensor x = Tensor::zeros({2, 13, 10, 1}, DType::f32, device), t = x.clone(), loss, norm_before;
  cuda::Graph graph;
  std::vector<double> losses;
  std::vector<Tensor> others;  // which must not be given the graph's memory
  for (int step = 0; step < steps; step++) {
    x.copy_from(random_tensor(x.shape(), uint64_t(step)));
    t.copy_from(random_tensor(x.shape(), 50 + uint64_t(step), DType::f32, 0, 1));
    optimizer->learning_rate = 0.01 / (1 + step);
    const auto work = [&] {
      net.zero_grad();
      loss = dice_loss(sigmoid(cast(net(cast(x, activations)), DType::f32)), t);
      loss.backward();
      norm_before = clip_grad_norm(net.parameters(), 0.02);
      optimizer->step();
    };
    if (way == Way::graph || way == Way::sgd_graph)
      graph.run(work);
    else
      work();
    losses.push_back(loss.item());
    losses.push_back(norm_before.item());
    for (int i = 0; i < 20; i++) others.push_back(Tensor::full({int64_t(1) << (i % 12), 4}, step, DType::f32, device));
  }
  for (size_t i = 0; i < others.size(); i++)
    CHECK(others[i].to_vector() == std::vector<double>(size_t(others[i].elements()), double(i / 20)));
  NamedTensors parameters;
  for (const auto& [name, p] : net.state()) parameters.emplace_back(name, p.to(Device::cpu));
  return {losses, parameters};
}

}  // namespace

TEST_CASE("cuda: a step replayed as a graph is the step", "[cuda][slow]") {
  if (!cuda::available()) return;
  const Poison poison;
  for (bool recompute : {false, true})
    for (NormKind norm : {NormKind::none, NormKind::batch}) {
      INFO(name(norm) << ", recompute " << recompute);
      const auto [plain, parameters] = train(Device::cuda, DType::f32, norm, Way::as_it_is, 6, recompute);
      const auto [replayed, replayed_parameters] = train(Device::cuda, DType::f32, norm, Way::graph, 6, recompute);
      CHECK(replayed == plain);
      CHECK(plain[2] != plain[0]);
      for (size_t i = 0; i < parameters.size(); i++) {
        INFO(parameters[i].first);
        CHECK(same_bits(replayed_parameters[i].second, parameters[i].second));
      }
    }
}

TEST_CASE("cuda: a graph takes the rate of the step, and copies", "[cuda]") {
  if (!cuda::available()) return;
  CHECK(train(Device::cuda, DType::f32, NormKind::none, Way::sgd_graph, 5).first ==
        train(Device::cuda, DType::f32, NormKind::none, Way::sgd, 5).first);
  Tensor x = Tensor::zeros({3}, DType::f32, Device::cuda), y;
  cuda::Graph graph;
  for (int i = 0; i < 4; i++) {
    x.copy_from(Tensor::full({3}, i));
    graph.run([&] {
      const int64_t before = memory::stats(Device::cpu).in_use;
      const Tensor on_cpu = Tensor::full({1 << 10}, 7);  // is the CPU's, here too
      CHECK(memory::stats(Device::cpu).in_use > before);
      y = x.clone();
    });
    CHECK(y.to_vector() == std::vector<double>(3, i));
  }
}

TEST_CASE("cuda: a graph prepares each of its runs on the CPU", "[cuda]") {
  std::vector<Device> devices{Device::cpu};
  if (cuda::available()) devices.push_back(Device::cuda);
  for (Device device : devices) {
    INFO(name(device));
    Tensor rate = Tensor::zeros({3}, DType::f32, device), sum = rate.clone();
    int calls = 0, prepared = 0;
    cuda::Graph graph(device);
    for (int i = 1; i <= 4; i++) {
      graph.run([&] {
        calls++;
        cuda::before_each_run([&] { rate.copy_from(Tensor::full({3}, ++prepared)); });
        sum.accumulate(rate);
      });
      CHECK(prepared == i);
      CHECK(sum.to_vector() == std::vector<double>(3, i * (i + 1) / 2));
    }
    CHECK(calls == (device == Device::cpu ? 4 : 2));  // as it is and recorded, then replayed
    graph.reset();
    graph.run([&] { calls++; });
    CHECK(calls == (device == Device::cpu ? 5 : 3));
  }
}

TEST_CASE("cuda: a graph's memory is its own, and goes with it", "[cuda]") {
  if (!cuda::available()) return;
  memory::release_cache(Device::cuda);
  const int64_t before = memory::stats(Device::cuda).reserved;
  {
    Tensor x = Tensor::full({1 << 20}, 2, DType::f32, Device::cuda), y;
    cuda::Graph graph;
    for (int i = 0; i < 4; i++) {
      x.copy_from(Tensor::full({1 << 20}, i));
      graph.run([&] { y = scale(relu(x), 3); });
      CHECK(y.to_vector<float>()[77] == 3.0f * float(i));
    }
    // Sizes that cannot use each other's blocks: outside a graph, what piles up is given back at some time.
    cuda::Graph many;
    Tensor last;
    for (int i = 0; i < 3; i++)
      many.run([&] {
        for (int64_t k = 1; k <= 20; k++) last = Tensor::full({k * 9000}, double(k), DType::f32, Device::cuda);
      });
    CHECK(memory::stats(Device::cuda).reserved - before > 9000 * 4 * 210);
    memory::reset_peak(Device::cuda);  // a replay asks for nothing, and uses all of it
    CHECK(memory::stats(Device::cuda).peak > 9000 * 4 * 210);
    CHECK(last.to_vector<float>() == std::vector<float>(180'000, 20));
    // What asks for a result has none yet while the graph is recorded.
    cuda::Graph asks;
    const auto work = [&] { y = scale(x, sum(x).item()); };
    asks.run(work);
    CHECK_THAT(error_of([&] { asks.run(work); }), Catch::Contains("Graph"));
    CHECK(scale(x, 2).to_vector<float>()[0] == 6);  // and nothing is left in a recording state
  }
  memory::release_cache(Device::cuda);
  CHECK(memory::stats(Device::cuda).reserved == before);
}

namespace {

using MakeOptimizer = std::function<std::unique_ptr<Optimizer>(NamedTensors)>;
const MakeOptimizer make_adam = [](NamedTensors p) {
  return std::make_unique<Adam>(std::move(p), AdamOptions{.weight_decay = 0.01});
};
const MakeOptimizer make_sgd = [](NamedTensors p) {
  return std::make_unique<Sgd>(std::move(p), SgdOptions{0.9, true, 0.01});
};

// `count` parameters with gradients, most of them of a length that 16 bytes do not divide. Every fifth is of float64.
NamedTensors many_parameters(int count, Device device) {
  NamedTensors all;
  for (int k = 0; k < count; k++) {
    const Shape shape{k == 7 ? 4097 : k == 8 ? 9000 : 1 + k % 23};
    const DType dtype = k % 5 == 4 ? DType::f64 : DType::f32;
    Tensor p = random_tensor(shape, uint64_t(k), dtype).to(device).requires_grad();
    p.set_grad(random_tensor(shape, uint64_t(1000 + k), dtype).to(device));
    all.emplace_back(text("p", k), p);
  }
  return all;
}

bool same_bits(const NamedTensors& a, const NamedTensors& b) {
  for (size_t i = 0; i < a.size(); i++)
    if (!same_bits(a[i].second, b[i].second)) return false;
  return a.size() == b.size();
}

}  // namespace

TEST_CASE("cuda: all parameters at once are updated as each alone, and each element as alone", "[cuda]") {
  std::vector<Device> devices{Device::cpu};
  if (cuda::available()) devices.push_back(Device::cuda);
  const Poison poison;
  for (Device device : devices)
    for (const MakeOptimizer& make : {make_adam, make_sgd}) {
      const NamedTensors together = many_parameters(200, device), alone = many_parameters(200, device);
      const auto all = make(together);
      Ema ema(together, 0.9);
      std::vector<std::unique_ptr<Optimizer>> each;
      std::vector<std::unique_ptr<Ema>> each_ema;
      for (const auto& p : alone)
        each.push_back(make({p})), each_ema.push_back(std::make_unique<Ema>(NamedTensors{p}, 0.9));
      for (int step = 0; step < 3; step++) {
        all->step(0.01), ema.update();
        for (const auto& optimizer : each) optimizer->step(0.01);
        for (const auto& e : each_ema) e->update();
      }
      CHECK(same_bits(together, alone));
      CHECK_FALSE(same_bits(together, many_parameters(200, device)));
      for (size_t k = 0; k < each.size(); k++) {
        CHECK(same_bits(ema.state()[k].second, each_ema[k]->state()[0].second));
        CHECK_FALSE(same_bits(ema.state()[k].second, together[k].second));
      }
      // Nine numbers in one tensor, two times 16 bytes and one more, and in nine.
      const auto one = [&](const Tensor& x) { return x.to(DType::f32).to(device).requires_grad(); };
      Tensor nine = one(random_tensor({9}, 1)), gradient = one(random_tensor({9}, 2));
      nine.set_grad(gradient.detach().clone());
      NamedTensors ones;
      for (size_t i = 0; i < 9; i++) {
        ones.emplace_back(text(i), one(Tensor::full({1}, nine.to_vector()[i])));
        ones.back().second.set_grad(Tensor::full({1}, gradient.to_vector()[i], DType::f32, device));
      }
      make({{"nine", nine}})->step(0.01), make(ones)->step(0.01);
      for (size_t i = 0; i < 9; i++) CHECK(ones[i].second.item() == nine.to_vector()[i]);
    }
}

TEST_CASE("cuda: gradients are clipped together as on the CPU", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  for (double factor : {1e-30, 1.0, 1e25}) {  // the square of the first and the last are no numbers of float32
    const auto clipped = [&](Device device) {
      const NamedTensors all = many_parameters(500, device);
      for (const auto& [name, p] : all) p.grad().copy_from(scale(p.grad(), factor));
      const Tensor norm = clip_grad_norm(all, 2 * factor);
      NamedTensors result{{"norm", norm}};
      for (const auto& [name, p] : all) result.emplace_back(name, p.grad());
      return result;
    };
    const NamedTensors cpu = clipped(Device::cpu), gpu = clipped(Device::cuda);
    CHECK(gpu[0].second.item() > 10 * factor);
    for (size_t i = 0; i < cpu.size(); i++) CHECK(relative_error(gpu[i].second, cpu[i].second, 1e-33) < 1e-6);
    CHECK(same_bits(gpu, clipped(Device::cuda)));
  }
}

TEST_CASE("cuda: a graph updates the parameters that had a gradient when it was recorded", "[cuda]") {
  if (!cuda::available()) return;
  for (const MakeOptimizer& make : {make_adam, make_sgd}) {
    // Two graphs of one optimiser take turns, each with gradients of its own for one parameter and for both; one step has none.
    const auto train = [&](Device device, bool recorded) {
      const auto leaf = [&](uint64_t seed) { return random_tensor({70}, seed, DType::f32).to(device).requires_grad(); };
      Tensor a = leaf(1), b = leaf(2);
      const auto optimizer = make({{"a", a}, {"b", b}});
      cuda::Graph first(recorded ? device : Device::cpu), both(recorded ? device : Device::cpu);
      const auto step = [&](bool with_b) {
        for (Tensor* p : {&a, &b}) p->set_grad({});
        Tensor loss = sum(mul(a, a));
        if (with_b) loss = add(loss, sum(mul(b, a)));
        loss.backward();
        clip_grad_norm({{"a", a}, {"b", b}}, 3);
        optimizer->step();
      };
      optimizer->learning_rate = 0.1;
      for (int i = 0; i < 4; i++) {
        first.run([&] { step(false); });
        optimizer->learning_rate = 0.05;
        both.run([&] { step(true); });
        if (i == 2) step(i % 2);  // not recorded
      }
      return NamedTensors{{"a", a.detach().to(Device::cpu)}, {"b", b.detach().to(Device::cpu)}};
    };
    const NamedTensors plain = train(Device::cuda, false);
    CHECK(same_bits(train(Device::cuda, true), plain));
    CHECK(relative_error(plain[1].second, train(Device::cpu, false)[1].second) < 1e-5);
  }
}

TEST_CASE("cuda: twenty steps agree with the CPU's", "[cuda][slow]") {
  if (!cuda::available()) return;
  for (NormKind norm : {NormKind::none, NormKind::group}) {
    const auto cpu = train(Device::cpu, DType::f32, norm, Way::as_it_is, 20).first;
    const auto gpu = train(Device::cuda, DType::f32, norm, Way::graph, 20).first;
    double error = 0;
    for (size_t i = 0; i < cpu.size(); i += 2) error = std::max(error, std::abs(gpu[i] - cpu[i]) / std::abs(cpu[i]));
    CHECK(error < 1e-4);
  }
}

TEST_CASE("cuda: training in bfloat16 goes the same way", "[cuda][slow]") {
  if (!cuda::available() || !cuda::has_tensor_cores()) return;
  for (NormKind norm : {NormKind::none, NormKind::batch, NormKind::group, NormKind::instance}) {
    INFO(name(norm));
    const auto exact = train(Device::cuda, DType::f32, norm, Way::as_it_is, 10).first;
    const auto rounded = train(Device::cuda, DType::bf16, norm, Way::graph, 10).first;
    // One step is as exact as the numbers are; ten steps at this rate lead apart.
    for (size_t i = 0; i < exact.size(); i += 2)
      CHECK(std::abs(rounded[i] - exact[i]) < (i == 0 ? 1. / 256 : 0.03) * std::abs(exact[i]));
    CHECK(rounded != exact);
  }
}

TEST_CASE("cuda: dropout cannot be part of a graph", "[cuda]") {
  if (!cuda::available()) return;
  Dropout layer(0.5, 1);
  const Tensor x = Tensor::full({8}, 1, DType::f32, Device::cuda);
  cuda::Graph graph;
  graph.run([&] { layer(x); });
  CHECK_THAT(error_of([&] { graph.run([&] { layer(x); }); }), Catch::Contains("Dropout") && Catch::Contains("Graph"));
}

TEST_CASE("cuda: a graph cannot be part of another", "[cuda]") {
  if (!cuda::available()) return;
  const Tensor x = Tensor::full({8}, 1, DType::f32, Device::cuda);
  cuda::Graph inner, outer;
  Tensor y;
  const auto work = [&] { inner.run([&] { y = scale(x, 2); }); };
  outer.run(work);
  CHECK_THAT(error_of([&] { outer.run(work); }), Catch::Contains("another Graph"));
}

TEST_CASE("cuda: an outlier does not spoil the variance, wherever it is", "[cuda]") {
  if (!cuda::available()) return;
  // One pixel is 100, all others are 1.1: the sums on the GPU are of differences from one of the pixels.
  const int64_t size = 128, pixels = size * size;
  for (int64_t outlier : {int64_t(0), pixels * 7 / 31, pixels * 17 / 31, pixels * 25 / 31, pixels - 1}) {
    std::vector<double> values(size_t(pixels), 1.1);
    values[size_t(outlier)] = 100;
    const Tensor x = Tensor::from({1, size, size, 1}, values).to(DType::f32);
    const auto variance = [&](Device device) {
      const auto scalar = [&](double value) { return Tensor::full({1}, value, DType::f32, device); };
      const Tensor mean = scalar(0), var = scalar(1);
      BatchNormOptions options;
      options.momentum = 1;
      batch_norm2d(x.to(device), scalar(1), scalar(0), mean, var, options);
      return var.item();
    };
    CHECK(std::abs(variance(Device::cuda) / variance(Device::cpu) - 1) < 1e-5);
  }
}

TEST_CASE("cuda: parameters that a GPU could not change at once are refused") {
  const auto leaf = [](Device device) {
    const Tensor p = Tensor::full({4}, 1, DType::f32, device).requires_grad();
    sum(mul(p, p)).backward();
    return p;
  };
  const auto refuses = [](const NamedTensors& tensors, const std::string& why) {
    CHECK_THAT(error_of([&] { Sgd optimizer(tensors); }), Catch::Contains(why));
    CHECK_THAT(error_of([&] { Ema averages(tensors, 0.5); }), Catch::Contains(why));
    CHECK_THAT(error_of([&] { clip_grad_norm(tensors, 1); }), Catch::Contains(why));
  };
  const Tensor p = leaf(Device::cpu), q = leaf(Device::cpu);
  refuses({{"a", p}, {"b", q}, {"c", p}}, "a and c are the same tensor");
  CHECK_THAT(error_of([&] { clip_grad_norm({{"a", p}}, -1); }), Catch::Contains("at least 0"));
  if (!cuda::available()) return;
  refuses({{"a", p}, {"b", leaf(Device::cuda)}}, "one device");
  refuses({{"a", leaf(Device::cuda)}, {"b", p}}, "one device");
}
