// All ops: formulas and shapes. Each is one file, ops/<name>.cu, with its gradient beside the forward pass.
//
// Letters, the same everywhere: N images, H rows, W columns, C input channels, O output channels, K kernel size;
// OH, OW output rows and columns. dx is the gradient of the loss with respect to x, of x's shape.
// Ops take float32 or float64, not mixed, on one device. Those that a network consists of also take bfloat16, with
// weights in float32 (sums, losses and softmax do not). Every op throws Error on shapes that do not fit.
#pragma once
#include "tensor/autograd.h"
#include "tensor/tensor.h"

namespace acinus {

// ---- elementwise: any shape -----------------------------------------------------------------------------------

Tensor add(const Tensor& a, const Tensor& b);             // y = a + b            one shape; nothing is broadcast
Tensor mul(const Tensor& a, const Tensor& b);             // y = a * b
Tensor scale(const Tensor& x, double factor);             // y = factor * x
Tensor relu(const Tensor& x);                             // y = max(x, 0)
Tensor leaky_relu(const Tensor& x, double slope = 0.01);  // y = x > 0 ? x : slope * x
Tensor sigmoid(const Tensor& x);                          // y = 1 / (1 + exp(-x))
// y = x / (1-p) with probability 1-p, else 0: the expected value stays. Which elements are dropped depends on seed alone.
Tensor dropout(const Tensor& x, double p, uint64_t seed);

Tensor cast(const Tensor& x, DType dtype);  // y = x in another type; the gradient has x's type

// ---- reductions -----------------------------------------------------------------------------------------------

Tensor sum(const Tensor& x);      // any shape -> scalar
Tensor mean(const Tensor& x);     // any shape -> scalar
Tensor softmax(const Tensor& x);  // y = exp(x) / sum of exp(x) over the last axis, any shape

// ---- shapes ---------------------------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Shape& shape);  // the same elements in the same order
Tensor concat(const Tensor& a, const Tensor& b);      // (N,H,W,C1), (N,H,W,C2) -> (N,H,W,C1+C2)
// Adds rows and columns of zeros around each image, or crops where a number is negative.
// (N,H,W,C) -> (N, top+H+bottom, left+W+right, C).   pad2d(x, 0,-1, 0,-1) drops the last row and column.
Tensor pad2d(const Tensor& x, int64_t top, int64_t bottom, int64_t left, int64_t right);

// ---- convolutions and products ---------------------------------------------------------------------------------

// How a convolution is computed: the same numbers up to rounding. Files are in conv/.
enum class ConvAlgorithm {
  automatic,  // by shape and device, see conv/conv.cpp
  direct,     // direct.cu: the formula; any device, any type, slow
  im2col,     // CPU: matrix products with the patches of x as rows (cpu/im2col.cpp)
  winograd,   // CPU: a quarter of the multiplications, for 3x3 kernels with stride 1 (cpu/winograd.cpp)
  tiled,      // GPU: one matrix product, its tiles in shared memory (cuda/tiled.cu)
  halo,       // GPU: 3x3 kernels read an image's tile, with its halo, in shared memory; others are tiled (cuda/engine.cu)
  tensor,     // GPU: the same on tensor cores, for bfloat16, or float32 rounded to TF32 (cuda/engine.cu)
};

struct Conv2dOptions {
  int stride = 1, padding = 0, dilation = 1;
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;  // tests force each in turn
};
// y[n,i,j,o] = b[o] + sum over a,b,c of x[n, i*s-p+a*d, j*s-p+b*d, c] * w[a,b,c,o]      (conv/conv.h)
// x (N,H,W,C), w (KH,KW,C,O), b (O) or empty -> (N,OH,OW,O),  OH = (H + 2p - d(KH-1) - 1) / s + 1
Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, Conv2dOptions options = {});

// The same with the ops that often surround it in a network, in fewer passes over memory (ops/conv2d_fused.cu):
//   y = relu(conv2d(concat(upsample2x(deep), x), w, b)),   pooled = max_pool2d(y)
// deep (N,H/2,W/2,C1) or empty, x (N,H,W,C2), w (KH,KW,C1+C2,O) -> y (N,OH,OW,O), pooled (N,OH/2,OW/2,O) or empty
struct FusedConv2dOptions {
  Conv2dOptions conv;
  bool relu = true, pool = false;
};
struct FusedConv2d {
  Tensor y, pooled;
};
FusedConv2d conv2d_fused(const Tensor& deep, const Tensor& x, const Tensor& w, const Tensor& b,
                         FusedConv2dOptions options = {});

struct ConvTranspose2dOptions {
  int stride = 1, padding = 0, output_padding = 0;
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
};
// The transpose of conv2d: every input pixel adds its value times the kernel to the output, stride pixels apart.
// x (N,H,W,C), w (KH,KW,O,C), b (O) or empty -> (N,OH,OW,O),  OH = (H-1)s - 2p + KH + output_padding
Tensor conv_transpose2d(const Tensor& x, const Tensor& w, const Tensor& b, ConvTranspose2dOptions options = {});

// y = x w + b.   x (N,C), w (C,O), b (O) or empty -> (N,O)
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b);

// ---- pooling and upsampling -----------------------------------------------------------------------------------

struct Pool2dOptions {
  int kernel = 2, stride = 2, padding = 0;
};
// The maximum, or the mean, of each window. (N,H,W,C) -> (N,OH,OW,C),  OH = (H + 2p - k) / s + 1
// Pixels outside the image count as -infinity for the maximum and as 0 for the mean (PyTorch's defaults).
Tensor max_pool2d(const Tensor& x, Pool2dOptions options = {});
Tensor avg_pool2d(const Tensor& x, Pool2dOptions options = {});

enum class Upsample { nearest, bilinear };
// (N,H,W,C) -> (N,2H,2W,C). bilinear is PyTorch's align_corners=False.
Tensor upsample2x(const Tensor& x, Upsample mode = Upsample::nearest);

// ---- normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias ---------------------------------------------

struct BatchNormOptions {
  bool training = true;   // true: mean and var of this batch; false: the running ones
  double momentum = 0.1;  // running = (1-momentum) * running + momentum * the batch's
  double eps = 1e-5;
  bool relu = false;  // y = max(y, 0) in the same pass
};
// Mean and variance per channel, over (N,H,W). x (N,H,W,C); weight, bias, running_mean, running_var (C).
// In training the running statistics, if given, are updated in place, with the unbiased variance, as PyTorch does.
Tensor batch_norm2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor running_mean, Tensor running_var,
                    BatchNormOptions options = {});
// Per image and group of C/groups neighbouring channels, over (H,W) and the group. groups must divide C.
Tensor group_norm(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, double eps = 1e-5,
                  bool relu = false);
// Per image and channel, over (H,W): group_norm with groups = C.
Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps = 1e-5, bool relu = false);

// ---- losses -> scalar; t is the target and gets no gradient -------------------------------------------------------

// -(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), over the whole batch as one flat vector: -1 is perfect.
// p, t of one shape, p in [0,1]. (Milletari et al. 2016, in the form with unsquared denominators)
Tensor dice_loss(const Tensor& p, const Tensor& t, double smooth = 1);
// mean of  -t log(sigmoid(x)) - (1-t) log(1 - sigmoid(x)), from logits x, stable for large |x|. One shape.
Tensor bce_with_logits(const Tensor& x, const Tensor& t);
// mean over the rows of  -log softmax(x)[t].  x (...,C) logits; t (...) class numbers 0..C-1 stored as floats.
Tensor cross_entropy(const Tensor& x, const Tensor& t);
Tensor mse_loss(const Tensor& x, const Tensor& t);  // mean of (x - t)^2

}  // namespace acinus
