// Networks: layers, U-Net, initial values, checkpoints and their files, optimisers, and looking into a run.
#include <algorithm>
#include <bit>

#include "nn/checkpoint.h"
#include "nn/fold.h"
#include "nn/inspect.h"
#include "optim/adam.h"
#include "optim/schedule.h"
#include "optim/sgd.h"
#include "tensor/io/file.h"
#include "tensor/text.h"
#include "tests/testing.h"

using namespace acinus;
using Vector = std::vector<double>;
namespace fs = std::filesystem;

namespace {

const Up all_ups[] = {Up::transpose, Up::nearest, Up::bilinear};
const NormKind all_norms[] = {NormKind::none, NormKind::batch, NormKind::group, NormKind::instance};

UNetOptions tiny(Up up, NormKind norm) {
  return {.in = 2, .out = 1, .width = 2, .depth = 2, .up = up, .norm = norm, .norm_groups = 2};
}

// As a training would leave them: biases that are not 0, running statistics that are not those of the start.
void randomize(const Module& module, uint64_t seed) {
  for (auto [name, tensor] : module.state()) {
    const bool variance = name.ends_with("running_var");
    tensor.copy_from(random_tensor(tensor.shape(), seed++, DType::f64, variance ? 0.5 : -0.6, variance ? 1.5 : 0.6));
  }
}

}  // namespace

// ---- U-Net --------------------------------------------------------------------------------------------------------

TEST_CASE("unet: names and shapes are those of PyTorch's counterpart") {
  const UNet net({.in = 3, .out = 2, .width = 4, .depth = 1, .up = Up::transpose, .norm = NormKind::batch}, 1);
  const std::vector<std::pair<std::string, Shape>> blocks[] = {
      {{"encoder.0.conv1.weight", {4, 3, 3, 3}}, {"encoder.0.conv2.weight", {4, 4, 3, 3}}},
      {{"encoder.1.conv1.weight", {8, 4, 3, 3}}, {"encoder.1.conv2.weight", {8, 8, 3, 3}}},
      {{"decoder.0.conv1.weight", {4, 8, 3, 3}}, {"decoder.0.conv2.weight", {4, 4, 3, 3}}}};
  std::map<std::string, Shape> expected{{"decoder.0.up.weight", {8, 4, 2, 2}},
                                        {"decoder.0.up.bias", {4}},
                                        {"head.weight", {2, 4, 1, 1}},
                                        {"head.bias", {2}}};
  for (const auto& block : blocks)
    for (const auto& [name, shape] : block) {
      expected.emplace(name, shape);
      std::string stem = name.substr(0, name.size() - 6);
      expected.emplace(stem + "bias", Shape{shape[0]});
      stem.replace(stem.find("conv"), 4, "norm");
      for (const char* statistic : {"weight", "bias", "running_mean", "running_var"})
        expected.emplace(stem + statistic, Shape{shape[0]});
    }
  const NamedTensors state = state_dict(net);
  CHECK(state.size() == expected.size());
  for (const auto& [name, tensor] : state) {
    INFO(name);
    REQUIRE(expected.contains(name));
    CHECK(text(tensor.shape()) == text(expected.at(name)));
  }

  std::vector<std::string> names;
  for (const auto& [name, tensor] : UNet({.depth = 2, .up = Up::nearest, .norm = NormKind::none}, 1).state())
    names.push_back(name);
  std::vector<std::string> plain;
  for (const char* part :
       {"encoder.0.conv1", "encoder.0.conv2", "encoder.1.conv1", "encoder.1.conv2", "encoder.2.conv1",
        "encoder.2.conv2", "decoder.0.conv1", "decoder.0.conv2", "decoder.1.conv1", "decoder.1.conv2", "head"})
    for (const char* which : {".weight", ".bias"}) plain.push_back(std::string(part) + which);
  CHECK(names == plain);
}

TEST_CASE("unet: the seed recipe has 7,846,081 parameters") {
  const UNet seed({.in = 1, .out = 1, .width = 32, .depth = 4, .up = Up::nearest, .norm = NormKind::none}, 1);
  CHECK(seed.parameter_count() == 7'846'081);
  // A block of c channels in and n out: (9 c n + n) + (9 n n + n). By hand for width 2, depth 1, transposed, batch
  // norm:
  const UNet small({.in = 1, .out = 1, .width = 2, .depth = 1, .up = Up::transpose, .norm = NormKind::batch}, 1);
  CHECK(small.parameter_count() == (20 + 38 + 8) + (76 + 148 + 16) + (34 + 74 + 38 + 8) + 3);
}

TEST_CASE("unet: any image size goes in and comes out, with every kind of upsampling and normalisation") {
  const NoGrad no_grad;
  const Poison poison;
  const Threads one(1);
  for (Up up : all_ups)
    for (NormKind norm : all_norms)
      for (const auto& [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {4, 4}, {7, 16}, {17, 9}, {1, 40}}) {
        INFO(name(up) << ' ' << name(norm) << ' ' << h << 'x' << w);
        UNetOptions options = tiny(up, norm);
        options.depth = 3;
        UNet net(options, 3);
        for (bool training : {true, false}) {
          net.train(training);
          const Tensor y = net(random_tensor({2, h, w, 2}, 4, DType::f32));
          CHECK(text(y.shape()) == text(Shape{2, h, w, 1}));
          for (double v : y.to_vector())
            if (!std::isfinite(v)) FAIL_CHECK("an element is " << v);
        }
      }
  // Padding is zeros at the bottom and the right, as if the image were larger; what is cropped does not matter.
  UNet net(tiny(Up::nearest, NormKind::none), 3);
  const Tensor x = random_tensor({1, 5, 6, 2}, 5, DType::f32);
  CHECK(same_bits(net(x), pad2d(net(pad2d(x, 0, 3, 0, 2)), 0, -3, 0, -2)));
}

TEST_CASE("unet: gradients through the whole of it agree with finite differences") {
  const Poison poison;
  const Threads one(1);
  for (Up up : all_ups)
    for (NormKind norm : all_norms) {
      INFO(name(up) << ' ' << name(norm));
      UNet net(tiny(up, norm), 1);
      net.to(DType::f64);
      randomize(net, 10);
      Tensor x = random_tensor({2, 7, 10, 2}, 6).requires_grad();
      NamedTensors inputs = net.parameters();
      inputs.emplace_back("x", x);
      const Tensor cotangent = random_tensor({2, 7, 10, 1}, 7);
      sum(mul(net(x), cotangent)).backward();
      const NoGrad no_grad;
      compare_slopes(
          inputs, [&] { return dot(net(x), cotangent); },
          [&](const std::string& name, double slope, double difference) {
            // Before a normalisation over the pixels of a channel a bias has no effect.
            const bool dead = norm != NormKind::none && norm != NormKind::group &&
                              name.find("conv") != std::string::npos && name.ends_with("bias");
            if (dead)
              CHECK(std::abs(slope) < 1e-12);
            else
              CHECK(difference == Approx(slope).epsilon(1e-6).margin(1e-7));
          });
    }
}

TEST_CASE("unet: gradient checkpointing gives the same bits with less memory") {
  const Poison poison;
  const Threads two(2);  // each thread has scratch memory of its own: with many, it outweighs the activations saved
  for (Up up : all_ups)
    for (NormKind norm : {NormKind::none, NormKind::batch}) {
      INFO(name(up) << ' ' << name(norm));
      int64_t peak[2];
      std::vector<Tensor> results[2];
      for (bool again : {false, true}) {
        UNetOptions options{.in = 2, .out = 1, .width = 16, .depth = 2, .up = up, .norm = norm};
        options.gradient_checkpointing = again;
        UNet net(options, 1);
        Tensor x = random_tensor({2, 124, 116, 2}, 6, DType::f32).requires_grad();
        memory::reset_peak();
        const int64_t before = memory::stats().in_use;
        for (int step = 0; step < 2; step++) {  // running statistics must move once a step
          const Tensor y = net(x);
          results[again].push_back(y.detach());
          mean(mul(y, y)).backward();
        }
        peak[again] = memory::stats().peak - before;
        for (const auto& [name, tensor] : net.state()) results[again].push_back(tensor.clone());
        for (const auto& [name, tensor] : net.parameters()) results[again].push_back(tensor.grad());
        results[again].push_back(x.grad());
      }
      REQUIRE(results[0].size() == results[1].size());
      for (size_t i = 0; i < results[0].size(); i++) {
        CAPTURE(i);
        CHECK(same_bits(results[0][i], results[1][i]));
      }
      CHECK(double(peak[true]) < 0.9 * double(peak[false]));
    }
}

TEST_CASE("unet: the fused blocks give the bits of the plain ones") {
  const Poison poison;
  for (Up up : all_ups)
    for (NormKind norm : all_norms) {
      INFO(name(up) << ' ' << name(norm));
      UNetOptions options{.in = 2, .out = 1, .width = 16, .depth = 2, .up = up, .norm = norm};
      std::vector<Tensor> logits;
      std::vector<NamedTensors> gradients;
      for (bool fused : {false, true}) {
        options.fused = fused;
        UNet net(options, 1);
        randomize(net, 10);
        Tensor x = random_tensor({2, 61, 38, 2}, 6, DType::f32).requires_grad();
        const Tensor y = net(x);
        sum(mul(y, random_tensor(y.shape(), 7, DType::f32))).backward();
        logits.push_back(y);
        gradients.push_back({{"x", x.grad()}});
        for (const auto& [name, tensor] : net.parameters()) gradients.back().emplace_back(name, tensor.grad());
        for (const auto& [name, tensor] : net.state()) gradients.back().emplace_back(name, tensor);
      }
      CHECK(same_bits(logits[0], logits[1]));
      REQUIRE(gradients[0].size() == gradients[1].size());
      for (size_t i = 0; i < gradients[0].size(); i++) {
        const auto& [name, plain] = gradients[0][i];
        INFO(name);
        // Upsampling to the nearest adds four gradients, and the fused block adds them in another order.
        if (up == Up::nearest)
          CHECK(relative_error(gradients[1][i].second, plain) < 1e-5);
        else
          CHECK(same_bits(gradients[1][i].second, plain));
      }
    }
}

TEST_CASE("unet: without its batch norms it gives the same, and itself stays as it was") {
  const Poison poison;
  const NoGrad no_grad;
  for (Up up : all_ups)
    for (int64_t depth : {0, 1, 2})
      for (DType dtype : {DType::f32, DType::f64}) {
        INFO(name(up) << " depth " << depth << ' ' << name(dtype));
        const auto net = make_unet({.in = 2,
                                    .out = 2,
                                    .width = 16,
                                    .depth = depth,
                                    .up = up,
                                    .norm = NormKind::batch,
                                    .deep_supervision = std::max<int64_t>(depth - 1, 0)},
                                   1);
        net->to(dtype);
        randomize(*net, 10);
        uint64_t seed = 100;
        for (auto [name, tensor] : net->state()) {
          if (name.ends_with("running_mean")) tensor.copy_from(random_tensor(tensor.shape(), seed++, dtype, -5, 5));
          if (!name.ends_with("running_var")) continue;
          std::vector<double> variances;
          for (double exponent : random_tensor(tensor.shape(), seed++, dtype, -3, 2).to_vector())
            variances.push_back(std::pow(10, exponent));
          tensor.copy_from(Tensor::from(tensor.shape(), variances));
        }
        NamedTensors before;
        for (const auto& [name, tensor] : net->state()) before.emplace_back(name, tensor.clone());
        const auto fast = folded(*net);
        CHECK_FALSE((fast->training() || !net->training()));
        for (const auto& [name, tensor] : fast->state()) CHECK(name.find("norm") == name.npos);
        net->eval();
        const double bound = dtype == DType::f32 ? 1e-5 : 1e-12;
        for (const auto& [h, w] : {std::pair<int64_t, int64_t>{37, 50}, {64, 64}, {5, 3}}) {
          const Tensor x = random_tensor({2, h, w, 2}, 6, dtype);
          const std::vector<Tensor> expected = net->all_scales(x), logits = fast->all_scales(x);
          REQUIRE(expected.size() == logits.size());
          for (size_t i = 0; i < logits.size(); i++) CHECK(relative_error(logits[i], expected[i]) < bound);
          CHECK(same_bits((*fast)(x), logits[0]));
        }
        for (size_t i = 0; i < before.size(); i++) CHECK(same_bits(before[i].second, net->state()[i].second));
        if (dtype == DType::f64) continue;
        const Tensor x = random_tensor({1, 20, 20, 2}, 6, DType::bf16);
        const Tensor y = (*fast)(x);
        CHECK(y.dtype() == DType::bf16);
        CHECK(relative_error(y, (*net)(x)) < 0.05);
      }
  // Of the other norms it is a copy.
  for (NormKind norm : {NormKind::none, NormKind::group, NormKind::instance}) {
    UNet net(tiny(Up::nearest, norm), 1);
    randomize(net, 10);
    const auto copy = folded(net);
    const Tensor x = random_tensor({1, 16, 16, 2}, 6, DType::f32);
    CHECK(same_bits((*copy)(x), net(x)));
    CHECK(copy->state()[0].second.data<float>() != net.state()[0].second.data<float>());
  }
}

TEST_CASE("unet: refusals, and names of its options") {
  CHECK_THAT(error_of([] { UNet({.width = 0}, 1); }), Catch::Contains("UNet") && Catch::Contains("width 0"));
  CHECK_THAT(error_of([] { UNet({.depth = 9}, 1); }), Catch::Contains("depth 9"));
  CHECK_THAT(error_of([] { UNet({.width = 6, .norm = NormKind::group, .norm_groups = 4}, 1); }),
             Catch::Contains("norm_groups 4") && Catch::Contains("width 6"));
  UNet net({.in = 3, .width = 2, .depth = 1}, 1);
  CHECK_THAT(error_of([&] {
               net(Tensor::zeros({1, 8, 8, 1}));
             }),
             Catch::Contains("(N,H,W,3)") && Catch::Contains("(1,8,8,1)"));
  CHECK_THAT(error_of([&] { net(Tensor::zeros({8, 8, 3})); }), Catch::Contains("(8,8,3)"));
  for (Up up : all_ups) CHECK(named<Up>(name(up)) == up);
  for (NormKind norm : all_norms) CHECK(named<NormKind>(name(norm)) == norm);
  for (Init init : {Init::he, Init::glorot}) CHECK(named<Init>(name(init)) == init);
  CHECK_THAT(error_of([] { named<NormKind>("layer"); }), Catch::Contains("\"layer\"; known are none, batch, group"));
  const UNetOptions options{3, 2, 8, 4, Up::bilinear, NormKind::group, 4, Init::glorot};
  const UNetOptions back = unet_options_from_json(to_json(options), "x");
  CHECK(to_json(back) == to_json(options));
  CHECK((back.in == 3 && back.depth == 4 && back.up == Up::bilinear && back.init == Init::glorot));
  CHECK_THAT(error_of([] { unet_options_from_json("{\"in\":1}", "x.safetensors"); }), Catch::Contains("x.safetensors"));
  CHECK_THAT(error_of([] { unet_options_from_json("{", "x.safetensors"); }), Catch::Contains("x.safetensors"));
}

// ---- layers -------------------------------------------------------------------------------------------------------

TEST_CASE("init: He and Glorot have the variance of their papers") {
  const int64_t n = 3 * 3 * 64 * 64;
  Random random(1);
  const auto moments = [](const Tensor& t) {
    double sum = 0, squares = 0, largest = 0;
    for (double v : t.to_vector()) sum += v, squares += v * v, largest = std::max(largest, std::abs(v));
    const auto count = double(t.elements());
    return std::array<double, 3>{sum / count, squares / count, largest};
  };
  const auto [he_mean, he_variance, he_largest] = moments(initial_weights(Init::he, {3, 3, 64, 64}, 576, 1152, random));
  CHECK(std::abs(he_mean) < 4 * std::sqrt(2. / 576 / double(n)));
  CHECK(he_variance == Approx(2. / 576).epsilon(0.03));
  CHECK(he_largest > 3.5 * std::sqrt(2. / 576));  // normal, not uniform
  const double bound = std::sqrt(6. / (576 + 1152));
  const auto [mean, variance, largest] = moments(initial_weights(Init::glorot, {3, 3, 64, 64}, 576, 1152, random));
  CHECK(std::abs(mean) < 4 * bound / std::sqrt(3. * double(n)));
  CHECK(variance == Approx(bound * bound / 3).epsilon(0.02));
  CHECK((largest <= bound && largest > 0.999 * bound));

  // What the layers ask for: fan_in is kernel x kernel x channels in.
  const Conv2d conv(32, 16, {.kernel = 5}, random);
  CHECK(moments(conv.weight)[1] == Approx(2. / (25 * 32)).epsilon(0.05));
  CHECK(moments(conv.bias)[2] == 0);
  const Conv2d glorot(32, 16, {.kernel = 5, .init = Init::glorot}, random);
  CHECK(moments(glorot.weight)[1] == Approx(2. / (25 * 48)).epsilon(0.05));
  const ConvTranspose2d doubling(32, 16, Init::glorot, random);  // an output sums 32 inputs, an input feeds 4 * 16
  CHECK(moments(doubling.weight)[1] == Approx(2. / (32 + 64)).epsilon(0.05));
  CHECK(moments(Linear(200, 100, random).weight)[1] == Approx(2. / 200).epsilon(0.05));
  CHECK_FALSE(Conv2d(1, 1, {.bias = false}, random).bias);
  // A seed gives the same network, another seed another one.
  const UNetOptions options = tiny(Up::transpose, NormKind::batch);
  CHECK(same_bits(UNet(options, 5).state()[0].second, UNet(options, 5).state()[0].second));
  CHECK_FALSE(same_bits(UNet(options, 5).state()[0].second, UNet(options, 6).state()[0].second));
}

TEST_CASE("layers: training and inference, types and gradients of a whole module") {
  struct Pair : Module {
    Random random{1};
    Linear a{5, 4, random}, b{4, 3, random};
    Dropout dropout{0.5, 1};
    Pair() { child("a", a), child("drop", dropout), child("b", b); }
    Tensor operator()(const Tensor& x) { return b(dropout(a(x))); }
  } pair;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : pair.parameters()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"a.weight", "a.bias", "b.weight", "b.bias"});
  CHECK(pair.parameter_count() == 5 * 4 + 4 + 4 * 3 + 3);
  const Tensor x = random_tensor({6, 5}, 1, DType::f32);
  const Tensor first = pair(x);
  CHECK_FALSE(same_bits(first, pair(x)));  // each call has a mask of its own
  pair.eval();
  CHECK_FALSE((pair.training() || pair.a.training()));
  CHECK(same_bits(pair(x), pair(x)));
  CHECK(same_bits(pair(x), pair.b(pair.a(x))));
  sum(pair(x)).backward();
  CHECK(pair.a.weight.grad());
  pair.zero_grad();
  CHECK_FALSE(pair.a.weight.grad());
  pair.to(DType::f64);
  CHECK((pair.a.weight.dtype() == DType::f64 && pair.a.weight.needs_grad()));
  CHECK(relative_error(pair(x.to(DType::f64)), pair.b(pair.a(x.to(DType::f64)))) == 0);

  Norm norm(NormKind::batch, 2, 1);
  const Tensor image = random_tensor({2, 3, 3, 2}, 2, DType::f32);
  const Tensor before = norm.running_mean.clone();
  norm.eval();
  norm(image);
  CHECK(same_bits(norm.running_mean, before));
  norm.train();
  norm(image);
  CHECK_FALSE(same_bits(norm.running_mean, before));
  CHECK(norm.parameters().size() == 2);
  CHECK(norm.state().size() == 4);
  CHECK(Norm(NormKind::none, 2, 1).state().empty());
}

// ---- checkpoints --------------------------------------------------------------------------------------------------

TEST_CASE("checkpoint: layouts are PyTorch's") {
  const Tensor conv = random_tensor({3, 2, 4, 5}, 1);  // (KH,KW,in,out) -> (out,in,KH,KW)
  const Tensor theirs = to_pytorch_layout(conv);
  CHECK(theirs.shape() == Shape{5, 4, 3, 2});
  CHECK(theirs.to_vector()[((1 * 4 + 2) * 3 + 2) * 2 + 1] == conv.to_vector()[((2 * 2 + 1) * 4 + 2) * 5 + 1]);
  CHECK(same_bits(from_pytorch_layout(theirs), conv));
  const Tensor linear = Tensor::from({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(to_pytorch_layout(linear).to_vector() == Vector{1, 4, 2, 5, 3, 6});
  CHECK(same_bits(from_pytorch_layout(to_pytorch_layout(linear)), linear));
  CHECK(same_bits(to_pytorch_layout(Tensor::full({4}, 2)), Tensor::full({4}, 2)));
}

TEST_CASE("checkpoint: a network comes back bit for bit") {
  const Threads one(1);
  const Scratch folder;
  for (Up up : all_ups)
    for (NormKind norm : all_norms) {
      INFO(name(up) << ' ' << name(norm));
      UNet net(tiny(up, norm), 1);
      randomize(net, 20);
      const std::string path = folder / text(name(up), name(norm), ".safetensors");
      write_safetensors(path, state_dict(net), {{"unet.config", to_json(net.options())}, {"epoch", "7"}});
      const LoadedUNet loaded = load_unet(path);
      CHECK(loaded.metadata.at("epoch") == "7");
      CHECK_FALSE(loaded.net->training());
      const NamedTensors a = net.state(), b = loaded.net->state();
      REQUIRE(a.size() == b.size());
      for (size_t i = 0; i < a.size(); i++) CHECK((a[i].first == b[i].first && same_bits(a[i].second, b[i].second)));
      net.eval();
      const Tensor x = random_tensor({1, 9, 6, 2}, 2, DType::f32);
      CHECK(same_bits(net(x), (*loaded.net)(x)));
    }
  write_safetensors(folder / "x.safetensors", {{"a", Tensor::zeros({1})}});
  CHECK_THAT(error_of([&] { load_unet(folder / "x.safetensors"); }),
             Catch::Contains("x.safetensors") && Catch::Contains("unet.config"));
  UNetOptions huge;  // a petabyte of weights, and a file of some bytes
  huge.width = 4096, huge.depth = 8;
  write_safetensors(folder / "huge.safetensors", {{"a", Tensor::zeros({1})}}, {{"unet.config", to_json(huge)}});
  CHECK_THAT(error_of([&] { load_unet(folder / "huge.safetensors"); }),
             Catch::Contains("huge.safetensors: its \"unet.config\" asks for layers of 9895604649984 weights"));
}

TEST_CASE("checkpoint: another network's file is refused with all differences, and nothing changes") {
  UNet net(tiny(Up::nearest, NormKind::batch), 1);
  const NamedTensors before = [&] {
    NamedTensors copies;
    for (const auto& [name, tensor] : net.state()) copies.emplace_back(name, tensor.clone());
    return copies;
  }();
  SafeTensors file;
  for (const auto& [name, tensor] : state_dict(UNet(tiny(Up::nearest, NormKind::batch), 2))) {
    if (name == "encoder.1.norm2.running_var" || name == "head.bias") continue;
    file.tensors.emplace_back(name, name == "encoder.0.conv1.weight" ? Tensor::zeros({2, 5, 3, 3}) : tensor);
  }
  file.tensors.emplace_back("optimizer.adam.step", Tensor::zeros({}));
  file.tensors.emplace_back("decoder.0.up.weight", Tensor::zeros({8, 4, 2, 2}));
  const std::string message = error_of([&] { load_state_dict(net, file, "other.safetensors"); });
  for (const char* part : {"other.safetensors", "missing:    encoder.1.norm2.running_var (4)",
                           "missing:    head.bias (1)", "unexpected: decoder.0.up.weight (8,4,2,2)",
                           "mis-shaped: encoder.0.conv1.weight is (2,5,3,3), expected (2,2,3,3)"})
    CHECK_THAT(message, Catch::Contains(part));
  CHECK_THAT(message, !Catch::Contains("optimizer"));
  for (size_t i = 0; i < before.size(); i++) CHECK(same_bits(net.state()[i].second, before[i].second));
}

// ---- safetensors --------------------------------------------------------------------------------------------------

namespace {

// A file of this header and these data; the length field says `length`, or what is true.
std::string safetensors(const std::string& header, const std::string& data, int64_t length = -1) {
  const uint64_t n = length < 0 ? header.size() : uint64_t(length);
  std::string file(8, '\0');
  std::memcpy(file.data(), &n, 8);
  return file + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, int begin, int end) {
  return text('"', name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":[", begin, ',', end,
              "]}");
}

}  // namespace

TEST_CASE("safetensors: the bytes of the format") {
  const Scratch folder;
  const std::string bytes = std::string("\x38\0\0\0\0\0\0\0", 8) +
                            "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  " +
                            std::string("\0\0\x80\x3f\0\0\0\x40", 8);
  put(folder / "a.safetensors", bytes);
  const SafeTensors file = read_safetensors(folder / "a.safetensors");
  CHECK((file.tensors.size() == 1 && file.tensors[0].first == "a" && file["a"].shape() == Shape{2}));
  CHECK((file["a"].dtype() == DType::f32 && file["a"].to_vector() == Vector{1, 2}));
  write_safetensors(folder / "b.safetensors", file.tensors);
  CHECK(read_file(folder / "b.safetensors", 1000) == bytes);
  CHECK_FALSE(file.contains("b"));
  CHECK_THAT(error_of([&] { file["b"]; }), Catch::Contains("no tensor is named \"b\""));
}

TEST_CASE("safetensors: everything written comes back") {
  const Scratch folder;
  const Tensor matrix = random_tensor({3, 5, 2}, 1), image = random_tensor({1, 2, 2, 1}, 2, DType::f32);
  const Tensor special = Tensor::from({5}, std::vector<float>{NAN, INFINITY, -INFINITY, -0.f, 1e-45f});
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"note", "\"quoted\" \\ \n \xc3\xa9"}};
  write_safetensors(folder / "x.safetensors",
                    {{"z", special},
                     {"scalar", Tensor::full({}, 2.5)},
                     {"a.weight", image},
                     {"nothing", Tensor({0, 3})},
                     {"matrix", matrix}},
                    metadata);
  const SafeTensors file = read_safetensors(folder / "x.safetensors");
  CHECK(file.metadata == metadata);
  std::vector<std::string> order;
  for (const auto& [name, tensor] : file.tensors) order.push_back(name);
  CHECK(order == std::vector<std::string>{"matrix", "a.weight", "nothing", "scalar", "z"});  // wide types first
  CHECK(same_bits(file["matrix"], matrix));
  CHECK(same_bits(file["a.weight"], image));
  CHECK(same_bits(file["z"], special));
  CHECK((file["scalar"].shape() == Shape{} && file["scalar"].item() == 2.5 && file["nothing"].shape() == Shape{0, 3}));
  const std::string bytes = read_file(folder / "x.safetensors", 10'000);
  CHECK((bytes.size() % 4 == 0 && bytes[0] % 8 == 0 && bytes[8] == '{'));
  CHECK_THAT(error_of([&] {
               write_safetensors(folder / "y.safetensors", {{"a", image}, {"a", image}});
             }),
             Catch::Contains("\"a\" occurs twice"));
  write_safetensors(folder / "none.safetensors", {});
  CHECK(read_safetensors(folder / "none.safetensors").tensors.empty());
}

TEST_CASE("safetensors: other types, orders and paddings are read") {
  const Scratch folder;
  const auto read = [&](const std::string& dtype, const std::string& data, int64_t n) {
    put(folder / "x.safetensors",
        safetensors("{" + entry("a", dtype, text('[', n, ']'), 0, int(data.size())) + "}", data));
    return read_safetensors(folder / "x.safetensors")["a"];
  };
  const auto bytes = [](auto... values) {
    std::string data;
    (data.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
    return data;
  };
  const Tensor half = read("F16",
                           bytes(uint16_t(0x3c00), uint16_t(0xc000), uint16_t(0x7bff), uint16_t(0x0001),
                                 uint16_t(0x8000), uint16_t(0x7c00), uint16_t(0xfc00)),
                           7);
  CHECK(half.dtype() == DType::f32);
  CHECK(half.to_vector() == Vector{1, -2, 65504, std::ldexp(1., -24), 0, INFINITY, -INFINITY});
  CHECK(std::signbit(half.to_vector()[4]));
  CHECK(std::isnan(read("F16", bytes(uint16_t(0x7e00)), 1).item()));
  const Tensor brain = read("BF16", bytes(uint16_t(0x3f80), uint16_t(0xc049), uint16_t(0x7f80)), 3);
  CHECK((brain.dtype() == DType::f32 && brain.to_vector() == Vector{1, -3.140625, INFINITY}));
  const Tensor longs = read("I64", bytes(int64_t(-1), int64_t(1) << 53), 2);
  CHECK((longs.dtype() == DType::f64 && longs.to_vector() == Vector{-1, 9007199254740992}));
  CHECK(read("I32", bytes(int32_t(-7), INT32_MIN), 2).to_vector() == Vector{-7, -2147483648.});
  CHECK(read("I16", bytes(int16_t(-7), int16_t(300)), 2).to_vector() == Vector{-7, 300});
  CHECK(read("I8", bytes(int8_t(-7)), 1).item() == -7);
  CHECK(read("U8", bytes(uint8_t(255)), 1).item() == 255);
  CHECK(read("BOOL", bytes(uint8_t(1), uint8_t(0)), 2).to_vector() == Vector{1, 0});
  CHECK(read("F64", bytes(0.1), 1).item() == 0.1);
  // Any order of the entries, data not aligned, a header padded with blanks, keys in another order, two empty tensors.
  put(folder / "x.safetensors",
      safetensors("{" + entry("b", "F32", "[1]", 1, 5) + ", \"__metadata__\":{\"k\":\"v\"}," +
                      "\"a\":{\"data_offsets\":[0,1],\"shape\":[],\"dtype\":\"U8\"}," + entry("e", "F32", "[0]", 5, 5) +
                      "," + entry("f", "F64", "[2,0]", 5, 5) + "}     ",
                  bytes(uint8_t(9), 1.5f)));
  const SafeTensors file = read_safetensors(folder / "x.safetensors");
  CHECK((file["a"].item() == 9 && file["b"].item() == 1.5 && file.metadata.at("k") == "v"));
  CHECK((file.tensors[0].first == "a" && file["f"].shape() == Shape{2, 0}));
}

TEST_CASE("safetensors: malformed files are refused by name") {
  const Scratch folder;
  const std::string path = folder / "x.safetensors", eight(8, 'x');
  const auto with = [&](const std::string& entries, int64_t bytes = 8) {
    return safetensors("{" + entries + "}", std::string(size_t(bytes), 'x'));
  };
  const std::string a = entry("a", "F32", "[2]", 0, 8);
  struct Malformed {
    std::string file;
    const char* message;
  };
  const Malformed malformed[] = {
      {"", "0 bytes"},
      {std::string(7, '\0'), "7 bytes"},
      {safetensors("{}", "", 3), "header has 3 bytes"},
      {safetensors("{}", "", 100'000'001), "100000001"},
      {safetensors("{}", "", INT64_MAX), "limit 100000000"},
      {std::string(8, '\xff') + "{}", "limit 100000000"},
      {safetensors("", ""), "not valid JSON"},
      {safetensors("{\"a\":", ""), "not valid JSON"},
      {safetensors("[]", ""), "not a JSON object"},
      {safetensors("{} x", ""), "not valid JSON"},
      {safetensors("{\"\xff\":1}", ""), "not valid JSON"},
      {safetensors(std::string(200'000, '['), ""), "nested too deeply"},
      {safetensors("{\"a\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}", ""), "nested too deeply"},
      {safetensors("{\"a\":" + std::string(9, '[') + std::string(9, ']') + "}", ""), "nested too deeply"},
      {with(a, 7), "outside the file's 7 bytes"},
      {with(a, 9), "end at byte 8 of the data, the file at 9"},
      {with("", 4), "end at byte 0 of the data, the file at 4"},
      {with(a + "," + a), "\"a\" occurs twice"},
      {with(a + "," + entry("b", "F32", "[1]", 4, 8)), "\"b\" starts at byte 4"},
      {with(entry("a", "F32", "[1]", 0, 4) + "," + entry("b", "F32", "[1]", 8, 12), 12), "\"b\" starts at byte 8"},
      {with(entry("a", "F32", "[1]", 4, 8)), "\"a\" starts at byte 4"},
      {with(entry("a", "F32", "[3]", 0, 8)), "\"a\": shape (3) of F32 needs 12 bytes, data_offsets give 8"},
      {with(entry("a", "F32", "[1]", 0, 8)), "needs 4 bytes"},
      {with(entry("a", "F32", "[2]", 8, 0)), "outside"},
      {with(entry("a", "F32", "[2]", -8, 0)), "outside"},
      {with(entry("a", "F8_E4M3", "[8]", 0, 8)), "type F8_E4M3 is not supported"},
      {with(entry("a", "f32", "[2]", 0, 8)), "type f32 is not supported"},
      {with(entry("a", "F32", "[-2]", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "[2.0]", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "[true,2]", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "[\"2\"]", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "2", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "[4294967296,4294967296]", 0, 8)), "too many elements"},
      {with(entry("a", "F32", "[18446744073709551615]", 0, 8)), "\"a\""},
      {with(entry("a", "F32", "[1,1,1,1,1,1,2]", 0, 8)), "7 axes"},
      {with(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})"), "\"a\""},
      {with(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0]})"), "\"a\""},
      {with(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0.0,8.0]})"), "\"a\""},
      {with(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})"), "\"a\""},
      {with(R"("a":{"dtype":"F32","shape":[2]})"), "\"a\""},
      {with(R"("a":{"shape":[2],"data_offsets":[0,8]})"), "\"a\""},
      {with(R"("a":{"dtype":1,"shape":[2],"data_offsets":[0,8]})"), "\"a\""},
      {with("\"a\":7"), "\"a\""},
      {with("\"a\":null"), "\"a\""},
      {with(a + ",\"__metadata__\":{\"k\":1}"), "__metadata__"},
      {with(a + ",\"__metadata__\":{\"k\":{\"l\":\"m\"}}"), "__metadata__"},
      {with(a + ",\"__metadata__\":[\"k\"]"), "__metadata__"},
      {with(a + ",\"__metadata__\":\"k\""), "__metadata__"},
  };
  put(path, with(a));
  REQUIRE(error_of([&] { read_safetensors(path); }) == "no error");
  for (const auto& [file, message] : malformed) {
    put(path, file);
    INFO(file.substr(0, 200));
    CHECK_THAT(error_of([&] { read_safetensors(path); }), Catch::Contains("x.safetensors") && Catch::Contains(message));
  }
  // A length over the limit in a file that is long enough (it takes no space on the disk).
  put(path, safetensors("{}", "", 100'000'001));
  fs::resize_file(path, 200'000'000);
  CHECK_THAT(error_of([&] { read_safetensors(path); }), Catch::Contains("limit 100000000"));
  // A good file cut off anywhere is not read as a shorter one.
  const std::string good = with(a + "," + entry("b", "U8", "[3]", 8, 11), 11);
  for (size_t n = 0; n < good.size(); n++) {
    put(path, good.substr(0, n));
    INFO(n << " of " << good.size() << " bytes");
    CHECK_THAT(error_of([&] { read_safetensors(path); }), Catch::Contains("x.safetensors"));
  }
}

TEST_CASE("safetensors: written whole or not at all") {
  const Scratch folder;
  const NamedTensors tensors{{"a", Tensor::zeros({100})}};
  CHECK_THAT(error_of([&] { write_safetensors("/dev/full", tensors); }), Catch::Contains("No space left on device"));
  CHECK_THAT(error_of([&] { write_safetensors(folder / "none/x.safetensors", tensors); }),
             Catch::Contains("none/x.safetensors"));
  write_safetensors(folder / "x.safetensors", tensors);
  const std::string before = read_file(folder / "x.safetensors", 10'000);
  CHECK_THAT(error_of([&] {
               write_safetensors(folder / "x.safetensors", {{"a", Tensor()}, {"b", Tensor()}});
             }),
             Catch::Contains("empty"));
  CHECK(read_file(folder / "x.safetensors", 10'000) == before);
  CHECK_FALSE(folder.holds_temporary());
}

// ---- optimisers -----------------------------------------------------------------------------------------------------

namespace {

// A parameter that starts at 1 and is given the gradients 1, 2 and -1: where it is after each step.
template <class O, class Options>
Vector path_of(const Options& options) {
  Tensor p = Tensor::full({1}, 1, DType::f64).requires_grad();
  O optimizer({{"p", p}}, options);
  Vector path;
  for (double g : {1, 2, -1}) {
    p.set_grad(Tensor::full({1}, g, DType::f64));
    optimizer.step(0.1);
    path.push_back(p.item());
  }
  return path;
}

void check_path(const Vector& path, const Vector& expected) {
  for (size_t i = 0; i < expected.size(); i++) CHECK(path[i] == Approx(expected[i]).epsilon(1e-11));
}

}  // namespace

TEST_CASE("optimisers: three steps by hand") {
  check_path(path_of<Sgd>(SgdOptions{}), {0.9, 0.7, 0.8});
  check_path(path_of<Sgd>(SgdOptions{.momentum = 0.9}), {0.9, 0.61, 0.449});                       // v: 1, 2.9, 1.61
  check_path(path_of<Sgd>(SgdOptions{.momentum = 0.9, .nesterov = true}), {0.81, 0.349, 0.3041});  // 1.9, 4.61, 0.449
  check_path(path_of<Sgd>(SgdOptions{.weight_decay = 0.5}), {0.85, 0.6075, 0.677125});             // g: 1.5, 2.425, ...
  // From the formulas in adam.cu, computed apart.
  check_path(path_of<Adam>(AdamOptions{}), {0.900000001000, 0.803481799028, 0.761472868968});
  check_path(path_of<Adam>(AdamOptions{.weight_decay = 0.5}), {0.900000000667, 0.801552921356, 0.740110741463});
  check_path(path_of<Adam>(AdamOptions{.weight_decay = 0.5, .decoupled = true}),
             {0.850000001000, 0.710981798978, 0.633423778969});
  CHECK_THAT(error_of([] { Sgd({}, {.nesterov = true}); }), Catch::Contains("momentum"));

  // A parameter without a gradient stays, one with a gradient of 0 moves only by its decay.
  Tensor p = Tensor::full({2}, 1).requires_grad(), q = Tensor::full({2}, 1).requires_grad();
  Adam adam({{"p", p}, {"q", q}}, {.weight_decay = 0.1, .decoupled = true});
  q.set_grad(Tensor::zeros({2}));
  adam.step(0.1);
  CHECK(p.to_vector() == Vector{1, 1});
  CHECK(q.to_vector()[0] == Approx(0.99));
}

TEST_CASE("optimisers: clip_grad_norm") {
  Tensor p = Tensor::zeros({2}).requires_grad(), q = Tensor::zeros({1}).requires_grad(),
         unused = Tensor::zeros({3}).requires_grad();
  const NamedTensors parameters{{"p", p}, {"q", q}, {"unused", unused}};
  const auto set = [&](float a, float b, float c) {
    p.set_grad(Tensor::from({2}, {a, b}));
    q.set_grad(Tensor::from({1}, {c}));
  };
  CHECK(clip_grad_norm(parameters, 1).item() == 0);
  set(2, 3, 6);
  CHECK(clip_grad_norm(parameters, 7).item() == 7);  // exactly at the limit: left alone
  CHECK(p.grad().to_vector() == Vector{2, 3});
  CHECK(clip_grad_norm(parameters, INFINITY).item() == 7);
  CHECK(clip_grad_norm(parameters, 3.5).item() == 7);
  CHECK(p.grad().to_vector() == Vector{1, 1.5});
  CHECK(q.grad().to_vector() == Vector{3});
  set(2, NAN, 6);
  CHECK(std::isnan(clip_grad_norm(parameters, 1).item()));
  CHECK((p.grad().to_vector()[0] == 2 && q.grad().to_vector()[0] == 6));
  set(3e30f, 4e30f, 0);  // the squares do not fit float32
  CHECK(clip_grad_norm(parameters, 1).item() == Approx(5e30));
  CHECK(p.grad().to_vector()[1] == Approx(0.8));
}

TEST_CASE("schedule: its corner points") {
  using Decay = Schedule::Decay;
  const Schedule cosine{.lr = 2, .warmup = 4, .steps = 24, .decay = Decay::cosine, .final_fraction = 0.1};
  CHECK(cosine.at(0) == 0.5);
  CHECK(cosine.at(3) == 2);
  CHECK(cosine.at(4) == 2);
  CHECK(cosine.at(14) == Approx(2 * 0.55));
  CHECK(cosine.at(24) == Approx(0.2));
  CHECK(cosine.at(1000) == Approx(0.2));
  const Schedule polynomial{.lr = 1, .steps = 10, .decay = Decay::polynomial, .power = 2};
  CHECK(polynomial.at(0) == 1);
  CHECK(polynomial.at(5) == Approx(0.25));
  CHECK(polynomial.at(9) == Approx(0.01));
  CHECK(polynomial.at(10) == 0);
  const Schedule constant{.lr = 3, .warmup = 1, .steps = 5};
  for (int64_t step : {0, 1, 4, 100}) CHECK(constant.at(step) == 3);
  const Schedule short_run{.lr = 1, .warmup = 10, .steps = 4, .decay = Decay::cosine};  // still warming up at the end
  CHECK(short_run.at(3) == Approx(0.4));
  CHECK(std::isfinite(short_run.at(12)));
  for (Decay decay : {Decay::cosine, Decay::polynomial})
    for (int64_t step = 1; step < 100; step++) {
      const Schedule s{.steps = 100, .decay = decay};
      CHECK(s.at(step) < s.at(step - 1));
    }
}

// ---- looking into a run ---------------------------------------------------------------------------------------------

TEST_CASE("inspect: the first number that is not finite is found, with op and layer") {
  UNet net(tiny(Up::nearest, NormKind::none), 1);
  const Tensor x = random_tensor({1, 8, 8, 2}, 1, DType::f32);
  const auto step = [&] { sum(net(x)).backward(); };
  const auto find = [&](const std::function<void()>& f) {
    net.zero_grad();
    return first_not_finite(net, f);
  };
  CHECK(find(step).empty());
  const auto state = net.state();
  const auto parameter = [&](const std::string& name) {
    return std::find_if(state.begin(), state.end(), [&](const auto& p) { return p.first == name; })->second;
  };
  const auto with = [&](const std::string& name, float value) {
    float& element = parameter(name).data<float>()[1];
    const float before = std::exchange(element, value);
    const std::string found = find(step);
    element = before;
    return found;
  };
  CHECK(with("encoder.1.conv2.weight", NAN) == "parameter encoder.1.conv2.weight");
  CHECK(with("decoder.0.conv1.bias", INFINITY) == "parameter decoder.0.conv1.bias");
  Tensor image = x.clone();
  image.data<float>()[5] = NAN;
  CHECK(find([&] { sum(net(image)).backward(); }) == "conv2d_fused in encoder.0.conv1 (forward)");
  for (auto& [name, p] : net.parameters())
    if (name == "decoder.0.conv1.weight")
      for (int64_t i = 0; i < p.elements(); i++) p.data<float>()[i] = 3e38f;
  CHECK(find(step) == "conv2d_fused in decoder.0.conv1 (forward)");

  // Forward all is 0; backward 1e30 * 1e30 is too much, first for what reaches the sum.
  Random random(1);
  Linear linear(2, 2, random);
  const Tensor row = Tensor::full({1, 2}, 1);
  CHECK(first_not_finite(linear, [&] {
          scale(scale(sum(mul(linear(row), Tensor::zeros({1, 2}))), 1e30), 1e30).backward();
        }) == "sum (the gradient it received)");
  Conv2d conv(1, 1, {.kernel = 1}, random);
  conv.weight.copy_from(Tensor::zeros({1, 1, 1, 1}));
  CHECK(first_not_finite(conv, [&] {
          scale(sum(conv(Tensor::full({1, 1, 1, 1}, 1e30))), 1e30).backward();
        }) == "the gradient of weight");
  // Whatever the step throws, nobody observes afterwards.
  CHECK(error_of([&] { first_not_finite(linear, [] { fail("stopped"); }); }) == "stopped");
  relu(Tensor::full({1}, NAN));
}

TEST_CASE("inspect: the summary lists every op that ran and counts each parameter once") {
  UNet net({.in = 1, .out = 1, .width = 4, .depth = 1, .up = Up::transpose, .norm = NormKind::batch}, 1);
  std::string table = summary(net, [&] { net(Tensor::zeros({2, 8, 8, 1})); });
  for (const char* part : {"encoder.0.conv1", "conv2d", "(2,8,8,4)", "40", "max_pool2d", "(2,4,4,4)", "decoder.0.up",
                           "conv_transpose2d", "concat", "(2,8,8,8)", "batch_norm2d", "head", "(2,8,8,1)"})
    CHECK_THAT(table, Catch::Contains(part));
  for (size_t at; (at = table.find("1,709")) != table.npos;) table.erase(at + 1, 1);  // however thousands are parted
  CHECK_THAT(table, Catch::Contains(text(net.parameter_count(), " parameters")));
  int64_t total = 0;  // the last column
  std::istringstream lines(table);
  std::string line;
  while (std::getline(lines, line)) {
    int64_t n = 0;
    const auto fields = words(line);
    if (fields.size() == 4 && parse(fields[3], n)) total += n;
  }
  CHECK(total == net.parameter_count());
}
