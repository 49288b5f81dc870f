// sgd   g = gradient + weight_decay * p
//       v = momentum * v + g                     (the first step starts with v = g)
//       p -= lr * v,   or with Nesterov:  p -= lr * (g + momentum * v)
//
// (Sutskever et al. 2013, in PyTorch's form: the learning rate is not inside v)
#include "optim/sgd.h"

#include "optim/update_all.h"

namespace acinus {

namespace {

template <class T>
struct Update {
  const double* lr;
  T momentum, weight_decay;
  bool nesterov;
  HD void operator()(T gradient, T& p, T& v) const {
    const T g = gradient + weight_decay * p;
    v = momentum * v + g;
    p -= T(*lr) * (nesterov ? g + momentum * v : v);
  }
};

}  // namespace

Sgd::Sgd(NamedTensors parameters, SgdOptions options)
    : Optimizer("sgd", std::move(parameters), {"v"}), options_(options) {
  check(!options.nesterov || options.momentum > 0, "Sgd: Nesterov needs a momentum greater than 0");
}

void Sgd::update(const TensorRows& rows, const double* lr) {
  update_all<1, 3>(rows, [&](auto zero) {
    using T = decltype(zero);
    return Update<T>{lr, T(options_.momentum), T(options_.weight_decay), options_.nesterov};
  });
}

}  // namespace acinus
