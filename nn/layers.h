// Layers: ops with parameters of their own. Names and options are PyTorch's.
#pragma once
#include "nn/module.h"
#include "tensor/text.h"
#include "tensor/ops.h"
#include "tensor/random.h"

namespace acinus {

// What weights start as; biases start at 0. fan_in: how many inputs one output sums; fan_out: how many outputs one input
// feeds. Both ways keep the variance of the signal from layer to layer. For a convolution w (KH,KW,C,O), fan_in = KH*KW*C.
enum class Init {
  he,      // normal with variance 2 / fan_in: for layers followed by ReLU, which halves the signal (He et al. 2015)
  glorot,  // uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010); what the seed system used
};
inline EnumNames<Init> enum_names(Init) { return {"initialisation", {{"he", Init::he}, {"glorot", Init::glorot}}}; }
Tensor initial_weights(Init init, const Shape& shape, int64_t fan_in, int64_t fan_out, Random& random);

struct Conv2dLayerOptions {
  int kernel = 3, stride = 1, padding = 0, dilation = 1;
  bool bias = true;
  Init init = Init::he;
};

class Conv2d : public Module {  // x (N,H,W,in) -> (N,OH,OW,out); weight (K,K,in,out), bias (out)
 public:
  Conv2d(int64_t in, int64_t out, Conv2dLayerOptions options, Random& random);
  Tensor operator()(const Tensor& x);
  // relu and pooling on the way, and an image that is concat(upsample2x(deep), x): see conv2d_fused.
  FusedConv2d fused(const Tensor& deep, const Tensor& x, bool relu, bool pool = false);
  Tensor weight, bias;

 private:
  Conv2dLayerOptions options_;
};

class ConvTranspose2d : public Module {  // x (N,H,W,in) -> (N,2H,2W,out); weight (2,2,out,in), bias (out)
 public:
  ConvTranspose2d(int64_t in, int64_t out, Init init, Random& random);  // kernel 2, stride 2: doubles the image
  Tensor operator()(const Tensor& x);
  Tensor weight, bias;
};

class Linear : public Module {  // x (N,in) -> (N,out); weight (in,out), bias (out)
 public:
  Linear(int64_t in, int64_t out, Random& random);
  Tensor operator()(const Tensor& x);
  Tensor weight, bias;
};

class Dropout : public Module {  // zeroes a share p of the elements, in training only
 public:
  Dropout(double p, uint64_t seed) : p_(p), seed_(seed) {}
  Tensor operator()(const Tensor& x);

 private:
  double p_;
  uint64_t seed_, calls_ = 0;
};

enum class NormKind { none, batch, group, instance };
inline EnumNames<NormKind> enum_names(NormKind) {
  return {"normalisation",
          {{"none", NormKind::none},
           {"batch", NormKind::batch},
           {"group", NormKind::group},
           {"instance", NormKind::instance}}};
}

class Norm : public Module {  // any of the normalisations, or none; weight, bias (channels)
 public:
  Norm(NormKind kind, int64_t channels, int groups);
  Tensor operator()(const Tensor& x, bool relu = false);  // with `relu`, max(y, 0) in the same pass
  NormKind kind() const { return kind_; }
  Tensor weight, bias, running_mean, running_var;  // the running ones for batch norm only

 private:
  NormKind kind_;
  int groups_;
};

}  // namespace acinus
