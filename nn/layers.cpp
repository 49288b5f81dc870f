#include "nn/layers.h"

#include <algorithm>
#include <cmath>

#include "tensor/cuda/device.h"
#include "tensor/gradient_checkpoint.h"
#include "tensor/trace.h"

namespace acinus {

Tensor initial_weights(Init init, const Shape& shape, int64_t fan_in, int64_t fan_out, Random& random) {
  const double deviation = std::sqrt(2.0 / double(std::max<int64_t>(fan_in, 1)));
  const double bound = std::sqrt(6.0 / double(std::max<int64_t>(fan_in + fan_out, 1)));
  Tensor weights(shape);
  std::generate_n(weights.data<float>(), weights.elements(), [&] {
    return float(init == Init::he ? deviation * random.normal() : random.uniform(-bound, bound));
  });
  return weights;
}

Conv2d::Conv2d(int64_t in, int64_t out, Conv2dLayerOptions options, Random& random) : options_(options) {
  const int64_t k = options.kernel;
  parameter("weight", weight, initial_weights(options.init, {k, k, in, out}, k * k * in, k * k * out, random));
  if (options.bias) parameter("bias", bias, Tensor::zeros({out}));
}

Tensor Conv2d::operator()(const Tensor& x) {
  Scope scope(name());
  return conv2d(x, weight, bias, {options_.stride, options_.padding, options_.dilation});
}

FusedConv2d Conv2d::fused(const Tensor& deep, const Tensor& x, bool relu, bool pool) {
  Scope scope(name());
  return conv2d_fused(deep, x, weight, bias, {{options_.stride, options_.padding, options_.dilation}, relu, pool});
}

ConvTranspose2d::ConvTranspose2d(int64_t in, int64_t out, Init init, Random& random) {
  // Kernel and stride are 2, so every output pixel sums over one input pixel, and every input pixel feeds four.
  parameter("weight", weight, initial_weights(init, {2, 2, out, in}, in, 4 * out, random));
  parameter("bias", bias, Tensor::zeros({out}));
}

Tensor ConvTranspose2d::operator()(const Tensor& x) {
  Scope scope(name());
  return conv_transpose2d(x, weight, bias, {/*stride=*/2});
}

Linear::Linear(int64_t in, int64_t out, Random& random) {
  parameter("weight", weight, initial_weights(Init::he, {in, out}, in, out, random));
  parameter("bias", bias, Tensor::zeros({out}));
}

Tensor Linear::operator()(const Tensor& x) {
  Scope scope(name());
  return linear(x, weight, bias);
}

Tensor Dropout::operator()(const Tensor& x) {
  const bool drops = training() && p_ > 0;
  check(!drops || !recomputing(), "Dropout: within gradient_checkpoint() the second pass would drop other elements");
  check(!drops || !cuda::recording_graph, "Dropout: in a cuda::Graph the same elements would fall every time");
  Scope scope(name());
  return drops ? dropout(x, p_, random_bits(seed_, calls_++)) : x;
}

Norm::Norm(NormKind kind, int64_t channels, int groups) : kind_(kind), groups_(groups) {
  if (kind == NormKind::none) return;
  parameter("weight", weight, Tensor::full({channels}, 1));
  parameter("bias", bias, Tensor::zeros({channels}));
  if (kind != NormKind::batch) return;
  buffer("running_mean", running_mean, Tensor::zeros({channels}));
  buffer("running_var", running_var, Tensor::full({channels}, 1));
}

Tensor Norm::operator()(const Tensor& x, bool relu) {
  Scope scope(name());
  switch (kind_) {
    case NormKind::batch:
      return batch_norm2d(x, weight, bias, running_mean, running_var, {.training = training(), .relu = relu});
    case NormKind::group:
      return group_norm(x, groups_, weight, bias, /*eps=*/1e-5, relu);
    case NormKind::instance:
      return instance_norm(x, weight, bias, /*eps=*/1e-5, relu);
    case NormKind::none:
      break;
  }
  return relu ? acinus::relu(x) : x;
}

}  // namespace acinus
