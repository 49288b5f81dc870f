#include "nn/module.h"

namespace acinus {

void Module::parameter(const std::string& name, Tensor& tensor, Tensor value) {
  tensor = std::move(value);
  tensor.requires_grad();
  tensors_.push_back({name, &tensor, true});
}

void Module::buffer(const std::string& name, Tensor& tensor, Tensor value) {
  tensor = std::move(value);
  tensors_.push_back({name, &tensor, false});
}

void Module::child(const std::string& name, Module& module) {
  module.name_ = name;
  children_.push_back(&module);
}

template <class F>
void Module::visit(const std::string& prefix, F f) const {
  for (const Entry& entry : tensors_) f(prefix + entry.name, entry);
  for (const Module* module : children_) module->visit(prefix + module->name_ + ".", f);
}

NamedTensors Module::parameters() const {
  NamedTensors list;
  visit("", [&](const std::string& name, const Entry& entry) {
    if (entry.is_parameter) list.emplace_back(name, *entry.tensor);
  });
  return list;
}

NamedTensors Module::state() const {
  NamedTensors list;
  visit("", [&](const std::string& name, const Entry& entry) { list.emplace_back(name, *entry.tensor); });
  return list;
}

int64_t Module::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : parameters()) count += tensor.elements();
  return count;
}

void Module::train(bool on) {
  training_ = on;
  for (Module* module : children_) module->train(on);
}

template <class To>
static void replace(const auto& entry, To to) {
  *entry.tensor = entry.tensor->detach().to(to);
  if (entry.is_parameter) entry.tensor->requires_grad();
}
void Module::to(DType dtype) {
  visit("", [&](const std::string&, const Entry& entry) { replace(entry, dtype); });
}
void Module::to(Device device) {
  visit("", [&](const std::string&, const Entry& entry) { replace(entry, device); });
}

void Module::zero_grad() {
  for (auto& [name, tensor] : parameters()) tensor.set_grad(Tensor());
}

}  // namespace acinus
