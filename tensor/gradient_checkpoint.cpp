#include "tensor/gradient_checkpoint.h"

#include "tensor/autograd.h"
#include "tensor/trace.h"

namespace acinus {
static thread_local bool in_second_pass = false;

bool recomputing() { return in_second_pass; }

Tensor gradient_checkpoint(const std::vector<Tensor>& inputs, const std::vector<Tensor>& parameters,
                           std::function<Tensor(const std::vector<Tensor>& inputs)> f) {
  if (NoGrad::is_on() || in_second_pass) return f(inputs);  // nothing is kept anyway, or an outer call sees to it
  for (const Tensor& p : parameters)
    check(p.is_leaf(), "gradient_checkpoint: parameter ", p.shape(), " is the result of an op; make it an input");
  std::vector<Tensor> saved, with_gradients = inputs;
  for (const Tensor& x : inputs) saved.push_back(x.detach());
  with_gradients.insert(with_gradients.end(), parameters.begin(), parameters.end());
  Tensor y;
  {
    const NoGrad no_grad;
    y = f(saved);
  }
  return record("gradient_checkpoint", y, with_gradients,
                [saved = std::move(saved), f = std::move(f), scope = Scope::current()](Tensor dy, Inputs& in) mutable {
                  // The inputs are leaves of a graph of its own. The parameters are leaves already: backward() through
                  // this graph adds to their gradients directly.
                  for (size_t i = 0; i < saved.size(); i++)
                    if (in[i].needs_grad()) saved[i].requires_grad();
                  Tensor again;
                  {
                    const EnableGrad enable_grad;
                    const ScopedValue<bool> second_pass(in_second_pass, true);
                    const Scope same_part(scope, /*parent=*/"");
                    again = f(saved);
                  }
                  if (!again.needs_grad()) return;
                  again.backward(std::move(dy));
                  for (size_t i = 0; i < saved.size(); i++)
                    if (in[i].needs_grad() && saved[i].grad()) in[i].add_grad(saved[i].grad());
                });
}

}  // namespace acinus
