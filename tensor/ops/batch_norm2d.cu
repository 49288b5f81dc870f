// batch_norm2d   y = (x - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]        gradient: tensor/ops/normalize.h
//                x, y (N,H,W,C); weight, bias, running_mean, running_var (C)
//
// In training mean and var are those of the batch, over (N,H,W), and the running ones follow them:
//   running_mean = (1 - momentum) * running_mean + momentum * mean
//   running_var  = (1 - momentum) * running_var  + momentum * var * m / (m - 1),   m = N*H*W
// (the unbiased estimate of the variance, as in PyTorch). At inference the running ones are used. (Ioffe and Szegedy 2015)
#include "tensor/for_each.h"
#include "tensor/gradient_checkpoint.h"
#include "tensor/ops.h"
#include "tensor/ops/normalize.h"

namespace acinus {
namespace {

struct MovingAverage {
  double momentum, factor;  // factor: of the batch's value
  template <class T>
  HD T operator()(T running, T batch) const {
    return T(1 - momentum) * running + T(momentum * factor) * batch;
  }
};

}  // namespace

Tensor batch_norm2d(const Tensor& x, const Tensor& weight, const Tensor& bias, Tensor running_mean, Tensor running_var,
                    BatchNormOptions options) {
  check_parameters("batch_norm2d", x, {&weight, &bias});
  const Shape s = x.shape();
  check(s.rank() == 4 && x.elements() > 0, "batch_norm2d: needs (N,H,W,C) without a 0, got ", s);
  const NormGeometry g{1, s[0] * s[1] * s[2], s[3], 1};
  if (!options.training) {
    check(running_mean && running_var, "batch_norm2d: inference needs the running mean and variance");
    const NormStatistics running{running_mean.detach().viewed_as({1, s[3]}), running_var.detach().viewed_as({1, s[3]})};
    return normalize("batch_norm2d", g, x, running, /*fixed=*/true, weight, bias, options.eps, options.relu);
  }
  check(g.rows > 1, "batch_norm2d: one value per channel, from x ", s,
        ", has no variance; use a larger batch or image");
  const NormStatistics batch = norm_statistics(g, x);
  const double m = double(g.rows);
  const bool update = !recomputing();
  if (update && running_mean)
    map_into(running_mean, MovingAverage{options.momentum, 1}, running_mean, batch.mean.viewed_as({s[3]}));
  if (update && running_var)
    map_into(running_var, MovingAverage{options.momentum, m / (m - 1)}, running_var, batch.var.viewed_as({s[3]}));
  return normalize("batch_norm2d", g, x, batch, /*fixed=*/false, weight, bias, options.eps, options.relu);
}

}  // namespace acinus
