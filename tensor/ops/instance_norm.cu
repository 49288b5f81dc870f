// instance_norm   y = (x - mean[n,c]) / sqrt(var[n,c] + eps) * weight[c] + bias[c]
//                 x, y (N,H,W,C); weight, bias (C)
//
// Each image and channel on its own: group_norm with one channel per group. (Ulyanov et al. 2016)
#include "tensor/ops.h"

namespace acinus {

Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, bool relu) {
  check(x.shape().rank() == 4, "instance_norm: needs (N,H,W,C), got ", x.shape());
  return group_norm(x, int(x.shape()[3]), weight, bias, eps, relu);
}

}  // namespace acinus
