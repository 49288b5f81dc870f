// A network for inference, without its batch norms. In eval mode a batch norm multiplies each channel by a factor and
// adds a constant; the convolution before it can do both:
//
//   norm(conv(x)) = g (w x + b - mean) / sqrt(var + eps) + beta  =  w' x + b'        g, beta: the norm's weight, bias
//   w' = w s,   b' = (b - mean) s + beta,   s = g / sqrt(var + eps)                  for each output channel
//
// (Jacob et al. 2018, "Quantization and training of neural networks", section 3.2.) The results differ by rounding. It
// is faster by more than the norms: a convolution that ReLU and pooling follow directly does them on the way.
#pragma once
#include <memory>

#include "nn/unet.h"

namespace acinus {

// Of what `net` holds now: its weights and running statistics are read once. On net's device, in its type, in eval mode.
// Where the norm is not NormKind::batch, a plain copy.
std::unique_ptr<UNet> folded(const UNet& net);

}  // namespace acinus
