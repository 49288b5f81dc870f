#include "optim/optimizer.h"

#include "tensor/autograd.h"
#include "tensor/for_each.h"

namespace acinus {

struct Square {
  template <class T>
  HD double operator()(T g) const {
    return double(g) * double(g);
  }
};

double clip_grad_norm(const NamedTensors& parameters, double max_norm) {
  const Work work("clip_grad_norm");
  double total = 0;
  for (const auto& [name, p] : parameters)
    if (const Tensor g = p.grad()) total += reduce_precisely(Square{}, g).item();  // in float32, 2e19^2 is infinite
  const double norm = std::sqrt(total);
  if (norm > max_norm && std::isfinite(norm))
    for (const auto& [name, p] : parameters)
      if (Tensor g = p.grad()) map_into(g, Scale{max_norm / norm}, g);
  return norm;
}

}  // namespace acinus
