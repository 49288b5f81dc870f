// What the files of some ops use of each other, and nobody else.
#pragma once
#include "tensor/ops.h"

namespace acinus {

// conv2d.cu: checks the arguments. sx is the shape of the image, which is more than x in conv2d_fused.
ConvGeometry conv2d_geometry(const char* op, const Tensor& x, const Shape& sx, const Tensor& w, const Tensor& b,
                             Conv2dOptions options);
// conv2d.cu: db[o] = sum over n,i,j of dy[n,i,j,o]. With y = relu(...), dy first ends where y is 0: in place.
Tensor bias_gradient(const Tensor& dy, const Tensor& y = {});
// max_pool2d.cu: the gradient alone, for a y that has been computed.
Tensor record_max_pool2d(const Tensor& x, const Tensor& y, Pool2dOptions options);
// max_pool2d.cu, for avg_pool2d too: checks, and the shape of y.
Shape pooled_shape(const char* op, const Tensor& x, Pool2dOptions options);

}  // namespace acinus
