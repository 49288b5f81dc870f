// Optimisers change parameters by their gradients. Formulas as in PyTorch.
//
//   Adam adam(net.parameters());
//   net.zero_grad();
//   loss.backward();
//   clip_grad_norm(net.parameters(), 1);
//   adam.step(1e-3);
#pragma once
#include <array>

#include "tensor/tensor.h"

namespace acinus {

struct SafeTensors;

using TensorRows = std::vector<std::vector<Tensor>>;  // of each row the tensors have one shape

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // One step with learning rate lr, on every parameter that has a gradient.
  void step(double lr) {
    learning_rate = lr;
    step();
  }
  // The same with `learning_rate`. In a cuda::Graph, each replay is a step with the learning rate at that time.
  void step();
  double learning_rate = 0;

  // All that a resumed run needs beside the parameters: adam.m.<name>, adam.v.<name>, adam.step
  virtual NamedTensors state() const;
  // Restores what state() returned. Error that lists what is missing or of another shape, having changed nothing.
  virtual void load(const SafeTensors& saved);

 protected:
  // kind: "adam", a literal. moments: what is kept for each parameter, starting at 0: {"m", "v"}
  Optimizer(const char* kind, NamedTensors parameters, const std::vector<std::string>& moments);

  // The numbers of a step that are the same for all elements. Called once a step, on the CPU; may count steps.
  using Scalars = std::array<double, 3>;
  virtual Scalars next_scalars() = 0;
  // The formula, by update_all. A row for each parameter that has a gradient: {gradient, parameter, moments ...}. scalars: on their
  // device.
  virtual void update(const TensorRows& rows, const double* scalars) = 0;

 private:
  const char* kind_;
  NamedTensors parameters_;
  std::vector<NamedTensors> moments_;  // of each parameter, under the names of state()
  Tensor scalars_;
};

// Error unless these are different tensors, on one device: a GPU changes all of them at once.
void check_distinct(const char* op, const NamedTensors& tensors);

// Scales all gradients so that their common norm, sqrt of the sum of all squares, is at most max_norm. Returns
// the norm before, a float64 scalar. (Pascanu et al. 2013) Where it is infinite or NaN, nothing is changed.
Tensor clip_grad_norm(const NamedTensors& parameters, double max_norm);

// For load(): after all checks, overwrites the elements of `own`, what state() gave, with those of `saved`. Both are
// named "<kind>."..., and "<kind>.step", where there is one, is a count: 0, 1, 2, ... Names of other kinds are ignored.
void load_training_state(const std::string& kind, const NamedTensors& own, const SafeTensors& saved);

}  // namespace acinus
