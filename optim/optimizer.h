// Optimisers change parameters by their gradients: params -= what the gradients say. Formulas as in PyTorch.
#pragma once
#include "tensor/io/safetensors.h"  // NamedTensors

namespace acinus {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One step with learning rate lr, on every parameter that has a gradient.
  void step(double lr) {
    prepare(lr);
    apply();
  }
  // Its two parts: what changes from step to step is put where apply(), which may be part of a cuda::Graph, reads it.
  virtual void prepare(double lr) = 0;
  virtual void apply() = 0;
  // All that a resumed run needs beside the parameters, as tensors: adam.m.<name>, adam.v.<name>, adam.step
  virtual NamedTensors state() const = 0;
  // Puts back what state() returned. Error that lists what is missing or of another shape, having changed nothing.
  virtual void load(const SafeTensors& saved) = 0;

 protected:
  explicit Optimizer(NamedTensors parameters);

  NamedTensors parameters_;
  Tensor rates_;  // three numbers, for prepare() and apply()
};

// Scales all gradients so that their common norm, sqrt of the sum of all squares, is at most max_norm. Returns
// the norm before, a float64 scalar. (Pascanu et al. 2013) Where it is infinite or NaN, nothing is changed.
Tensor clip_grad_norm(const NamedTensors& parameters, double max_norm);

// For load(): after all checks, overwrites the elements of `own`, what state() gave, with those of `saved`. Both are
// named "<kind>."..., and "<kind>.step", where there is one, is a count: 0, 1, 2, ... Names of other kinds are passed
// over.
void load_training_state(const std::string& kind, const NamedTensors& own, const SafeTensors& saved);

}  // namespace acinus
