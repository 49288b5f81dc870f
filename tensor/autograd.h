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
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace acinus {

struct GradSlot;

// One input of a recorded op, as its backward sees it.
class Input {
 public:
  explicit Input(std::shared_ptr<GradSlot> slot) : slot_(std::move(slot)) {}
  bool needs_grad() const { return slot_ != nullptr; }  // false: its gradient need not be computed
  void add_grad(Tensor gradient);                       // accumulates: grad += gradient
  // What has been added so far, if that is nobody else's, for an op to add to in place; else empty.
  Tensor collected() const;

 private:
  friend struct Autograd;
  std::shared_ptr<GradSlot> slot_;
};
using Inputs = std::vector<Input>;
using Backward = std::function<void(Tensor dy, Inputs& in)>;  // dy is the op's own: if it is_unique(), to write over

// Attaches the op to y, if any input needs a gradient and recording is on. Returns y.
Tensor record(const char* op, Tensor y, const std::vector<Tensor>& inputs, Backward backward);

// y = f(inputs), and nothing that f computes on its way is kept: backward() calls f once more when it needs it. So a
// network's blocks cost one more forward pass, and little of their memory. (Chen et al. 2016, "Training Deep Nets with
// Sublinear Memory Cost")  parameters: the leaves with a gradient that f uses; all else that has one must come through
// `inputs`. f must give the same both times, and what it refers to must live until backward().
Tensor recompute(const std::vector<Tensor>& inputs, const std::vector<Tensor>& parameters,
                 std::function<Tensor(const std::vector<Tensor>& inputs)> f);
bool recomputing();  // is this the second time? Then running statistics have been updated already

// While one of these lives, nothing is recorded (validation, prediction, optimiser steps).
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  static bool is_on();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

// Names the part of the network that runs, for messages and tables: encoder.2.conv1.
class Scope {
 public:
  explicit Scope(const std::string& name);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  static const std::string& current();

 private:
  size_t length_before_;
};

// What an observer is told. The NaN search, the model summary and the profile are made of it.
enum class When {
  begins,    // a Scope or a Work begins: what ran since the last event was no op
  forward,   // an op has made its output, `result`
  gradient,  // backward() is about to call an op; `result` is the gradient of its output
  backward,  // ... and the op is done
  work       // a Work is done
};
struct Event {
  When when;
  const char* op;            // or the name of the Work
  const std::string& scope;  // the part of the network
  const Tensor& result;      // empty for begins, backward and work
};
using Observer = std::function<void(const Event&)>;  // must not throw: it is called from destructors

// While one of these lives, the observer is told of all that its thread does; so is every other that lives there.
// A local variable, or a member of one: the newest must go first.
class Observing {
 public:
  explicit Observing(Observer observer);
  ~Observing();
  static bool anybody();  // does an observer live in this thread?
  Observing(const Observing&) = delete;
  Observing& operator=(const Observing&) = delete;

 private:
  friend void notify(const Event& event);
  Observer observer_;
  Observing* before_;
};

// Names a stretch without ops whose time is worth knowing, such as an optimiser's step.
class Work {
 public:
  explicit Work(const char* name);
  ~Work();
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

 private:
  const char* name_;
};

}  // namespace acinus
