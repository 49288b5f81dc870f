// conv2d_fused   y      = relu(conv2d(concat(upsample2x(below), x), w, b))
//                pooled = max_pool2d(y)
//                below (N,H/2,W/2,C1) or empty, x (N,H,W,C2), w (KH,KW,C1+C2,O), b (O) or empty -> y (N,OH,OW,O),
//                pooled (N,OH/2,OW/2,O);  ReLU, pooling and `below` are each left out at will
//                Example: below (2,32,32,64), x (2,64,64,32), w (3,3,96,32), padding 1 -> y (2,64,64,32)
//
// The same numbers as from the plain ops (below's gradient but for the order in which four numbers are added), and the
// plain ops themselves where the convolution's algorithm cannot do better. But an activation of a large image is tens
// of megabytes, more than a cache holds, and every op that reads and writes it goes through memory once more. What is
// done here while the numbers are at hand anyway:
//
//   forward    bias, ReLU and the largest of each 2x2, before the sums are written (winograd.cpp, output_stage);
//              concat(upsample2x(below), x) is never written down: the convolution reads each from where it is
//   backward   the gradient stops where ReLU did, and is summed for the bias, in one pass over dy, in place;
//              the sum over each 2x2 of upsample2x's gradient is made before that is written
#include "tensor/ops/shared.h"

namespace acinus {

FusedConv2d conv2d_fused(const Tensor& below, const Tensor& x, const Tensor& w, const Tensor& b,
                         FusedConv2dOptions options) {
  if (!below && !options.relu && !options.pool) return {conv2d(x, w, b, options.conv), Tensor()};
  Shape joined = x.shape();
  if (below) {
    check_same_kind("conv2d_fused", {&below, &x});
    const Shape sb = below.shape(), sx = x.shape();
    check(sb.rank() == 4 && sx.rank() == 4 && sb[0] == sx[0] && 2 * sb[1] == sx[1] && 2 * sb[2] == sx[2],
          "conv2d_fused: needs below (N,H/2,W/2,C1) and x (N,H,W,C2), got ", sb, " and ", sx);
    joined = {sx[0], sx[1], sx[2], sb[3] + sx[3]};
  }
  const ConvGeometry g = conv2d_geometry("conv2d_fused", x, joined, w, b, options.conv);
  if (below && !can_read_below(g, below)) return conv2d_fused({}, concat(upsample2x(below), x), w, b, options);

  Tensor y({g.n, g.oh, g.ow, g.o}, x.dtype(), x.device());
  ConvFusion fusion{options.relu, Tensor(), below};
  if (options.pool && can_pool(g)) fusion.pooled = Tensor({g.n, g.oh / 2, g.ow / 2, g.o}, x.dtype(), x.device());
  conv_forward(g, x, w, b, y, fusion);

  FusedConv2d result;
  result.y = record("conv2d_fused", y, {below, x, w, b},
                    [g, y = options.relu ? y : Tensor(), below = below.detach(), x = x.detach(), w = w.detach()](
                        const Tensor& dy, Inputs& in) mutable {
                      // forward: y = relu(s), hence ds = y > 0 ? dy : 0. Written over dy, unless somebody else holds
                      // that too.
                      const Tensor ds = !y || dy.is_unique() ? dy : dy.clone();
                      if (y || in[3].needs_grad()) in[3].add_grad(bias_gradient(ds, y));
                      y = Tensor();  // a closure runs once: what it will not need again is free for others now
                      if (in[2].needs_grad()) {
                        Tensor dw(w.shape(), w.dtype(), w.device());
                        conv_weight_gradient(g, x, ds, dw, below);
                        in[2].add_grad(std::move(dw));
                      }
                      if (!in[0].needs_grad() && !in[1].needs_grad()) return;
                      const Shape sx = x.shape();
                      x = Tensor();
                      Tensor dx(sx, ds.dtype(), ds.device()), dbelow;
                      if (below) dbelow = Tensor(below.shape(), ds.dtype(), ds.device());
                      conv_data_gradient(g, ds, w, Tensor(), dx, dbelow);
                      in[1].add_grad(std::move(dx));
                      if (below) in[0].add_grad(std::move(dbelow));
                    });
  if (fusion.pooled) result.pooled = record_max_pool2d(result.y, fusion.pooled, {});
  if (options.pool && !fusion.pooled) result.pooled = max_pool2d(result.y);
  return result;
}

}  // namespace acinus
