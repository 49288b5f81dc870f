// sgd   g = gradient + weight_decay * p
//       v = momentum * v + g                     (the first step starts with v = g)
//       p -= lr * v,   or with Nesterov:  p -= lr * (g + momentum * v)
//
// (Sutskever et al. 2013, in PyTorch's form: the learning rate is not inside v)
#include "optim/sgd.h"

#include "tensor/for_each.h"

namespace acinus {

namespace {

template <class T>
struct Update {
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

}  // namespace

Sgd::Sgd(NamedTensors parameters, SgdOptions options)
    : Optimizer("sgd", std::move(parameters), {"v"}), options_(options) {
  check(!options.nesterov || options.momentum > 0, "Sgd: Nesterov needs a momentum greater than 0");
}

void Sgd::update(const Tensor& p, const Tensor& gradient, const double* lr, const NamedTensors& moments) {
  dispatch_precise(p.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for_each(p.device(), p.elements(),
             Update<T>{lr, T(options_.momentum), T(options_.weight_decay), options_.nesterov, gradient.ptr<T>(),
                       p.ptr<T>(), moments[0].second.ptr<T>()});
  });
}

}  // namespace acinus
