// adam   g = gradient + weight_decay * p          (AdamW instead:  p *= 1 - lr * weight_decay,  g = gradient)
//        m = beta1 * m + (1 - beta1) * g
//        v = beta2 * v + (1 - beta2) * g^2
//        p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)         t = 1, 2, ... counts the steps
//
// m and v start at 0, so at step t they are too small by the factors 1 - beta^t, which are divided out.
// One pass over memory. (Kingma and Ba 2015; AdamW: Loshchilov and Hutter 2019)
#include "optim/adam.h"

#include "optim/update_all.h"
#include "tensor/io/safetensors.h"

namespace acinus {

namespace {

template <class T>
struct Update {
  T beta1, beta2, eps, weight_decay;
  const double* scalars;
  HD void operator()(T gradient, T& p, T& m, T& v) const {
    const T step_size = T(scalars[0]), by_root_correction2 = T(scalars[1]), shrink = T(scalars[2]);
    const T g = gradient + weight_decay * p;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    p = shrink * p - step_size * m / (std::sqrt(v) * by_root_correction2 + eps);
  }
};

}  // namespace

Adam::Adam(NamedTensors parameters, AdamOptions options)
    : Optimizer("adam", std::move(parameters), {"m", "v"}), options_(options) {}

Optimizer::Scalars Adam::next_scalars() {
  const AdamOptions& o = options_;
  steps_++;
  const double correction1 = 1 - std::pow(o.beta1, double(steps_)), correction2 = 1 - std::pow(o.beta2, double(steps_));
  return {learning_rate / correction1, 1 / std::sqrt(correction2), o.decoupled ? 1 - learning_rate * o.weight_decay : 1};
}

void Adam::update(const TensorRows& rows, const double* scalars) {
  const AdamOptions& o = options_;
  update_all<1, 4>(rows, [&](auto zero) {
    using T = decltype(zero);
    return Update<T>{T(o.beta1), T(o.beta2), T(o.eps), T(o.decoupled ? 0 : o.weight_decay), scalars};
  });
}

NamedTensors Adam::state() const {
  NamedTensors state = Optimizer::state();
  state.emplace(state.begin(), "adam.step", Tensor::full({}, double(steps_), DType::f64));
  return state;
}

void Adam::load(const SafeTensors& saved) {
  Optimizer::load(saved);
  steps_ = int64_t(saved["adam.step"].item());
}

}  // namespace acinus
