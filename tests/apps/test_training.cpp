// What a training is made of beside the network itself: heads at coarser scales and the loss over them, averages of the
// weights, what a resumed run needs, and gradients that add up over several batches.
#include <algorithm>
#include <functional>

#include "apps/training/loop.h"
#include "nn/checkpoint.h"
#include "nn/loss.h"
#include "optim/adam.h"
#include "optim/ema.h"
#include "optim/sgd.h"
#include "tensor/cuda/device.h"
#include "tensor/cuda/graph.h"
#include "tensor/trace.h"
#include "tests/testing.h"

using namespace acinus;
using Vector = std::vector<double>;

namespace {

UNetOptions tiny(int64_t deep_supervision, Up up = Up::nearest, NormKind norm = NormKind::none) {
  UNetOptions options;
  options.in = options.out = options.width = 2;
  options.depth = 3, options.up = up, options.norm = norm;
  options.norm_groups = 1;
  options.deep_supervision = deep_supervision;
  return options;
}

// A copy of all elements, on the CPU.
NamedTensors copied(const NamedTensors& tensors) {
  NamedTensors copies;
  for (const auto& [name, tensor] : tensors) copies.emplace_back(name, tensor.to(Device::cpu).clone());
  return copies;
}

void check_same(const NamedTensors& a, const NamedTensors& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); i++) {
    INFO(a[i].first);
    CHECK(a[i].first == b[i].first);
    CHECK(same_bits(a[i].second, b[i].second));
  }
}

NamedTensors gradients(const Module& module) {
  NamedTensors list;
  for (const auto& [name, p] : module.parameters()) list.emplace_back(name, p.grad());
  return list;
}

}  // namespace

// ---- deep supervision -----------------------------------------------------------------------------------------------

TEST_CASE("training: heads at coarser scales change nothing else") {
  for (Up up : {Up::transpose, Up::nearest, Up::bilinear})
    for (Init init : {Init::he, Init::glorot}) {
      UNetOptions options = tiny(0, up, NormKind::batch);
      options.init = init;
      UNet plain(options, 5);
      options.deep_supervision = 2;
      DeeplySupervisedUNet deep(options, 5);
      const NamedTensors a = plain.state();
      NamedTensors b = deep.state();
      REQUIRE(b.size() == a.size() + 4);
      const NamedTensors more(b.begin() + int64_t(a.size()), b.end());
      b.resize(a.size());
      check_same(a, b);
      const std::pair<const char*, Shape> expected[] = {
          {"aux.0.weight", {1, 1, 4, 2}}, {"aux.0.bias", {2}}, {"aux.1.weight", {1, 1, 8, 2}}, {"aux.1.bias", {2}}};
      for (size_t i = 0; i < 4; i++) {
        CHECK(more[i].first == expected[i].first);
        CHECK(more[i].second.shape() == expected[i].second);
      }
      const Tensor x = random_tensor({2, 9, 12, 2}, 1, DType::f32), y = plain(x);
      CHECK(same_bits(deep(x), y));
      b = deep.state();
      b.resize(a.size());
      check_same(plain.state(), b);  // running statistics, too
      plain.eval(), deep.eval();
      CHECK(plain.all_scales(x).size() == 1);
      CHECK(same_bits(plain.all_scales(x)[0], plain(x)));
      CHECK(same_bits(deep.all_scales(x)[0], plain(x)));
    }
}

TEST_CASE("training: logits of every scale, for any image size") {
  const NoGrad no_grad;
  const Poison poison;
  DeeplySupervisedUNet net(tiny(2), 3);
  for (const auto& [h, w] : {std::pair<int64_t, int64_t>{1, 1}, {3, 5}, {8, 8}, {7, 16}, {17, 9}, {13, 2}}) {
    INFO(h << 'x' << w);
    const Tensor x = random_tensor({2, h, w, 2}, 4, DType::f32);
    const std::vector<Tensor> y = net.all_scales(x);
    const int64_t bottom = (8 - h % 8) % 8, right = (8 - w % 8) % 8;
    const std::vector<Tensor> whole = net.all_scales(pad2d(x, 0, bottom, 0, right));
    REQUIRE(y.size() == 3);
    for (int64_t i = 0; i < 3; i++) {
      const int64_t side = int64_t(1) << i, rows = (h + side - 1) / side, columns = (w + side - 1) / side;
      INFO("scale " << i);
      REQUIRE(text(y[size_t(i)].shape()) == text(Shape{2, rows, columns, 2}));
      const Shape full = whole[size_t(i)].shape();
      CHECK(full == Shape{2, (h + bottom) / side, (w + right) / side, 2});
      CHECK(same_bits(y[size_t(i)], pad2d(whole[size_t(i)], 0, rows - full[1], 0, columns - full[2])));
    }
  }
  // Each head judges the decoder of its own size, and only where it is asked for.
  std::vector<std::string> ran;
  const ObserverScope observing([&](const Event& e) {
    if (e.when == When::forward && e.scope.find("conv") == std::string::npos && std::string(e.op) == "conv2d")
      ran.push_back(e.scope + text(e.result->shape()));
  });
  const Tensor x = random_tensor({1, 16, 8, 2}, 4, DType::f32);
  net(x);
  CHECK(ran == std::vector<std::string>{"head(1,16,8,2)"});
  ran.clear();
  net.all_scales(x);
  CHECK(ran == std::vector<std::string>{"aux.1(1,4,2,2)", "aux.0(1,8,4,2)", "head(1,16,8,2)"});
}

TEST_CASE("training: gradients of the loss over scales agree with finite differences") {
  const Poison poison;
  const Threads one(1);
  for (Up up : {Up::transpose, Up::nearest, Up::bilinear})
    for (NormKind norm : {NormKind::none, NormKind::group})
      for (LossKind kind : {LossKind::dice, LossKind::bce, LossKind::dice_bce}) {
        INFO(name(up) << ' ' << name(norm) << ' ' << name(kind));
        DeeplySupervisedUNet net(tiny(2, up, norm), 1);
        net.to(DType::f64);
        uint64_t seed = 10;
        for (auto& [name, p] : net.parameters())
          Tensor(p).copy_from(random_tensor(p.shape(), seed++, DType::f64, -0.4, 0.4));
        Tensor x = random_tensor({2, 11, 6, 2}, 6).requires_grad();
        const Tensor t = random_tensor({2, 11, 6, 2}, 7, DType::f64, 0, 1);
        NamedTensors inputs = net.parameters();
        inputs.emplace_back("x", x);
        const double dy = -1.7;
        segmentation_loss(net.all_scales(x), t, kind, /*smooth=*/0.5).backward(Tensor::full({}, dy, DType::f64));
        const NoGrad no_grad;
        compare_slopes(
            inputs, [&] { return segmentation_loss(net.all_scales(x), t, kind, 0.5).item(); },
            [&](const std::string&, double slope, double difference) {
              CHECK(std::abs(slope) > 1e-9);
              CHECK(dy * difference == Approx(slope).epsilon(1e-6).margin(1e-8));
            });
      }
}

TEST_CASE("training: recompute, several threads and bfloat16 with the loss over scales") {
  const Poison poison;
  UNetOptions options;
  options.width = 8, options.norm = NormKind::batch, options.deep_supervision = 2;
  const Tensor t = random_tensor({1, 75, 66, 1}, 2, DType::f32, 0, 1);
  const auto step = [&](bool recompute, int threads, DType activations) {
    const Threads so_many(threads);
    options.gradient_checkpointing = recompute;
    DeeplySupervisedUNet net(options, 1);
    Tensor x = random_tensor({1, 75, 66, 1}, 1, DType::f32).requires_grad();
    const std::vector<Tensor> logits = net.all_scales(cast(x, activations));
    for (const Tensor& y : logits) CHECK(y.dtype() == activations);
    const Tensor loss = segmentation_loss(logits, t, LossKind::dice_bce);
    loss.backward();
    NamedTensors results = gradients(net);
    for (const auto& entry : net.state()) results.push_back(entry);
    results.emplace_back("x", x.grad());
    results.emplace_back("loss", loss);
    return copied(results);
  };
  const NamedTensors plain = step(false, 1, DType::f32);
  check_same(step(true, 1, DType::f32), plain);
  check_same(step(false, 3, DType::f32), plain);
  const NamedTensors rounded = step(false, 1, DType::bf16);
  CHECK(relative_error(rounded.back().second, plain.back().second) < 1. / 256);
  for (size_t i = 0; i < plain.size(); i++) {
    if (plain[i].first.find("aux") == std::string::npos) continue;
    INFO(plain[i].first);
    CHECK(relative_error(rounded[i].second, plain[i].second) < 0.05);
  }
  check_same(step(true, 2, DType::bf16), rounded);
}

TEST_CASE("training: deep supervision in files, and what is refused") {
  CHECK_THAT(error_of([] { UNet(tiny(3), 1); }), Catch::Contains("deep_supervision 3") && Catch::Contains("0 to 2"));
  CHECK_THAT(error_of([] { UNet(tiny(-1), 1); }), Catch::Contains("deep_supervision -1"));
  UNetOptions flat = tiny(1);
  flat.depth = 0;
  CHECK_THAT(error_of([&] { UNet(flat, 1); }), Catch::Contains("0 to 0"));

  const Scratch folder;
  const std::string path = folder / "x.safetensors";
  DeeplySupervisedUNet net(tiny(2, Up::transpose, NormKind::batch), 1);
  write_safetensors(path, state_dict(net), {{"unet.config", to_json(net.options())}});
  const LoadedUNet loaded = load_unet(path);
  CHECK(loaded.net->options().deep_supervision == 2);
  check_same(loaded.net->state(), net.state());

  // A file from before: its configuration does not know of it.
  UNet plain(tiny(0), 1);
  const std::string key = ",\"deep_supervision\":";
  std::string config = to_json(plain.options());
  REQUIRE(config.find(key + "0}") != std::string::npos);
  const std::string stem = config.substr(0, config.find(key));
  write_safetensors(path, state_dict(plain), {{"unet.config", stem + "}"}});
  const LoadedUNet old = load_unet(path);
  CHECK(old.net->options().deep_supervision == 0);
  check_same(old.net->state(), plain.state());
  for (const char* damaged : {"3", "-1", "9223372036854775807", "\"2\"", "null", "[1]"}) {
    INFO(damaged);
    write_safetensors(path, state_dict(plain), {{"unet.config", stem + key + damaged + "}"}});
    CHECK_THAT(error_of([&] { load_unet(path); }),
               Catch::Contains("deep_supervision") || Catch::Contains("x.safetensors: its \"unet.config\" is damaged"));
  }
  write_safetensors(path, state_dict(plain), {{"unet.config", stem + key + "1}"}});  // heads that are not there
  CHECK_THAT(error_of([&] { load_unet(path); }), Catch::Contains("missing:    aux.0.weight (2,4,1,1)"));
}

// ---- the loss -------------------------------------------------------------------------------------------------------

TEST_CASE("training: the loss over scales, computed apart") {
  const Poison poison;
  const int64_t n = 2, h = 7, w = 10, c = 2;
  const Tensor t = random_tensor({n, h, w, c}, 1, DType::f64, 0, 1);
  const double smooth = 0.5;
  double sum_of[3] = {0, 0, 0}, weight_sum = 0;
  std::vector<Tensor> logits;
  for (int64_t i = 0; i < 4; i++) {
    const int64_t side = int64_t(1) << i, rows = (h + side - 1) / side, columns = (w + side - 1) / side;
    logits.push_back(random_tensor({n, rows, columns, c}, 20 + uint64_t(i), DType::f64, -4, 4));
    double overlap = 0, total = 0, bce = 0;
    for (int64_t k = 0; k < logits.back().elements(); k++) {
      const int64_t image = k / (rows * columns * c), row = k / (columns * c) % rows, column = k / c % columns;
      double share = 0;  // of a coarse pixel, over its side x side pixels
      for (int64_t a = row * side; a < std::min(h, (row + 1) * side); a++)
        for (int64_t b = column * side; b < std::min(w, (column + 1) * side); b++)
          share += t.data<double>()[((image * h + a) * w + b) * c + k % c];
      share /= double(side * side);
      const double p = 1 / (1 + std::exp(-logits.back().data<double>()[k]));
      overlap += p * share, total += p + share;
      bce -= share * std::log(p) + (1 - share) * std::log(1 - p);
    }
    const double dice = -(2 * overlap + smooth) / (total + smooth), weight = std::pow(0.5, i);
    bce /= double(logits.back().elements());
    sum_of[0] += weight * dice, sum_of[1] += weight * bce, sum_of[2] += weight * (dice + bce);
    weight_sum += weight;
    const LossKind kinds[] = {LossKind::dice, LossKind::bce, LossKind::dice_bce};
    for (int k = 0; k < 3; k++) {
      INFO(name(kinds[k]) << ", " << i + 1 << " scales");
      CHECK(segmentation_loss(logits, t, kinds[k], smooth).item() == Approx(sum_of[k] / weight_sum).epsilon(1e-12));
    }
  }
  // One scale is the loss that it was, to the last bit.
  const Tensor x = random_tensor({2, 5, 6, 1}, 3, DType::f32), u = random_tensor({2, 5, 6, 1}, 4, DType::f32, 0, 1);
  const Tensor dice = dice_loss(sigmoid(x), u, 0.7), bce = bce_with_logits(x, u);
  CHECK(same_bits(segmentation_loss({x}, u, LossKind::dice, 0.7), dice));
  CHECK(same_bits(segmentation_loss({x}, u, LossKind::bce, 0.7), bce));
  CHECK(same_bits(segmentation_loss({x}, u, LossKind::dice_bce, 0.7), add(dice, bce)));
}

TEST_CASE("training: losses by name, and what is refused") {
  for (LossKind kind : {LossKind::dice, LossKind::bce, LossKind::dice_bce}) CHECK(named<LossKind>(name(kind)) == kind);
  CHECK(std::string(name(LossKind::dice_bce)) == "dice+bce");
  CHECK_THAT(error_of([] { named<LossKind>("focal"); }),
             Catch::Contains("loss \"focal\"; known are dice, bce, dice+bce"));
  const auto loss = [](const std::vector<Tensor>& logits, const Shape& t) {
    return error_of([&] { segmentation_loss(logits, Tensor::zeros(t), LossKind::bce); });
  };
  const Tensor fine = Tensor::zeros({1, 5, 6, 1}), coarse = Tensor::zeros({1, 2, 3, 1});
  CHECK_THAT(loss({}, {1, 5, 6, 1}), Catch::Contains("no logits"));
  CHECK_THAT(loss({fine}, {1, 5, 6, 2}), Catch::Contains("scale 0") && Catch::Contains("(1,5,6,2)"));
  CHECK_THAT(loss({fine, coarse}, {1, 5, 6, 1}), Catch::Contains("scale 1: logits (1,2,3,1) for a target (1,3,3,1)"));
  CHECK_THAT(loss({Tensor::zeros({5, 6})}, {5, 6}), Catch::Contains("(N,H,W,C)"));
  CHECK_THAT(loss({Tensor::zeros({0, 5, 6, 1})}, {0, 5, 6, 1}), Catch::Contains("(0,5,6,1)"));
  CHECK(loss({fine, Tensor::zeros({1, 3, 3, 1})}, {1, 5, 6, 1}) == "no error");
}

// ---- averages of the weights ----------------------------------------------------------------------------------------

namespace {

std::vector<Device> devices() {
  return cuda::available() ? std::vector<Device>{Device::cpu, Device::cuda} : std::vector<Device>{Device::cpu};
}

}  // namespace

TEST_CASE("training: averages are those of a plain loop", "[cuda]") {
  const Poison poison;
  for (Device device : devices())
    for (DType dtype : {DType::f64, DType::f32})
      for (double decay : {0.0, 0.3, 0.9999}) {
        INFO(name(device) << ' ' << name(dtype) << ' ' << decay);
        const Shape shapes[] = {{3, 3, 2, 5}, {}, {70'001}};
        NamedTensors tensors;
        std::vector<Vector> averages;
        for (const Shape& shape : shapes) {
          tensors.emplace_back(text(shape), random_tensor(shape, 1, dtype).to(device));
          averages.push_back(tensors.back().second.to_vector());
        }
        Ema ema(tensors, decay);
        for (int t = 1; t <= 12; t++) {
          const double d = std::min(decay, (1. + t) / (10. + t));
          for (size_t k = 0; k < tensors.size(); k++) {
            tensors[k].second.copy_from(random_tensor(shapes[k], 10 * uint64_t(t) + k, dtype));
            const Vector w = tensors[k].second.to_vector();
            for (size_t i = 0; i < w.size(); i++) averages[k][i] = d * averages[k][i] + (1 - d) * w[i];
          }
          ema.update();
        }
        const NamedTensors state = ema.state();
        REQUIRE(state.size() == 4);
        CHECK((state[3].first == "ema.step" && state[3].second.item() == 12));
        for (size_t k = 0; k < tensors.size(); k++) {
          CHECK(state[k].first == "ema." + tensors[k].first);
          const Tensor expected = Tensor::from(shapes[k], averages[k]);
          CHECK(relative_error(state[k].second, expected) < (dtype == DType::f64 ? 1e-14 : 1e-6));
        }
      }
  // Weights that stay: so do their averages, to the last bit.
  const NamedTensors still{{"w", random_tensor({1000}, 1, DType::f32)}};
  Ema ema(still, 0.999);
  for (int t = 0; t < 50; t++) ema.update();
  CHECK(same_bits(ema.state()[0].second, still[0].second));
  for (double decay : {-0.1, 1.0, 1.5, double(NAN)})
    CHECK_THAT(error_of([&] { Ema({}, decay); }), Catch::Contains("decay"));
}

TEST_CASE("training: the averages take the weights' place, and go again", "[cuda]") {
  for (Device device : devices()) {
    INFO(name(device));
    DeeplySupervisedUNet net(tiny(1, Up::transpose, NormKind::batch), 1);
    net.to(device);
    const Tensor x = random_tensor({1, 8, 8, 2}, 1, DType::f32).to(device);
    Ema ema(net.state(), 0.9);
    uint64_t seed = 100;
    for (int t = 0; t < 3; t++) {
      for (auto& [name, w] : net.state()) Tensor(w).copy_from(random_tensor(w.shape(), seed++, DType::f32, 0.1, 1));
      ema.update();
    }
    net.eval();
    const Tensor y = net(x);
    const NamedTensors weights = copied(net.state()), averages = copied(ema.state());
    std::vector<const float*> places;
    for (auto& [name, w] : net.state()) places.push_back(w.ptr<float>());
    {
      const EmaScope scope(ema);
      const NamedTensors now = net.state();
      for (size_t i = 0; i < now.size(); i++) {
        INFO(now[i].first);
        CHECK(now[i].second.ptr<float>() == places[i]);
        CHECK(now[i].second.needs_grad() == (now[i].first.find("running") == std::string::npos));
        CHECK(same_bits(now[i].second, averages[i].second));
        CHECK_FALSE(same_bits(now[i].second, weights[i].second));
      }
      CHECK_FALSE(same_bits(net(x), y));
      CHECK_THAT(error_of([&] { ema.update(); }), Catch::Contains("EmaScope"));
      CHECK_THAT(error_of([&] { ema.load({}); }), Catch::Contains("EmaScope"));
      CHECK_THAT(error_of([&] { ema.state(); }), Catch::Contains("EmaScope"));
      CHECK_THAT(error_of([&] { EmaScope again(ema); }), Catch::Contains("EmaScope"));
    }
    check_same(net.state(), weights);
    for (size_t i = 0; i < places.size(); i++) CHECK(net.state()[i].second.ptr<float>() == places[i]);
    check_same(ema.state(), averages);
    CHECK(same_bits(net(x), y));
    error_of([&] {  // an Error on the way out of the block, too
      const EmaScope scope(ema);
      fail("stopped");
    });
    check_same(net.state(), weights);
  }
}

// ---- whole trainings ------------------------------------------------------------------------------------------------

namespace {

enum class Kind { adam, adamw, sgd };

struct TinyRun {
  DeeplySupervisedUNet net;
  DType activations = DType::f32;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Ema> ema;
  Tensor x, t, loss;
  cuda::Graph graph;

  TinyRun(Kind kind, uint64_t seed, Device device = Device::cpu)
      : net(tiny(2, Up::transpose, NormKind::batch), seed),
        x(Tensor::zeros({2, 9, 11, 2}, DType::f32, device)),
        t(x.clone()) {
    net.to(device);
    if (kind == Kind::sgd)
      optimizer = std::make_unique<Sgd>(net.parameters(), SgdOptions{0.9, /*nesterov=*/true, 1e-3});
    else
      optimizer =
          std::make_unique<Adam>(net.parameters(), AdamOptions{.weight_decay = 1e-2, .decoupled = kind == Kind::adamw});
    ema = std::make_unique<Ema>(net.state(), 0.8);
  }
  void step(uint64_t i, bool in_graph = false) {
    x.copy_from(random_tensor(x.shape(), i, DType::f32));
    t.copy_from(random_tensor(x.shape(), 1000 + i, DType::f32, 0, 1));
    optimizer->learning_rate = 0.05 / double(1 + i);
    const auto work = [&] {
      net.zero_grad();
      loss = segmentation_loss(net.all_scales(cast(x, activations)), t, LossKind::dice_bce);
      loss.backward();
      optimizer->step();
      ema->update();
    };
    in_graph ? graph.run(work) : work();
  }
  Tensor validate() {
    const EmaScope scope(*ema);
    const EvalMode eval_mode(net);
    const NoGrad no_grad;
    return cast(net(cast(x, activations)), DType::f32);
  }
  NamedTensors training_state() const {
    NamedTensors all;
    for (const auto& [name, tensor] : optimizer->state()) all.emplace_back("optimizer." + name, tensor);
    for (const auto& [name, tensor] : ema->state()) all.emplace_back("optimizer." + name, tensor);
    return all;
  }
  NamedTensors everything() const {
    NamedTensors all = net.state();
    for (const auto& entry : training_state()) all.push_back(entry);
    return copied(all);
  }
};

SafeTensors without_prefix(const SafeTensors& file, const std::string& prefix) {
  SafeTensors rest;
  for (const auto& [name, tensor] : file.tensors)
    if (name.rfind(prefix, 0) == 0) rest.tensors.emplace_back(name.substr(prefix.size()), tensor);
  return rest;
}

}  // namespace

TEST_CASE("training: a resumed run continues bit for bit", "[cuda]") {
  const Scratch folder;
  const std::string path = folder / "last.safetensors";
  for (Device device : devices())
    for (Kind kind : {Kind::adam, Kind::adamw, Kind::sgd}) {
      if (device == Device::cuda && kind == Kind::adam) continue;  // keeps what adamw keeps
      INFO(name(device) << ", optimiser " << int(kind));
      TinyRun straight(kind, 1, device);
      for (uint64_t i = 0; i < 10; i++) {
        straight.step(i);
        if (i % 3 == 1) straight.validate();
      }
      TinyRun first(kind, 1, device);
      for (uint64_t i = 0; i < 5; i++) first.step(i);
      NamedTensors all = state_dict(first.net);
      for (const auto& entry : first.training_state()) all.push_back(entry);
      write_safetensors(path, all);

      TinyRun second(kind, 2, device);  // other weights, which must all go
      second.step(77);
      const SafeTensors file = read_safetensors(path), training = without_prefix(file, "optimizer.");
      load_state_dict(second.net, file, path);
      second.optimizer->load(training);
      second.ema->load(training);
      check_same(second.everything(), first.everything());
      for (uint64_t i = 5; i < 10; i++) second.step(i);
      check_same(second.everything(), straight.everything());
      CHECK(same_bits(second.validate(), straight.validate()));
      CHECK_FALSE(same_bits(second.loss, first.loss));
    }
}

TEST_CASE("training: where a run is, as text and back") {
  RunState p;
  p.epoch = 3, p.step = 200, p.loss_sum = 0.1, p.best_epoch = 2;
  p.rows = {{1, 100, 0.5, NAN, 1e-3, 10, 160, 0, 90, 0.7, NAN}, {2, 200, 0.4, 0.25, 1e-3, 10, 160, 0, 90, NAN, 0.5}};
  const std::string json = to_json(p);
  const RunState again = run_state_from_json(json, "x");
  CHECK(to_json(again) == json);
  CHECK(again.rows[1].val_dice == 0.25);
  const auto error = [&](const std::string& from, const std::string& to) {
    std::string other = json;
    REQUIRE(other.find(from) != other.npos);
    return error_of([&] { run_state_from_json(other.replace(other.find(from), from.size(), to), "x"); });
  };
  CHECK_THAT(error("\"best_epoch\":2", "\"best_epoch\":3"), Catch::StartsWith("x: its state is that of epoch 3"));
  CHECK_THAT(error("\"epoch\":3", "\"epoch\":4"), Catch::Contains("the numbers of 2 epochs"));
  CHECK_THAT(error("\"epoch\":3", "\"epoch\":-3"), Catch::Contains("epoch -3"));
  CHECK_THAT(error("\"step\"", "\"steps\""), Catch::Contains("is damaged, or of another version"));
  CHECK_THAT(error("[1,100", "[1.5,\"x\""), Catch::Contains("is damaged, or of another version"));
}

TEST_CASE("training: a state that does not fit is refused with all differences, and nothing changes") {
  for (Kind kind : {Kind::adam, Kind::sgd}) {
    TinyRun run(kind, 1);
    run.step(0);
    const NamedTensors before = run.everything();
    const std::string stem = kind == Kind::adam ? "adam.v." : "sgd.v.";
    SafeTensors state;
    for (const auto& [name, tensor] : run.optimizer->state())
      if (name != stem + "head.bias")
        state.tensors.emplace_back(name, name == stem + "aux.0.bias" ? Tensor::zeros({77}) : tensor.clone());
    for (auto& [name, tensor] : state.tensors)
      if (name != "adam.step") tensor.copy_from(random_tensor(tensor.shape(), 1));
    state.tensors.emplace_back(stem + "aux.9.weight", Tensor::zeros({3}));
    state.tensors.emplace_back("ema.head.bias", Tensor::zeros({3}));  // not its own
    const std::string message = error_of([&] { run.optimizer->load(state); });
    CHECK_THAT(message, Catch::Contains("missing:    " + stem + "head.bias (2)"));
    CHECK_THAT(message, Catch::Contains("mis-shaped: " + stem + "aux.0.bias is (77), expected (2)"));
    CHECK_THAT(message, Catch::Contains("unexpected: " + stem + "aux.9.weight (3)"));
    CHECK_THAT(message, !Catch::Contains("ema."));
    const std::string of_ema = error_of([&] { run.ema->load(state); });
    CHECK_THAT(of_ema, Catch::Contains("missing:    ema.encoder.0.norm1.running_mean (2)") &&
                           Catch::Contains("mis-shaped: ema.head.bias is (3), expected (2)"));
    check_same(run.everything(), before);
  }
  TinyRun run(Kind::adam, 1);
  for (double steps : {-1.0, 2.5, double(NAN), double(INFINITY), 1e18}) {
    SafeTensors state;
    for (const auto& [name, tensor] : run.optimizer->state())
      state.tensors.emplace_back(name, name == "adam.step" ? Tensor::full({}, steps, DType::f64) : tensor);
    CHECK_THAT(error_of([&] { run.optimizer->load(state); }), Catch::Contains("no count:   adam.step is "));
  }
}

TEST_CASE("training: averages and deep supervision in a replayed graph", "[cuda][slow]") {
  if (!cuda::available()) return;
  const Poison poison;
  for (DType activations : {DType::f32, DType::bf16}) {
    if (activations == DType::bf16 && !cuda::has_tensor_cores()) continue;
    INFO(name(activations));
    TinyRun plain(Kind::adamw, 1, Device::cuda), replayed(Kind::adamw, 1, Device::cuda), cpu(Kind::adamw, 1);
    for (TinyRun* run : {&plain, &replayed, &cpu}) run->activations = activations;
    for (uint64_t i = 0; i < 5; i++) {
      plain.step(i);
      cpu.step(i);
      replayed.step(i, /*in_graph=*/true);
      CHECK(same_bits(replayed.validate(), plain.validate()));  // between replays: they must not notice
      // Of bfloat16 only the first step: then the two lead apart.
      if (activations == DType::f32 || i == 0)
        CHECK(relative_error(plain.loss, cpu.loss) < (activations == DType::f32 ? 1e-4 : 0.01));
    }
    check_same(replayed.everything(), plain.everything());
  }
}

TEST_CASE("training: gradients of several batches add up to those of one large batch") {
  const Poison poison;
  for (DType dtype : {DType::f64, DType::f32})
    for (bool recompute : {false, true}) {
      INFO(name(dtype) << ", recompute " << recompute);
      const int64_t k = 3, each = 2;
      UNetOptions options = tiny(2, Up::transpose);
      options.gradient_checkpointing = recompute;
      DeeplySupervisedUNet net(options, 1);
      net.to(dtype);
      const auto batch = [&](int64_t from, int64_t count, uint64_t seed) {
        const Tensor all = random_tensor({k * each, 13, 10, 2}, seed, dtype, 0, 1);
        const int64_t image = 13 * 10 * 2;
        const Vector values = all.to_vector();
        return Tensor::from({count, 13, 10, 2},
                            Vector(values.begin() + from * image, values.begin() + (from + count) * image))
            .to(dtype);
      };
      const auto loss = [&](int64_t from, int64_t count) {
        return segmentation_loss(net.all_scales(batch(from, count, 1)), batch(from, count, 2), LossKind::bce);
      };
      loss(0, k * each).backward();
      const NamedTensors whole = copied(gradients(net));
      net.zero_grad();
      for (int64_t i = 0; i < k; i++) scale(loss(i * each, each), 1. / double(k)).backward();
      const NamedTensors parts = gradients(net);
      for (size_t i = 0; i < whole.size(); i++) {
        INFO(whole[i].first);
        CHECK(relative_error(parts[i].second, whole[i].second) < (dtype == DType::f64 ? 1e-12 : 2e-5));
      }
    }
}

TEST_CASE("training: the GPU's steps, in graphs or of several batches, are the CPU's", "[cuda]") {
  if (!cuda::available()) return;
  const Poison poison;
  // In float64: in a network that normalises few pixels, float32's rounding errors grow to percents within five steps.
  for (int64_t batches : {1, 3}) {
    INFO(batches << " batches a step");
    std::vector<std::vector<double>> numbers;  // of each device
    for (Device device : devices()) {
      DeeplySupervisedUNet net(tiny(1, Up::nearest, NormKind::batch), 1);
      net.to(DType::f64);
      net.to(device);
      const auto loss = [&](const Tensor& x, const Tensor& t) {
        return segmentation_loss(net.all_scales(x), t, LossKind::dice_bce, 1);
      };
      Adam optimizer(net.parameters(), {.weight_decay = 1e-4, .decoupled = true});
      Ema ema(net.state(), 0.99);
      Step step(net, loss, optimizer, &ema, {batches, /*max_norm=*/1}, device);
      numbers.emplace_back();
      for (uint64_t i = 0; i < 5; i++) {
        uint64_t seed = i * 10;
        const auto next = [&](Tensor& x, Tensor& t) {
          x = random_tensor({2, 16, 16, 2}, seed, DType::f64, 0, 1);
          t = random_tensor({2, 16, 16, 2}, seed++ + 1000, DType::f64, 0, 1);
        };
        const Step::Result result = step(next, 0.01);
        numbers.back().push_back(result.gradient_norm);
        numbers.back().push_back(result.loss);
      }
    }
    for (size_t i = 0; i < numbers[0].size(); i++) CHECK(numbers[1][i] == Approx(numbers[0][i]).epsilon(1e-7));
  }
}
