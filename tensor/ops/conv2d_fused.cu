// conv2d_fused   y      = relu(conv2d(concat(upsample2x(deep), x), w, b))
//                pooled = max_pool2d(y)
//                deep (N,H/2,W/2,C1) or empty, x (N,H,W,C2), w (KH,KW,C1+C2,O), b (O) or empty
//                -> y (N,OH,OW,O), pooled (N,OH/2,OW/2,O);  ReLU, pooling and `deep` are each optional
//                Example: deep (2,32,32,64), x (2,64,64,32), w (3,3,96,32), padding 1 -> y (2,64,64,32)
//
// The same numbers as from the plain ops, except that the four terms of each element of deep's gradient are added in
// another order; and computed by the plain ops where the convolution's algorithm cannot do better. An activation of a
// large image is tens of megabytes, more than a cache holds, and every op that reads and writes it goes through memory
// once more. What is done here while the numbers are at hand:
//
//   forward    bias, ReLU and the maximum of each 2x2, before the sums are stored (ConvEpilogue);
//              concat(upsample2x(deep), x) is never in memory: the convolution reads both where they are (SkipConcat)
//   backward   the gradient is set to 0 where the ReLU gave 0 by those who compute it (Input::from_relu), or else in place;
//              upsample2x's gradient, a sum over each 2x2, is made before it is stored
#include "tensor/ops/shared.h"

namespace acinus {

FusedConv2d conv2d_fused(const Tensor& deep, const Tensor& x, const Tensor& w, const Tensor& b,
                         FusedConv2dOptions options) {
  if (!deep && !options.relu && !options.pool) return {conv2d(x, w, b, options.conv), Tensor()};
  Shape image = x.shape();
  if (deep) {
    check_same_kind("conv2d_fused", {&deep, &x});
    const Shape sd = deep.shape(), sx = x.shape();
    check(sd.rank() == 4 && sx.rank() == 4 && sd[0] == sx[0] && 2 * sd[1] == sx[1] && 2 * sd[2] == sx[2],
          "conv2d_fused: needs deep (N,H/2,W/2,C1) and x (N,H,W,C2), got ", sd, " and ", sx);
    image = {sx[0], sx[1], sx[2], sd[3] + sx[3]};
  }
  const ConvGeometry g = conv2d_geometry("conv2d_fused", x, image, w, b, options.conv);
  const int64_t deep_channels = deep ? deep.shape()[3] : 0;
  const ConvFusions fusions = conv_fusions(g, x.dtype(), deep_channels);
  if (deep && !fusions.skip_concat) return conv2d_fused({}, concat(upsample2x(deep), x), w, b, options);

  ConvEpilogue epilogue{options.relu, Tensor()};
  if (options.pool && fusions.pooling) epilogue.pooled = Tensor({g.n, g.oh / 2, g.ow / 2, g.o}, x.dtype(), x.device());
  const Tensor y = conv_forward(g, {x, deep}, w, b, epilogue);

  FusedConv2d result;
  auto backward = [g, fusions, deep_channels, y = options.relu ? y : Tensor(), deep = deep.detach(), x = x.detach(),
                   w = w.detach()](Tensor dy, Inputs& in) mutable {
    if (y && !in.masked) dy = relu_gradient(std::move(dy), y);
    add_parameter_gradients(g, {x, deep}, dy, in[2], in[3]);
    y = Tensor();  // a closure runs once: memory that it no longer needs is free for others from here on
    if (!in[0].needs_grad() && !in[1].needs_grad()) return;
    const bool mask_x = fusions.relu_gradient && in[1].from_relu(),
               mask_deep = fusions.relu_gradient && in[0].from_relu();
    if (!mask_x) x = Tensor();
    SkipConcat dx = conv_data_gradient(g, dy, w, {}, deep_channels, {x, mask_deep ? deep : Tensor()});
    in[1].add_grad(std::move(dx.skip), mask_x);
    if (deep) in[0].add_grad(std::move(dx.deep), mask_deep);
  };
  result.y = record("conv2d_fused", y, {deep, x, w, b}, std::move(backward), /*from_relu=*/options.relu);
  if (epilogue.pooled) result.pooled = record_max_pool2d(result.y, epilogue.pooled, {}, /*from_relu=*/options.relu);
  if (options.pool && !epilogue.pooled) result.pooled = max_pool2d(result.y);
  return result;
}

}  // namespace acinus
