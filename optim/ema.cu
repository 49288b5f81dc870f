// ema   e += (1 - d) (w - e),   d = min(decay, (1 + t) / (10 + t))         t = 1, 2, ... counts the updates
//
// The same as e = d e + (1 - d) w, in a form that leaves e unchanged where w = e: in float32, d + (1 - d) is not quite 1.
// Early on d is small (2/11, 3/12, 4/13, ...), so that the averages soon forget the initial weights.
#include "optim/ema.h"

#include <algorithm>

#include "optim/update_all.h"
#include "tensor/cuda/graph.h"
#include "tensor/io/safetensors.h"
#include "tensor/trace.h"

namespace acinus {

namespace {

struct Update {
  const double* rate;  // 1 - d
  template <class T>
  HD void operator()(T w, T& e) const {
    e = e + T(*rate) * (w - e);
  }
};

}  // namespace

Ema::Ema(NamedTensors tensors, double decay) : tensors_(std::move(tensors)), decay_(decay) {
  check(decay >= 0 && decay < 1, "Ema: decay ", decay, " must be at least 0 and less than 1");
  check_distinct("Ema", tensors_);
  for (const auto& [name, w] : tensors_) averages_.emplace_back("ema." + name, w.clone());
  rate_ = Tensor::zeros({}, DType::f64, tensors_.empty() ? Device::cpu : tensors_[0].second.device());
}

void Ema::update() {
  const ProfileScope profile_scope("ema");
  cuda::before_each_run([this] {
    check(!swapped_, "Ema: no update during an EmaScope");
    steps_++;
    const double t = double(steps_), d = std::min(decay_, (1 + t) / (10 + t));
    rate_.copy_from(Tensor::full({}, 1 - d, DType::f64));
  });
  TensorRows rows;
  for (size_t k = 0; k < tensors_.size(); k++) rows.push_back({tensors_[k].second, averages_[k].second});
  update_all<1, 2>(rows, [&](auto) { return Update{rate_.ptr<double>()}; });
}

NamedTensors Ema::state() const {
  check(!swapped_, "Ema: its state is in the network during an EmaScope");
  NamedTensors state = averages_;
  state.emplace_back("ema.step", Tensor::full({}, double(steps_), DType::f64));
  return state;
}

void Ema::load(const SafeTensors& saved) {
  load_training_state("ema", state(), saved);
  steps_ = int64_t(saved["ema.step"].item());
}

void Ema::swap() {
  for (size_t k = 0; k < tensors_.size(); k++) {
    Tensor &w = tensors_[k].second, &e = averages_[k].second;
    const Tensor kept = w.clone();
    w.copy_from(e);
    e.copy_from(kept);
  }
  swapped_ = !swapped_;
}

EmaScope::EmaScope(Ema& ema) : ema_(ema) {
  check(!ema.swapped_, "EmaScope: this Ema has one already");
  ema_.swap();
}

EmaScope::~EmaScope() {
  try {
    ema_.swap();
  } catch (const Error&) {  // a GPU that has failed: its next use reports it again
  }
}

}  // namespace acinus
