#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "tensor/autograd.h"
#include "tensor/reduce.h"
#include "tensor/trace.h"

namespace acinus {

struct Square {
  template <class T>
  HD double operator()(T g) const {
    return double(g) * double(g);
  }
};

struct SquareRoot {
  template <class T>
  HD T operator()(T x) const {
    return std::sqrt(x);
  }
};

// Reads the norm where it is: on a GPU nothing has to come back to the CPU.
template <class T>
struct Clip {
  double max_norm;
  const double* norm;
  HD T operator()(T g) const {
    const bool too_long = *norm > max_norm && *norm < INFINITY;
    return too_long ? T(max_norm / *norm) * g : g;
  }
};

Optimizer::Optimizer(NamedTensors parameters) : parameters_(std::move(parameters)) {
  const Device device = parameters_.empty() ? Device::cpu : parameters_[0].second.device();
  rates_ = Tensor::zeros({3}, DType::f64, device);
}

void load_training_state(const std::string& kind, const NamedTensors& own, const SafeTensors& saved) {
  std::string problems;
  for (const auto& [name, tensor] : own) {
    if (!saved.contains(name)) {
      problems += text("\n  missing:    ", name, " ", tensor.shape());
      continue;
    }
    const Tensor& theirs = saved[name];
    if (theirs.shape() != tensor.shape()) {
      problems += text("\n  mis-shaped: ", name, " is ", theirs.shape(), ", expected ", tensor.shape());
    } else if (name == kind + ".step") {
      const double steps = theirs.item();
      if (!(steps >= 0 && steps < 1e15 && steps == std::floor(steps)))
        problems += text("\n  no count:   ", name, " is ", steps);
    }
  }
  for (const auto& [name, tensor] : saved.tensors) {
    const bool known = std::any_of(own.begin(), own.end(), [&n = name](const auto& o) { return o.first == n; });
    if (!known && name.rfind(kind + ".", 0) == 0) problems += text("\n  unexpected: ", name, " ", tensor.shape());
  }
  if (!problems.empty()) fail(kind, ": what was saved belongs to another network or optimiser:", problems);
  for (const auto& entry : own) Tensor(entry.second).copy_from(saved[entry.first]);
}

Tensor clip_grad_norm(const NamedTensors& parameters, double max_norm) {
  const ProfileScope profile_scope("clip_grad_norm");
  Tensor total;
  for (const auto& [name, p] : parameters)
    if (const Tensor g = p.grad()) {
      const Tensor square = reduce_precisely(Square{}, g);  // in float32, 2e19^2 is infinite
      if (total)
        total.accumulate(square);
      else
        total = square;
    }
  if (!total) return Tensor::zeros(Shape{}, DType::f64);
  const Tensor norm = map(SquareRoot{}, total);
  if (max_norm == INFINITY || (norm.device() == Device::cpu && !(norm.item() > max_norm))) return norm;
  for (const auto& [name, p] : parameters)
    if (Tensor g = p.grad())
      dispatch_precise(g.dtype(), [&](auto zero) {
        using T = decltype(zero);
        map_into(g, Clip<T>{max_norm, norm.ptr<double>()}, g);
      });
  return norm;
}

}  // namespace acinus
