// The three sums of a convolution, which conv2d and conv_transpose2d share. With x (N,H,W,C), w (KH,KW,C,O),
// y (N,OH,OW,O), stride s, padding p, dilation d, and pixels outside an image read as 0:
//
//   forward:          y[n,i,j,o]  = sum over a,b,c  x[n, i*s-p+a*d, j*s-p+b*d, c] * w[a,b,c,o]
//   data gradient:    dx          = the transpose of that map, applied to dy
//   weight gradient:  dw[a,b,c,o] = sum over n,i,j  x[n, i*s-p+a*d, j*s-p+b*d, c] * dy[n,i,j,o]
//
// There is one direct way to compute them, on any device (conv_direct.cu), and faster ones.
//
// On the GPU all are one matrix product, of which neither factor is ever written down (product.h, conv_cuda.h):
//
//   tiled    in the type the numbers have; bfloat16 in float32
//   tensor   on tensor cores, which multiply bfloat16, or float32 rounded to 10 binary digits ("TF32")
//
// On the CPU 3x3 kernels with stride 1 go by Winograd's algorithm, which needs a quarter of the multiplications
// (winograd.cpp), unless channels or pixels are few (choose_algorithm). All others are matrix products once the image
// is seen as a matrix with one row a pixel; two ways to do so:
//
//   gather   copies, for every output pixel, the KH*KW input pixels it sees into a row. Any stride and dilation;
//            in pieces of a few image rows, so that the copy stays in the cache.
//   view     stride 1 needs no copy. In an image row padded to W' pixels, the KW*C numbers a pixel needs from
//            kernel row a lie together, starting at its left neighbour:
//
//              memory of a row   |p0|p1|p2|p3|p4| ...          pi: the C channels of pixel i
//              matrix row 0      [p0 p1 p2]                     a (W' x 3C) matrix whose rows
//              matrix row 1         [p1 p2 p3]                  start C numbers apart: they overlap,
//              matrix row 2            [p2 p3 p4]               and reading them so is fine
//
//            So KH products with row stride C do it. Rows that straddle two image rows give rubbish in the
//            KW-1 last columns of padded width; those are computed and thrown away.
#pragma once
#include "tensor/tensor.h"

namespace acinus {

enum class ConvAlgorithm { automatic, direct, winograd, view, gather, tiled, tensor };

struct ConvGeometry {
  int64_t n, h, w, c;  // x (n,h,w,c)
  int64_t oh, ow, o;   // y (n,oh,ow,o)
  int64_t kh, kw;      // w (kh,kw,c,o)
  int64_t stride, padding, dilation;
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;  // how; see choose_algorithm
  // Waking the other threads takes some microseconds: little sums are better left to one.
  bool pays_threads() const { return n * oh * ow * kh * kw * c * o > (1 << 20); }
};

// On the GPU: tiles of a product are made narrower until there are so many (conv_cuda.h). Tests, whose images are
// small, set it to see the wide ones.
inline int64_t tiles_wanted = 256;

// The algorithm for g: the one that is wanted, if it can do it (else an Error that names `op`); for `automatic`, on
// the CPU, the one that was fastest when measured. x tells the type and the device.
ConvAlgorithm choose_algorithm(const char* op, const ConvGeometry& g, ConvAlgorithm wanted, const Tensor& x);
// May `automatic` use tensor cores for float32? They round its factors to 10 binary digits. Off at first.
void allow_tf32(bool on);

// What a convolution can do on its way, so that no neighbour has to go through memory for it (ops/conv2d_fused.cu).
struct ConvFusion {
  bool relu = false;  // y = max(y, 0)
  Tensor pooled;      // (n,oh/2,ow/2,o): max_pool2d(y) is written here too
  Tensor below;       // (n,h/2,w/2,c1): the image is concat(upsample2x(below), x), x (n,h,w,c-c1), read in place
};
bool can_read_below(const ConvGeometry& g, const Tensor& below);  // does g's algorithm do it here?
bool can_pool(const ConvGeometry& g);

// y = bias + forward(x, w); bias (O) may be empty.
void conv_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvFusion& fusion = {});
// dx = bias + data gradient; the bias (C) serves conv_transpose2d, whose forward pass this is. With `dbelow`, dx is the
// gradient of concat(upsample2x(below), x).
void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                        const Tensor& dbelow = {});
void conv_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw,
                          const Tensor& below = {});

template <class T>
T* ptr_or_null(const Tensor& t) {
  return t ? t.ptr<T>() : nullptr;
}

// ---- the ways themselves: in conv_direct.cu, conv_cpu.cpp, conv_cuda.h

void direct_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, bool relu, Tensor& y);
void direct_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx);
void direct_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw);

namespace on_gpu {
void conv_forward(const ConvGeometry& g, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y,
                  const ConvFusion& fusion);
void conv_data_gradient(const ConvGeometry& g, const Tensor& dy, const Tensor& w, const Tensor& bias, Tensor& dx,
                        const Tensor& dbelow);
void conv_weight_gradient(const ConvGeometry& g, const Tensor& x, const Tensor& dy, Tensor& dw, const Tensor& below);
}  // namespace on_gpu

}  // namespace acinus
