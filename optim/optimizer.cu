#include "optim/optimizer.h"

#include "tensor/autograd.h"
#include "tensor/elements.h"
#include "tensor/for_each.h"

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

Tensor clip_grad_norm(const NamedTensors& parameters, double max_norm) {
  const Work work("clip_grad_norm");
  Tensor total;
  for (const auto& [name, p] : parameters)
    if (const Tensor g = p.grad()) {
      const Tensor square = reduce_precisely(Square{}, g);  // in float32, 2e19^2 is infinite
      if (total)
        add_to(total, square);
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
