// The three sums of a convolution, which conv2d and conv_transpose2d share. With x (N,H,W,C), w (KH,KW,C,O),
// y (N,OH,OW,O), stride s, padding p, dilation d, and zeros outside the image:
//
//   forward:          y[n,i,j,o]  = sum over a,b,c  x[n, i*s-p+a*d, j*s-p+b*d, c] * w[a,b,c,o]
//   data gradient:    dx[n,r,q,c] = sum over o and all a,b,i,j with i*s-p+a*d = r and j*s-p+b*d = q
//                                                   dy[n,i,j,o] * w[a,b,c,o]
//   weight gradient:  dw[a,b,c,o] = sum over n,i,j  x[n, i*s-p+a*d, j*s-p+b*d, c] * dy[n,i,j,o]
//
// direct.cu computes them exactly as written here: read it next. The other algorithms reach the same numbers faster.
// conv.cpp chooses one and calls it, for the CPU and the GPU alike; each algorithm's own file explains it.
#pragma once
#include "tensor/ops.h"  // ConvAlgorithm

namespace acinus {

struct ConvGeometry {
  int64_t n, h, w, c;  // x (n,h,w,c)
  int64_t oh, ow, o;   // y (n,oh,ow,o)
  int64_t kh, kw;      // w (kh,kw,c,o)
  int64_t stride, padding, dilation;
  // How it is computed and where: see choose_algorithm.
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
  Device device = Device::cpu;

  // With stride 1 and a square kernel, the data gradient is a convolution of this geometry: of dy, with the kernel
  // rotated by 180 degrees and its channel axes exchanged. Row r of x goes into rows r+p-a of y, for a = 0 .. k-1.
  ConvGeometry transposed() const {
    return {n, oh, ow, o, h, w, c, kh, kw, stride, dilation * (kh - 1) - padding, dilation, algorithm, device};
  }
  // Waking the other threads takes some microseconds: small convolutions are faster on one.
  bool pays_threads() const { return n * oh * ow * kh * kw * c * o > (1 << 20); }
};

// The image concat(upsample2x(deep), skip), which a decoder's convolution reads, without that image ever being in
// memory: deep (n,h/2,w/2,c1) comes from the coarser level, skip (n,h,w,c-c1) from the encoder. As the result of a data
// gradient: its two gradients. Without `deep` the image is `skip` alone, so that a Tensor is a SkipConcat, too.
struct SkipConcat {
  Tensor skip, deep;
  SkipConcat(Tensor skip, Tensor deep = {}) : skip(std::move(skip)), deep(std::move(deep)) {}
};

// What is done to y before it is stored, so that no later op has to read it from memory again (ops/conv2d_fused.cu).
struct ConvEpilogue {
  bool relu = false;  // y = max(y, 0)
  Tensor pooled;      // (n,oh/2,ow/2,o): max_pool2d(y) is written here too
};

// What an algorithm can do beside the sum.
struct ConvFusions {
  bool skip_concat = false;    // reads a SkipConcat where it is, and writes its two gradients
  bool pooling = false;        // fills ConvEpilogue::pooled
  bool relu_gradient = false;  // a data gradient is set to 0 where a ReLU made x 0
  bool bias_gradient = false;  // a weight gradient comes with that of the bias
};
// Those of g's algorithm, if the first deep_channels of x come from `deep`.
ConvFusions conv_fusions(const ConvGeometry& g, DType dtype, int64_t deep_channels = 0);

// y = epilogue(bias + forward(x, w)); bias (o) may be empty.
Tensor conv_forward(const ConvGeometry& g, const SkipConcat& x, const Tensor& w, const Tensor& bias = {},
                    const ConvEpilogue& epilogue = {});
// dx = bias + data gradient; the bias (c) is that of conv_transpose2d. The first deep_channels of dx are `deep`'s.
// Where x is the result of a ReLU, relu_output is x, and dx is 0 where x is; either of its two images may be empty.
SkipConcat conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias = {},
                              int64_t deep_channels = 0, const SkipConcat& relu_output = Tensor());
// db (o), if it is not empty, is overwritten with the gradient of the bias.
Tensor conv_weight_gradient(const ConvGeometry& g, const SkipConcat& x, const Tensor& dy, const Tensor& db = {});

// Sets g.algorithm and g.device, given the device and type of x: `wanted` if it can compute g (else an Error that names
// `op`); for `automatic`, on the CPU, the one that was fastest when measured (dev/bench/conv.cpp).
void choose_algorithm(const char* op, ConvGeometry& g, ConvAlgorithm wanted, const Tensor& x);
// May `automatic` use tensor cores for float32? They round the factors to 10 binary digits (TF32). Off by default.
void allow_tf32(bool on);

}  // namespace acinus
