// sgd   g = gradient + weight_decay * p
//       v = momentum * v + g                     (the first step starts with v = g)
//       p -= lr * v,   or with Nesterov:  p -= lr * (g + momentum * v)
//
// (Sutskever et al. 2013, in PyTorch's form: the learning rate is not inside v)
#include "optim/sgd.h"

#include "tensor/autograd.h"
#include "tensor/for_each.h"
#include "tensor/trace.h"

namespace acinus {

template <class T>
struct SgdStep {
  const double* lr;
  T momentum, weight_decay;
  bool nesterov;
  const T* gradient;
  T *p, *v;
  HD void operator()(int64_t i) const {
    const T g = gradient[i] + weight_decay * p[i];
    v[i] = momentum * v[i] + g;
    p[i] -= T(*lr) * (nesterov ? g + momentum * v[i] : v[i]);
  }
};

Sgd::Sgd(NamedTensors parameters, SgdOptions options) : Optimizer(std::move(parameters)), options_(options) {
  check(!options.nesterov || options.momentum > 0, "Sgd: Nesterov needs a momentum greater than 0");
  for (const auto& [name, p] : parameters_) velocity_.push_back(Tensor::zeros(p.shape(), p.dtype(), p.device()));
}

void Sgd::prepare(double lr) { rates_.copy_from(Tensor::from({3}, std::vector<double>{lr, 0, 0})); }

void Sgd::apply() {
  const ProfileScope profile_scope("sgd");
  for (size_t k = 0; k < parameters_.size(); k++) {
    const Tensor& p = parameters_[k].second;
    const Tensor gradient = p.grad();
    if (!gradient) continue;
    p.mark_overwritten();
    dispatch_precise(p.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each(p.device(), p.elements(),
               SgdStep<T>{rates_.ptr<double>(), T(options_.momentum), T(options_.weight_decay), options_.nesterov,
                          gradient.ptr<T>(), p.ptr<T>(), velocity_[k].ptr<T>()});
    });
  }
}

NamedTensors Sgd::state() const {
  NamedTensors state;
  for (size_t k = 0; k < velocity_.size(); k++) state.emplace_back("sgd.v." + parameters_[k].first, velocity_[k]);
  return state;
}

void Sgd::load(const SafeTensors& saved) { load_training_state("sgd", state(), saved); }

}  // namespace acinus
