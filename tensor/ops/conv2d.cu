// conv2d   y[n,i,j,o]   = b[o] + sum over a,b,c of x[n, i*s-p+a*d, j*s-p+b*d, c] * w[a,b,c,o]
//          dx           += the transpose of that map, applied to dy
//          dw[a,b,c,o]  += sum over n,i,j of x[n, i*s-p+a*d, j*s-p+b*d, c] * dy[n,i,j,o]
//          db[o]        += sum over n,i,j of dy[n,i,j,o]
//          x (N,H,W,C), w (KH,KW,C,O), b (O) or empty -> y (N,OH,OW,O)
//          Example: x (2,64,64,16), w (3,3,16,32), padding 1 -> (2,64,64,32)
//
// tensor/conv/ computes the three sums.
#include "tensor/ops/shared.h"

namespace acinus {

Tensor bias_gradient(const Tensor& dy) {
  return dispatch(dy.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const int64_t o = dy.shape()[-1], pixels = dy.elements() / std::max<int64_t>(o, 1);
    return reduce_columns<T>(dy.device(), 1, pixels, o, ValueAt<T>{dy.ptr<T>()})[0].viewed_as({o});
  });
}

void add_parameter_gradients(const ConvGeometry& g, const SkipConcat& x, const Tensor& dy, Input& w, Input& b) {
  const bool together =
      w.needs_grad() && b.needs_grad() && conv_fusions(g, dy.dtype(), x.deep ? x.deep.shape()[3] : 0).bias_gradient;
  if (b.needs_grad() && !together) b.add_grad(bias_gradient(dy));
  if (!w.needs_grad()) return;
  const DType precise = dy.dtype() == DType::bf16 ? DType::f32 : dy.dtype();
  const Tensor db = together ? Tensor({g.o}, precise, dy.device()) : Tensor();
  w.add_grad(conv_weight_gradient(g, x, dy, db));
  if (together) b.add_grad(db);
}

ConvGeometry conv2d_geometry(const char* op, const Tensor& x, const Shape& sx, const Tensor& w, const Tensor& b,
                             Conv2dOptions options) {
  check_parameters(op, x, {&w, b ? &b : &w});
  const Shape sw = w.shape();
  check(sx.rank() == 4 && sw.rank() == 4, op, ": needs x (N,H,W,C) and w (KH,KW,C,O), got ", sx, " and ", sw);
  check(sx[3] == sw[2], op, ": x ", sx, " has ", sx[3], " channels, w ", sw, " expects ", sw[2]);
  check(!b || b.shape() == Shape{sw[3]}, op, ": bias ", b.shape(), " for ", sw[3], " output channels");
  const int64_t s = options.stride, p = options.padding, d = options.dilation;
  check(s >= 1 && p >= 0 && d >= 1, op, ": stride ", s, ", padding ", p, ", dilation ", d,
        ": stride and dilation must be at least 1, padding at least 0");
  const int64_t span_h = sx[1] + 2 * p - d * (sw[0] - 1) - 1, span_w = sx[2] + 2 * p - d * (sw[1] - 1) - 1;
  check(sw[0] >= 1 && sw[1] >= 1 && span_h >= 0 && span_w >= 0, op, ": kernel ", sw, " (dilation ", d,
        ") is larger than x ", sx, " with padding ", p);
  ConvGeometry g{sx[0], sx[1], sx[2], sx[3], span_h / s + 1, span_w / s + 1, sw[3], sw[0], sw[1], s, p, d};
  choose_algorithm(op, g, options.algorithm, x);
  return g;
}

Tensor conv2d(const Tensor& x, const Tensor& w, const Tensor& b, Conv2dOptions options) {
  const ConvGeometry g = conv2d_geometry("conv2d", x, x.shape(), w, b, options);
  const Tensor y = conv_forward(g, x, w, b);
  return record("conv2d", y, {x, w, b}, [g, x = x.detach(), w = w.detach()](const Tensor& dy, Inputs& in) {
    add_parameter_gradients(g, x, dy, in[1], in[2]);
    if (!in[0].needs_grad()) return;
    const bool masked = in[0].from_relu() && conv_fusions(g, dy.dtype()).relu_gradient;
    in[0].add_grad(conv_data_gradient(g, dy, w, {}, 0, masked ? x : Tensor()).skip, masked);
  });
}

}  // namespace acinus
