// Module: a part of a network that has parameters. It lists them by name, in the order they were made, and its
// children's as "<child>.<name>": encoder.0.conv1.weight. A layer is a Module with an operator().
//
//   struct Pair : Module {
//     Conv2d a, b;
//     explicit Pair(Random& r) : a(1, 8, {.padding = 1}, r), b(8, 8, {.padding = 1}, r) { child("a", a); child("b", b);
//     } Tensor operator()(const Tensor& x) { return b(relu(a(x))); }
//   };
//   Random random(1);  Pair pair(random);  pair.state() -> a.weight (3,3,1,8), a.bias (8), b.weight (3,3,8,8), b.bias
//   (8)
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "tensor/autograd.h"
#include "tensor/io/safetensors.h"  // NamedTensors

namespace acinus {

class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;  // children are remembered by address
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  NamedTensors parameters() const;  // what an optimiser changes
  NamedTensors state() const;       // parameters and buffers (running statistics): what a checkpoint holds
  int64_t parameter_count() const;  // how many numbers the parameters are

  void train(bool on = true);    // batch norm and dropout behave differently in training ...
  void eval() { train(false); }  // ... and at inference
  bool training() const { return training_; }
  const std::string& name() const { return name_; }  // in its parent
  void to(DType dtype);    // converts all parameters and buffers; make the optimiser after this
  void to(Device device);  // moves them; the same
  void zero_grad();        // forgets all gradients

  // For constructors: what belongs to this module, by name.
  void parameter(const std::string& name, Tensor& tensor);  // requires_grad() is called on it
  void buffer(const std::string& name, Tensor& tensor);
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

// While one of these lives, the module is in eval mode.
class Evaluating {
 public:
  explicit Evaluating(Module& module) : module_(module), was_training_(module.training()) { module.eval(); }
  ~Evaluating() { module_.train(was_training_); }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  Module& module_;
  bool was_training_;
};

}  // namespace acinus
