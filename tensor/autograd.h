// Reverse-mode automatic differentiation on a tape.
//
// An op computes its output y from inputs x0, x1, ... and then *records* how a gradient flows back:
//
//   Tensor square(const Tensor& x) {
//     Tensor y = map(Square{}, x);
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
// A node points at slots and not at tensors, so an activation lives only as long as a closure captured it;
// a closure captures detached inputs (x.detach()), or the output before record() gives it a slot, never a tensor with a
// slot of its own node: that would be a cycle of shared pointers and leak. backward() frees each node as soon as it has
// run.
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
  void add_grad(Tensor gradient);                       // accumulates: grad += gradient
  // The sum so far, if no other tensor shares its elements, for an op to add to in place; otherwise empty. It saves a
  // pass over memory where an activation has two users, as each skip connection of a U-Net has.
  Tensor grad_buffer() const;

 private:
  friend struct Autograd;
  std::shared_ptr<GradSlot> slot_;
};
using Inputs = std::vector<Input>;
using Backward = std::function<void(Tensor dy, Inputs& in)>;  // dy is the op's own: if it is_unique(), to write over

// Attaches the op to y, if any input needs a gradient and recording is on. Returns y.
Tensor record(const char* op, Tensor y, const std::vector<Tensor>& inputs, Backward backward);

// No ops are recorded during the life of a NoGrad object: for validation, prediction, optimiser steps.
class NoGrad {
 public:
  NoGrad();
  static bool is_on();

 private:
  ScopedValue<bool> recording_;
};

// Ops are recorded again, within a NoGrad.
class EnableGrad {
 public:
  EnableGrad();

 private:
  ScopedValue<bool> recording_;
};

}  // namespace acinus
