// What Tensor itself does to elements, on any device.
#pragma once
#include "tensor/tensor.h"

namespace acinus {

void fill(Tensor& x, double value);
void convert(const Tensor& from, Tensor& to);  // to another type, on the same device
void add_to(Tensor& sum, const Tensor& more);  // sum += more, of one shape and kind

}  // namespace acinus
