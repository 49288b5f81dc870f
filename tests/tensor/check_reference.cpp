// check_reference DIR [cpu|cuda]: runs every .safetensors case of a folder, as PyTorch computed it, in float64 and
// float32.
// One line a case with the largest relative error of all results and gradients; exit code 1 on a mismatch, an op
// we do not know, or an empty folder, 2 on bad usage.
//
// A case holds in.* (inputs, parameters), out.* (results), grad_out.y (the upstream gradient) and grad.* (what
// PyTorch got); "op" and "attrs" in the metadata. Activations are (N,C,H,W), weights in PyTorch's layouts.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "nn/checkpoint.h"
#include "optim/adam.h"
#include "optim/sgd.h"

using namespace acinus;
using nlohmann::json;

namespace {

// Which error is allowed, relative to the largest magnitude in the array.
struct Tolerance {
  DType dtype;
  double op, training;  // one op; twenty steps of a network
};
constexpr Tolerance tolerances[] = {{DType::f64, 1e-9, 1e-7}, {DType::f32, 1e-4, 1e-4}};

Device device = Device::cpu;

struct Case {
  SafeTensors file;
  json attrs{};
  DType dtype;
  std::map<std::string, double> errors{};          // by result
  std::map<std::string, double> sensitivity{};     // of results that rounding errors may move: see run_training
  std::map<std::string, double> gradient_error{};  // of the first step, by parameter
  bool measuring = false;                          // compare() fills sensitivity instead

  Tensor get(const std::string& name) const { return file[name].to(dtype).to(device); }
  void compare(const std::string& name, const Tensor& ours) {  // ours already in PyTorch's layout
    const std::vector<double> a = ours.to_vector<double>(), b = file[name].to_vector<double>();
    // A scalar is stored with shape (1).
    const bool same = ours.shape() == file[name].shape() || (ours.shape().rank() == 0 && b.size() == 1);
    if (!same) fail(name, ": shape ", ours.shape(), ", PyTorch has ", file[name].shape());
    double scale = 1e-12, error = 0;
    for (double v : b) scale = std::max(scale, std::abs(v));
    for (size_t i = 0; i < a.size(); i++) {
      const double difference = std::abs(a[i] - b[i]);
      error = std::max(error, std::isnan(difference) ? INFINITY : difference);
    }
    error /= scale;
    double& largest = (measuring ? sensitivity : errors)[name];
    largest = std::max(largest, error);
  }
  bool is_chaotic(const std::string& name) const {
    const auto found = sensitivity.find(name);
    return found != sensitivity.end() && found->second > 1e-5 && name.rfind("grad.", 0) != 0;
  }
};

Tensor to_nhwc(const Tensor& t) { return t.shape().rank() == 4 ? t.permuted({0, 2, 3, 1}) : t; }
Tensor to_nchw(const Tensor& t) { return t.shape().rank() == 4 ? t.permuted({0, 3, 1, 2}) : t.detach(); }
bool is_weight(const std::string& name) { return name == "weight"; }

// ---- one op ---------------------------------------------------------------------------------------------------

using Leaves = std::map<std::string, Tensor>;  // inputs by name, in our layouts
using Op = std::function<Tensor(Leaves& in, const json& attrs)>;

const std::map<std::string, Op>& ops() {
  static const auto number = [](const json& a, const char* key, int otherwise) { return a.value(key, otherwise); };
  static const auto pool = [](const json& a) {
    return Pool2dOptions{a.value("kernel", 2), a.value("stride", 2), a.value("padding", 0)};
  };
  static const std::map<std::string, Op> table{
      {"add", [](Leaves& in, const json&) { return add(in["a"], in["b"]); }},
      {"mul", [](Leaves& in, const json&) { return mul(in["a"], in["b"]); }},
      {"relu", [](Leaves& in, const json&) { return relu(in["x"]); }},
      {"leaky_relu", [](Leaves& in, const json& a) { return leaky_relu(in["x"], a.at("slope")); }},
      {"sigmoid", [](Leaves& in, const json&) { return sigmoid(in["x"]); }},
      {"softmax", [](Leaves& in, const json&) { return softmax(in["x"]); }},
      {"concat", [](Leaves& in, const json&) { return concat(in["a"], in["b"]); }},
      {"linear", [](Leaves& in, const json&) { return linear(in["x"], in["weight"], in["bias"]); }},
      {"max_pool2d", [](Leaves& in, const json& a) { return max_pool2d(in["x"], pool(a)); }},
      {"avg_pool2d", [](Leaves& in, const json& a) { return avg_pool2d(in["x"], pool(a)); }},
      {"upsample2x",
       [](Leaves& in, const json& a) {
         return upsample2x(in["x"], a.at("mode") == "nearest" ? Upsample::nearest : Upsample::bilinear);
       }},
      {"conv2d",
       [](Leaves& in, const json& a) {
         return conv2d(in["x"], in["weight"], in["bias"],
                       {number(a, "stride", 1), number(a, "padding", 0), number(a, "dilation", 1)});
       }},
      {"conv_transpose2d",
       [](Leaves& in, const json& a) {
         return conv_transpose2d(in["x"], in["weight"], in["bias"],
                                 {number(a, "stride", 1), number(a, "padding", 0), number(a, "output_padding", 0)});
       }},
      {"batch_norm2d",
       [](Leaves& in, const json& a) {
         BatchNormOptions options;
         options.training = a.at("training");
         options.eps = a.at("eps");
         return batch_norm2d(in["x"], in["weight"], in["bias"], in["running_mean"], in["running_var"], options);
       }},
      {"group_norm",
       [](Leaves& in, const json& a) {
         return group_norm(in["x"], a.at("groups"), in["weight"], in["bias"], a.at("eps"));
       }},
      {"instance_norm",
       [](Leaves& in, const json& a) { return instance_norm(in["x"], in["weight"], in["bias"], a.at("eps")); }},
      {"dice_loss", [](Leaves& in, const json& a) { return dice_loss(in["p"], in["t"], a.at("smooth")); }},
      {"bce_with_logits", [](Leaves& in, const json&) { return bce_with_logits(in["x"], in["t"]); }},
      {"cross_entropy", [](Leaves& in, const json&) { return cross_entropy(in["x"], in["t"]); }},
      {"mse_loss", [](Leaves& in, const json&) { return mse_loss(in["x"], in["t"]); }},
  };
  return table;
}

void run_op(Case& c, const Op& op) {
  Leaves in;
  for (const auto& [name, tensor] : c.file.tensors)
    if (name.rfind("in.", 0) == 0) {
      const std::string key = name.substr(3);
      Tensor leaf = is_weight(key) ? from_pytorch_layout(c.get(name)) : to_nhwc(c.get(name));
      if (c.file.contains("grad." + key)) leaf.requires_grad();
      in[key] = leaf;
    }
  const Tensor y = op(in, c.attrs);
  c.compare("out.y", to_nchw(y));
  sum(mul(y, to_nhwc(c.get("grad_out.y")).viewed_as(y.shape()))).backward();
  for (const auto& [key, leaf] : in)
    if (leaf.needs_grad())
      c.compare("grad." + key, is_weight(key) ? to_pytorch_layout(leaf.grad()) : to_nchw(leaf.grad()));
}

// ---- optimisers -----------------------------------------------------------------------------------------------

void run_optimizer(Case& c, const std::string& op) {
  Tensor p = c.get("in.p").clone();
  p.requires_grad();
  const double lr = c.attrs.at("lr"), decay = c.attrs.value("weight_decay", 0.0);
  std::unique_ptr<Optimizer> optimizer;
  if (op.rfind("optim_adam", 0) == 0)
    optimizer = std::make_unique<Adam>(
        NamedTensors{{"p", p}},
        AdamOptions{c.attrs.at("beta1"), c.attrs.at("beta2"), c.attrs.at("eps"), decay, op == "optim_adamw"});
  else if (op.rfind("optim_sgd", 0) == 0)
    optimizer = std::make_unique<Sgd>(NamedTensors{{"p", p}},
                                      SgdOptions{c.attrs.at("momentum"), c.attrs.at("nesterov"), decay});
  else
    fail("unknown op \"", op, "\"");
  const Tensor gradients = c.get("in.grads");
  const int64_t steps = gradients.shape()[0], n = gradients.shape()[1];
  const std::vector<double> g = gradients.to_vector<double>();
  std::vector<double> path;
  for (int64_t step = 0; step < steps; step++) {
    p.set_grad(Tensor::from({n}, std::vector<double>(g.begin() + step * n, g.begin() + (step + 1) * n))
                   .to(c.dtype)
                   .to(device));
    optimizer->step(lr);
    for (double v : p.to_vector<double>()) path.push_back(v);
  }
  c.compare("out.p", Tensor::from({steps, n}, path));
}

// ---- a whole network, 20 steps of training --------------------------------------------------------------------

// Makes visible in float64 what float32 does to a training: every parameter is off by 3e-7 of itself (which stands for
// the rounding of all activations it makes too), and every gradient by as much (root mean square) as float32's first
// one was. A gradient of exactly 0 (a dead ReLU) stays.
void disturb(const Case& c, const NamedTensors& parameters, uint64_t seed) {
  Random random(seed);
  for (const auto& [name, p] : parameters)
    for (int64_t i = 0; i < p.elements(); i++) {
      double& g = p.grad().data<double>()[i];
      if (g != 0) g += c.gradient_error.at(name) * random.normal();
      p.data<double>()[i] *= 1 + 3e-7 * random.normal();
    }
}

double rms_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double sum = 0;
  for (size_t i = 0; i < x.size(); i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
  return std::sqrt(sum / double(x.size()));
}

struct Network {
  std::unique_ptr<Module> module;
  std::function<Tensor(const Tensor& x)> y;
  std::function<Tensor(const Tensor& y, const Tensor& t)> loss;
};

Network unet(const Case& c) {
  UNetOptions options;
  options.in = c.attrs.at("in_channels");
  options.out = c.attrs.at("out_channels");
  options.width = c.attrs.at("width");
  options.depth = c.attrs.at("depth");
  options.up = named<Up>(c.attrs.at("up"));
  options.norm = named<NormKind>(c.attrs.at("norm"));
  options.norm_groups = c.attrs.at("norm_groups");
  auto net = std::make_unique<UNet>(options, /*seed=*/1);
  UNet& forward = *net;
  const double smooth = c.attrs.at("smooth");
  return {std::move(net), [&forward](const Tensor& x) { return sigmoid(forward(x)); },
          [smooth](const Tensor& y, const Tensor& t) { return dice_loss(y, t, smooth); }};
}

Network resnet(const Case& c) {
  ResNetOptions options;
  options.in = c.attrs.at("in_channels");
  options.width = c.attrs.at("width");
  options.stages = c.attrs.at("stages");
  options.blocks = c.attrs.at("blocks");
  options.norm = named<NormKind>(c.attrs.at("norm"));
  options.norm_groups = c.attrs.at("norm_groups");
  auto net = std::make_unique<ResNet>(options, /*seed=*/1);
  ResNet& forward = *net;
  return {std::move(net), [&forward](const Tensor& x) { return forward(x); }, bce_with_logits};
}

void train_network(Case& c, uint64_t disturbance = 0) {
  const Network network = c.file.metadata["op"] == "unet_train" ? unet(c) : resnet(c);
  Module& net = *network.module;
  net.to(c.dtype);
  net.to(device);
  SafeTensors start;
  for (const auto& [name, tensor] : c.file.tensors)
    if (name.rfind("param.", 0) == 0) start.tensors.emplace_back(name.substr(6), tensor);
  load_state_dict(net, start, "the case");

  const Tensor x = to_nhwc(c.get("in.x")), t = to_nhwc(c.get("in.t"));
  Adam adam(net.parameters());
  std::vector<double> losses;
  for (int64_t step = 0; step < c.file["out.losses"].elements(); step++) {
    net.zero_grad();
    const Tensor y = network.y(x);
    const Tensor loss = network.loss(y, t);
    loss.backward();
    if (disturbance) disturb(c, net.parameters(), 100 * disturbance + uint64_t(step));
    if (step == 0) {
      c.compare("out.y", to_nchw(y));
      c.compare("out.loss", loss);
      for (const auto& [name, parameter] : net.parameters()) {
        // In front of a normalisation a bias has no effect: its gradient is rounding error in PyTorch as in ours.
        const std::string grad = "grad." + name;
        double largest = 0;
        for (double v : c.file[grad].to_vector<double>()) largest = std::max(largest, std::abs(v));
        if (!disturbance) c.gradient_error[name] = rms_difference(to_pytorch_layout(parameter.grad()), c.file[grad]);
        if (largest > 1e-12) c.compare(grad, to_pytorch_layout(parameter.grad()));
      }
    }
    adam.step(c.attrs.at("lr"));
    losses.push_back(loss.item());
  }
  c.compare("out.losses", Tensor::from({int64_t(losses.size())}, losses));
  for (const auto& [name, tensor] : state_dict(net)) c.compare("final." + name, tensor);
}

// Training amplifies rounding errors: a ReLU or a maximum flips, and Adam makes a step of full length out of a
// gradient that is zero but for rounding (a bias in front of a normalisation). So where results of these twenty steps
// are off in float32, whether they mean anything there is measured, not guessed: runs in float64, disturbed as much as
// float32 rounds, show how far each result moves. Those that move by more than a tenth of the tolerance are chaotic in
// float32 and left out there; the line says how many. (Some flips are rare: it may take thirty runs to see one.) In
// float64 nothing is left out, and step one never is.
void run_training(Case& c, double allowed) {
  train_network(c);
  Case trial = c;
  trial.dtype = DType::f64;
  trial.measuring = true;
  const auto is_unexplained = [&](const auto& entry) {
    return entry.second > allowed && !trial.is_chaotic(entry.first);
  };
  const Device before = std::exchange(device, Device::cpu);
  for (uint64_t seed = 1; seed <= 30 && c.dtype == DType::f32; seed++) {
    if (std::none_of(c.errors.begin(), c.errors.end(), is_unexplained)) break;
    train_network(trial, seed);
  }
  device = before;
  c.sensitivity = trial.sensitivity;
}

bool run(const std::filesystem::path& path) {
  std::string line, failures;
  for (const Tolerance& tolerance : tolerances) {
    Case c{.file = read_safetensors(path.string()), .dtype = tolerance.dtype};
    try {
      const std::string op = c.file.metadata["op"];
      c.attrs = json::parse(c.file.metadata["attrs"]);
      double allowed = tolerance.op;
      if (op == "unet_train" || op == "resnet_train") {
        allowed = tolerance.training;
        run_training(c, allowed);
      } else if (op.rfind("optim_", 0) == 0) {
        run_optimizer(c, op);
      } else {
        const auto it = ops().find(op);
        if (it == ops().end()) fail("unknown op \"", op, "\"");
        run_op(c, it->second);
      }
      double worst = 0;
      std::string worst_name;
      int chaotic = 0;
      for (const auto& [name, error] : c.errors) {
        if (error > allowed && c.is_chaotic(name))
          chaotic++;
        else if (error > worst)
          worst = error, worst_name = name;
      }
      char number[64];
      std::snprintf(number, sizeof number, "  %s %.1e", name(tolerance.dtype), worst);
      line += number;
      if (chaotic) line += text("  (", chaotic, " of ", c.errors.size(), " results off, chaotic in float32)");
      if (worst > allowed)
        failures += text(" [", name(tolerance.dtype), " at ", worst_name, ", allowed ", allowed, "]");
    } catch (const std::exception& e) {
      failures += text(" [", name(tolerance.dtype), ": ", e.what(), "]");
    }
  }
  std::printf("%s %-34s%s%s\n", failures.empty() ? "ok  " : "FAIL", path.stem().string().c_str(), line.c_str(),
              failures.c_str());
  return failures.empty();
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string where = argc == 3 ? argv[2] : "cpu";
  if (argc < 2 || argc > 3 || (where != "cpu" && where != "cuda")) {
    std::fprintf(stderr, "usage: check_reference DIR [cpu|cuda]\n");
    return 2;
  }
  device = where == "cpu" ? Device::cpu : Device::cuda;
  if (!std::filesystem::is_directory(argv[1])) fail(argv[1], " is not a folder");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path());
  if (paths.empty()) fail(argv[1], " holds no .safetensors file");
  std::sort(paths.begin(), paths.end());
  int failed = 0;
  for (const auto& path : paths) failed += !run(path);
  std::printf("%d passed, %d failed\n", int(paths.size()) - failed, failed);
  return failed ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "check_reference: %s\n", e.what());
  return 1;
}
