// What batch, group and instance normalisation share. With x as (images, rows, channels):
//
//   xhat = (x - mean) * istd,   istd = 1 / sqrt(var + eps),   y = xhat * weight + bias
//
// mean and var are over a *group* of m elements: the rows of one image and `per_group` neighbouring channels.
//   batch norm:     images = 1 (the whole batch), rows = N*H*W, per_group = 1
//   group norm:     images = N,                   rows = H*W,   per_group = C / groups
//   instance norm:  group norm with per_group = 1
//
// Gradient, with g = dy * weight and means over the group (Ioffe and Szegedy 2015, section 3, simplified):
//   dx = istd * (g - mean(g) - xhat * mean(g * xhat)),   dweight[c] = sum(dy * xhat),   dbias[c] = sum(dy)
// mean(g) and mean(g * xhat) appear because mean and istd depend on x too; where they do not (batch norm at
// inference), dx = istd * g.
#pragma once
#include "tensor/autograd.h"
#include "tensor/rows.h"

namespace acinus {

struct NormGeometry {
  int64_t images, rows, channels, per_group;
  int64_t group_size() const { return rows * per_group; }  // m
  Pixels pixels() const { return {images, rows, 1}; }      // which image a row belongs to
};

struct NormStatistics {  // (images, channels); channels of one group hold equal values
  Tensor mean, var;      // var is the biased one, divided by m
};

NormStatistics norm_statistics(const NormGeometry& g, const Tensor& x);

// y and its gradient, recorded under the name `op`. `fixed` statistics do not depend on x. With `relu`, y = max(y, 0) in
// the same pass, which saves two passes over memory.
Tensor normalize(const char* op, const NormGeometry& g, const Tensor& x, const NormStatistics& statistics, bool fixed,
                 const Tensor& weight, const Tensor& bias, double eps, bool relu);

}  // namespace acinus
