#include "nn/layers.h"

#include "tensor/cuda/device.h"
#include "tensor/gradient_checkpoint.h"
#include "tensor/trace.h"

namespace acinus {

static Tensor initial(Init init, const Shape& shape, int64_t fan_in, int64_t fan_out, Random& random) {
  return init == Init::he ? he_normal(shape, fan_in, random) : glorot_uniform(shape, fan_in, fan_out, random);
}

Conv2d::Conv2d(int64_t in, int64_t out, Conv2dLayerOptions options, Random& random) : options_(options) {
  const int64_t k = options.kernel;
  weight = initial(options.init, {k, k, in, out}, k * k * in, k * k * out, random);
  parameter("weight", weight);
  if (!options.bias) return;
  bias = Tensor::zeros({out});
  parameter("bias", bias);
}

Tensor Conv2d::operator()(const Tensor& x) {
  Scope scope(name());
  return conv2d(x, weight, bias, {options_.stride, options_.padding, options_.dilation});
}

FusedConv2d Conv2d::fused(const Tensor& below, const Tensor& x, bool relu, bool pool) {
  Scope scope(name());
  FusedConv2dOptions options;
  options.conv = {options_.stride, options_.padding, options_.dilation};
  options.relu = relu;
  options.pool = pool;
  return conv2d_fused(below, x, weight, bias, options);
}

ConvTranspose2d::ConvTranspose2d(int64_t in, int64_t out, Init init, Random& random) {
  // Kernel and stride are 2, so every output pixel sums over one input pixel, and every input pixel feeds four.
  weight = initial(init, {2, 2, out, in}, in, 4 * out, random);
  bias = Tensor::zeros({out});
  parameter("weight", weight);
  parameter("bias", bias);
}

Tensor ConvTranspose2d::operator()(const Tensor& x) {
  Scope scope(name());
  return conv_transpose2d(x, weight, bias, {/*stride=*/2});
}

Linear::Linear(int64_t in, int64_t out, Random& random) {
  weight = he_normal({in, out}, in, random);
  bias = Tensor::zeros({out});
  parameter("weight", weight);
  parameter("bias", bias);
}

Tensor Linear::operator()(const Tensor& x) {
  Scope scope(name());
  return linear(x, weight, bias);
}

Tensor Dropout::operator()(const Tensor& x) {
  const bool drops = training() && p_ > 0;
  check(!drops || !recomputing(), "Dropout: within gradient_checkpoint() the second pass would drop other elements");
  check(!drops || !cuda::recording_graph(), "Dropout: in a cuda::Graph the same elements would fall every time");
  Scope scope(name());
  return drops ? dropout(x, p_, random_bits(seed_, calls_++)) : x;
}

Norm::Norm(NormKind kind, int64_t channels, int groups) : kind_(kind), groups_(groups) {
  if (kind == NormKind::none) return;
  weight = Tensor::full({channels}, 1);
  bias = Tensor::zeros({channels});
  parameter("weight", weight);
  parameter("bias", bias);
  if (kind != NormKind::batch) return;
  running_mean = Tensor::zeros({channels});
  running_var = Tensor::full({channels}, 1);
  buffer("running_mean", running_mean);
  buffer("running_var", running_var);
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
