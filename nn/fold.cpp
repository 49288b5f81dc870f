#include "nn/fold.h"

#include <cmath>
#include <map>

#include "nn/deep_supervision.h"
#include "tensor/ops.h"

namespace acinus {

// w (...,O) and b (O) of a convolution, in float64, become w' and b'. `norm`: the tensors of the batch norm after it.
static void fold(Tensor& w, Tensor& b, const std::map<std::string, Tensor>& state, const std::string& norm) {
  const auto of_norm = [&](const char* name) { return state.at(norm + name).data<double>(); };
  const double *const g = of_norm("weight"), *const beta = of_norm("bias"), *const mean = of_norm("running_mean"),
                      *const var = of_norm("running_var");
  std::vector<double> s;
  for (int64_t o = 0; o < b.elements(); o++) {
    s.push_back(g[o] / std::sqrt(var[o] + BatchNormOptions().eps));
    double& bias = b.data<double>()[o];
    bias = (bias - mean[o]) * s[o] + beta[o];
  }
  double* const weight = w.data<double>();
  for (int64_t i = 0; i < w.elements(); i++) weight[i] *= s[i % b.elements()];
}

std::unique_ptr<UNet> folded(const UNet& net) {
  std::map<std::string, Tensor> state;  // copies, in float64
  for (const auto& [name, tensor] : net.state()) state[name] = tensor.to(Device::cpu).to(DType::f64).clone();
  UNetOptions options = net.options();
  if (options.norm == NormKind::batch) {
    options.norm = NormKind::none;
    for (auto& [name, w] : state)  // encoder.0.conv1.weight, with encoder.0.norm1
      if (const size_t at = name.find(".conv"); at != name.npos && name.ends_with(".weight")) {
        const std::string conv = name.substr(0, name.size() - 6);
        fold(w, state.at(conv + "bias"), state, std::string(conv).replace(at, 5, ".norm"));
      }
  }
  options.gradient_checkpointing = false;  // that is for training
  auto result = make_unet(options, /*seed=*/0);
  result->to(net.parameters()[0].second.dtype());
  for (const auto& [name, tensor] : result->state()) Tensor(tensor).copy_from(state.at(name));
  result->to(net.parameters()[0].second.device());
  result->eval();
  return result;
}

}  // namespace acinus
