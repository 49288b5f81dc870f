// Reverse-mode automatic differentiation on a tape.
//
// An op computes its output y from inputs x0, x1, ... and then *records* how a gradient flows back:
//
//   Tensor square(const Tensor& x) {
//     Tensor y = map(SquareForward{}, x);
//     return record("square", y, {x}, [x = x.detach()](const Tensor& dy, Inputs& in) {
//       in[0].add_grad(map(SquareBackward{}, dy, x));   // forward: y = x*x, hence dx += dy * 2x
//     });
//   }
//
// Each tensor that needs a gradient has a GradSlot, and each recorded op a Node that points at the slots of
// its inputs. The picture, for z = mul(square(x), w), z.backward():
//
//   z.slot -> Node mul -> { slot of square(x) -> Node square -> { x.slot },  w.slot }
//
// A node points at slots and not at tensors, so an activation is kept only if a closure captured it. A closure captures
// detached inputs (x.detach()), or the output before record() gives it a slot, never a tensor with the slot of its own
// node: that would be a cycle of shared pointers, and leak. backward() frees each node as soon as it has run.
//
// What a closure captured must not be overwritten (Tensor::copy_from, an optimiser's step) before backward() has run:
// that is an Error which names the op. As in PyTorch, the storage of a tensor knows when it was overwritten.
#pragma once
#include <functional>
#include <vector>

#include "tensor/scoped_value.h"
#include "tensor/tensor.h"

namespace acinus {

struct GradSlot;

// One input of a recorded op, as its backward sees it.
class Input {
 public:
  explicit Input(std::shared_ptr<GradSlot> slot) : slot_(std::move(slot)) {}
  bool needs_grad() const { return slot_ != nullptr; }  // false: its gradient need not be computed
  // Accumulates: grad += gradient. `masked`: gradient is 0 already where the input is not positive (see from_relu).
  void add_grad(Tensor gradient, bool masked = false);
  // Is the input the result of a ReLU? Then an op that reads it anyway may mask the gradient, input > 0 ? gradient : 0.
  // If all ops that used the input do so, the ReLU's backward need not (Inputs::masked): a pass over memory less.
  bool from_relu() const;
  // The sum so far, if no other tensor shares its elements, for an op to add to in place; otherwise empty. It saves a
  // pass over memory where an activation has two users, as skip connections have. `masked` as in add_grad.
  Tensor grad_buffer(bool masked = false) const;

 private:
  friend struct Autograd;
  std::shared_ptr<GradSlot> slot_;
};
struct Inputs : std::vector<Input> {
  bool masked = false;  // the gradient of the op's output is masked already: see Input::from_relu
};
using Backward = std::function<void(Tensor dy, Inputs& in)>;  // dy may be overwritten if it is_unique()

// Attaches the op to y, if an input needs a gradient and no NoGrad is alive. Returns y. from_relu: y is the result of a
// ReLU, so that no gradient passes where it is 0.
Tensor record(const char* op, Tensor y, const std::vector<Tensor>& inputs, Backward backward, bool from_relu = false);

// No ops are recorded during the life of a NoGrad object: for validation, prediction, optimiser steps.
struct NoGrad : ScopedValue<bool> {
  NoGrad();
  static bool is_on();
};

// Ops are recorded again, within a NoGrad.
struct EnableGrad : ScopedValue<bool> {
  EnableGrad();
};

}  // namespace acinus
