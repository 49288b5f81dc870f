// linear   y = x w + b        dx += dy w^T,  dw += x^T dy,  db[o] += sum over n of dy[n,o]
//          x (N,C), w (C,O), b (O) or empty -> y (N,O)
//
// A 1x1 convolution on N images of one pixel: the same three products, so it is written as one.
#include "tensor/ops.h"

namespace acinus {

Tensor linear(const Tensor& x, const Tensor& w, const Tensor& b) {
  check_parameters("linear", x, {&w, b ? &b : &w});
  const Shape sx = x.shape(), sw = w.shape();
  check(sx.rank() == 2 && sw.rank() == 2 && sx[1] == sw[0], "linear: needs x (N,C) and w (C,O), got ", sx, " and ", sw);
  check(!b || b.shape() == Shape{sw[1]}, "linear: bias ", b.shape(), " for ", sw[1], " outputs");
  check(sx[0] > 0, "linear: x ", sx, " has no rows");
  const Tensor y = conv2d(reshape(x, {1, 1, sx[0], sx[1]}), reshape(w, {1, 1, sw[0], sw[1]}), b);
  return reshape(y, {sx[0], sw[1]});
}

}  // namespace acinus
