// Optimisers change parameters by their gradients: params -= what the gradients say. Formulas as in PyTorch.
#pragma once
#include "tensor/safetensors.h"  // NamedTensors

namespace acinus {

class Optimizer {
 public:
  explicit Optimizer(NamedTensors parameters) : parameters_(std::move(parameters)) {}
  virtual ~Optimizer() = default;
  // One step with learning rate lr, on every parameter that has a gradient.
  virtual void step(double lr) = 0;
  // All that a resumed run needs beside the parameters, as tensors: adam.m.<name>, adam.v.<name>, adam.step
  virtual NamedTensors state() const = 0;
  // Puts back what state() returned. Error if a tensor is missing or of another shape.
  virtual void load(const SafeTensors& state) = 0;

 protected:
  NamedTensors parameters_;
};

// Scales all gradients so that their common norm, sqrt of the sum of all squares, is at most max_norm. Returns
// the norm before. (Pascanu et al. 2013) Where it is infinite or NaN, nothing is changed.
double clip_grad_norm(const NamedTensors& parameters, double max_norm);

}  // namespace acinus
