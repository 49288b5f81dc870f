// Looking into a network while it runs, through an observer (tensor/trace.h).
#pragma once
#include <functional>
#include <string>

#include "nn/module.h"

namespace acinus {

// A table of what ran when `forward` was called: part of the network, op, output shape, parameters there.
// Example row:  encoder.0.conv1   conv2d   (1,128,128,16)   160.  It runs in eval mode and without recording.
std::string summary(Module& module, const std::function<void()>& forward);

// Runs `step` (forward and backward) and names the first place where a number that is not finite appears:
//   "parameter encoder.1.conv1.weight", "conv2d in encoder.1.conv1 (forward)", ...; "" if there is none.
std::string first_not_finite(const Module& module, const std::function<void()>& step);

}  // namespace acinus
