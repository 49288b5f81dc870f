// conv_transpose2d   y[n, i*s-p+a, j*s-p+b, o] += x[n,i,j,c] * w[a,b,o,c]  for all i,j,a,b,c;  then y += b
//                    dx, dw: see below;  db[o] += sum over n,i,j of dy[n,i,j,o]
//                    x (N,H,W,C), w (KH,KW,O,C), b (O) or empty -> y (N,OH,OW,O)
//                    Example: x (2,32,32,64), w (2,2,32,64), stride 2 -> (2,64,64,32)
//
// This is the data gradient of a conv2d from y to x with the same w: what that conv2d gathers, this scatters. So the
// roles are exchanged: forward here is its data gradient, the data gradient here is its forward, and the weight gradient
// is its weight gradient with x and dy exchanged (Dumoulin and Visin 2016, "A guide to convolution arithmetic").
#include "tensor/ops/shared.h"

namespace acinus {

Tensor conv_transpose2d(const Tensor& x, const Tensor& w, const Tensor& b, ConvTranspose2dOptions options) {
  check_parameters("conv_transpose2d", x, {&w, b ? &b : &w});
  const Shape sx = x.shape(), sw = w.shape();
  check(sx.rank() == 4 && sw.rank() == 4, "conv_transpose2d: needs x (N,H,W,C) and w (KH,KW,O,C), got ", sx, " and ",
        sw);
  check(sx[3] == sw[3], "conv_transpose2d: x ", sx, " has ", sx[3], " channels, w ", sw, " expects ", sw[3]);
  check(!b || b.shape() == Shape{sw[2]}, "conv_transpose2d: bias ", b.shape(), " for ", sw[2], " output channels");
  const int64_t s = options.stride, p = options.padding, extra = options.output_padding;
  check(s >= 1 && p >= 0 && extra >= 0 && extra < s, "conv_transpose2d: stride ", s, ", padding ", p,
        ", output_padding ", extra, ": the output padding must be less than the stride");
  const int64_t oh = (sx[1] - 1) * s - 2 * p + sw[0] + extra, ow = (sx[2] - 1) * s - 2 * p + sw[1] + extra;
  check(sx[1] >= 1 && sx[2] >= 1 && oh >= 1 && ow >= 1, "conv_transpose2d: nothing is left of x ", sx, " with w ", sw,
        " and padding ", p);
  // The conv2d from y to x.
  ConvGeometry g{sx[0], oh, ow, sw[2], sx[1], sx[2], sx[3], sw[0], sw[1], s, p, /*dilation=*/1};
  choose_algorithm("conv_transpose2d", g, options.algorithm, x);
  const Tensor y = conv_data_gradient(g, x, w, b).skip;
  return record("conv_transpose2d", y, {x, w, b}, [g, x = x.detach(), w = w.detach()](const Tensor& dy, Inputs& in) {
    if (in[0].needs_grad()) in[0].add_grad(conv_forward(g, dy, w));
    if (in[1].needs_grad()) in[1].add_grad(conv_weight_gradient(g, /*x=*/dy, /*dy=*/x));
    if (in[2].needs_grad()) in[2].add_grad(bias_gradient(dy));
  });
}

}  // namespace acinus
