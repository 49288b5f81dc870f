#include "optim/optimizer.h"

#include <algorithm>
#include <cmath>

#include "tensor/cuda/graph.h"
#include "tensor/io/safetensors.h"
#include "tensor/reduce.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

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

// Reads the norm on its device, so that the CPU need not wait for the GPU.
struct Clip {
  double max_norm;
  const double* norm;
  template <class T>
  HD T operator()(T g) const {
    const bool too_long = *norm > max_norm && *norm < INFINITY;
    return too_long ? T(max_norm / *norm) * g : g;
  }
};

}  // namespace

Optimizer::Optimizer(const char* kind, NamedTensors parameters, const std::vector<std::string>& moments)
    : kind_(kind), parameters_(std::move(parameters)) {
  const Device device = parameters_.empty() ? Device::cpu : parameters_[0].second.device();
  scalars_ = Tensor::zeros({3}, DType::f64, device);
  for (const auto& [name, p] : parameters_) {
    moments_.emplace_back();
    for (const std::string& moment : moments)
      moments_.back().emplace_back(text(kind, ".", moment, ".", name), Tensor::zeros(p.shape(), p.dtype(), p.device()));
  }
}

void Optimizer::step() {
  const ProfileScope scope(kind_);
  cuda::before_each_run([this] {
    const Scalars scalars = next_scalars();
    scalars_.copy_from(Tensor::from({3}, std::vector<double>(scalars.begin(), scalars.end())));
  });
  for (size_t k = 0; k < parameters_.size(); k++) {
    const Tensor& p = parameters_[k].second;
    const Tensor gradient = p.grad();
    if (!gradient) continue;
    p.mark_overwritten();
    update(p, gradient, scalars_.ptr<double>(), moments_[k]);
  }
}

NamedTensors Optimizer::state() const {
  NamedTensors state;
  for (const NamedTensors& moments : moments_) state.insert(state.end(), moments.begin(), moments.end());
  return state;
}

void Optimizer::load(const SafeTensors& saved) { load_training_state(kind_, state(), saved); }

void load_training_state(const std::string& kind, const NamedTensors& own, const SafeTensors& saved) {
  std::string problems =
      saved.differences(own, [&](const std::string& name) { return name.rfind(kind + ".", 0) == 0; });
  for (const auto& [name, tensor] : own)
    if (problems.empty() && name == kind + ".step") {
      const double steps = saved[name].item();
      if (!(steps >= 0 && steps < 1e15 && steps == std::floor(steps)))
        problems = text("\n  no count:   ", name, " is ", steps);
    }
  if (!problems.empty()) fail(kind, ": the saved state is that of another network or optimiser:", problems);
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
    if (Tensor g = p.grad()) map_into(g, Clip{max_norm, norm.ptr<double>()}, g);
  return norm;
}

}  // namespace acinus
