// Module: a part of a network that has parameters. It lists them by name, in the order in which they were registered,
// and its children's as "<child>.<name>": encoder.0.conv1.weight. A layer is a Module with an operator().
//
//   struct TwoConvs : Module {
//     Conv2d a, b;
//     explicit TwoConvs(Random& random) : a(1, 8, {.padding = 1}, random), b(8, 8, {.padding = 1}, random) {
//       child("a", a);
//       child("b", b);
//     }
//     Tensor operator()(const Tensor& x) { return b(relu(a(x))); }
//   };
//   Random random(1);
//   TwoConvs net(random);
//   net.state()   ->   a.weight (3,3,1,8), a.bias (8), b.weight (3,3,8,8), b.bias (8)
//
// A module remembers its children by address, so it can be neither copied nor moved; a list of modules is a
// std::vector<std::unique_ptr<...>>.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tensor/autograd.h"
#include "tensor/tensor.h"

namespace acinus {

class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  NamedTensors parameters() const;  // what an optimiser changes
  NamedTensors state() const;       // parameters and buffers (running statistics): what a checkpoint holds
  int64_t parameter_count() const;  // the elements of all parameters

  void train(bool on = true);    // batch norm and dropout behave differently in training ...
  void eval() { train(false); }  // ... and at inference
  bool training() const { return training_; }
  const std::string& name() const { return name_; }  // in its parent
  void to(DType dtype);    // converts all parameters and buffers; create the optimiser afterwards
  void to(Device device);  // moves them; likewise
  void zero_grad();        // clears all gradients

  // For constructors: register what belongs to this module, by name; a tensor is given its initial value.
  void parameter(const std::string& name, Tensor& tensor, Tensor value);  // with a gradient
  void buffer(const std::string& name, Tensor& tensor, Tensor value);
  void child(const std::string& name, Module& module);

 private:
  template <class F>
  void visit(const std::string& prefix, F f) const;  // f(full name, entry), depth first

  struct Entry {
    std::string name;
    Tensor* tensor;
    bool is_parameter;
  };
  std::string name_;
  std::vector<Entry> tensors_;
  std::vector<Module*> children_;
  bool training_ = true;
};

// The module is in eval mode while an EvalMode is alive.
class EvalMode {
 public:
  explicit EvalMode(Module& module) : module_(module), was_training_(module.training()) { module.eval(); }
  ~EvalMode() { module_.train(was_training_); }
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  Module& module_;
  bool was_training_;
};

}  // namespace acinus
