#include "nn/inspect.h"

#include "tensor/trace.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <map>
#include <sstream>

namespace acinus {
namespace {

bool all_finite(const Tensor& tensor) {
  return std::ranges::all_of(tensor.to_vector(), [](double v) { return std::isfinite(v); });
}

// 7846081 -> "7,846,081"
std::string grouped(int64_t number) {
  std::string digits = std::to_string(number);
  for (int64_t at = int64_t(digits.size()) - 3; at > 0; at -= 3) digits.insert(size_t(at), ",");
  return digits;
}

}  // namespace

std::string summary(Module& module, const std::function<void()>& forward) {
  std::map<std::string, int64_t> count;  // parameters of each part
  for (const auto& [name, tensor] : module.parameters()) count[name.substr(0, name.rfind('.'))] += tensor.elements();

  std::ostringstream table;
  const auto row = [&](const std::string& part, const std::string& op, const std::string& shape, const std::string& n) {
    table << "  " << std::left << std::setw(20) << part << std::setw(18) << op << std::setw(20) << shape << std::right
          << std::setw(10) << n << '\n';
  };
  row("layer", "op", "output", "parameters");
  const ObserverScope observing([&](const Event& e) {
    if (e.when != When::forward) return;
    const auto it = count.find(e.scope);
    row(e.scope, e.op, text(e.result->shape()), it == count.end() || it->second == 0 ? "" : grouped(it->second));
    if (it != count.end()) it->second = 0;  // counted once, in the part's first op
  });
  {
    const EvalMode eval_mode(module);  // or batch norm would take the example for data
    const NoGrad no_grad;
    forward();
  }
  table << "  " << grouped(module.parameter_count()) << " parameters\n";
  return table.str();
}

std::string first_not_finite(const Module& module, const std::function<void()>& step) {
  for (const auto& [name, tensor] : module.state())
    if (!all_finite(tensor)) return "parameter " + name;
  std::string found;
  const ObserverScope observing([&](const Event& e) {
    if (!found.empty() || (e.when != When::forward && e.when != When::gradient) || all_finite(*e.result)) return;
    found = text(e.op, e.scope.empty() ? "" : " in ", e.scope,
                 e.when == When::forward ? " (forward)" : " (the gradient it received)");
  });
  step();
  if (found.empty())
    for (const auto& [name, tensor] : module.parameters())
      if (tensor.grad() && !all_finite(tensor.grad())) return "the gradient of " + name;
  return found;
}

}  // namespace acinus
