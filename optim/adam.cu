// adam   g = gradient + weight_decay * p          (AdamW instead:  p *= 1 - lr * weight_decay,  g = gradient)
//        m = beta1 * m + (1 - beta1) * g
//        v = beta2 * v + (1 - beta2) * g^2
//        p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)         t = 1, 2, ... counts the steps
//
// m and v start at 0, so at step t they are too small by the factors 1 - beta^t, which are divided out.
// One pass over memory. (Kingma and Ba 2015; AdamW: Loshchilov and Hutter 2019)
#include "optim/adam.h"

#include "tensor/autograd.h"
#include "tensor/for_each.h"
#include "tensor/trace.h"

namespace acinus {

template <class T>
struct AdamStep {
  const double* rates;  // lr / (1-beta1^t), sqrt(1-beta2^t), and what p shrinks to
  T beta1, beta2, eps, l2;
  const T* gradient;
  T *p, *m, *v;
  HD void operator()(int64_t i) const {
    const T step_size = T(rates[0]), correction2 = T(rates[1]), shrink = T(rates[2]);
    const T g = gradient[i] + l2 * p[i];
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    p[i] = shrink * p[i] - step_size * m[i] / (std::sqrt(v[i]) / correction2 + eps);
  }
};

Adam::Adam(NamedTensors parameters, AdamOptions options) : Optimizer(std::move(parameters)), options_(options) {
  for (const auto& [name, p] : parameters_) {
    m_.push_back(Tensor::zeros(p.shape(), p.dtype(), p.device()));
    v_.push_back(Tensor::zeros(p.shape(), p.dtype(), p.device()));
  }
}

void Adam::prepare(double lr) {
  const AdamOptions& o = options_;
  steps_++;
  const double correction1 = 1 - std::pow(o.beta1, double(steps_)), correction2 = 1 - std::pow(o.beta2, double(steps_));
  const double shrink = o.decoupled ? 1 - lr * o.weight_decay : 1;
  rates_.copy_from(Tensor::from({3}, std::vector<double>{lr / correction1, std::sqrt(correction2), shrink}));
}

void Adam::apply() {
  const ProfileScope profile_scope("adam");
  const AdamOptions& o = options_;
  for (size_t k = 0; k < parameters_.size(); k++) {
    const Tensor& p = parameters_[k].second;
    const Tensor gradient = p.grad();
    if (!gradient) continue;
    p.mark_overwritten();
    dispatch_precise(p.dtype(), [&](auto zero) {
      using T = decltype(zero);
      for_each(p.device(), p.elements(),
               AdamStep<T>{rates_.ptr<double>(), T(o.beta1), T(o.beta2), T(o.eps), T(o.decoupled ? 0 : o.weight_decay),
                           gradient.ptr<T>(), p.ptr<T>(), m_[k].ptr<T>(), v_[k].ptr<T>()});
    });
  }
}

NamedTensors Adam::state() const {
  NamedTensors state{{"adam.step", Tensor::full({}, double(steps_), DType::f64)}};
  for (size_t k = 0; k < m_.size(); k++) {
    state.emplace_back("adam.m." + parameters_[k].first, m_[k]);
    state.emplace_back("adam.v." + parameters_[k].first, v_[k]);
  }
  return state;
}

void Adam::load(const SafeTensors& saved) {
  load_training_state("adam", state(), saved);
  steps_ = int64_t(saved["adam.step"].item());
}

}  // namespace acinus
