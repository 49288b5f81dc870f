// Gradient checkpointing: less memory for more time. (PyTorch's torch.utils.checkpoint; Chen et al. 2016, "Training Deep
// Nets with Sublinear Memory Cost")
//
//   Tensor y = gradient_checkpoint({x}, block.tensors(), [&](const std::vector<Tensor>& in) { return block(in[0]); });
//
// y = f(inputs), but no activation that f computes on the way is kept: backward() calls f once more. A network whose
// blocks are checkpointed costs one more forward pass, and needs little of the memory.
#pragma once
#include <functional>
#include <vector>

#include "tensor/tensor.h"

namespace acinus {

// parameters: the leaves with a gradient that f uses. Whatever else has a gradient must be an input. Both calls of f must
// give the same result, and what f refers to must live until backward().
Tensor gradient_checkpoint(const std::vector<Tensor>& inputs, const std::vector<Tensor>& parameters,
                           std::function<Tensor(const std::vector<Tensor>& inputs)> f);
bool recomputing();  // is this the second call of f? Running statistics, for instance, must not be updated twice.

}  // namespace acinus
