// group_norm   y = (x - mean[n,g]) / sqrt(var[n,g] + eps) * weight[c] + bias[c]        gradient: tensor/ops/normalize.h
//              x, y (N,H,W,C); weight, bias (C); channel c belongs to group g = c / (C / groups)
//
// Mean and variance are over the pixels of one image and the channels of one group. They do not depend on the rest of the
// batch: it works with a batch of 1, and is the same at inference. (Wu and He 2018)
#include "tensor/ops.h"
#include "tensor/ops/normalize.h"

namespace acinus {

Tensor group_norm(const Tensor& x, int groups, const Tensor& weight, const Tensor& bias, double eps, bool relu) {
  check_parameters("group_norm", x, {&weight, &bias});
  const Shape s = x.shape();
  check(s.rank() == 4 && x.elements() > 0, "group_norm: needs (N,H,W,C) without a 0, got ", s);
  check(groups >= 1 && s[3] % groups == 0, "group_norm: ", groups, " groups do not divide the ", s[3],
        " channels of x ", s);
  const NormGeometry g{s[0], s[1] * s[2], s[3], s[3] / groups};
  return normalize("group_norm", g, x, norm_statistics(g, x), /*fixed=*/false, weight, bias, eps, relu);
}

}  // namespace acinus
